// parallel.cpp - the pool: every item once, whoever takes it, and threads that sleep, come late or are taken away.
#include "../kernels/parallel.h"
#include <gtest/gtest.h>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include "../kernels/probe.h"

namespace {

struct ManyThreads {
    int before = threads();
    explicit ManyThreads(int n) { set_threads(n); }
    ~ManyThreads() { set_threads(before); }
};
void nap(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

// How often each item was done, and by threads that there are.
void expect_each_once(int items) {
    std::vector<std::atomic<int>> times(size_t(items) + 1);
    std::atomic<int> strangers{0};
    parallel(items, [&](int i, int thread) {
        if (i < 0 || i >= items || thread < 0 || thread >= threads()) strangers++;
        else times[size_t(i)]++;
    });
    EXPECT_EQ(strangers, 0) << items;
    for (int i = 0; i < items; i++) ASSERT_EQ(times[size_t(i)], 1) << "item " << i << " of " << items;
}

} // namespace

TEST(Threads, EveryItemOnce) {
    for (int n : {1, 2, 3, 7}) {
        ManyThreads with(n);
        for (int items = 0; items < 40; items++) expect_each_once(items);
        expect_each_once(100000);
    }
}

// Regions follow each other at once, or after the workers have gone to yield (50 us) or to sleep (1 ms).
TEST(Threads, RegionsOneAfterAnother) {
    ManyThreads with(3);
    int64_t expected = 0;
    std::atomic<int64_t> sum{0};
    for (int region = 0; region < 3000; region++) {
        const int items = region % 11;
        parallel(items, [&](int i, int) { sum += int64_t(region) * (i + 1); });
        expected += int64_t(region) * items * (items + 1) / 2;
        ASSERT_EQ(sum, expected) << "region " << region;
        if (region % 100 == 0) nap(region % 300 ? 200 : 3000);
    }
}

// A thread that is put aside in the middle of an item: the others do the rest of its range.
TEST(Threads, NobodyWaitsForARange) {
    ManyThreads with(2);
    std::atomic<int> by_the_slow{0}, done{0};
    std::atomic<int> slow{-1};
    parallel(64, [&](int, int thread) {
        int nobody = -1;
        if (slow.compare_exchange_strong(nobody, thread)) {
            const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
            while (done < 63 && std::chrono::steady_clock::now() < end) nap(100);
        }
        by_the_slow += slow == thread;
        done++;
    });
    EXPECT_EQ(done, 64);
    EXPECT_EQ(by_the_slow, 1);
}

// What is inside a region runs where it is called; scratch of two threads does not overlap.
TEST(Threads, InsideARegion) {
    ManyThreads with(3);
    std::atomic<int> wrong{0};
    parallel(9, [&](int i, int thread) {
        char* own = (char*)scratch(1 << 16, thread);
        memset(own, i, 1 << 16);
        const auto here = std::this_thread::get_id();
        int inner = 0;
        parallel(5, [&](int, int) { wrong += std::this_thread::get_id() != here, inner++; });
        wrong += inner != 5;
        for (int k = 0; k < 1 << 16; k++) wrong += own[k] != char(i);
    });
    EXPECT_EQ(wrong, 0);
}

TEST(Threads, CoresAreSomewhere) {
    ManyThreads with(1);
    EXPECT_EQ(probe::cores_apart(), 0);
    set_threads(2);
    const double apart = probe::cores_apart(); // 0 on a single core, where the two cannot meet in time
    EXPECT_TRUE(apart == 0 || (apart > 1 && apart < 1e6)) << apart;
}
