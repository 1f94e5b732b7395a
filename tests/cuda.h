// cuda.h - CUDA kernels on the CPU against the scalar reference: in several orders of execution, which must not show.
#pragma once
#ifndef DD_ON_GPU
#include "../kernels/cuda/on_cpu/machine.h"
#endif
#include "../kernels/cuda/families.h"
#include "kernels.h"
#include "support.h"

// A weight as the device holds it.
inline Tensor held(const Kernels& k, Bench& b, Tensor stored) {
    if (&k == &reference) return stored;
    Tensor t = b.room(stored.rows, stored.cols, stored.type);
    DD_CUDA::to_planes(t.data, stored);
    return t;
}

// How close f32 outputs must be, relative to the size of the numbers in the output; bf16 outputs may differ by one
// rounding besides. Exactly: the reference's bytes.
constexpr double exactly = 0;

// "" or what differs first. NaN differs from everything.
inline std::string far_apart(const Bench& got, const Bench& expected, double tolerance) {
    auto a = got.outputs(), b = expected.outputs();
    if (a.size() != b.size() || a.empty()) return "a different number of outputs, or none";
    for (size_t o = 0; o < a.size(); o++) {
        double squares = 0;
        size_t n = a[o].count();
        for (size_t i = 0; i < n; i++) squares += double(at(b[o], i)) * at(b[o], i);
        double size = std::sqrt(squares / double(std::max<size_t>(n, 1)));
        for (size_t i = 0; i < n; i++) {
            double u = at(a[o], i), v = at(b[o], i);
            double room = tolerance * (std::fabs(v) + size) + (a[o].type == Type::bf16 ? std::fabs(v) / 128 : 0);
            if (!(std::fabs(u - v) <= room))
                return format("output %zu, row %zu, column %zu: %.9g instead of %.9g", o, i / a[o].cols, i % a[o].cols,
                              u, v);
        }
    }
    return "";
}

// What was wrong while `run` launched its kernels, if the order of execution is number `order`; a GPU has its own.
#ifdef DD_ON_GPU
template <class F> std::string in_order(int, F run) {
    run();
    return "";
}
#else
template <class F> std::string in_order(int order, F run) {
    cuda_cpu::seed = uint64_t(order);
    uint64_t conflicts = cuda_cpu::counters.bank_conflicts;
    try {
        run();
    } catch (const cuda_cpu::LaunchError& e) {
        return e.what();
    }
    return cuda_cpu::counters.bank_conflicts == conflicts ? "" : "ldmatrix meets bank conflicts";
}
#endif

// Shapes drawn at random: many on a GPU, where each must give the same bits twice, a few where the CPU plays one.
// `budget`: how much work each may be.
#ifdef DD_ON_GPU
constexpr int random_shapes = 1000, random_orders = 2, random_budget = 3'000'000;
#else
constexpr int random_shapes = 20, random_orders = 1, random_budget = 300'000;
#endif

// With DD_EVERY=n only every n-th shape of a test is run, for compute-sanitizer, under which each takes its time. How
// many those were is told at the end.
inline struct Shapes {
    const int every = getenv("DD_EVERY") ? std::max(1, atoi(getenv("DD_EVERY"))) : 1;
    int done = 0, all = 0, of_test = 0;
    const testing::TestInfo* test = nullptr;
    bool leave_out() {
        const auto* now = testing::UnitTest::GetInstance()->current_test_info();
        if (now != test) test = now, of_test = 0;
        all++;
        if (of_test++ % every) return true;
        done++;
        return false;
    }
    ~Shapes() {
        if (every > 1) printf("%d of %d shapes\n", done, all);
    }
} shapes;

// `run(kernels, bench)` with the reference and with the CUDA kernels in `orders` orders: near enough, the same in every
// order, nothing written beside an output, no bank conflicts in ldmatrix.
template <class F>
void expect_cuda(const std::string& what, double tolerance, F run, int orders = 3,
                 const Kernels& kernels = cuda_kernels()) {
    if (shapes.leave_out()) return;
    Bench expected(1);
    run(reference, expected);
    std::unique_ptr<Bench> first;
    for (int order = 1; order <= orders; order++) {
        auto got = std::make_unique<Bench>(1);
        std::string error = in_order(order, [&] {
            run(kernels, *got);
            wait_for(kernels);
        });
        EXPECT_EQ(error, "") << what;
        EXPECT_TRUE(got->guards_intact()) << what << ": bytes around an output were written";
        std::string wrong = tolerance == exactly ? got->differs(expected) : far_apart(*got, expected, tolerance);
        EXPECT_EQ(wrong, "") << what << ", order " << order;
        if (first) EXPECT_EQ(got->differs(*first), "") << what << ": the order of execution shows";
        else first = std::move(got);
        if (testing::Test::HasFailure()) return;
    }
}
