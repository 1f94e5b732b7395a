// none.cpp - built where there is no MPI.
#include "../ranks.h"

std::unique_ptr<Ranks> mpi_ranks() {
    fail(Exit::no_resource,
         "started by mpirun, but this build has no MPI: install one that has mpicc (libopenmpi-dev) and build again, "
         "or let --ranks N start the ranks of one machine");
}
std::string mpi_library() { return "none"; }
