// cuda_products.cpp - the CUDA products, executed on the CPU.
#include "cuda.h"

namespace {

constexpr double near = 1e-5;

Matrix matrix(Bench& b, const Kernels& k, Type operand, int out, int in, Type stored, bool transposed = false,
              float scale = 1) {
    Matrix m;
    m.out = out, m.in = in, m.transposed = transposed, m.scale = scale, m.operand = operand;
    m.w = held(k, b, transposed ? b.quantized(in, out, stored) : b.quantized(out, in, stored));
    b.pack(k, m);
    return m;
}

bool blocks(Type t) { return info(t).block > 1; }

struct Shape {
    int rows, in, out;
};

// y = x w^T (+ u b^T), several at once where `more`.
void expect_matmul(Shape s, Type operand, Type stored, int rank, bool more, const Kernels& kernels, double tolerance) {
    std::string what = format("%s x, %s w, %d rows, %d -> %d, rank %d", info(operand).name, info(stored).name, s.rows,
                              s.in, s.out, rank);
    expect_cuda(
        what, tolerance,
        [&](const Kernels& k, Bench& b) {
            Tensor x = b.in(s.rows, s.in, operand), u = b.in(s.rows, rank, operand);
            Matrix w = matrix(b, k, operand, s.out, s.in, stored), v = matrix(b, k, operand, 19, s.in, stored),
                   f = matrix(b, k, operand, 24, s.in, Type::f32);
            Matrix up = matrix(b, k, operand, s.out, rank, Type::f32, false, 0.5f);
            Product p[3] = {{b.fresh(s.rows, s.out, s.rows % 2 ? operand : Type::f32), &w, {}, nullptr}};
            if (rank) p[0].u = u, p[0].b = &up;
            if (more) {
                p[1] = {b.fresh(s.rows, 19, operand), &v, {}, nullptr};
                p[2] = {b.fresh(s.rows, 24), &f, {}, nullptr};
            }
            k.matmul(p, more ? 3 : 1, x);
        },
        2, kernels);
}

TEST(CudaKernel, matmul) {
    for (Type stored : every_weight_type) {
        double f32 = blocks(stored) ? near : exactly;
        for (Shape s : {Shape{1, 256, 5}, {3, 512, 37}, {8, 256, 16}}) // a few rows
            for (int rank : {0, 16}) expect_matmul(s, Type::bf16, stored, rank, s.rows == 3, cuda_kernels(), near);
        expect_matmul({1, 256, 5}, Type::bf16, stored, 4, false, cuda_kernels(), near); // an odd rank
        for (Shape s : {Shape{2, 256, 70}, {9, 256, 66}, {70, 256, 64}})                // tiles
            for (int rank : {0, 16}) expect_matmul(s, Type::bf16, stored, rank, s.rows == 9, cuda_kernels(true), near);
        expect_matmul({35, 256, 41}, Type::f32, stored, 4, true, cuda_kernels(), f32);
    }
    // Floats need not come in blocks; one big tile; a short last group of eights.
    for (Shape s : {Shape{33, 77, 130}, {5, 3, 1}, {300, 72, 131}, {2, 72, 40}, {4, 40, 16}, {2, 33, 40}})
        for (Type stored : {Type::bf16, Type::f32}) {
            expect_matmul(s, Type::bf16, stored, 6, false, cuda_kernels(), near);
            expect_matmul(s, Type::f32, stored, 6, false, cuda_kernels(), exactly);
        }
    // Half a step of 64 at the end of the reduction.
    for (Type stored : {Type::q8_0, Type::q4_0, Type::q4_1, Type::q5_0, Type::q5_1}) {
        expect_matmul({20, 96, 33}, Type::bf16, stored, 8, false, cuda_kernels(), near);
        expect_matmul({2, 96, 33}, Type::bf16, stored, 8, true, cuda_kernels(), near);
    }
}

// Alone it shows nothing: see matmul. Here: packing twice is packing once, and what can be read as it is stays alone.
TEST(CudaKernel, pack) {
    for (Type t : every_weight_type)
        for (Type operand : {Type::bf16, Type::f32}) {
            Bench b(3);
            const Kernels& k = cuda_kernels();
            Matrix m = matrix(b, k, operand, 137, 256, t);
            EXPECT_EQ(m.panel_bytes, blocks(t) || t == operand ? 0u : 137u * 256 * row_bytes(operand, 1))
                << info(t).name;
            wait_for(k);
            std::vector<char> once((char*)m.panels, (char*)m.panels + m.panel_bytes);
            k.pack(m);
            wait_for(k);
            EXPECT_TRUE(once.empty() || memcmp(once.data(), m.panels, once.size()) == 0) << info(t).name;
            EXPECT_TRUE(b.guards_intact()) << info(t).name;
        }
    Bench b(3);
    Matrix m = matrix(b, cuda_kernels(), Type::f32, 5, 7, Type::f32, true, 0.5f);
    wait_for(cuda_kernels());
    for (int o = 0; o < 5; o++)
        for (int i = 0; i < 7; i++) EXPECT_EQ(((float*)m.panels)[o * 7 + i], 0.5f * m.w.f()[i * 5 + o]);
}

TEST(CudaKernel, matmul_dx) {
    for (Type operand : {Type::bf16, Type::f32})
        for (Type stored : every_weight_type)
            for (bool fresh : {true, false})
                for (Shape s : {Shape{1, 256, 37}, {9, 256, 70}}) {
                    std::string what = format("%s dy, %s w, %d rows, %d <- %d%s", info(operand).name, info(stored).name,
                                              s.rows, s.in, s.out, fresh ? ", fresh" : "");
                    expect_cuda(
                        what, operand == Type::bf16 || blocks(stored) ? near : exactly,
                        [&](const Kernels& k, Bench& b) {
                            Tensor dx = b.gradient(fresh, s.rows, s.in, s.rows == 9 ? Type::f32 : operand);
                            Matrix w = matrix(b, k, operand, s.out, s.in, stored),
                                   v = matrix(b, k, operand, 50, s.in, stored);
                            Matrix down = matrix(b, k, operand, s.in, 4, Type::f32, true, 0.5f);
                            Product p[] = {{b.in(s.rows, s.out, operand), &w, b.in(s.rows, 4, operand), &down},
                                           {b.in(s.rows, 50, operand), &v, {}, nullptr}};
                            k.matmul_dx(dx, p, fresh ? 2 : 1);
                            k.matmul_dx({}, p, 1);
                        },
                        2);
                }
    for (Shape s : {Shape{70, 77, 33}, {300, 130, 70}})
        expect_cuda(
            "ragged", near,
            [&](const Kernels& k, Bench& b) {
                Matrix w = matrix(b, k, Type::bf16, s.out, s.in, Type::bf16);
                Product p{b.in(s.rows, s.out, Type::bf16), &w, {}, nullptr};
                k.matmul_dx(b.fresh(s.rows, s.in), &p, 1);
            },
            2);
}

TEST(CudaKernel, matmul_dw) {
    for (Type operand : {Type::bf16, Type::f32})
        for (Shape s : {Shape{1, 40, 37}, {37, 16, 80}, {37, 72, 16}, {601, 7, 13}, {1300, 64, 4}})
            expect_cuda(
                format("%s, %d tokens, %d x %d", info(operand).name, s.rows, s.out, s.in),
                operand == Type::f32 ? exactly : near,
                [&](const Kernels& k, Bench& b) {
                    Tensor dw = b.out(s.out, s.in), dy = b.in(s.rows, s.out, operand), x = b.in(s.rows, s.in, operand);
                    k.matmul_dw(dw, dy, x, 0.75f);
                    k.matmul_dw({}, dy, x, 0.75f);
                },
                2);
}

// The promise of one order: a row alone, in a small tile and in a large one gives the same bits.
TEST(Cuda, ARowsProductsDoNotDependOnItsNeighbours) {
    const Kernels& k = cuda_kernels(true);
    for (Type stored : {Type::bf16, Type::q8_0, Type::q4_k}) {
        Bench b(5);
        constexpr int rows = 280, in = 256, out = 72;
        Tensor x = b.in(rows, in, Type::bf16), all = b.fresh(rows, out);
        Matrix w = matrix(b, k, Type::bf16, out, in, stored);
        Product p{all, &w, {}, nullptr};
        k.matmul(&p, 1, x);
        for (int n : {1, 7, 40}) {
            Product few{b.fresh(n, out), &w, {}, nullptr};
            k.matmul(&few, 1, x.slice(100, n));
            wait_for(k);
            EXPECT_EQ(memcmp(few.y.data, all.slice(100, n).data, few.y.bytes()), 0) << info(stored).name << " " << n;
        }
    }
}

} // namespace
