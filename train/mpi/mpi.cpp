// mpi.cpp - ranks that mpirun has started, on one machine or on several.
#include <mpi.h>
#include <algorithm>
#include "../ranks.h"

namespace {

class Mpi : public Ranks {
public:
    Mpi(int rank, int size) : Ranks(rank, size) {}
    ~Mpi() override { MPI_Finalize(); }

    // mpirun knows only how to end everybody at once. So that a rank can leave with a word, every exchange begins with
    // one number of each rank: its exit code, if it cannot go on. After such a round nobody waits for anybody. One that
    // waits elsewhere, in a sum from device to device, is told by a message to come to it.
    bool give_up(Exit code) override {
        if (over_) return false;
        std::vector<MPI_Request> sent(size_t(size), MPI_REQUEST_NULL);
        for (int r = 0; r < size; r++)
            if (r != rank) MPI_Isend(nullptr, 0, MPI_BYTE, r, leaving, MPI_COMM_WORLD, &sent[size_t(r)]);
        const int first = first_to_leave(int(code));
        MPI_Waitall(size, sent.data(), MPI_STATUSES_IGNORE);
        return first == rank;
    }
    void watch() override {
        int told = 0;
        MPI_Iprobe(MPI_ANY_SOURCE, leaving, MPI_COMM_WORLD, &told, MPI_STATUS_IGNORE);
        if (told) check();
    }

protected:
    void exchange(const char* for_each, char* of_each, size_t bytes) override {
        check();
        MPI_Alltoall(for_each, int(bytes), MPI_BYTE, of_each, int(bytes), MPI_BYTE, MPI_COMM_WORLD);
    }
    void collect(const char* mine, char* of_each, size_t bytes) override {
        check();
        MPI_Allgather(mine, int(bytes), MPI_BYTE, of_each, int(bytes), MPI_BYTE, MPI_COMM_WORLD);
    }

private:
    static constexpr int leaving = 1;       // the tag of such a message

    int first_to_leave(int code) {
        MPI_Allgather(&code, 1, MPI_INT, codes_.data(), 1, MPI_INT, MPI_COMM_WORLD);
        const auto leaves = std::find_if(codes_.begin(), codes_.end(), [](int c) { return c != 0; });
        over_ = leaves != codes_.end();
        for (int r = 0; r < size; r++)      // each of these has sent its message
            if (r != rank && codes_[size_t(r)])
                MPI_Recv(nullptr, 0, MPI_BYTE, r, leaving, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        return over_ ? int(leaves - codes_.begin()) : -1;
    }
    void check() {
        const int first = first_to_leave(0);
        if (first >= 0) throw LostRank(Exit(codes_[size_t(first)]), false);
    }

    std::vector<int> codes_ = std::vector<int>(size_t(size), 0);
    bool over_ = false;
};

}  // namespace

std::unique_ptr<Ranks> mpi_ranks() {
    int rank = 0, size = 1;
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return std::make_unique<Mpi>(rank, size);
}

std::string mpi_library() {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    const std::string all(text, size_t(length));
    return all.substr(0, all.find_first_of(",\n"));
}
