// cuda_delta.cpp - linear attention on CUDA, executed on the CPU.
#include "cuda.h"
#include "kernels_delta.h"

namespace {

using namespace delta_tests;

constexpr Type both[] = {Type::f32, Type::bf16};
// Sums are the reference's chains; a length is not, and the rule carries its last bits from chunk to chunk.
constexpr double near = 2e-5;

TEST(CudaKernel, convolve) {
    for (Type type : both)
        for (int taps : {2, 4, 5})
            for (int cols : {7, 400})
                for (bool cached : {false, true})
                    expect_cuda(
                        format("%s, %d taps, %d channels", info(type).name, taps, cols), exactly,
                        [&](const Kernels& k, Bench& b) {
                            Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, 2}}, more{{37, 3}, {1, 17}, {16, 1}, {2, 1}};
                            Tensor y = b.fresh(t.n(), cols, type), w = b.in(1, cols * taps), tail;
                            if (cached) tail = b.out(4 * (taps - 1), cols, type);
                            k.convolve(y, b.in(t.n(), cols, type), w, tail, t.rows());
                            if (!cached) return;
                            Tensor z = b.fresh(more.n(), cols, type);
                            k.convolve(z, b.in(more.n(), cols, type), w, tail, more.rows());
                        },
                        2);
}

TEST(CudaKernel, convolve_back) {
    for (Type type : both)
        for (int taps : {2, 4, 5})
            for (bool fresh : {false, true})
                expect_cuda(
                    format("%s, %d taps", info(type).name, taps), near,
                    [&](const Kernels& k, Bench& b) {
                        Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, 2}};
                        Tensor dx = b.gradient(fresh, t.n(), 77, type), dw = b.out(1, 77 * taps);
                        Tensor dy = b.in(t.n(), 77, type), x = b.in(t.n(), 77, type), w = b.in(1, 77 * taps);
                        k.convolve_back(dx, dw, dy, x, w, t.rows());
                        k.convolve_back({}, dw, dy, x, w, t.rows());
                        Tensor alone = b.gradient(fresh, t.n(), 77, type);
                        k.convolve_back(alone, {}, dy, x, w, t.rows());
                    },
                    2);
}

TEST(CudaKernel, delta) {
    for (Type type : both)
        for (const Heads& h : every_head)
            for (bool cached : {false, true})
                expect_cuda(
                    name_of(type, h) + (cached ? ", cached" : ""), near,
                    [&](const Kernels& k, Bench& b) {
                        DeltaRule r = rule_of(h);
                        if (cached) some_state(b, r, 4);
                        Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, 2}}, more{{37, 3}, {1, 17}, {16, 1}, {2, 30}};
                        Tokens anywhere{{200, 3}, {53, 20}, {30, 2}, {64, 16}};
                        for (const Tokens* now : {&t, &more, &anywhere}) {
                            RuleInputs in(b, h, now->n(), type);
                            Tensor y = b.fresh(now->n(), h.value_heads * h.value, type);
                            k.delta(y, in.x, in.a, in.b, in.rate, in.bias, r, now->rows());
                            if (!cached) break;
                        }
                    },
                    2);
    // Keys so long that a block takes fewer columns.
    for (int key : {300, 600})
        expect_cuda(
            format("keys of %d", key), near,
            [&](const Kernels& k, Bench& b) {
                Heads h{1, 2, key, 70, false};
                Tokens t{{0, 20}};
                RuleInputs in(b, h, t.n(), Type::f32);
                Tensor y = b.fresh(t.n(), h.value_heads * h.value);
                k.delta(y, in.x, in.a, in.b, in.rate, in.bias, rule_of(h), t.rows());
            },
            1);
}

TEST(CudaKernel, delta_back) {
    for (Type type : both)
        for (const Heads& h : every_head)
            for (bool fresh : {false, true})
                expect_cuda(
                    name_of(type, h), near,
                    [&](const Kernels& k, Bench& b) {
                        Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, h.key > 64 ? 20 : 70}};
                        RuleInputs in(b, h, t.n(), type);
                        Tensor dy = b.in(t.n(), h.value_heads * h.value, type);
                        Tensor dx = b.gradient(fresh, t.n(), columns_of(h), type);
                        Tensor da = b.gradient(fresh, t.n(), h.value_heads, type),
                               db = b.gradient(fresh, t.n(), h.value_heads, type);
                        Tensor drate = b.out(1, h.value_heads), dbias = b.out(1, h.value_heads);
                        DeltaRule r = rule_of(h);
                        k.delta_back(dx, da, db, drate, dbias, dy, in.x, in.a, in.b, in.rate, in.bias, r, t.rows());
                        if (h.key > 64) return;
                        k.delta_back({}, {}, {}, drate, {}, dy, in.x, in.a, in.b, in.rate, in.bias, r, t.rows());
                    },
                    2);
}

// The promise: a row of the rule has the same bits alone, within a chunk of prompt, or with the whole prompt.
TEST(Cuda, ATokensDeltaRuleDoesNotDependOnWhatGoesWithIt) {
    const Kernels& k = cuda_kernels();
    Heads h{2, 4, 24, 40, false};
    constexpr int n = 70;
    Bench b(7);
    RuleInputs in(b, h, n, Type::bf16);
    Tokens all{{0, n}};
    int wide = h.value_heads * h.value;
    Tensor whole = b.fresh(n, wide, Type::bf16), parts = b.fresh(n, wide, Type::bf16);
    k.delta(whole, in.x, in.a, in.b, in.rate, in.bias, rule_of(h), all.rows());
    DeltaRule r = rule_of(h);
    some_state(b, r, 1);
    for (auto [from, m] : {Sequence{0, 5}, {5, 1}, {6, 1}, {7, 30}, {37, 11}, {48, 1}, {49, 21}}) {
        Tokens t{{from, m}};
        k.delta(parts.slice(from, m), in.x.slice(from, m), in.a.slice(from, m), in.b.slice(from, m), in.rate, in.bias,
                r, t.rows());
    }
    wait_for(k);
    EXPECT_EQ(memcmp(parts.data, whole.data, whole.bytes()), 0);
}

}  // namespace
