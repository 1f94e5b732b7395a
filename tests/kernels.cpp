// kernels.cpp - every kernel of list.h, on every instruction set of this machine, against the scalar reference:
// the same bytes on ragged shapes, whatever the number of threads and of rows that go together.
#include "draws.h"

namespace {

struct Shape { int rows, in, out; };

constexpr Type both[] = {Type::f32, Type::bf16};

// ---- moving

void test_zero(const Kernels& fast) {
    for (int rows : {1, 7, 3000})
        expect_same(fast, format("%d rows", rows),
                    [&](const Kernels& k, Bench& b) { k.zero(b.out(rows, 77, Type::bf16)); });
}

void test_copy(const Kernels& fast) {
    for (Type from : both)
        for (Type to : both)
            for (int rows : {1, 700})
                expect_same(fast, format("%s to %s, %d rows", info(from).name, info(to).name, rows),
                            [&](const Kernels& k, Bench& b) {
                                Tensor y = b.out(rows, 77, to);
                                k.copy(y, b.in(rows, 77, from));
                            });
}

void test_add(const Kernels& fast) {
    for (Type type : both)
        for (int rows : {1, 700})
            expect_same(fast, format("%s, %d rows", info(type).name, rows), [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(rows, 77, type), a = b.in(rows, 77), c = b.in(rows, 77, Type::bf16);
                k.add(y, a, c);
                Tensor in_place = b.out(rows, 77, type);
                k.add(in_place, a, in_place);
            });
}

void test_add_to(const Kernels& fast) {
    for (Type type : both)
        for (bool fresh : {false, true})
            expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
                Tensor dx = b.gradient(fresh, 300, 77, type);
                k.add_to(dx, b.in(300, 77, fresh ? Type::f32 : Type::bf16), 0.3f);
                k.add_to({}, b.in(3, 77), 0.3f);
            });
}

void test_gather(const Kernels& fast) {
    for (Type table : every_weight_type)
        for (Type type : both)
            expect_same(fast, info(table).name, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(5, 256, type), t = b.quantized(11, 256, table);
                k.gather(y, t, b.ids({3, 10, 0, 3, 7}), 1.7f);
            });
}

void test_gather_back(const Kernels& fast) {
    for (Type type : both)
        expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
            Tensor d = b.out(11, 77);
            k.gather_back(d, b.in(5, 77, type), b.ids({3, 10, 0, 3, 7}), 1.7f, 10);
        });
}

void test_select(const Kernels& fast) {
    for (Type from : both)
        for (Type to : both)
            expect_same(fast, info(from).name, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(4, 77, to);
                k.select(y, b.in(9, 77, from), b.ids({8, 0, 3, 3}));
            });
}

void test_select_back(const Kernels& fast) {
    for (Type type : both)
        for (bool fresh : {false, true})
            expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
                Tensor dx = b.gradient(fresh, 9, 77, type), s = b.in(1, 4);
                k.select_back(dx, b.in(4, 77), b.ids({8, 0, 3, 3}), fresh ? nullptr : s.f());
            });
}

void test_columns(const Kernels& fast) {
    for (Type from : both)
        for (Type to : both)
            for (int first : {0, 5, 60})
                expect_same(fast, format("%s, from %d", info(from).name, first), [&](const Kernels& k, Bench& b) {
                    Tensor y = b.out(700, 17, to);
                    k.columns(y, b.in(700, 77, from), first);
                });
}

void test_columns_back(const Kernels& fast) {
    for (Type type : both)
        for (bool fresh : {false, true})
            for (int first : {0, 5, 60})
                expect_same(fast, format("%s, from %d", info(type).name, first), [&](const Kernels& k, Bench& b) {
                    Tensor dx = b.gradient(fresh, 700, 77, type);
                    k.columns_back(dx, b.in(700, 17, first ? Type::f32 : type), first);
                    k.columns_back({}, b.in(3, 17), 2);
                });
}

void test_follow(const Kernels& fast) {
    std::vector<int> ids{7, 8, 9, 1}, pos{1, 2, 3, 4}, next{4, 5, 6, 1};
    fast.follow(ids.data(), pos.data(), next.data(), 3);
    EXPECT_EQ(ids, (std::vector<int>{4, 5, 6, 1}));
    EXPECT_EQ(pos, (std::vector<int>{2, 3, 4, 4}));
}

// ---- products

Matrix matrix(Bench& b, const Kernels& k, Type operand, int out, int in, Type stored, bool transposed = false,
              float scale = 1) {
    Matrix m;
    m.out = out, m.in = in, m.transposed = transposed, m.scale = scale, m.operand = operand;
    m.w = transposed ? b.quantized(in, out, stored) : b.quantized(out, in, stored);
    b.pack(k, m);
    return m;
}

void test_pack(const Kernels& fast) {       // alone it shows nothing: see matmul; here: packing twice is packing once
    for (Type t : every_weight_type) {
        Bench b(3);
        Matrix m = matrix(b, fast, Type::bf16, 137, 256, t);
        std::vector<char> once((char*)m.panels, (char*)m.panels + m.panel_bytes);
        fast.pack(m);
        EXPECT_EQ(memcmp(once.data(), m.panels, m.panel_bytes), 0) << info(t).name;
        EXPECT_TRUE(b.guards_intact()) << info(t).name;
    }
}

void test_matmul(const Kernels& fast) {
    for (Type operand : {Type::bf16, Type::f32})
        for (Type stored : every_weight_type)
            for (bool adapter : {false, true})
                for (Shape s : {Shape{1, 256, 137}, {3, 512, 64}, {5, 256, 40}, {12, 256, 200}, {67, 512, 137}}) {
                    std::string what = format("%s x, %s w, %d rows, %d -> %d%s", info(operand).name, info(stored).name,
                                              s.rows, s.in, s.out, adapter ? ", adapter" : "");
                    expect_same(fast, what, [&](const Kernels& k, Bench& b) {
                        Tensor x = b.in(s.rows, s.in, operand), u = b.in(s.rows, 4, operand);
                        Matrix w = matrix(b, k, operand, s.out, s.in, stored);
                        Matrix up = matrix(b, k, operand, s.out, 4, Type::f32, false, 0.5f);
                        Product p{b.fresh(s.rows, s.out, s.rows % 5 == 2 ? operand : Type::f32), &w, {}, nullptr};
                        if (adapter) p.u = u, p.b = &up;
                        k.matmul(&p, 1, x);
                    });
                }

    // Narrow products share a sweep, whatever types a file gave them.
    for (Type operand : {Type::bf16, Type::f32})
        for (int rows : {1, 5, 40, 100})
            expect_same(fast, format("%s x, three types, %d rows", info(operand).name, rows),
                        [&](const Kernels& k, Bench& b) {
                            Tensor x = b.in(rows, 50, operand);
                            Matrix f = matrix(b, k, operand, 18, 50, Type::f32),
                                   h = matrix(b, k, operand, 6, 50, Type::bf16),
                                   g = matrix(b, k, operand, 40, 50, Type::f16);
                            Product p[4];
                            for (int i = 0; const Matrix* w : {&f, &h, &g, &h})
                                p[i++] = {b.fresh(rows, w->out, Type::f32), w, {}, nullptr};
                            k.matmul(p, 4, x);
                            k.matmul(p + 1, 3, x);
                        });
}

void test_matmul_dx(const Kernels& fast) {
    for (Type operand : {Type::bf16, Type::f32})
        for (Type stored : every_weight_type)
            for (bool fresh : {true, false})
                for (Shape s : {Shape{1, 256, 137}, {9, 256, 40}, {67, 512, 96}}) {
                    std::string what = format("%s dy, %s w, %d rows, %d <- %d%s", info(operand).name, info(stored).name,
                                              s.rows, s.in, s.out, fresh ? ", fresh" : "");
                    expect_same(fast, what, [&](const Kernels& k, Bench& b) {
                        Tensor dx = b.gradient(fresh, s.rows, s.in, s.rows == 9 ? Type::f32 : operand);
                        Matrix w = matrix(b, k, operand, s.out, s.in, stored),
                               v = matrix(b, k, operand, 50, s.in, stored);
                        Matrix down = matrix(b, k, operand, s.in, 4, Type::f32, true, 0.5f);
                        Product p[] = {{b.in(s.rows, s.out, operand), &w, b.in(s.rows, 4, operand), &down},
                                       {b.in(s.rows, 50, operand), &v, {}, nullptr}};
                        k.matmul_dx(dx, p, fresh ? 2 : 1);
                    });
                }
}

void test_matmul_dw(const Kernels& fast) {
    for (Type operand : {Type::bf16, Type::f32})
        for (Shape s : {Shape{1, 40, 137}, {37, 16, 200}, {37, 200, 16}, {601, 7, 130}, {601, 130, 4}, {530, 100, 401}})
            expect_same(fast, format("%s, %d tokens, %d x %d", info(operand).name, s.rows, s.out, s.in),
                        [&](const Kernels& k, Bench& b) {
                            Tensor dw = b.out(s.out, s.in), dy = b.in(s.rows, s.out, operand),
                                   x = b.in(s.rows, s.in, operand);
                            k.matmul_dw(dw, dy, x, 0.75f);
                        });
}


// ---- rows

void test_rms_norm(const Kernels& fast) {
    for (Type type : both)
        for (Shape s : {Shape{1, 77, 77}, {90, 576, 576}, {40, 192, 64}, {30, 40, 8}})
            expect_same(fast, format("%s, %d rows of %d by %d", info(type).name, s.rows, s.in, s.out),
                        [&](const Kernels& k, Bench& b) {
                            Tensor y = b.out(s.rows, s.in, type), r = b.out(s.rows * s.in / s.out, 1);
                            k.rms_norm(y, r, b.in(s.rows, s.in, s.rows == 40 ? Type::bf16 : Type::f32), b.in(1, s.out),
                                       1e-5f);
                        });
}

void test_rms_norm_back(const Kernels& fast) {
    for (Type type : both)
        for (bool fresh : {false, true})
            for (Shape s : {Shape{1, 77, 77}, {90, 576, 576}, {40, 192, 64}})
                expect_same(fast, format("%s, %d rows of %d by %d", info(type).name, s.rows, s.in, s.out),
                            [&](const Kernels& k, Bench& b) {
                                Tensor dx = b.gradient(fresh, s.rows, s.in, s.rows == 40 ? type : Type::f32),
                                       dw = b.out(1, s.out);
                                Tensor x = b.in(s.rows, s.in, dx.type),
                                       r = b.in(s.rows * s.in / s.out, 1, Type::f32, 0.1f, 1);
                                k.rms_norm_back(dx, dw, b.in(s.rows, s.in, type), x, b.in(1, s.out), r);
                                k.rms_norm_back({}, dw, b.in(s.rows, s.in, type), x, b.in(1, s.out), r);
                            });
}

void test_gated(const Kernels& fast) {
    for (Type type : both)
        for (Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::sigmoid})
            expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(300, 77, type);
                k.gated(y, b.in(300, 77, type, 4), b.in(300, 77, type), gate);
                Tensor extreme = b.in(1, 6, Type::f32);
                for (int i = 0; i < 6; i++) extreme.f()[i] = (i % 2 ? -1.f : 1.f) * std::pow(10.f, float(i));
                Tensor z = b.out(1, 6);
                k.gated(z, extreme, extreme, gate);
            });
}

void test_gated_back(const Kernels& fast) {
    for (Type type : both)
        for (Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::sigmoid})
            for (bool fresh : {false, true})
                expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
                    Tensor g = b.in(300, 77, type, 4), u = b.in(300, 77, type), dy = b.in(300, 77, type);
                    Tensor dg = b.gradient(fresh, 300, 77, type), du = b.gradient(fresh, 300, 77, type);
                    k.gated_back(dg, du, dy, g, u, gate);
                    Tensor alone = b.gradient(fresh, 300, 77, type);
                    k.gated_back({}, alone, dy, g, u, gate);
                });
}

void test_rotations(const Kernels& fast) {
    expect_same(fast, "", [&](const Kernels& k, Bench& b) {
        Tensor t = b.out(300, 64), freq = b.in(1, 32, Type::f32, 0.1f, 0.2f);
        std::vector<int> pos(300);
        for (int i = 0; i < 300; i++) pos[size_t(i)] = i * i % 5000;
        k.rotations(t, b.ids(pos), freq.f(), 32);
    });
}

void test_rope(const Kernels& fast) {
    for (Type type : both)
        for (int sign : {1, -1})
            for (Shape s :
                 {Shape{1, 64, 64}, {70, 128, 128}, {9, 12, 8}, {9, 256, 64}, {9, 40, 40}}) // rows, head, turned
                expect_same(fast, format("%s, head %d", info(type).name, s.in), [&](const Kernels& k, Bench& b) {
                    Tensor y = b.out(s.rows, 3 * s.in, type), x = b.in(s.rows, 3 * s.in, type), t = b.in(s.rows, s.out);
                    k.rope(y, x, t, s.in, sign);
                    Tensor in_place = b.out(s.rows, 3 * s.in, type);
                    k.rope(in_place, in_place, t, s.in, sign);
                });
}

void test_dropout(const Kernels& fast) {
    for (Type type : both)
        for (int rows : {1, 2, 700})
            expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
                Tensor y = b.out(rows, 75, type);
                k.dropout(y, b.in(rows, 75, type), 0.3f, 0x123456789abcdefull, 0xfedcba987654321ull);
            });
}

// ---- attention

struct Heads { int q, kv, size; };
constexpr Heads every_head[] = {{3, 1, 64}, {4, 2, 128}, {2, 1, 256}, {9, 3, 8}, {2, 2, 12}, {8, 1, 40}};

void test_store_kv(const Kernels& fast) {
    for (Type type : both)
        for (Heads h : every_head)
            for (int room : {0, 2})
                expect_same(fast, format("%s, head %d, room %d", info(type).name, h.size, room),
                            [&](const Kernels& k, Bench& b) {
                                Tokens t{{0, 37}, {0, 1}, {0, 16}}, more{{37, 3}, {1, 17}, {16, 1}};
                                KeyValues kv = panels(b, type, h.kv, h.size, t.n(), 3, room);
                                Tensor x = b.in(t.n(), h.kv * h.size, type), y = b.in(t.n(), h.kv * h.size, type);
                                k.store_kv(kv, x, y, t.rows());
                                if (room) k.store_kv(kv, x, y, more.rows());
                            });
}

void test_attend(const Kernels& fast) {
    for (Type type : both)
        for (Heads h : every_head)
            for (int window : {0, 5, 40})
                expect_same(fast,
                            format("%s, %d/%d heads of %d, window %d", info(type).name, h.q, h.kv, h.size, window),
                            [&](const Kernels& k, Bench& b) {
                                Tokens t{{0, 75}, {0, 1}, {0, 13}, {0, 2}};
                                KeyValues kv = panels(b, type, h.kv, h.size, t.n(), t.seqs(), 0);
                                Tensor y = b.fresh(t.n(), h.q * h.size, type), l = b.fresh(h.q, t.n());
                                Tensor q = b.in(t.n(), h.q * h.size, type), x = b.in(t.n(), h.kv * h.size, type);
                                k.store_kv(kv, x, b.in(t.n(), h.kv * h.size, type), t.rows());
                                k.attend(y, l, q, kv, t.rows(), 0.3f, window);
                            });
}

void test_attend_back(const Kernels& fast) {
    for (Type type : both)
        for (Heads h : every_head)
            for (int window : {0, 5, 90})
                expect_same(fast,
                            format("%s, %d/%d heads of %d, window %d", info(type).name, h.q, h.kv, h.size, window),
                            [&](const Kernels& k, Bench& b) {
                                Tokens t{{0, h.size <= 64 ? 150 : 70}, {0, 1}, {0, 13}};
                                int n = t.n(), wide = h.q * h.size, narrow = h.kv * h.size;
                                bool fresh = window == 5;
                                Tensor dq = b.gradient(fresh, n, wide, type), dk = b.gradient(fresh, n, narrow, type);
                                Tensor dv = b.gradient(fresh, n, narrow, type), l = b.in(h.q, n, Type::f32, 1, 4);
                                Tensor q = b.in(n, wide, type), x = b.in(n, narrow, type), v = b.in(n, narrow, type);
                                Tensor dy = b.in(n, wide, type), y = b.in(n, wide, type);
                                k.attend_back(dq, dk, dv, dy, y, l, q, x, v, t.rows(), h.size, 0.1f, window);
                                Tensor only = b.gradient(fresh, n, narrow, type);
                                k.attend_back({}, {}, only, dy, y, l, q, x, v, t.rows(), h.size, 0.1f, window);
                            });
}

// ---- the loss head, edits, optimizer

void test_softcap(const Kernels& fast) {
    for (Type type : both)
        expect_same(fast, info(type).name,
                    [&](const Kernels& k, Bench& b) { k.softcap(b.out(300, 77, type, 40), 30); });
}

void test_pick(const Kernels& fast) {
    for (Type type : both)
        for (float cap : {0.f, 30.f})
            for (int cols : {131, 4096})
                expect_same(fast, format("%s, %d", info(type).name, cols), [&](const Kernels& k, Bench& b) {
                    Tensor logp = b.fresh(5, 1), dz = b.fresh(5, cols, type), z = b.in(5, cols, Type::f32, 3),
                           s = b.in(1, 5);
                    const int* want = b.ids({0, cols - 1, 17, 16, 100});
                    k.pick(logp, dz, z, want, s.f(), cap);
                    Tensor again = b.fresh(5, 1), unscaled = b.fresh(5, cols, type);
                    k.pick(again, unscaled, z, want, nullptr, cap);
                    Tensor alone = b.fresh(5, 1);
                    k.pick(alone, {}, z, want, nullptr, cap);
                });
}

void test_argmax(const Kernels& fast) {
    for (int cols : {1, 5, 77, 1000})
        expect_same(fast, format("%d", cols), [&](const Kernels& k, Bench& b) {
            Tensor z = b.in(7, cols), best = b.zeros(1, 7);
            for (int i = 0; i < cols; i++) {
                z.f()[cols + i] = std::round(z.f()[cols + i]);          // many equals
                z.f()[2 * cols + i] = NAN;
                z.f()[3 * cols + i] = i % 2 ? NAN : z.f()[3 * cols + i];
                z.f()[4 * cols + i] = -INFINITY;
            }
            std::vector<int> at(7);
            k.argmax(at.data(), z);
            for (int i = 0; i < 7; i++) best.f()[i] = float(at[size_t(i)]);
        });
}

void test_sample(const Kernels& fast) {
    for (int cols : {1, 5, 77, 3000})
        expect_same(fast, format("%d", cols), [&](const Kernels& k, Bench& b) { draw_all(k, b, cols); });
}

void test_penalise(const Kernels& fast) {
    for (float penalty : {1.3f, 0.5f})
        expect_same(fast, format("%g", penalty), [&](const Kernels& k, Bench& b) { penalise_all(k, b, penalty); });
    // By hand: 3 twice in a prompt, 1 after it; what comes next is judged in place and once.
    float z[] = {1, 2, -2, 4, -1};
    int seen[4] = {9, 9, 9, 9}, ids[] = {3, 3, 4, 1}, pos[] = {0, 1, 2, 3}, first[] = {0, 4}, slot = 0, row = 3;
    const Tensor logits{z, 1, 5};
    fast.penalise(logits, logits, {seen, 1, 4, Type::i32}, {4, 1, ids, pos, first, &slot}, &row, 2);
    EXPECT_EQ((std::vector<float>(z, z + 5)), (std::vector<float>{1, 1, -2, 2, -2}));
    EXPECT_EQ((std::vector<int>(seen, seen + 4)), (std::vector<int>{3, -1, 4, 1}));
}

void test_scale_heads(const Kernels& fast) {
    for (Type type : both)
        expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
            Tensor y = b.out(70, 9 * 40, type);
            k.scale_heads(y, b.in(70, 9 * 40, type), b.in(1, 9));
        });
}

void test_scale_heads_back(const Kernels& fast) {
    for (Type type : both)
        for (bool fresh : {false, true})
            expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
                Tensor dx = b.gradient(fresh, 70, 9 * 40, type), ds = b.out(1, 9), s = b.in(1, 9);
                Tensor dy = b.in(70, 9 * 40, type), x = b.in(70, 9 * 40, type);
                k.scale_heads_back(dx, ds, dy, x, s);
                k.scale_heads_back({}, ds, dy, x, s);
                k.scale_heads_back(dx, {}, dy, x, s);
            });
}

void test_add_row(const Kernels& fast) {
    for (Type type : both)
        expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
            Tensor y = b.out(300, 77, type);
            k.add_row(y, b.in(300, 77, type), b.in(1, 77), 0.7f);
        });
}

void test_sum_rows(const Kernels& fast) {
    for (Type type : both)
        expect_same(fast, info(type).name,
                    [&](const Kernels& k, Bench& b) { k.sum_rows(b.out(1, 577), b.in(300, 577, type), 0.7f); });
}

void test_project_out(const Kernels& fast) {
    for (Type type : both)
        expect_same(fast, info(type).name, [&](const Kernels& k, Bench& b) {
            Tensor y = b.out(300, 77, type);
            k.project_out(y, b.in(300, 77, type), b.in(1, 77));
        });
}

void test_sum_squares(const Kernels& fast) {
    for (int cols : {5, 70000, 200001})
        expect_same(fast, format("%d", cols), [&](const Kernels& k, Bench& b) {
            double sum = 1;
            k.sum_squares(&sum, b.in(1, cols));
            memcpy(b.out(1, 2, Type::f32).data, &sum, 8);
        });
}

void test_adamw(const Kernels& fast) {
    expect_same(fast, "", [&](const Kernels& k, Bench& b) {
        Tensor w = b.out(300, 77), m = b.out(300, 77), v = b.out(300, 77, Type::f32);
        for (size_t i = 0; i < v.count(); i++) v.f()[i] *= v.f()[i];
        k.adamw(w, m, v, b.in(300, 77), 0.25f, {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 3});
    });
}

// ---- all of them: a kernel without a test does not compile

struct Case { const char* name; void (*run)(const Kernels&); };
constexpr Case cases[] = {
#define K(name, args) {#name, test_##name},
    DD_KERNELS(K)
#undef K
};

class Kernel : public testing::TestWithParam<std::tuple<const Kernels*, Case>> {};

TEST_P(Kernel, GivesTheBytesOfTheReference) { std::get<1>(GetParam()).run(*std::get<0>(GetParam())); }

std::string name_of(const testing::TestParamInfo<std::tuple<const Kernels*, Case>>& info) {
    std::string s = std::string(std::get<0>(info.param)->name) + "_" + std::get<1>(info.param).name;
    std::erase(s, '+');
    return s;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Kernel);
INSTANTIATE_TEST_SUITE_P(Every, Kernel, testing::Combine(testing::ValuesIn(fast_kernels()), testing::ValuesIn(cases)),
                         name_of);

}  // namespace
