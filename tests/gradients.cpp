// gradients.cpp - every op of ops.h against central differences of itself. The reference's kernels in f32 compute both;
// that the fast ones give the same bytes is shown in kernels.cpp.
#include "../kernels/quant.h"
#include "../kernels/random.h"
#include "support.h"

namespace {

// Tokens of a few sequences, numbers that are trained, and a walk that makes an output of them. The loss is a fixed
// combination of the output.
struct Differences {
    std::vector<int> ids, pos, first{0}, slot;
    std::vector<Tensor> inputs;
    std::vector<Grad> grads;
    Arena weights{1 << 24}, scratch{1 << 24};
    Random random{11};
    bool recompute = false;
    const std::vector<Edit>* edits = nullptr;

    explicit Differences(std::vector<int> lengths) {
        for (int n : lengths) {
            for (int i = 0; i < n; i++) pos.push_back(i), ids.push_back(int(random.below(9)));
            first.push_back(int(pos.size())), slot.push_back(int(slot.size()));
        }
        grads.reserve(16);
    }
    Tensor input(int rows, int cols, float size = 1) {
        Tensor t = weights.make(rows, cols), d = weights.make(rows, cols);
        for (size_t i = 0; i < t.count(); i++) t.f()[i] = size * random.normal();
        std::fill_n(d.f(), d.count(), 0.0f);
        grads.push_back({d.data, nullptr});
        t.grad = &grads.back();
        inputs.push_back(t);
        return t;
    }
    Weight weight(int out, int in, float size = 1) {
        Weight w{"w", {out, in, input(out, in, size)}, nullptr};
        w.m.operand = Type::f32;
        return w;
    }

    using Walk = std::function<Tensor(Pass&)>;
    // The loss; with a gradient asked for, the walk back as well.
    double walk(const Walk& f, bool back) {
        scratch.rewind(0);
        Tape tape(1 << 24);
        tape.recompute = recompute, tape.dropout_seed = 5;
        Rows rows{int(pos.size()), int(slot.size()), ids.data(), pos.data(), first.data(), slot.data()};
        Pass p{reference, scratch, rows, Type::f32};
        p.tape = &tape, p.edits = edits, p.layer = edits ? 0 : -1;
        Tensor y = f(p), dy = scratch.make(y.rows, y.cols);
        double loss = 0;
        for (size_t i = 0; i < y.count(); i++) {
            dy.f()[i] = float(int(i * 2654435761u >> 16) % 17 - 8) / 8;
            loss += double(dy.f()[i]) * y.f()[i];
        }
        if (back) tape.backward(p, y, dy);
        return loss;
    }
    void check(const Walk& f, double bound = 2e-3, float step = 1e-2f) {
        walk(f, true);
        std::vector<std::vector<float>> ours;
        for (const Tensor& x : inputs) ours.emplace_back((float*)x.grad->data, (float*)x.grad->data + x.count());
        for (size_t t = 0; t < inputs.size(); t++) {
            std::vector<float> theirs;
            float* x = inputs[t].f();
            for (size_t i = 0; i < inputs[t].count(); i++) {
                float was = x[i];
                x[i] = was + step;
                double up = walk(f, false);
                x[i] = was - step;
                theirs.push_back(float((up - walk(f, false)) / (2 * double(step))));
                x[i] = was;
            }
            EXPECT_LE(far(ours[t].data(), theirs.data(), theirs.size()), bound) << "input " << t;
            EXPECT_GT(*std::max_element(theirs.begin(), theirs.end()), 1e-3) << "input " << t;
        }
    }
};

TEST(Gradients, Lookup) {
    Differences d({4, 3});
    Weight table = d.weight(9, 6);
    d.check([&](Pass& p) { return lookup(p, table, 1.7f); });
}

TEST(Gradients, LookupPassesOverThePadding) {
    Differences d({4, 3});
    d.ids = {1, 2, 0, 1, 0, 0, 3};
    Weight table = d.weight(9, 6);
    d.walk([&](Pass& p) { return lookup(p, table, 3, 0); }, true);
    const float* g = d.inputs[0].grad ? (const float*)d.inputs[0].grad->data : nullptr;
    for (int j = 0; j < 6; j++) EXPECT_EQ(g[j], 0) << j;
    EXPECT_NE(g[6], 0);
}

TEST(Gradients, Columns) {
    Differences d({5});
    Tensor x = d.input(5, 11);
    d.check([&](Pass& p) {
        Tensor a = columns(p, x, 0, 4), b = columns(p, x, 6, 4), c = columns(p, x, 2, 4);
        return add(p, add(p, a, b), c);                 // 2 and 3 twice, 10 never
    });
}

TEST(Gradients, Scale) {
    Differences d({5});
    Tensor x = d.input(5, 12), s = d.input(1, 3), one = d.input(1, 1);
    d.check([&](Pass& p) { return scale(p, scale(p, x, s), one); });
}

TEST(Gradients, RmsNormOfRowsAndOfHeads) {
    for (int width : {12, 4}) {
        Differences d({5});
        Tensor x = d.input(5, 12), w = d.input(1, width);
        d.check([&](Pass& p) { return rms_norm(p, x, w, 1e-2f); });
    }
}

TEST(Gradients, LinearAlone) {
    Differences d({5});
    Tensor x = d.input(5, 6);
    Weight w = d.weight(7, 6);
    d.check([&](Pass& p) { return linear(p, x, w); });
}

// Two products of one x, an adapter on the second, with dropout on what it sees or without.
TEST(Gradients, LinearWithAnAdapter) {
    for (float dropout : {0.0f, 0.4f}) {
        Differences d({5});
        Tensor x = d.input(5, 6);
        Weight v = d.weight(7, 6), w = d.weight(7, 6);
        Lora lora;
        lora.a = d.input(3, 6), lora.b = d.input(7, 3), lora.scale = 1.5f, lora.dropout = dropout, lora.site = 2;
        pack(reference, lora, Type::f32, d.weights);
        w.lora = &lora;
        d.check([&](Pass& p) {
            auto [a, b] = linear(p, x, {&v, &w});
            return gated(p, a, b, Gate::silu);
        });
    }
}

TEST(Gradients, Rope) {
    Differences d({6, 3});
    Tensor x = d.input(9, 16);
    std::vector<float> freq(4);
    rope_frequencies(freq.data(), 4, 100, 1.5, 0.5);        // half of the pairs stay
    EXPECT_EQ(freq[2], 0);
    d.check([&](Pass& p) { return rope(p, columns(p, x, 0, 16), rotations(p, freq), 8); });
}

TEST(Gradients, Attention) {
    for (int window : {0, 3}) {
        Differences d({6, 5});
        Tensor q = d.input(11, 32, 0.5f), k = d.input(11, 16, 0.5f), v = d.input(11, 16);
        d.check([&](Pass& p) { return attention(p, q, k, v, 8, 0.7f, window); });
    }
}

// The second looks at the keys and values of the first: their gradients come together, also when the layers between are
// walked twice.
TEST(Gradients, KeysAndValuesOfAnEarlierLayer) {
    for (int window : {0, 3})
        for (bool recompute : {false, true}) {
            Differences d({6, 5});
            d.recompute = recompute;
            Tensor x = d.input(11, 8, 0.5f), q = d.input(11, 16, 0.5f), k = d.input(11, 8, 0.5f), v = d.input(11, 8);
            d.check([&](Pass& p) {
                auto [y, keys, values] = p.run<3>(0, std::array{x}, [&](std::array<Tensor, 1> in) {
                    Tensor kk = add(p, in[0], columns(p, k, 0, 8)), vv = add(p, in[0], columns(p, v, 0, 8));
                    return std::array{attention(p, in[0], kk, vv, 8, 0.7f, window), kk, vv};
                });
                Tensor lent[] = {keys, values};
                return p.run(1, y, [&p, &q, lent, window](Tensor in) {
                    Tensor wide = attention(p, q, lent[0], lent[1], 8, 1, window, 0);
                    return add(p, in, columns(p, wide, 8, 8));
                });
            });
        }
}

TEST(Gradients, Gated) {
    for (Gate f : {Gate::silu, Gate::gelu_tanh}) {
        Differences d({5});
        Tensor g = d.input(5, 7), u = d.input(5, 7);
        d.check([&](Pass& p) { return gated(p, g, u, f); });
    }
}

TEST(Gradients, Add) {
    Differences d({5});
    Tensor x = d.input(5, 7), a = d.input(5, 7);
    d.check([&](Pass& p) { return add(p, x, add(p, x, columns(p, a, 0, 7))); });
}

// Through the softcap, more rows than a chunk of the head holds; the head trained, or not.
TEST(Gradients, LogProbabilities) {
    for (float softcap : {0.0f, 3.0f})
        for (bool trained : {false, true}) {
            Differences d({300});
            Tensor h = d.input(300, 4);
            Weight w;
            if (trained) w = d.weight(9, 4);
            else {
                w = Weight{"w", {9, 4, d.weights.make(9, 4)}, nullptr};
                for (int i = 0; i < 36; i++) w.m.w.f()[i] = d.random.normal();
                w.m.operand = Type::f32;
            }
            std::vector<int> rows, want;
            for (int i = 0; i < 290; i++) rows.push_back((i * 7) % 300), want.push_back(i % 9);
            Head head{&w, softcap};
            d.check([&](Pass& p) { return log_probs(p, h, head, {290, rows.data(), want.data()}); }, 5e-3);
        }
}

// Edits are ops: through them, and to their own numbers.
TEST(Gradients, Edits) {
    for (int what : {0, 1, 2}) {
        Differences d({5});
        Tensor x = d.input(5, 12);
        Tensor v = what == 2 ? d.weights.make(1, 12) : d.input(1, what ? 12 : 3);
        if (what == 2) for (int i = 0; i < 12; i++) v.f()[i] = d.random.normal();
        std::vector<Edit> edits{{Point::z, 0, Edit::What(what), v, what == 1 ? 1.5f : 1}};
        ASSERT_EQ(edits[0].what, what == 0 ? Edit::scale_heads : what == 1 ? Edit::add : Edit::project_out);
        d.edits = &edits;
        d.check([&](Pass& p) { return p.at(Point::z, x); });
    }
}

// A product of the residual stream itself: in bf16 the gradient passes through the copy that was multiplied.
TEST(Gradients, ProductsTakeTheResidualStream) {
    Arena mem(1 << 22);
    std::vector<float> dx[2];
    for (Type operand : {Type::f32, Type::bf16}) {
        Random random(3);
        Grad grad;
        Tensor x = mem.make(4, 6), w = mem.make(5, 6), dy = mem.make(4, 5), d = mem.make(4, 6);
        for (Tensor t : {x, w, dy})
            for (size_t i = 0; i < t.count(); i++) t.f()[i] = bf16_to_f32(f32_to_bf16(random.normal()));
        std::fill_n(d.f(), d.count(), 0.0f);
        grad.data = d.data, x.grad = &grad;
        Weight weight{"w", {5, 6, w}, nullptr};
        weight.m.operand = operand;
        Tape tape(1 << 20);
        int pos[] = {0, 1, 2, 3}, first[] = {0, 4}, slot[] = {0};
        Pass p{reference, mem, {4, 1, pos, pos, first, slot}, operand};
        p.tape = &tape;
        Tensor y = linear(p, x, weight);
        tape.backward(p, y, dy);
        dx[operand == Type::bf16].assign(d.f(), d.f() + d.count());
    }
    EXPECT_LE(far(dx[1].data(), dx[0].data(), dx[0].size()), 8e-3);
    EXPECT_GT(dx[0][0] * dx[0][0], 0);
}

}  // namespace
