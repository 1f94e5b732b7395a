// ranks.h - data-parallel training: several processes, each with the whole model, share the rows of every step.
//
// A step of N ranks is the step of one process, cut in N:
//   1. Which rows a step has is a function of the seed, so every rank knows them all and takes its own (share_of_rank).
//   2. It walks them there and back. What a token adds to the loss is divided by the target tokens of the whole step,
//      not by those of the rank: so the gradients need only be added, however unevenly the rows have fallen.
//   3. sum() adds the gradients up, number by number in the order of ranks, and hands every rank the same bits.
//   4. Every rank clips by the norm of that sum and updates its own copy of the parameters: the copies never differ.
// Rank 0 alone writes the run folder and talks.
//
// What carries the bytes: memory that the processes share, when dd starts them itself (--ranks N); MPI, when mpirun
// does. Both hand the same numbers to the same additions, so they end with the same bits.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>
#include "../kernels/error.h"

class Ranks {
public:
    // One process by itself; what is below is for those that carry.
    explicit Ranks(int rank = 0, int size = 1) : rank(rank), size(size) {}
    virtual ~Ranks() = default;
    Ranks(const Ranks&) = delete;
    Ranks& operator=(const Ranks&) = delete;
    const int rank, size;
    // Known after meet(): how many ranks, this one counted, run on this machine and may run on these very cores; and
    // which of those of the machine this one is.
    int on_this_machine = 1, on_these_cores = 1, place = 0;
    void meet();

    // Said by all ranks in the same order; each returns when all have said it, and throws LostRank when one cannot.
    void sum(float* x, size_t n);                   // in place
    void sum(std::map<std::string, double>&);       // by name; a name that a rank lacks counts 0
    std::vector<std::string> gather(const std::string& mine);      // of every rank
    bool any(bool mine);
    void wait() { any(false); }
    // Said by one alone, while it waits for the others elsewhere: throws LostRank when one of them is known to be lost.
    virtual void watch() {}

    // A rank that cannot go on says so, once, before it leaves. True for one of those that do: it says why.
    virtual bool give_up(Exit) { return true; }

    static constexpr size_t room = size_t(4) << 20;

protected:
    // `bytes` for each rank, or for all, against as many of each: at most `room` bytes sent in all.
    virtual void exchange(const char* for_each, char* of_each, size_t bytes);
    virtual void collect(const char* mine, char* of_each, size_t bytes);
    virtual bool told_to_stop() const { return false; }
};

// Another rank has failed, and says so itself (code is its exit code), or was killed, and the launcher says so. `save`:
// this rank is the one that should save what it has.
struct LostRank : Error {
    bool save;
    LostRank(Exit code, bool save) : Error(code, ""), save(save) {}
};

// The ranks that this process is one of: those of mpirun, or `asked` processes that are started now, or this one alone.
// Null in the process that started them, when all have done their work. Exit::failed when one was killed: remedy() says
// what to do about it. `interrupted` is asked there for whether the ranks should stop.
std::unique_ptr<Ranks> join_ranks(int asked, const std::function<bool()>& interrupted,
                                  const std::function<std::string()>& remedy);

// Which of some rows are a rank's, in their order. Rows are dealt, the longest first, each to the rank that has the
// fewest tokens so far, and none gets more than its part of the rows.
std::vector<size_t> share_of_rank(std::span<const size_t> tokens, int rank, int size);

// mpi/: built where there is an MPI, none.cpp where there is none.
std::unique_ptr<Ranks> mpi_ranks();         // Exit::no_resource without MPI
std::string mpi_library();
