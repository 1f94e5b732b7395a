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

// Any shape, weights, adapters and ways: forward, back to the input, back to the weight.
TEST(CudaRandom, products) {
    for (int shape = 0; shape < random_shapes; shape++) {
        Random r(98, uint64_t(shape));
        auto from_to = [&](int low, int high) { return low + int(r.below(uint32_t(high - low + 1))); };
        Type operand = r.below(4) ? Type::bf16 : Type::f32, stored = every_weight_type[r.below(11)];
        int least[] = {1, 9, 33, 257}, most[] = {8, 32, 256, 300}, band = from_to(0, 3);
        Shape s{from_to(least[band], most[band]), 0, 0};
        int around = std::max(2, int(std::sqrt(double(random_budget) / s.rows)));
        s.in = blocks(stored) ? info(stored).block * from_to(1, std::max(1, 2 * around / info(stored).block))
                              : from_to(1, 2 * around);
        s.out = from_to(1, std::max(1, random_budget / s.rows / s.in));
        if (r.below(2) && !blocks(stored)) s.in = (s.in + 7) / 8 * 8; // what wide loads and the library want
        if (r.below(2)) s.out = (s.out + 7) / 8 * 8;
        int rank = r.below(2) ? 0 : r.below(2) ? 8 * from_to(1, 3) : from_to(1, 20), way = from_to(0, 2);
        bool fresh = r.below(2), narrow = operand == Type::bf16 && r.below(2);
        const Kernels& kernels = way == 2 ? library_kernels() : cuda_kernels(way == 1);
        double tolerance = operand == Type::f32 && !blocks(stored) ? exactly : way == 2 && narrow ? 1e-2 : near;
        Type y = narrow ? Type::bf16 : Type::f32;
        expect_cuda(
            format("shape %d: %s x, %s w, %s y, %d rows, %d -> %d, rank %d, way %d", shape, info(operand).name,
                   info(stored).name, info(y).name, s.rows, s.in, s.out, rank, way),
            tolerance,
            [&](const Kernels& k, Bench& b) {
                Matrix w = matrix(b, k, operand, s.out, s.in, stored),
                       up = matrix(b, k, operand, s.out, rank, Type::f32, false, 0.5f),
                       down = matrix(b, k, operand, s.in, rank, Type::f32, true, 0.5f);
                Tensor x = b.in(s.rows, s.in, operand), u = b.in(s.rows, rank, operand);
                Tensor dy = b.in(s.rows, s.out, operand);
                Product p{b.fresh(s.rows, s.out, y), &w, {}, nullptr}, back{dy, &w, {}, nullptr};
                if (rank) p.u = u, p.b = &up, back.u = u, back.b = &down;
                k.matmul(&p, 1, x);
                k.matmul_dx(b.gradient(fresh, s.rows, s.in, y), &back, 1);
                k.matmul_dw(b.out(s.out, s.in), dy, x, 0.75f);
            },
            random_orders, kernels);
        if (HasFailure()) return;
    }
}

// What goes to the library, asked for as it is documented (on_cpu/device.cpp): transposes, strides, sums that go on.
using DD_CUDA::Gemm;
constexpr double twice = 1e-2; // where a part of the sum has been rounded to bf16 before
struct LibraryCase {
    Shape s;
    Type y;
    int rank, gemms; // gemms: how many it must come to; 0: own kernels
};
constexpr LibraryCase library_cases[] = {
    {{9, 64, 40}, Type::f32, 0, 1},    {{9, 64, 40}, Type::bf16, 0, 1}, {{70, 72, 136}, Type::f32, 16, 2},
    {{70, 136, 72}, Type::bf16, 8, 2}, {{33, 64, 36}, Type::f32, 0, 1}, {{33, 64, 36}, Type::bf16, 0, 0},
    {{33, 60, 40}, Type::f32, 0, 0},   {{33, 64, 40}, Type::f32, 4, 0},
};
#ifdef DD_ON_GPU
uint64_t products_of_ours() { return 0; }
#else
uint64_t products_of_ours() { return cuda_cpu::counters.mma; }
#endif
double library_near(const LibraryCase& c) { return c.y == Type::bf16 && c.gemms != 1 ? twice : near; }

TEST(CudaLibrary, matmul) {
    if (!*DD_CUDA::library_name()) GTEST_SKIP() << "there is no cuBLASLt";
    for (const LibraryCase& c : library_cases)
        for (bool more : {false, true})
            expect_cuda(
                format("%d rows, %d -> %d, %s, rank %d", c.s.rows, c.s.in, c.s.out, info(c.y).name, c.rank),
                library_near(c),
                [&](const Kernels& k, Bench& b) {
                    Tensor x = b.in(c.s.rows, c.s.in, Type::bf16);
                    Matrix w = matrix(b, k, Type::bf16, c.s.out, c.s.in, Type::bf16),
                           up = matrix(b, k, Type::bf16, c.s.out, c.rank, Type::f32, false, 0.5f),
                           q = matrix(b, k, Type::bf16, 48, c.s.in, c.s.in % 32 ? Type::f32 : Type::q8_0);
                    Product p[2] = {{b.fresh(c.s.rows, c.s.out, c.y), &w, {}, nullptr}};
                    if (c.rank) p[0].u = b.in(c.s.rows, c.rank, Type::bf16), p[0].b = &up;
                    if (more) p[1] = {b.fresh(c.s.rows, 48), &q, {}, nullptr};
                    if (&k != &reference) {
                        Gemm gs[8];
                        EXPECT_EQ(DD_CUDA::gemms_of_matmul(gs, p[0], x), c.gemms);
                        EXPECT_TRUE(!more || c.s.in % 32 || DD_CUDA::gemms_of_matmul(gs, p[1], x) == 0) << "blocks";
                    }
                    uint64_t before = products_of_ours();
                    k.matmul(p, more ? 2 : 1, x);
                    EXPECT_TRUE(more || !c.gemms || products_of_ours() == before) << "the library was not asked";
                },
                1, library_kernels());
}

TEST(CudaLibrary, matmul_dx) {
    if (!*DD_CUDA::library_name()) GTEST_SKIP() << "there is no cuBLASLt";
    for (const LibraryCase& c : library_cases)
        for (bool fresh : {true, false})
            for (bool more : {false, true})
                expect_cuda(
                    format("%d rows, %d <- %d, %s, rank %d", c.s.rows, c.s.out, c.s.in, info(c.y).name, c.rank),
                    c.y == Type::bf16 ? twice : near,
                    [&](const Kernels& k, Bench& b) {
                        Tensor dx = b.gradient(fresh, c.s.rows, c.s.out, c.y); // the case's `out` columns
                        Matrix w = matrix(b, k, Type::bf16, c.s.in, c.s.out, Type::bf16),
                               v = matrix(b, k, Type::bf16, 24, c.s.out, Type::bf16),
                               down = matrix(b, k, Type::bf16, c.s.out, c.rank, Type::f32, true, 0.5f);
                        Product p[2] = {{b.in(c.s.rows, c.s.in, Type::bf16), &w, {}, nullptr},
                                        {b.in(c.s.rows, 24, Type::bf16), &v, {}, nullptr}};
                        if (c.rank) p[0].u = b.in(c.s.rows, c.rank, Type::bf16), p[0].b = &down;
                        if (&k != &reference) {
                            Gemm gs[8];
                            // A weight's rows are dx's: they must be whole sixteens of bytes, too.
                            int expected = c.gemms && c.s.out % 8 == 0 ? c.gemms + more : 0;
                            EXPECT_EQ(DD_CUDA::gemms_of_dx(gs, dx, p, 1 + more), expected);
                        }
                        k.matmul_dx(dx, p, 1 + more);
                    },
                    1, library_kernels());
}

TEST(CudaLibrary, matmul_dw) {
    if (!*DD_CUDA::library_name()) GTEST_SKIP() << "there is no cuBLASLt";
    for (Shape s : {Shape{1, 40, 32}, {37, 16, 80}, {70, 72, 16}, {33, 60, 40}, {33, 64, 4}})
        expect_cuda(
            format("%d tokens, %d x %d", s.rows, s.out, s.in), near,
            [&](const Kernels& k, Bench& b) {
                Tensor dw = b.out(s.out, s.in), dy = b.in(s.rows, s.out, Type::bf16);
                Tensor x = b.in(s.rows, s.in, Type::bf16);
                Gemm gs[8];
                EXPECT_EQ(DD_CUDA::gemms_of_dw(gs, dw, dy, x, 0.75f), s.in % 8 == 0 && s.out % 8 == 0);
                k.matmul_dw(dw, dy, x, 0.75f);
            },
            1, library_kernels());
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
