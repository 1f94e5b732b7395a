// cuda_rows.cpp - the CUDA kernels that move, norm, gate, turn, edit and update rows, executed on the CPU.
#include <set>
#include "cuda.h"

namespace {

constexpr Type both[] = {Type::f32, Type::bf16};
constexpr double near = 2e-6;

// ---- moving

TEST(CudaKernel, zero) {
    for (int cols : {1, 77, 1300})
        for (Type type : both)
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) { k.zero(b.out(3, cols, type)); });
}

TEST(CudaKernel, copy) {
    for (Type from : both)
        for (Type to : both)
            for (int cols : {1, 77, 1300})
                expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                    Tensor y = b.out(3, cols, to), x = b.in(3, cols, from);
                    k.copy(y, x);
                    k.copy(b.out(2, cols, to), x.slice(1, 2)); // at an address that no wide load may have
                });
}

TEST(CudaKernel, add) {
    for (Type type : both)
        expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
            Tensor y = b.out(5, 77, type), a = b.in(5, 77), c = b.in(5, 77, Type::bf16);
            k.add(y, a, c);
            Tensor in_place = b.out(5, 77, type);
            k.add(in_place, a, in_place);
        });
}

TEST(CudaKernel, add_to) {
    for (Type type : both)
        for (bool fresh : {false, true})
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                Tensor dx = b.gradient(fresh, 9, 77, type);
                k.add_to(dx, b.in(9, 77, fresh ? Type::f32 : Type::bf16), 0.3f);
                k.add_to({}, b.in(3, 77), 0.3f);
            });
}

TEST(CudaKernel, gather) {
    for (Type table : every_weight_type)
        for (Type type : both)
            for (int cols : {256, 768})
                expect_cuda(info(table).name, exactly, [&](const Kernels& k, Bench& b) {
                    Tensor y = b.out(5, cols, type), t = held(k, b, b.quantized(11, cols, table));
                    k.gather(y, t, b.ids({3, 10, 0, 3, 7}), 1.7f);
                });
    for (Type table : {Type::f32, Type::f16, Type::bf16})
        expect_cuda("ragged", exactly, [&](const Kernels& k, Bench& b) {
            Tensor y = b.out(3, 77), t = b.quantized(11, 77, table);
            k.gather(y, t, b.ids({3, 10, 0}), 1.7f);
        });
}

TEST(CudaKernel, gather_back) {
    for (Type type : both)
        for (int cols : {77, 600})
            expect_cuda(
                "", exactly,
                [&](const Kernels& k, Bench& b) {
                    Tensor d = b.out(11, cols);
                    std::vector<int> ids(300);
                    for (int& id : ids) id = int(b.below(10));
                    ids[7] = 10; // the pad
                    k.gather_back(d, b.in(300, cols, type), b.ids(ids), 1.7f, 10);
                },
                2);
}

TEST(CudaKernel, select) {
    for (Type from : both)
        for (Type to : both)
            for (int cols : {77, 600})
                expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                    Tensor y = b.out(4, cols, to);
                    k.select(y, b.in(9, cols, from), b.ids({8, 0, 3, 3}));
                });
}

TEST(CudaKernel, select_back) {
    for (Type type : both)
        for (bool fresh : {false, true})
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                Tensor dx = b.gradient(fresh, 9, 77, type), s = b.in(1, 4);
                k.select_back(dx, b.in(4, 77), b.ids({8, 0, 3, 3}), fresh ? nullptr : s.f());
            });
}

TEST(CudaKernel, columns) {
    for (Type type : both)
        for (int first : {0, 3, 520})
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                k.columns(b.out(4, 520, type), b.in(4, 1044, type), first);
                k.columns(b.out(4, 7, type), b.in(4, 600, type), first);
            });
}

TEST(CudaKernel, columns_back) {
    for (Type type : both)
        for (bool fresh : {false, true})
            for (int first : {0, 3, 520})
                expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                    k.columns_back(b.gradient(fresh, 4, 1044, type), b.in(4, 520, type), first);
                    k.columns_back(b.gradient(fresh, 4, 600, type), b.in(4, 7, type), first);
                });
}

TEST(CudaKernel, follow) {
    expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
        std::vector<int> v(200), u(200), w(200);
        for (int i = 0; i < 200; i++) v[i] = i, u[i] = 3 * i, w[i] = 1000 - i;
        int *ids = b.ids(v), *pos = b.ids(u);
        k.follow(ids, pos, b.ids(w), 150);
        wait_for(k);
        Tensor out = b.zeros(2, 200);
        for (int i = 0; i < 200; i++) out.f()[i] = float(ids[i]), out.f()[200 + i] = float(pos[i]);
    });
}

// ---- rows

struct Chunks {
    int rows, cols, chunk;
};
constexpr Chunks every_chunk[] = {{1, 77, 77}, {9, 192, 64}, {5, 40, 8}, {3, 512, 512}, {2, 516, 516}, {3, 2050, 2050}};

TEST(CudaKernel, rms_norm) {
    for (Type type : both)
        for (Chunks s : every_chunk)
            expect_cuda(format("chunks of %d", s.chunk), near, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(s.rows, s.cols, type), r = b.out(s.rows * (s.cols / s.chunk), 1);
                k.rms_norm(y, r, b.in(s.rows, s.cols, s.rows == 3 ? Type::bf16 : Type::f32), b.in(1, s.chunk), 1e-5f);
            });
}

TEST(CudaKernel, rms_norm_back) {
    for (Type type : both)
        for (bool fresh : {false, true})
            for (Chunks s : every_chunk)
                expect_cuda(
                    format("chunks of %d", s.chunk), near,
                    [&](const Kernels& k, Bench& b) {
                        Tensor dx = b.gradient(fresh, s.rows, s.cols, s.rows == 9 ? type : Type::f32),
                               dw = b.out(1, s.chunk);
                        Tensor x = b.in(s.rows, s.cols, dx.type),
                               r = b.in(s.rows * (s.cols / s.chunk), 1, Type::f32, 0.1f, 1);
                        k.rms_norm_back(dx, dw, b.in(s.rows, s.cols, type), x, b.in(1, s.chunk), r);
                        k.rms_norm_back({}, dw, b.in(s.rows, s.cols, type), x, b.in(1, s.chunk), r);
                    },
                    2);
    expect_cuda("many rows", near, [&](const Kernels& k, Bench& b) {
        Tensor dw = b.out(1, 8), x = b.in(300, 8), r = b.in(300, 1, Type::f32, 0.1f, 1);
        k.rms_norm_back({}, dw, b.in(300, 8), x, b.in(1, 8), r);
    });
}

TEST(CudaKernel, gated) {
    for (Type type : both)
        for (Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::sigmoid})
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(7, 77, type);
                k.gated(y, b.in(7, 77, type, 4), b.in(7, 77, type), gate);
                Tensor extreme = b.in(1, 6, Type::f32);
                for (int i = 0; i < 6; i++) extreme.f()[i] = (i % 2 ? -1.f : 1.f) * std::pow(10.f, float(i));
                Tensor z = b.out(1, 6);
                k.gated(z, extreme, extreme, gate);
            });
}

TEST(CudaKernel, gated_back) {
    for (Type type : both)
        for (Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::sigmoid})
            for (bool fresh : {false, true})
                expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                    Tensor g = b.in(7, 77, type, 4), u = b.in(7, 77, type), dy = b.in(7, 77, type);
                    Tensor dg = b.gradient(fresh, 7, 77, type), du = b.gradient(fresh, 7, 77, type);
                    k.gated_back(dg, du, dy, g, u, gate);
                    Tensor alone = b.gradient(fresh, 7, 77, type);
                    k.gated_back({}, alone, dy, g, u, gate);
                });
}

TEST(CudaKernel, rotations) {
    for (int pairs : {3, 32, 200})
        expect_cuda("", near, [&](const Kernels& k, Bench& b) {
            Tensor t = b.out(30, 2 * pairs), freq = b.in(1, pairs, Type::f32, 0.1f, 0.2f);
            std::vector<int> pos(30);
            for (int i = 0; i < 30; i++) pos[size_t(i)] = i * i % 5000;
            k.rotations(t, b.ids(pos), freq.f(), pairs);
        });
}

struct Turn {
    int rows, head, turned;
};
TEST(CudaKernel, rope) {
    for (Type type : both)
        for (int sign : {1, -1})
            for (Turn s : {Turn{1, 64, 64}, {7, 128, 128}, {9, 12, 8}, {9, 256, 64}, {9, 40, 40}, {5, 7, 6}})
                expect_cuda(format("head %d", s.head), exactly, [&](const Kernels& k, Bench& b) {
                    Tensor y = b.out(s.rows, 3 * s.head, type), x = b.in(s.rows, 3 * s.head, type),
                           t = b.in(s.rows, s.turned);
                    k.rope(y, x, t, s.head, sign);
                    Tensor in_place = b.out(s.rows, 3 * s.head, type);
                    k.rope(in_place, in_place, t, s.head, sign);
                });
}

TEST(CudaKernel, dropout) {
    for (Type type : both)
        for (int rows : {1, 2, 70})
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(rows, 75, type);
                k.dropout(y, b.in(rows, 75, type), 0.3f, 0x123456789abcdefull, 0xfedcba987654321ull);
            });
}

// ---- the loss head

TEST(CudaKernel, softcap) {
    expect_cuda("", exactly, [&](const Kernels& k, Bench& b) { k.softcap(b.out(7, 77, Type::f32, 20), 30); });
}

TEST(CudaKernel, pick) {
    for (Type type : both)
        for (int cols : {5, 1000, 9001})
            for (float cap : {0.0f, 30.0f})
                expect_cuda(
                    format("%d", cols), near,
                    [&](const Kernels& k, Bench& b) {
                        Tensor z = b.in(5, cols, Type::f32, 6), s = b.in(1, 5);
                        const int* want = b.ids({0, cols - 1, 3, cols / 2, 1});
                        Tensor logp = b.fresh(5, 1), dz = b.fresh(5, cols, type);
                        k.pick(logp, dz, z, want, s.f(), cap);
                        Tensor again = b.fresh(5, 1), unscaled = b.fresh(5, cols, type), alone = b.fresh(5, 1);
                        k.pick(again, unscaled, z, want, nullptr, cap);
                        k.pick(alone, {}, z, want, nullptr, cap);
                    },
                    2);
}

TEST(CudaKernel, argmax) {
    for (int cols : {1, 5, 77, 5000})
        expect_cuda(format("%d", cols), exactly, [&](const Kernels& k, Bench& b) {
            Tensor z = b.in(7, cols), best = b.zeros(1, 7);
            for (int i = 0; i < cols; i++) {
                z.f()[cols + i] = std::round(z.f()[cols + i]); // many equals
                z.f()[2 * cols + i] = NAN;
                z.f()[3 * cols + i] = i % 2 ? NAN : z.f()[3 * cols + i];
                z.f()[4 * cols + i] = -INFINITY;
            }
            int* at = b.ids(std::vector<int>(7));
            k.argmax(at, z);
            wait_for(k);
            for (int i = 0; i < 7; i++) best.f()[i] = float(at[i]);
        });
}

// ---- edits

TEST(CudaKernel, scale_heads) {
    for (Type type : both)
        for (int head : {5, 40})
            expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(7, 9 * head, type);
                k.scale_heads(y, b.in(7, 9 * head, type), b.in(1, 9));
            });
}

TEST(CudaKernel, scale_heads_back) {
    for (Type type : both)
        for (bool fresh : {false, true})
            expect_cuda(
                "", 4 * near,
                [&](const Kernels& k, Bench& b) {
                    Tensor dx = b.gradient(fresh, 70, 9 * 40, type), ds = b.out(1, 9), s = b.in(1, 9);
                    Tensor dy = b.in(70, 9 * 40, type), x = b.in(70, 9 * 40, type);
                    k.scale_heads_back(dx, ds, dy, x, s);
                    k.scale_heads_back({}, ds, dy, x, s);
                    k.scale_heads_back(dx, {}, dy, x, s);
                },
                2);
}

TEST(CudaKernel, add_row) {
    for (Type type : both)
        expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
            Tensor y = b.out(30, 77, type);
            k.add_row(y, b.in(30, 77, type), b.in(1, 77), 0.7f);
        });
}

TEST(CudaKernel, sum_rows) {
    for (Type type : both)
        for (int rows : {1, 130})
            expect_cuda("", near,
                        [&](const Kernels& k, Bench& b) { k.sum_rows(b.out(1, 277), b.in(rows, 277, type), 0.7f); });
}

TEST(CudaKernel, project_out) {
    for (Type type : both)
        for (int cols : {77, 1100})
            expect_cuda("", near, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(7, cols, type);
                k.project_out(y, b.in(7, cols, type), b.in(1, cols));
            });
}

// ---- optimizer

TEST(CudaKernel, sum_squares) {
    for (int cols : {5, 70000, 200001})
        expect_cuda(format("%d", cols), 1e-7, [&](const Kernels& k, Bench& b) {
            auto* sum = (double*)b.room(1, 2, Type::f32).data;
            *sum = 1;
            k.sum_squares(sum, b.in(1, cols));
            wait_for(k);
            b.out(1, 1).f()[0] = float(*sum);
        });
}

TEST(CudaKernel, adamw) {
    expect_cuda("", exactly, [&](const Kernels& k, Bench& b) {
        Tensor w = b.out(30, 77), m = b.out(30, 77), v = b.out(30, 77, Type::f32);
        for (size_t i = 0; i < v.count(); i++) v.f()[i] *= v.f()[i];
        k.adamw(w, m, v, b.in(30, 77), 0.25f, {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 3});
    });
}

// ---- the list

// Of the kernels that list.h declares, those without a CUDA kernel or without a test of it.
TEST(Cuda, EveryKernelOfTheListIsThereAndTested) {
    std::set<std::string> tested;
    const testing::UnitTest& all = *testing::UnitTest::GetInstance();
    for (int i = 0; i < all.total_test_suite_count(); i++)
        if (all.GetTestSuite(i)->name() == std::string("CudaKernel"))
            for (int j = 0; j < all.GetTestSuite(i)->total_test_count(); j++)
                tested.insert(all.GetTestSuite(i)->GetTestInfo(j)->name());
    auto check = [&](const std::string& name) {
        EXPECT_EQ(tested.erase(name), 1u) << name << " has no test CudaKernel." << name;
        EXPECT_FALSE(DD_CUDA::missing(cuda_kernels(), name.c_str())) << name << " has no CUDA kernel";
    };
#define K(name, args) check(#name);
    DD_KERNELS(K)
#undef K
    EXPECT_TRUE(tested.empty()) << "a test of something that list.h does not declare: " << *tested.begin();
}

} // namespace
