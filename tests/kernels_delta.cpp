// kernels_delta.cpp - the kernels of linear attention against the scalar reference: states and tails of a cache too.
#include "kernels_delta.h"

using namespace delta_tests;

namespace {

constexpr Type both[] = {Type::f32, Type::bf16};

}  // namespace

void test_convolve(const Kernels& fast) {
    for (Type type : both)
        for (int taps : {2, 4, 5})
            for (int cols : {7, 56, 400})
                for (bool cached : {false, true})
                    expect_same(fast, format("%s, %d taps, %d channels", info(type).name, taps, cols),
                                [&](const Kernels& k, Bench& b) {
                                    Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, 2}}, more{{37, 3}, {1, 17}, {16, 1}, {2, 1}};
                                    Tensor y = b.fresh(t.n(), cols, type), w = b.in(1, cols * taps), tail;
                                    if (cached) tail = b.out(4 * (taps - 1), cols, type);
                                    k.convolve(y, b.in(t.n(), cols, type), w, tail, t.rows());
                                    if (!cached) return;
                                    Tensor z = b.fresh(more.n(), cols, type);
                                    k.convolve(z, b.in(more.n(), cols, type), w, tail, more.rows());
                                });
}

void test_convolve_back(const Kernels& fast) {
    for (Type type : both)
        for (int taps : {2, 4, 5})
            for (bool fresh : {false, true})
                expect_same(fast, format("%s, %d taps", info(type).name, taps), [&](const Kernels& k, Bench& b) {
                    Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, 2}};
                    Tensor dx = b.gradient(fresh, t.n(), 300, type), dw = b.out(1, 300 * taps);
                    Tensor dy = b.in(t.n(), 300, type), x = b.in(t.n(), 300, type), w = b.in(1, 300 * taps);
                    k.convolve_back(dx, dw, dy, x, w, t.rows());
                    k.convolve_back({}, dw, dy, x, w, t.rows());
                    Tensor alone = b.gradient(fresh, t.n(), 300, type);
                    k.convolve_back(alone, {}, dy, x, w, t.rows());
                });
}

void test_delta(const Kernels& fast) {
    for (Type type : both)
        for (const Heads& h : every_head)
            for (bool cached : {false, true})
                expect_same(fast, name_of(type, h) + (cached ? ", cached" : ""), [&](const Kernels& k, Bench& b) {
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
                });
}

void test_delta_back(const Kernels& fast) {
    for (Type type : both)
        for (const Heads& h : every_head)
            for (bool fresh : {false, true})
                expect_same(fast, name_of(type, h), [&](const Kernels& k, Bench& b) {
                    int long_ = h.key == 8 ? 16 * 64 * 2 + 40 : h.key > 64 ? 20 : 70;      // three segments
                    Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, long_}};
                    RuleInputs in(b, h, t.n(), type);
                    Tensor dy = b.in(t.n(), h.value_heads * h.value, type);
                    Tensor dx = b.gradient(fresh, t.n(), columns_of(h), type);
                    Tensor da = b.gradient(fresh, t.n(), h.value_heads, type),
                           db = b.gradient(fresh, t.n(), h.value_heads, type);
                    Tensor drate = b.out(1, h.value_heads), dbias = b.out(1, h.value_heads);
                    DeltaRule r = rule_of(h);
                    k.delta_back(dx, da, db, drate, dbias, dy, in.x, in.a, in.b, in.rate, in.bias, r, t.rows());
                    k.delta_back({}, {}, {}, drate, {}, dy, in.x, in.a, in.b, in.rate, in.bias, r, t.rows());
                });
}
