#include "../parallel.h"
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>
#include "../error.h"

namespace {

using Clock = std::chrono::steady_clock;

thread_local bool inside = false;       // in a region

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}
void futex_wait(std::atomic<uint32_t>* word, uint32_t seen) {
    syscall(SYS_futex, (uint32_t*)word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>* word) {
    syscall(SYS_futex, (uint32_t*)word, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0);
}

// A thread that is new or has slept often begins on the core of the one who made or woke it (virtual machines pack
// theirs on purpose), and stays there for longer than most regions last. It goes to any other core that it may use.
void leave(int core) {
    cpu_set_t all, others;
    if (sched_getcpu() != core || sched_getaffinity(0, sizeof all, &all)) return;
    others = all;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others)) return;
    sched_setaffinity(0, sizeof all, &all);
}

// A region's items are shared out evenly, a range to each thread, and each range is published in one word: the region's
// number, and how many of the range's items nobody has taken. Whoever takes one steps the word down; a thread goes
// through its own range first, whose word no other core holds (two cores may be hundreds of nanoseconds apart), and
// then helps the others. The caller takes items too, and waits until all that were taken are done. So a worker that the
// system has put aside holds nobody up, unless it is in the middle of an item.
struct Pool {
    std::vector<std::thread> workers;
    void (*body)(void*, int, int) = nullptr;
    void* context = nullptr;
    int items = 0;
    struct alignas(64) Range { std::atomic<uint64_t> word{0}; };
    std::unique_ptr<Range[]> ranges;                    // one a thread
    int threads = 0;
    alignas(64) std::atomic<int> done{0};
    alignas(64) std::atomic<uint32_t> region{0};        // its number once more, to sleep on
    std::atomic<int> asleep{0}, core{-1};               // core: of the caller, when it made or woke them
    std::atomic<bool> stop{false};

    void start(int n) {
        finish();
        stop = false;
        ranges = std::make_unique<Range[]>(size_t(n));
        threads = n;
        core.store(sched_getcpu());
        uint32_t seen = region.load();
        // Signals that end the process are the caller's alone: a handler that runs there sees nothing half done by it.
        sigset_t ending, before;
        sigemptyset(&ending);
        for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, signal);
        pthread_sigmask(SIG_BLOCK, &ending, &before);
        for (int t = 1; t < n; t++) workers.emplace_back([this, t, seen] { work(t, seen); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    void finish() {
        stop = true;
        region.fetch_add(1);
        futex_wake(&region);
        for (std::thread& w : workers) w.join();
        workers.clear();
    }
    ~Pool() { finish(); }

    // Where thread t's range ends, and the next begins.
    int end_of(int t) const { return int(long(items) * (t + 1) / threads); }

    // Until an item that was taken is done, the region cannot end: body, context and items are its own.
    void take(int thread) {
        int taken = 0;
        for (int i = 0; i < threads; i++) {
            const int whose = thread + i < threads ? thread + i : thread + i - threads;
            std::atomic<uint64_t>& word = ranges[size_t(whose)].word;
            for (uint64_t w = word.load(std::memory_order_acquire); uint32_t(w);) {
                if (!word.compare_exchange_weak(w, w - 1, std::memory_order_acquire)) continue;
                body(context, end_of(whose) - int(uint32_t(w)), thread);
                taken++;
                w = word.load(std::memory_order_acquire);
            }
        }
        if (taken) done.fetch_add(taken, std::memory_order_release);
    }

    void work(int thread, uint32_t seen) {
        inside = true;
        leave(core);
        for (;;) {
            wait_for_region(seen);
            seen = region.load(std::memory_order_acquire);
            if (stop) return;
            take(thread);
        }
    }

    // Spin about 50 microseconds, yield about a millisecond, then sleep.
    void wait_for_region(uint32_t seen) {
        for (int i = 0; i < 2000; i++) {
            if (region.load(std::memory_order_acquire) != seen) return;
            pause();
        }
        for (auto start = Clock::now(); Clock::now() - start < std::chrono::milliseconds(1);) {
            if (region.load(std::memory_order_acquire) != seen) return;
            sched_yield();
        }
        asleep.fetch_add(1);
        while (region.load() == seen) futex_wait(&region, seen);
        asleep.fetch_sub(1);
        leave(core);
    }

    void run(int n, void (*f)(void*, int, int), void* c) {
        body = f, context = c, items = n;
        done.store(0, std::memory_order_relaxed);
        uint32_t number = region.load(std::memory_order_relaxed) + 1;
        if (asleep.load()) core.store(sched_getcpu());
        for (int t = 0, from = 0; t < threads; from = end_of(t++))
            ranges[size_t(t)].word.store(uint64_t(number) << 32 | uint32_t(end_of(t) - from),
                                         std::memory_order_release);
        region.store(number);
        if (asleep.load()) futex_wake(&region);
        take(0);
        for (int spins = 0; done.load(std::memory_order_acquire) != n; spins++)
            spins < 4000 ? pause() : void(sched_yield());
    }
};

Pool* the_pool;
int count = 0;

int default_threads() {
    if (const char* s = getenv("DD_THREADS")) {
        int n = atoi(s);
        if (n < 1 || n > 256) fail(Exit::usage, "DD_THREADS=%s: 1 to 256 was expected", s);
        return n;
    }
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

// Scratch: one buffer for a region, one for each thread of it. An anonymous mapping each, touched as it is used.
struct Buffer {
    char* data = nullptr;
    size_t size = 0;
    void* get(size_t n) {
        if (n > size) {
            if (data) munmap(data, size);
            size = (n + n / 4 + (2u << 20) - 1) & ~size_t((2u << 20) - 1);
            void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED)
                size = 0, data = nullptr, fail(Exit::no_resource, "memory: %zu MiB of scratch refused", n >> 20);
            data = (char*)p;
            madvise(data, size, MADV_HUGEPAGE);
        }
        return data;
    }
};
Buffer shared, own[256];

}  // namespace

int threads() {
    if (!count) count = default_threads();
    return count;
}

void set_threads(int n) {
    if (n < 1 || n > 256) fail(Exit::usage, "--threads %d: 1 to 256 was expected", n);
    if (n == count && (the_pool || n == 1)) return;
    count = n;
    if (the_pool) the_pool->start(n);
}

void pool::run(int items, void (*body)(void*, int, int), void* context) {
    if (items <= 0) return;
    if (inside || items == 1 || threads() == 1) {
        for (int i = 0; i < items; i++) body(context, i, 0);
        return;
    }
    if (!the_pool) {
        static Pool pool;
        the_pool = &pool;
        pool.start(threads());
    }
    inside = true;
    the_pool->run(items, body, context);
    inside = false;
}

void* scratch(unsigned long bytes) { return shared.get(bytes); }
void* scratch(unsigned long bytes, int thread) { return own[thread].get(bytes); }

unsigned long scratch_in_use() {
    size_t n = shared.size;
    for (const Buffer& b : own) n += b.size;
    return n;
}
