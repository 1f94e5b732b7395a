// parallel.h - the threads: one pool that spins for a while, then yields, then sleeps.
//
// Decoding passes a hundred barriers a token, of 10 to 100 microseconds of work each: waking a sleeping thread costs as
// much as the work. So workers spin between regions; a neighbour that needs the core gets it after 50 microseconds.
#pragma once
#include <type_traits>

int threads();                  // how many a region uses; at start: --threads, DD_THREADS, or the cores we may run on
void set_threads(int n);        // 1 .. 256; not from inside a region

namespace pool {
void run(int items, void (*body)(void*, int item, int thread), void* context);
}

// body(item, thread) for every item of 0 .. items-1; returns when all are done. Each thread goes through a range of
// them in order, and then takes what is left of the others'. Regions do not nest: one inside another runs its items in
// the calling thread.
template <class F> void parallel(int items, F&& body) {
    pool::run(
        items, [](void* f, int item, int thread) { (*(std::remove_reference_t<F>*)f)(item, thread); }, (void*)&body);
}

// body(first, last, thread) over 0 .. n-1 in at most threads() contiguous shares of at least `grain`.
template <class F> void split(int n, int grain, F&& body) {
    int shares = (n + grain - 1) / grain;
    if (shares > threads()) shares = threads();
    if (shares <= 1) return void(n > 0 ? body(0, n, 0) : void());
    parallel(shares, [&](int i, int t) { body(int(long(n) * i / shares), int(long(n) * (i + 1) / shares), t); });
}

// Memory for the inside of kernels: grows to what was asked for and stays. `scratch(bytes)` is shared by the caller's
// region; `scratch(bytes, thread)` belongs to one thread of it. The two, and threads, do not overlap. 64-byte aligned.
void* scratch(unsigned long bytes);
void* scratch(unsigned long bytes, int thread);
unsigned long scratch_in_use();         // bytes held by all of it
