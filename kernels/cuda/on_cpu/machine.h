// machine.h - runs a grid block by block, a block's threads as fibres, and is the judge of what they do together.
//
// The machine is an adversary: what CUDA leaves undefined differs with cuda_cpu::seed or reads as NaN.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "fibre.h"

// CUDA's own names, as its programs know them.
struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

inline constinit uint3 threadIdx{}, blockIdx{};
inline constinit dim3 blockDim, gridDim;

namespace cuda_cpu {

using Where = std::source_location;
struct LaunchError : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct Counters {
    uint64_t threads = 0, switches = 0, mma = 0, bank_conflicts = 0;
};

inline uint64_t seed = 1; // of the launches to come; no result may depend on it
inline Counters counters; // of the launches so far

inline constexpr size_t shared_limit = 227 * 1024, guard_bytes = 1024; // a block's shared memory on sm_90
inline constexpr unsigned char poison = 0xff, guard = 0xfb;            // 0xff.. is a NaN in float, half and bf16

struct Copy { // one cp.async
    char* to;
    const char* from;
    unsigned bytes, valid, group;
    void land() const { // a loop: ThreadSanitizer does not see the memory functions of its fibres
        for (unsigned i = 0; i < bytes; ++i) to[i] = i < valid ? from[i] : 0;
    }
};

struct Thread {
    Fibre fibre;
    uint3 index;
    unsigned rank;
    bool exited;
    const char *waits = nullptr, *file; // in what, and where; null: it runs, or could
    unsigned line;
    uint32_t mask;                         // of a warp operation: its lanes
    void* operand;                         // and this lane's registers
    unsigned groups, barriers, warp_syncs; // how many so far
    std::vector<Copy> copies;              // in flight
};

struct Warp {
    uint32_t exists = 0, waiting = 0;
    char order[2];
};

// What tests let go wrong: how much memory the device has, and how many launches and copies it still does before it is
// lost (-1: it is not).
struct Faults {
    size_t memory = size_t(64) << 30;
    int64_t operations = -1;
};
inline Faults faults;

// What stands between the host and a launch: work that is recorded instead of done, memory that only kernels may see.
inline std::vector<std::function<void()>>* recording = nullptr;
inline void (*enter_device)() = nullptr;
inline void (*leave_device)() = nullptr;
struct OnDevice {
    OnDevice() {
        if (enter_device) enter_device();
    }
    ~OnDevice() {
        if (leave_device) leave_device();
    }
};

// Whether an address is the device's. While somebody says DeviceOnly, as a session may, a kernel that is handed an
// address of the process, which a GPU could not reach, is refused.
inline bool (*of_device)(const void*) = nullptr;
inline int device_only = 0;
// Sanitizers have mappings of their own among which a number may fall: the plain run looks at arguments.
inline constexpr bool sanitized = CUDA_CPU_ASAN(true ||) CUDA_CPU_TSAN(true ||) false;
struct DeviceOnly {
    DeviceOnly() { device_only++; }
    ~DeviceOnly() { device_only--; }
};
inline bool of_process(uintptr_t word) {
    unsigned char there; // heaps, stacks and mappings lie above; below are pairs of numbers
    return word >> 44 >= 5 && !(word >> 47) && !(of_device && of_device(reinterpret_cast<void*>(word))) &&
           mincore(reinterpret_cast<void*>(word & ~uintptr_t(4095)), 1, &there) == 0;
}
// What CUDA refuses at a launch: a grid without blocks or with too many, and (here) such an address among the words of
// an argument, padding left out.
template <class T> void look_at(std::string_view kernel, T argument) {
    static_assert(std::is_trivially_copyable_v<T>, "CUDA copies arguments byte by byte");
    if (sanitized || !device_only || alignof(T) < 8) return;
    __builtin_clear_padding(&argument);
    for (size_t at = 0; at + 8 <= sizeof(T); at += 8) {
        uintptr_t word;
        std::memcpy(&word, reinterpret_cast<const char*>(&argument) + at, 8);
        if (of_process(word)) throw LaunchError(std::string(kernel) + " is given an address of the process");
    }
}
inline void check_grid(std::string_view kernel, dim3 grid) {
    if (grid.x && grid.y && grid.z && grid.x <= 0x7fffffff && grid.y <= 0xffff && grid.z <= 0xffff) return;
    throw LaunchError("kernel " + std::string(kernel) + ": a grid of " + std::to_string(grid.x) + " by " +
                      std::to_string(grid.y) + " by " + std::to_string(grid.z) + " blocks");
}

template <class F> void submit(F work) {
    if (recording) return recording->push_back(work);
    OnDevice here;
    work();
}

// One multiprocessor: runs a block at a time.
class Machine {
public:
    Thread* current = nullptr;
    std::unique_ptr<Thread[]> threads;
    std::vector<Warp> warps;
    Counters counted;
    uint64_t blocks = 0; // so far: tells this block's static shared objects from an earlier block's
    void* dynamic;
    int votes[2];  // of __syncthreads_or, by turns
    char order[4]; // what ThreadSanitizer knows by: barriers (two, in turn), the launch, static_shared

    CUDA_CPU_UNSEEN void wait_in(const char* name, Where where) {
        current->waits = name, current->file = where.file_name(), current->line = where.line();
    }
    CUDA_CPU_UNSEEN void suspend() { pass(current->fibre, pick()); }
    CUDA_CPU_UNSEEN void make_ready(Thread& t) { t.waits = nullptr, ready[ready_count++] = &t; }
    CUDA_CPU_UNSEEN uint32_t random() {
        rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
        return static_cast<uint32_t>(rng >> 32);
    }

    [[noreturn]] void fail(const std::string& what) {
        error = "thread " + text(current->index) + ": " + what;
        pass(current->fibre, nullptr);
        std::terminate(); // not reached: an abandoned fibre is not resumed
    }

    CUDA_CPU_UNSEEN void* allocate_shared(size_t bytes) {
        if ((shared_used += bytes) > shared_limit) fail("more than 227 KiB of shared memory");
        unsigned char *object = arena_end, *end = object + bytes;
        CUDA_CPU_ASAN(__asan_unpoison_memory_region(object, bytes);)
        std::memset(object, poison, bytes);
        arena_end += (bytes + 127) / 128 * 128 + guard_bytes; // what alignment leaves is guard too
        set_guard(end, arena_end);
        return object;
    }

    void run_block(std::string_view kernel, uint3 block, size_t shared_bytes, const std::function<void()>& call) {
        body = &call;
        try {
            prepare(block, shared_bytes);
            for (;;) {
                pass(scheduler, pick());
                if (!error.empty()) throw LaunchError(error);
                if (exited == count) break;
                release_barrier();
            }
            CUDA_CPU_TSAN(__tsan_acquire(&order[2]);)
            check_guards();
        } catch (const LaunchError& e) {
            throw LaunchError("kernel " + std::string(kernel) + ", block " + text(block) + ": " + e.what());
        }
    }

private:
    alignas(1024) unsigned char arena[shared_limit + 64 * guard_bytes];
    unsigned char* arena_end;
    size_t shared_used;
    std::vector<std::pair<unsigned char*, unsigned char*>> guards;
    Fibre scheduler;
    Thread* ready[1024];
    unsigned count = 0, ready_count, exited, greed;
    uint64_t rng;
    std::string error;
    const std::function<void()>* body;

    static std::string text(uint3 v) {
        return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
    }

    static std::string describe(const Thread& t) {
        if (t.exited) return "thread " + text(t.index) + " has exited";
        const std::string file = t.file;
        return "thread " + text(t.index) + " waits in " + t.waits + " at " + file.substr(file.rfind('/') + 1) + ":" +
               std::to_string(t.line);
    }

    CUDA_CPU_UNSEEN Thread* pick() {
        if (ready_count == 0) return nullptr;
        // Off the back: one warp runs as far ahead of the others as it can. From anywhere: all advance together.
        const unsigned i = random() % 256 < greed ? ready_count - 1 : random() % ready_count;
        Thread* next = ready[i];
        ready[i] = ready[--ready_count];
        return next;
    }

    CUDA_CPU_UNSEEN void pass(Fibre& from, Thread* to) {
        ++counted.switches;
        current = to;
        if (to) threadIdx = to->index;
        if (&from != (to ? &to->fibre : &scheduler)) from.switch_to(to ? to->fibre : scheduler);
    }

    CUDA_CPU_UNSEEN static void enter();

    void prepare(uint3 block, size_t shared_bytes) {
        const unsigned n = blockDim.x * blockDim.y * blockDim.z;
        if (n == 0 || n > 1024) throw LaunchError("a block has 1 to 1024 threads, not " + std::to_string(n));
        if (shared_bytes > shared_limit) throw LaunchError("more than 227 KiB of shared memory");
        rng = seed * 0x9e3779b97f4a7c15u ^ (block.x + 1) * 0xbf58476d1ce4e5b9u ^ (block.y + 1) * 0x94d049bb133111ebu;
        rng += block.z;
        for (int i = 0; i < 8; ++i) random();
        greed = random() % 3 * 128;
        blockIdx = block, ++blocks, error.clear(), ready_count = exited = 0, votes[0] = votes[1] = 0;
        if (!threads) threads.reset(new Thread[1024]); // each gets its stack when it is first needed, and keeps it
        count = n;
        warps.assign((n + 31) / 32, {});
        for (unsigned i = 0; i < n; ++i) {
            Thread& t = threads[i];
            t.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
            t.rank = i, t.exited = false, t.groups = t.barriers = t.warp_syncs = 0;
            t.copies.clear(), t.fibre.start(enter);
            warps[i / 32].exists |= 1u << i % 32;
            make_ready(t);
        }
        shuffle();
        counted.threads += n;
        CUDA_CPU_ASAN(__asan_unpoison_memory_region(arena, sizeof arena);)
        guards.clear(), shared_used = 0, arena_end = arena + guard_bytes;
        set_guard(arena, arena_end);
        dynamic = allocate_shared(shared_bytes);
        CUDA_CPU_TSAN(__tsan_release(&order[2]);)
    }

    void shuffle() {
        for (unsigned i = ready_count; i > 1; --i) std::swap(ready[i - 1], ready[random() % i]);
    }

    // Nobody can go on, not all have finished: either all wait at one barrier, or somebody waits for ever.
    CUDA_CPU_UNSEEN void release_barrier() {
        Thread *first = threads.get(), *end = first + count;
        while (first->exited) ++first;
        for (Thread* t = threads.get(); t < end; ++t)
            if (t->exited || t->waits != first->waits || t->line != first->line)
                throw LaunchError("divergence: " + describe(*first) + ", but " + describe(*t));
        if (std::strncmp(first->waits, "__syncthreads", 13)) throw LaunchError("deadlock: " + describe(*first));
        votes[first->barriers % 2] = 0; // the next barrier's: all have read it since its last use
        for (Thread* t = first; t < end; ++t) make_ready(*t);
        shuffle();
    }

    void set_guard(unsigned char* begin, unsigned char* end) {
        std::memset(begin, guard, end - begin);
        guards.emplace_back(begin, end);
        CUDA_CPU_ASAN(__asan_poison_memory_region(begin, end - begin);)
    }

    void check_guards() {
        CUDA_CPU_ASAN(__asan_unpoison_memory_region(arena, sizeof arena);)
        for (auto [begin, end] : guards) {
            const auto hit = std::find_if(begin, end, [](unsigned char c) { return c != guard; });
            if (hit != end)
                throw LaunchError("shared memory written out of bounds, " + std::to_string(hit - begin) +
                                  " bytes past an object's end (AddressSanitizer shows where)");
        }
    }
};

inline Machine& machine() {
    static constinit Machine* here = nullptr;
    if (!here) here = new Machine; // kept while the process lives
    return *here;
}

inline void Machine::enter() {
    Machine& m = machine();
    Fibre::entered(m.scheduler);
    CUDA_CPU_TSAN(__tsan_acquire(&m.order[2]);)
    (*m.body)();
    CUDA_CPU_TSAN(__tsan_release(&m.order[2]);)
    m.current->exited = true, ++m.exited;
    m.suspend();
}

// Every lane of `mask` brings its operand; the last to come does `work` for all of them. This exchanges registers and
// orders nothing in memory, as CUDA has it: only __syncwarp does.
template <class Operand, class Work>
CUDA_CPU_UNSEEN void warp_operation(const char* name, uint32_t mask, Where where, Operand& mine, Work work) {
    Machine& m = machine();
    Thread& me = *m.current;
    Warp& warp = m.warps[me.rank / 32];
    Thread* lanes = &m.threads[me.rank / 32 * 32];
    const uint32_t bit = 1u << me.rank % 32, expected = mask & warp.exists;
    m.wait_in(name, where);
    me.mask = mask, me.operand = &mine;
    if (!(mask & bit)) m.fail(std::string(name) + ": the calling lane is not in its mask");
    if (((warp.waiting |= bit) & expected) != expected) return m.suspend();
    Operand* operands[32] = {};
    for (unsigned i = 0; i < 32; ++i) {
        if (!(expected >> i & 1)) continue;
        if (lanes[i].waits != name || lanes[i].mask != mask || lanes[i].line != me.line)
            m.fail(std::string(name) + " meets " + lanes[i].waits + " of lane " + std::to_string(i));
        operands[i] = static_cast<Operand*>(lanes[i].operand);
    }
    work(operands);
    warp.waiting &= ~expected;
    me.waits = nullptr;
    for (unsigned i = 0; i < 32; ++i)
        if ((expected >> i & 1) && &lanes[i] != &me) m.make_ready(lanes[i]);
}

template <auto kernel> std::string_view kernel_name() {
    std::string_view s = __PRETTY_FUNCTION__;
    s.remove_prefix(s.find("kernel = ") + 9);
    return s.substr(0, s.find_first_of(";]"));
}

// The most dynamic shared memory that each kernel has been launched with; written when the process ends into the file
// that DD_CUDA_SHARED names (make cuda-report: the compiler does not know it).
struct SharedAsked {
    std::map<std::string, size_t, std::less<>> most;
    ~SharedAsked() {
        FILE* f = getenv("DD_CUDA_SHARED") ? fopen(getenv("DD_CUDA_SHARED"), "w") : nullptr;
        if (!f) return;
        for (auto& [name, bytes] : most) fprintf(f, "%zu %s\n", bytes, name.c_str());
        fclose(f);
    }
};
inline SharedAsked shared_asked;

inline void run_grid(std::string_view kernel, dim3 grid, dim3 block, size_t shared_bytes,
                     const std::function<void()>& call) {
    std::vector<uint32_t> order(size_t(grid.x) * grid.y * grid.z); // blocks run in any order too
    std::iota(order.begin(), order.end(), 0u);
    for (size_t i = order.size(), r = seed; i > 1; --i)
        std::swap(order[i - 1], order[(r = r * 6364136223846793005u + 1442695040888963407u) / 65536 % i]);
    if (shared_bytes) {
        size_t& most = shared_asked.most[std::string(kernel)];
        most = std::max(most, shared_bytes);
    }
    blockDim = block, gridDim = grid;
    Machine& m = machine();
    m.counted = {};
    for (uint32_t b : order) {
        m.run_block(kernel, {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)}, shared_bytes, call);
    }
    counters.threads += m.counted.threads, counters.switches += m.counted.switches, counters.mma += m.counted.mma,
        counters.bank_conflicts += m.counted.bank_conflicts;
}

} // namespace cuda_cpu
