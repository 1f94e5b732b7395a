#include "ranks.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <numeric>
#include <sstream>
#include "../engine/json.h"

// ---- what ranks say to each other, whoever carries it

void Ranks::exchange(const char* for_each, char* of_each, size_t bytes) { memcpy(of_each, for_each, bytes); }
void Ranks::collect(const char* mine, char* of_each, size_t bytes) { memcpy(of_each, mine, bytes); }

// Every rank adds up one part of the numbers, and all take each other's parts.
void Ranks::sum(float* x, size_t n) {
    if (size == 1) return;
    const size_t ranks = size_t(size), most = room / sizeof(float) / ranks * ranks;
    std::vector<float> all(std::min(most, n + ranks)), of_each(all.size()), mine(all.size() / ranks + 1);
    for (size_t at = 0; at < n; at += most) {
        const size_t count = std::min(most, n - at), part = (count + ranks - 1) / ranks;
        std::copy_n(x + at, count, all.begin());
        std::fill(all.begin() + long(count), all.begin() + long(part * ranks), 0.0f);
        exchange((const char*)all.data(), (char*)of_each.data(), part * sizeof(float));
        std::copy_n(of_each.begin(), part, mine.begin());
        for (size_t r = 1; r < ranks; r++)
            for (size_t i = 0; i < part; i++) mine[i] += of_each[r * part + i];
        collect((const char*)mine.data(), (char*)all.data(), part * sizeof(float));
        std::copy_n(all.begin(), count, x + at);
    }
}

void Ranks::sum(std::map<std::string, double>& values) {
    if (size == 1) return;
    std::string mine;
    for (const auto& [name, value] : values) mine += format("%a %s\n", value, name.c_str());      // exact, NaN too
    std::map<std::string, double> total;
    for (const std::string& text : gather(mine)) {
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
            const size_t space = line.find(' ');
            total[line.substr(space + 1)] += strtod(line.c_str(), nullptr);
        }
    }
    values = total;
}

std::vector<std::string> Ranks::gather(const std::string& mine) {
    const uint64_t length = mine.size();
    std::vector<uint64_t> lengths(size_t(size), 0);
    collect((const char*)&length, (char*)lengths.data(), sizeof length);
    const size_t longest = *std::max_element(lengths.begin(), lengths.end());
    std::vector<std::string> of_each(size_t(size), "");
    std::string piece, pieces;
    for (size_t at = 0; at < longest; at += piece.size()) {
        piece = at < mine.size() ? mine.substr(at, room / size_t(size)) : "";
        piece.resize(std::min(longest - at, room / size_t(size)));
        pieces.resize(piece.size() * size_t(size));
        collect(piece.data(), pieces.data(), piece.size());
        for (size_t r = 0; r < of_each.size(); r++) of_each[r] += pieces.substr(r * piece.size(), piece.size());
    }
    for (size_t r = 0; r < of_each.size(); r++) of_each[r].resize(lengths[r]);
    return of_each;
}

bool Ranks::any(bool mine) {
    const char yes = mine || told_to_stop();
    std::string of_each(size_t(size), 0);
    collect(&yes, of_each.data(), 1);
    return of_each.find('\1') != of_each.npos;
}

void Ranks::meet() {
    char host[256] = {};
    gethostname(host, sizeof host - 1);
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(0, sizeof cores, &cores);
    const std::string machine(host, sizeof host), here = machine + std::string((const char*)&cores, sizeof cores);
    const std::vector<std::string> of_each = gather(here);
    on_these_cores = int(std::count(of_each.begin(), of_each.end(), here));
    const auto is_here = [&](const std::string& other) { return other.starts_with(machine); };
    on_this_machine = int(std::count_if(of_each.begin(), of_each.end(), is_here));
    place = int(std::count_if(of_each.begin(), of_each.begin() + rank, is_here));
}

std::vector<size_t> share_of_rank(std::span<const size_t> tokens, int rank, int size) {
    const size_t ranks = size_t(size), most = (tokens.size() + ranks - 1) / ranks;
    std::vector<size_t> by_length(tokens.size()), rows(ranks), load(ranks), mine;
    std::iota(by_length.begin(), by_length.end(), size_t(0));
    std::stable_sort(by_length.begin(), by_length.end(), [&](size_t a, size_t b) { return tokens[a] > tokens[b]; });
    for (const size_t row : by_length) {
        size_t to = ranks;
        for (size_t r = 0; r < ranks; r++)
            if (rows[r] < most && (to == ranks || load[r] < load[to])) to = r;
        rows[to]++, load[to] += tokens[row];
        if (to == size_t(rank)) mine.push_back(row);
    }
    std::sort(mine.begin(), mine.end());
    return mine;
}

// ---- processes of one machine that share memory

namespace {

// What lies at the start of the memory that ranks and launcher share; the boxes follow, two for each rank.
struct Area {
    std::atomic<uint32_t> arrived{0}, round{0};
    std::atomic<int> lost{0};           // the first rank that failed or died, plus 1, and its exit code; 0: none
    std::atomic<int> saver{-1};         // the rank that should save what there is
    std::atomic<bool> stop{false};      // the launcher was told to stop

    static constexpr size_t header = 4096;
    static size_t bytes(int size) { return header + 2 * size_t(size) * Ranks::room; }
    char* box(int which, int rank, int size) {
        return (char*)this + header + (size_t(which) * size_t(size) + size_t(rank)) * Ranks::room;
    }
    void wake() { syscall(SYS_futex, (uint32_t*)&round, FUTEX_WAKE, 1 << 30, nullptr, nullptr, 0); }
    bool lose(int rank, Exit code) {    // true for the first
        int none = 0;
        const bool first = lost.compare_exchange_strong(none, (rank + 1) << 8 | int(code));
        wake();
        return first;
    }
    Exit code() const { return Exit(lost.load() & 255); }
};

class Shared : public Ranks {
public:
    Shared(Area* area, int rank, int size) : Ranks(rank, size), area_(area) {}
    bool give_up(Exit code) override { return area_->lose(rank, code); }
    void watch() override {
        if (area_->lost) throw LostRank(area_->code(), area_->saver == rank);
    }

protected:
    // Boxes are used in turn: when this one is written to again, all ranks have arrived at the next round, so have read
    // it.
    void exchange(const char* for_each, char* of_each, size_t bytes) override {
        memcpy(area_->box(turn_, rank, size), for_each, bytes * size_t(size));
        all_arrive();
        for (int r = 0; r < size; r++)
            memcpy(of_each + size_t(r) * bytes, area_->box(turn_, r, size) + size_t(rank) * bytes, bytes);
        turn_ ^= 1;
    }
    void collect(const char* mine, char* of_each, size_t bytes) override {
        memcpy(area_->box(turn_, rank, size), mine, bytes);
        all_arrive();
        for (int r = 0; r < size; r++) memcpy(of_each + size_t(r) * bytes, area_->box(turn_, r, size), bytes);
        turn_ ^= 1;
    }
    bool told_to_stop() const override { return area_->stop; }

private:
    void all_arrive() {
        const uint32_t round = area_->round;
        if (area_->arrived.fetch_add(1) + 1 == uint32_t(size)) {
            area_->arrived = 0;
            area_->round++;
            return area_->wake();
        }
        for (int tries = 0; area_->round == round; tries++) {
            watch();
            const timespec a_while{0, 50'000'000};
            if (tries < 100) sched_yield();
            else syscall(SYS_futex, (uint32_t*)&area_->round, FUTEX_WAIT, round, &a_while, nullptr, 0);
        }
    }

    Area* area_;
    int turn_ = 0;
};

// What the launcher does: wait for its ranks, tell them all to stop when it is told to or when one of them dies.
void watch_over(Area* area, const std::vector<pid_t>& pids, const std::function<bool()>& interrupted,
                const std::function<std::string()>& remedy) {
    std::vector<bool> gone(pids.size());
    std::string death;
    for (size_t left = pids.size(); left;) {
        int status = 0;
        const pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            if (interrupted()) area->stop = true;
            usleep(5000);
            continue;
        }
        const size_t rank = size_t(std::find(pids.begin(), pids.end(), pid) - pids.begin());
        if (rank == pids.size()) continue;
        gone[rank] = true, left--;
        if (status == 0) continue;
        if (area->lost == 0) {                  // nobody has said why
            area->saver = int(std::find(gone.begin(), gone.end(), false) - gone.begin());
            if (!area->lose(int(rank), Exit::failed)) continue;
            death = WIFSIGNALED(status) ? format("was killed by signal %d (%s)", WTERMSIG(status),
                                                 strsignal(WTERMSIG(status)))
                                        : format("ended with code %d", WEXITSTATUS(status));
            death = format("rank %zu of %zu (process %d) %s", rank, pids.size(), pid, death.c_str());
        }
    }
    if (!death.empty()) fail(Exit::failed, "%s; the other ranks were stopped; %s", death.c_str(), remedy().c_str());
    if (area->lost) throw Error(area->code(), "");
}

// Returns in each new process with its rank, and in this one with nothing, at the end.
std::unique_ptr<Ranks> launch(int size, const std::function<bool()>& interrupted,
                              const std::function<std::string()>& remedy) {
    const size_t bytes = Area::bytes(size);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail(Exit::no_resource, "--ranks %d: %zu MiB of shared memory refused: %s", size, bytes >> 20, strerror(errno));
    Area* area = new (memory) Area;
    const pid_t launcher = getpid();
    std::vector<pid_t> pids;
    for (int rank = 0; rank < size; rank++) {
        const pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);   // nobody would be left to say that a rank has died
            if (getppid() != launcher) _exit(int(Exit::failed));
            return std::make_unique<Shared>(area, rank, size);
        }
        if (pid < 0) {
            const std::string why = strerror(errno);
            for (const pid_t p : pids) kill(p, SIGKILL), waitpid(p, nullptr, 0);
            fail(Exit::no_resource, "--ranks %d: process %d could not be started: %s", size, rank, why.c_str());
        }
        pids.push_back(pid);
    }
    watch_over(area, pids, interrupted, remedy);
    return nullptr;
}

// As many as mpirun started; 0: this is none of its processes. By the variables of Open MPI; of MPICH and its kin.
int size_by_mpirun() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
        if (const char* text = getenv(name)) return std::max(1, atoi(text));
    return 0;
}

}  // namespace

std::unique_ptr<Ranks> join_ranks(int asked, const std::function<bool()>& interrupted,
                                  const std::function<std::string()>& remedy) {
    if (size_by_mpirun() > 1) return mpi_ranks();
    return asked > 1 ? launch(asked, interrupted, remedy) : std::make_unique<Ranks>();
}
