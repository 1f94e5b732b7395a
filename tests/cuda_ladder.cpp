// cuda_ladder.cpp - every rung of bench/ladder computes what it says, executed on the CPU.
#include "../bench/ladder/ladder.h"
#include "cuda.h"

namespace {

using namespace DD_CUDA::ladder;

const bf16* numbers_of(const Tensor& t) { return (const bf16*)t.data; }

struct Sizes {
    int n, out, in;
};
TEST(CudaLadder, matmul) {
    for (auto [n, out, in] : {Sizes{64, 128, 64}, {128, 64, 320}})
        for (const auto& rung : matmuls)
            for (int order : {1, 2}) {
                Bench b(3);
                Tensor y = b.fresh(n, out, Type::bf16), x = b.in(n, in, Type::bf16), w = b.in(out, in, Type::bf16);
                EXPECT_EQ(in_order(order, [&] {
                    rung.run({(bf16*)y.data, numbers_of(x), numbers_of(w), n, out, in});
                    wait_for(cuda_kernels());
                }), std::string());
                EXPECT_TRUE(b.guards_intact()) << rung.name;
                for (int i = 0; i < n; i++)
                    for (int o = 0; o < out; o++) {
                        double sum = 0, size = 0;
                        for (int k = 0; k < in; k++) {
                            double term = double(at(x, size_t(i * in + k))) * at(w, size_t(o * in + k));
                            sum += term, size += std::fabs(term);
                        }
                        ASSERT_NEAR(at(y, size_t(i * out + o)), sum, std::fabs(sum) / 128 + 1e-6 * size)
                            << rung.name << ", order " << order << ", row " << i << ", column " << o;
                    }
            }
}

TEST(CudaLadder, attention) {
    constexpr int n = 192, heads = 2, wide = heads * head_size;
    constexpr float scale = 0.2f;
    for (const auto& rung : attentions)
        for (int order : {1, 2}) {
            Bench b(3);
            Tensor y = b.fresh(n, wide, Type::bf16), q = b.in(n, wide, Type::bf16), k = b.in(n, wide, Type::bf16);
            Tensor v = b.in(n, wide, Type::bf16);
            EXPECT_EQ(in_order(order, [&] {
                rung.run({(bf16*)y.data, numbers_of(q), numbers_of(k), numbers_of(v), n, heads, scale});
                wait_for(cuda_kernels());
            }), std::string());
            EXPECT_TRUE(b.guards_intact()) << rung.name;
            auto number = [&](const Tensor& t, int row, int head, int d) {
                return double(at(t, size_t((row * heads + head) * head_size + d)));
            };
            for (int row = 0; row < n; row++)
                for (int head = 0; head < heads; head++) {
                    std::vector<double> share(size_t(row) + 1);
                    double sum = 0;
                    for (int key = 0; key <= row; key++) {
                        double score = 0;
                        for (int d = 0; d < head_size; d++) score += number(q, row, head, d) * number(k, key, head, d);
                        sum += share[size_t(key)] = std::exp(scale * score);
                    }
                    for (int d = 0; d < head_size; d++) {
                        double expected = 0;
                        for (int key = 0; key <= row; key++)
                            expected += share[size_t(key)] / sum * number(v, key, head, d);
                        // Shares are rounded to bf16 in the later rungs.
                        ASSERT_NEAR(number(y, row, head, d), expected, std::fabs(expected) / 128 + 1e-2)
                            << rung.name << ", order " << order << ", row " << row << ", head " << head;
                    }
                }
        }
}

}  // namespace
