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
                        Tokens anywhere{{200, 3}, {53, 20}, {31, 2}, {64, 16}};
                        for (const Tokens* now : {&t, &more, &anywhere}) {
                            RuleInputs in(b, h, now->n(), type);
                            Tensor y = b.fresh(now->n(), h.value_heads * h.value, type);
                            k.delta(y, in.x, in.a, in.b, in.rate, in.bias, r, now->rows());
                            if (!cached) break;
                        }
                    },
                    2);
    for (int key : {100, 256})
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
                        Tokens t{{0, 37}, {0, 1}, {0, 16}, {0, 50}}, few{{0, 20}, {0, 1}};
                        if (h.key > 64) t = few;
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

// Nor on how many columns of the values a block takes, which goes by how many sequences there are: 16, 32 or 64. The
// same forward and back.
TEST(Cuda, ATokensDeltaRuleDoesNotDependOnTheColumnsOfABlock) {
    const Kernels& k = cuda_kernels();
    Heads h{2, 4, 24, 40, false};
    constexpr int n = 37, most = n + 2 * 33;
    Bench b(7);
    RuleInputs in(b, h, most, Type::bf16);
    int wide = h.value_heads * h.value;
    Tensor dy = b.in(most, wide, Type::bf16), y[3], dx[3];
    for (int i = 0; i < 3; i++) {
        Tokens t{{0, n}};
        for (int other = 0; other < (i == 0 ? 0 : i == 1 ? 17 : 33); other++) t.add({0, 2});
        y[i] = b.fresh(t.n(), wide, Type::bf16), dx[i] = b.fresh(t.n(), columns_of(h), Type::bf16);
        k.delta(y[i], in.x, in.a, in.b, in.rate, in.bias, rule_of(h), t.rows());
        k.delta_back(dx[i], {}, {}, {}, {}, dy, in.x, in.a, in.b, in.rate, in.bias, rule_of(h), t.rows());
    }
    wait_for(k);
    for (int i : {1, 2}) {
        EXPECT_EQ(memcmp(y[i].data, y[0].data, y[0].bytes()), 0) << i;
        EXPECT_EQ(memcmp(dx[i].data, dx[0].data, dx[0].bytes()), 0) << i;
    }
}

// The promise behind --precision f32: on tensor cores the rule is as accurate as in f32. What is true, in double, is
// the recurrence token by token, without chunks (arXiv:2412.06464, eq. 10).
void rule_in_double(std::vector<double>& y, const RuleInputs& in, const Heads& h, int n) {
    std::vector<double> q(h.key), k(h.key);
    y.resize(size_t(n) * h.value_heads * h.value);
    for (int head = 0; head < h.value_heads; head++) {
        std::vector<double> S(size_t(h.key) * h.value);
        int kh = head / (h.value_heads / h.key_heads);
        for (int i = 0; i < n; i++) {
            size_t row = size_t(i) * columns_of(h), one = size_t(i) * h.value_heads + head;
            double qq = 1e-6, kk = 1e-6, step = at(in.a, one) + double(in.bias.f()[head]);
            for (int d = 0; d < h.key; d++) {
                q[d] = at(in.x, row + kh * h.key + d), k[d] = at(in.x, row + (h.key_heads + kh) * h.key + d);
                qq += q[d] * q[d], kk += k[d] * k[d];
            }
            double keep = std::exp(-std::exp(double(in.rate.f()[head])) * std::log1p(std::exp(step)));
            double beta = 1 / (1 + std::exp(-double(at(in.b, one))));
            for (int c = 0; c < h.value; c++) {
                double found = 0, out = 0;
                for (int d = 0; d < h.key; d++) found += (S[d * h.value + c] *= keep) * k[d] / std::sqrt(kk);
                double u = beta * (at(in.x, row + 2 * h.key_heads * h.key + head * h.value + c) - found);
                for (int d = 0; d < h.key; d++)
                    out += (S[d * h.value + c] += k[d] / std::sqrt(kk) * u) * q[d] / std::sqrt(qq * h.key);
                y[one * h.value + c] = out;
            }
        }
    }
}

TEST(Cuda, TheDeltaRuleIsAsAccurateAsInF32) {
    Heads h{1, 2, 128, 32, false};
    for (float decay : {-1.0f, -7.0f}) {   // a state that forgets within a chunk, and one that remembers them all
        constexpr int n = 400;
        Bench b(7);
        RuleInputs in(b, h, n, Type::f32);
        for (int i = 0; i < h.value_heads; i++) in.rate.f()[i] += decay + 1;
        Tokens t{{0, n}};
        Tensor of[2];
        double errors[2] = {}, size = 0;
        std::vector<double> exact;
        rule_in_double(exact, in, h, n);
        for (int i = 0; i < 2; i++) {
            const Kernels& k = i ? cuda_kernels() : reference;
            of[i] = b.fresh(n, h.value_heads * h.value);
            k.delta(of[i], in.x, in.a, in.b, in.rate, in.bias, rule_of(h), t.rows());
            wait_for(k);
            for (size_t j = 0; j < exact.size(); j++)
                errors[i] += (at(of[i], j) - exact[j]) * (at(of[i], j) - exact[j]);
        }
        for (double x : exact) size += x * x;
        for (double& e : errors) e = std::sqrt(e / size);
        if (getenv("DD_CLOSENESS")) printf("decay %g: reference %.3g, cuda %.3g\n", decay, errors[0], errors[1]);
        EXPECT_LT(errors[1], 2 * errors[0]) << "of decay " << decay << "; the reference: " << errors[0];
        EXPECT_LT(errors[0], 2e-6);
    }
}

}  // namespace
