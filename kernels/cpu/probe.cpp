#include "../probe.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <thread>
#include <vector>
#include "../parallel.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

volatile float sink;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"      // g++ 12 takes its own _mm512_undefined_ps() for a mistake
#pragma GCC diagnostic ignored "-Wuninitialized"

__attribute__((target("avx512f,avx512bf16"), noinline)) void chains_bf16(long n) {
    __m512 a[24];
    for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps(float(i));
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80), y = (__m512bh)_mm512_set1_epi32(0x3a803a80);
    for (long r = 0; r < n; r++) {
        asm volatile("" : "+v"(x), "+v"(y));
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++) a[i] = _mm512_dpbf16_ps(a[i], x, y);
    }
    for (int i = 1; i < 24; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    sink = _mm512_reduce_add_ps(a[0]);
}

__attribute__((target("avx512f"), noinline)) void chains_f32(long n) {
    __m512 a[24], x = _mm512_set1_ps(1), y = _mm512_set1_ps(1e-3f);
    for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps(float(i));
    for (long r = 0; r < n; r++) {
        asm volatile("" : "+v"(x), "+v"(y));
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++) a[i] = _mm512_fmadd_ps(x, y, a[i]);
    }
    for (int i = 1; i < 24; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    sink = _mm512_reduce_add_ps(a[0]);
}

__attribute__((target("avx2,fma"), noinline)) void chains_f32_256(long n) {
    __m256 a[12], x = _mm256_set1_ps(1), y = _mm256_set1_ps(1e-3f);
    for (int i = 0; i < 12; i++) a[i] = _mm256_set1_ps(float(i));
    for (long r = 0; r < n; r++) {
        asm volatile("" : "+x"(x), "+x"(y));
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) a[i] = _mm256_fmadd_ps(x, y, a[i]);
    }
    for (int i = 1; i < 12; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    sink = _mm_cvtss_f32(_mm256_castps256_ps128(a[0]));
}

// Two lines at a time: more of them in flight read 5 to 10 % less here.
__attribute__((target("avx2"), noinline)) void read(const char* p, size_t n) {
    __m256i sum[4];
    for (__m256i& s : sum) s = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 128) {
        _mm_prefetch(p + i + 3072, _MM_HINT_NTA);
        _mm_prefetch(p + i + 3136, _MM_HINT_NTA);
        for (size_t half = 0; half < 4; half++)
            sum[half] = _mm256_xor_si256(sum[half], _mm256_loadu_si256((const __m256i*)(p + i) + half));
    }
    for (size_t i = 1; i < 4; i++) sum[0] = _mm256_xor_si256(sum[0], sum[i]);
    sink = float(_mm256_extract_epi32(sum[0], 0));
}

bool has(int which) {
    return which == 0   ? __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16")
           : which == 1 ? bool(__builtin_cpu_supports("avx512f"))
                        : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
void chains_bf16(long) {}
void chains_f32(long) {}
void chains_f32_256(long) {}
void read(const char* p, size_t n) {
    uint64_t sum = 0, word;
    for (size_t i = 0; i < n; i += 64) memcpy(&word, p + i, 8), sum += word;
    sink = float(sum);
}
bool has(int) { return false; }
#endif

// A thread that sleeps may take longer to wake than a probe lasts, and another then does its part: items that wait for
// each other, for 50 ms at most, have every thread at work first.
void wake_all() {
    std::atomic<int> here{0};
    parallel(threads(), [&](int, int) {
        here++;
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
        while (here < threads() && std::chrono::steady_clock::now() < end) sched_yield();
    });
}

double rate(int which, void (*chains)(long), long n, double flops) {
    if (!has(which)) return 0;
    wake_all();
    double start = probe::now();
    parallel(threads(), [&](int, int) { chains(n); });
    return double(threads()) * double(n) * flops / (probe::now() - start) / 1e9;
}

constexpr size_t buffer_bytes = size_t(512) << 20;

char* data = nullptr;           // on huge pages, inside `mapped`
void* mapped = nullptr;
constexpr size_t huge = size_t(2) << 20;

const char* buffer() {
    if (data) return data;
    void* p = mmap(nullptr, buffer_bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    mapped = p;
    data = (char*)((size_t(p) + huge - 1) / huge * huge);
    madvise(data, buffer_bytes, MADV_HUGEPAGE);
    memset(data, 1, buffer_bytes);
    return data;
}

// Of this process and of those that it has waited for.
double own_seconds() {
    double sum = 0;
    for (int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
        rusage u;
        getrusage(who, &u);
        sum += double(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * double(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    }
    return sum;
}

}  // namespace

namespace probe {

static double wall() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> all;
#if defined(__x86_64__)
    for (auto [name, has] : {std::pair{"avx2", bool(__builtin_cpu_supports("avx2"))},
                             {"fma", bool(__builtin_cpu_supports("fma"))},
                             {"avx512f", bool(__builtin_cpu_supports("avx512f"))},
                             {"avx512bw", bool(__builtin_cpu_supports("avx512bw"))},
                             {"avx512vnni", bool(__builtin_cpu_supports("avx512vnni"))},
                             {"avx512bf16", bool(__builtin_cpu_supports("avx512bf16"))}})
        if (has) all.push_back(name);
#endif
    return all;
}

double now() {
    timespec t;
    clock_gettime(threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

static double read_bf16() { return rate(0, chains_bf16, 400000, 24 * 64); }
static double read_f32() { return rate(1, chains_f32, 400000, 24 * 32); }
static double read_f32_256() { return rate(2, chains_f32_256, 800000, 12 * 16); }
static double read_bandwidth() {
    const char* data = buffer();
    if (!data) return 0;
    int n = threads();
    wake_all();
    double start = now();
    parallel(n, [&](int i, int) { read(data + buffer_bytes / n / 512 * 512 * i, buffer_bytes / n / 512 * 512); });
    return double(buffer_bytes) / (now() - start) / 1e9;
}

const Probe bf16{"bf16", read_bf16}, f32{"f32", read_f32}, f32_256{"f32 (256-bit)", read_f32_256};
const Probe bandwidth{"bandwidth", read_bandwidth, true};

void release() {
    if (data) munmap(mapped, buffer_bytes + huge);
    data = nullptr;
}

double others_seconds() {
    double user, nice, system, idle, wait, irq, softirq, steal;
    FILE* f = fopen("/proc/stat", "r");
    if (!f) return 0;
    int n =
        fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal);
    fclose(f);
    return n == 8 ? (user + nice + system + irq + softirq + steal) / double(sysconf(_SC_CLK_TCK)) - own_seconds() : 0;
}

double cores_apart() {
    constexpr int turns = 2200, counted_from = 200;
    if (threads() < 2) return 0;
    alignas(64) std::atomic<int> turn{0};
    double seconds = 0;
    parallel(2, [&](int me, int) {
        double start = wall();
        for (int i = me; i < turns; i += 2) {
            for (int spins = 1; turn.load(std::memory_order_acquire) != i; spins++)
                if (spins % 4096 == 0 && wall() - start > 0.05) return;
            if (i == counted_from) start = wall();
            turn.store(i + 1, std::memory_order_release);
        }
        if (me == 0) seconds = wall() - start;
    });
    return seconds * 1e9 / (turns - counted_from);
}

Timing measure(const std::function<void()>& f, Limit limit, int wanted, double least) {
    static std::map<Limit, double> best;
    auto now = [&] { return limit->host ? probe::now() : wall(); };
    f();
    double start = now();
    f();
    double once = now() - start, patience = std::max(20.0, 6 * wanted * std::max(least, once));
    int repeat = std::max(1, int(std::ceil(least / once)));
    double begun = wall();
    std::vector<double> times, work, apart;
    Timing t;
    while (int(times.size()) < wanted) {
        if (wall() - begun > patience) break;
        double others = others_seconds(), from = now(), before = limit->read();
        start = now();
        for (int i = 0; i < repeat; i++) f();
        double seconds = now() - start, after = limit->read();
        if (t.fastest == 0 || seconds / repeat < t.fastest) t.fastest = seconds / repeat;
        double low = std::min(before, after), high = std::max(before, after);
        others = others_seconds() - others;
        double& top = best[limit];
        top = std::max(top, high);
        // A tick of /proc/stat is 10 ms: less than two of them say nothing.
        bool alone = !limit->host || threads() == 1 || others < 0.02 || others < 0.03 * (now() - from) * threads();
        bool steady = low > 0.9 * high && (limit->bytes || low > 0.88 * top);
        if (!alone || !steady) {
            t.rejected++;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            continue;
        }
        times.push_back(seconds / repeat), work.push_back(seconds / repeat * (before + after) / 2);
        apart.push_back(limit->host ? cores_apart() : 0);
    }
    t.accepted = int(times.size());
    if (!t.accepted) return t;
    // The median of time times limit, so that a bandwidth that changes between repetitions does no harm.
    std::sort(times.begin(), times.end());
    std::sort(work.begin(), work.end());
    std::sort(apart.begin(), apart.end());
    t.apart = apart[apart.size() / 2];
    t.seconds = times[times.size() / 2];
    double middle = work[work.size() / 2];
    t.limit = middle / t.seconds, t.low = work.front() / middle, t.high = work.back() / middle;
    return t;
}

}  // namespace probe
