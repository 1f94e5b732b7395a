#include "ops.h"
#include <algorithm>
#include <cmath>

namespace {

enum State { keys, values };            // what attention keeps in a cache

// What products take: a norm's output is one already, the residual stream itself is not.
Tensor as_operand(Pass& p, Tensor t) {
    if (t.type == p.operand) return t;
    Tensor o = p.make(t.rows, t.cols, p.operand, {t});
    p.k.copy(o, t);
    p.back({o}, [=](Pass& p) {
        if (Tensor d = p.d(o)) p.k.add_to(p.grad(t), d, 1);
    });
    return o;
}

}  // namespace

void pack(const Kernels& k, Matrix& m, Type operand, Arena& mem) {
    m.operand = operand;
    if (!m.panels) {
        k.pack(m);
        if (!m.panel_bytes) return;
        m.panels = mem.take(m.panel_bytes);
    }
    k.pack(m);
}

void pack(const Kernels& k, Lora& l, Type operand, Arena& mem) {
    int rank = l.a.rows, in = l.a.cols, out = l.b.rows;
    auto set = [&](Matrix& m, int rows, int cols, Tensor w, bool transposed, float scale) {
        m.out = rows, m.in = cols, m.w = w, m.transposed = transposed, m.scale = scale;
        pack(k, m, operand, mem);
    };
    set(l.down, rank, in, l.a, false, 1);
    set(l.up, out, rank, l.b, false, l.scale);
    set(l.back_up, rank, out, l.b, true, l.scale);
    set(l.back_down, in, rank, l.a, true, 1);
}

void rope_frequencies(float* freq, int pairs, double theta, double factor, double partial) {
    int turning = int(partial * pairs);
    for (int j = 0; j < pairs; j++) freq[j] = j < turning ? float(std::pow(theta, -double(j) / pairs) / factor) : 0;
}

Tensor rotations(Pass& p, const float* freq, int pairs) {
    Tensor t = p.make(p.rows.n, 2 * pairs, Type::f32);
    p.k.rotations(t, p.rows.pos, freq, pairs);
    return t;
}

Tensor lookup(Pass& p, Weight& table, float scale, int pad) {
    Tensor w = table.m.w, y = p.make(p.rows.n, w.cols, Type::f32, {w});
    const int* ids = p.rows.ids;
    p.k.gather(y, w, ids, scale);
    p.back({y}, [=](Pass& p) { p.k.gather_back(p.grad(w), p.d(y), ids, scale, pad); });
    return y;
}

Tensor embed(Pass& p, Weight& table, float scale, int pad) {
    return p.at(Point::embed, lookup(p, table, scale, pad));
}

Tensor columns(Pass& p, Tensor x, int first, int n) {
    Tensor y = p.make(x.rows, n, x.type, {x});
    p.k.columns(y, x, first);
    p.back({y}, [=](Pass& p) {
        if (Tensor d = p.d(y)) p.k.columns_back(p.grad(x), d, first);
    });
    return y;
}

Tensor scale(Pass& p, Tensor x, Tensor s) {
    Tensor y = p.make(x.rows, x.cols, x.type, {x, s});
    p.k.scale_heads(y, x, s);
    p.back({y}, [=](Pass& p) {
        if (Tensor d = p.d(y)) p.k.scale_heads_back(p.grad(x), p.grad(s), d, x, s);
    });
    return y;
}

Tensor rms_norm(Pass& p, Tensor x, Tensor w, float eps) {
    Tensor y = p.make(x.rows, x.cols, p.operand, {x, w}), r = p.make(int(x.count() / w.cols), 1, Type::f32);
    p.k.rms_norm(y, r, x, w, eps);
    p.back({y}, [=](Pass& p) { p.k.rms_norm_back(p.grad(x), p.grad(w), p.d(y), x, w, r); });
    return y;
}

// y_i = x w_i^T + u_i b_i^T with u_i = x a_i^T. Back: du_i = dy_i b_i, dx = sum of dy_i w_i + du_i a_i.
void detail::linear(Pass& p, Tensor x, Weight* const* ws, Tensor* y, int n, Type type) {
    struct Part { Weight* w; Tensor y, u, x; };             // x as the adapter saw it: dropped out, or as it is
    struct Parts { Part at[4]; } parts{};
    require(n <= 4, "linear: %d weights", n);
    x = as_operand(p, x);
    Product downs[4], products[4];
    int adapters = 0;
    for (int i = 0; i < n; i++) {
        Weight& w = *ws[i];
        Lora* l = w.lora;
        require(w.m.in == x.cols, "linear %s: x has %d columns, the weight %d", w.name.c_str(), x.cols, w.m.in);
        Part& part = parts.at[i] = {&w, {}, {}, x};
        Tensor a = l ? l->a : Tensor{};
        part.y = y[i] = p.make(x.rows, w.m.out, type, {x, w.m.w, a});
        products[i] = {part.y, &w.m, {}, nullptr};
        if (!l) continue;
        part.u = p.make(x.rows, a.rows, p.operand);
        products[i].u = part.u, products[i].b = &l->up;
        Product down{part.u, &l->down, {}, nullptr};
        if (p.tape && l->dropout > 0) {
            part.x = p.make(x.rows, x.cols, x.type);
            p.k.dropout(part.x, x, l->dropout, p.tape->dropout_seed, l->site);
            p.k.matmul(&down, 1, part.x);
        } else {
            downs[adapters++] = down;
        }
    }
    if (adapters) p.k.matmul(downs, adapters, x);
    p.k.matmul(products, n, x);

    p.back({parts.at[0].y, parts.at[1].y, parts.at[2].y, parts.at[3].y}, [=](Pass& p) {
        Product backs[4];
        int m = 0;
        for (int i = 0; i < n; i++) {
            const Part& part = parts.at[i];
            Tensor dy = p.d(part.y);
            if (!dy) continue;
            dy = as_operand(p, dy);
            Weight& w = *part.w;
            p.k.matmul_dw(p.grad(w.m.w), dy, x, 1);
            Product& back = backs[m++] = {dy, &w.m, {}, nullptr};
            if (Lora* l = w.lora) {
                Tensor du = p.make(x.rows, l->a.rows, p.operand);
                Product up{du, &l->back_up, {}, nullptr};
                p.k.matmul(&up, 1, dy);
                p.k.matmul_dw(p.grad(l->b), dy, part.u, l->scale);
                p.k.matmul_dw(p.grad(l->a), du, part.x, 1);
                if (part.x.data == x.data) {
                    back.u = du, back.b = &l->back_down;
                } else if (x.grad) {                            // the same mask once more, on the gradient
                    Tensor d = p.make(x.rows, x.cols, x.type);
                    d.fresh = true;
                    Product down{du, &l->down, {}, nullptr};    // du a
                    p.k.matmul_dx(d, &down, 1);
                    p.k.dropout(d, d, l->dropout, p.tape->dropout_seed, l->site);
                    p.k.add_to(p.grad(x), d, 1);
                }
            }
        }
        if (m && x.grad) p.k.matmul_dx(p.grad(x), backs, m);
    });
}

Tensor linear(Pass& p, Tensor x, Weight& w) {
    Tensor y;
    Weight* ws[] = {&w};
    detail::linear(p, x, ws, &y, 1, Type::f32);
    return y;
}

Tensor rope(Pass& p, Tensor x, Tensor turn, int head) {
    p.k.rope(x, x, turn, head, +1);
    Tensor y = p.want(x, {x});
    p.back({y}, [=](Pass& p) {
        Tensor d = p.d(y);
        if (!d) return;
        p.k.rope(d, d, turn, head, -1);                 // y's gradient is over: it turns back where it lies
        p.pass_on(x, y);
    });
    return y;
}

// The one op that looks at other tokens, so the one op that knows the cache.
Tensor attention(Pass& p, Tensor q, Tensor k, Tensor v, int head, float scale, int window, int keeper) {
    Tensor y = p.make(q.rows, q.cols, p.operand, {q, k, v}), l;
    if (p.tape) l = p.make(q.cols / head, q.rows, Type::f32);
    size_t mark = p.mem.used;
    KeyValues kv{nullptr, nullptr, p.operand, k.cols / head, head, 0};
    int key_size = int(key_panel(head)) * kv.heads, value_size = int(value_panel(head)) * kv.heads;
    if (p.cache) {
        require(!p.tape, "attention: a pass with a cache cannot be recorded");
        kv.room = p.cache->panels(window);
        int panels = kv.room * p.cache->slots, layer = keeper < 0 ? p.layer : keeper;
        kv.k = p.cache->state(p.k, layer, keys, panels, key_size, p.operand).data;
        kv.v = p.cache->state(p.k, layer, values, panels, value_size, p.operand).data;
        require(kv.room * 16 >= p.cache->room || p.rows.longest <= p.cache->chunk,
                "attention: a ring for chunks of %d tokens was given %d", p.cache->chunk, p.rows.longest);
    } else {
        int panels = p.rows.n / 16 + p.rows.seqs;
        Tensor ks = p.make(panels, key_size, p.operand), vs = p.make(panels, value_size, p.operand);
        p.k.zero(vs);                                   // what no token has written is multiplied by zero
        kv.k = ks.data, kv.v = vs.data;
    }
    if (!p.cache || keeper < 0) p.k.store_kv(kv, k, v, p.rows);
    p.k.attend(y, l, q, kv, p.rows, scale, window);
    p.mem.rewind(mark);
    p.back({y}, [=](Pass& p) {
        p.k.attend_back(p.grad(q), p.grad(k), p.grad(v), p.d(y), y, l, q, k, v, p.rows, head, scale, window);
    });
    return y;
}

Tensor gated(Pass& p, Tensor g, Tensor u, Gate f) {
    Tensor y = p.make(g.rows, g.cols, p.operand, {g, u});
    p.k.gated(y, g, u, f);
    p.back({y}, [=](Pass& p) { p.k.gated_back(p.grad(g), p.grad(u), p.d(y), g, u, f); });
    return y;
}

Tensor by_heads(Tensor x, int head) {
    x.rows = int(x.count() / size_t(head)), x.cols = head;
    return x;
}

Tensor add(Pass& p, Tensor x, Tensor a) {
    Tensor y = a.type == Type::f32 ? p.want(a, {x, a}) : p.make(x.rows, x.cols, Type::f32, {x, a});
    p.k.add(y, x, a);
    p.back({y}, [=](Pass& p) {
        p.pass_on(a, y);
        p.pass_on(x, y);
    });
    return y;
}

Tensor logits(Pass& p, Tensor h, const Head& head) {
    Tensor x = as_operand(p, h), z = p.make(h.rows, head.w->m.out, Type::f32);
    Product product{z, &head.w->m, {}, nullptr};
    p.k.matmul(&product, 1, x);
    if (head.softcap > 0) p.k.softcap(z, head.softcap);
    return z;
}

Tensor select(Pass& p, Tensor h, const int* rows, int n) {
    Tensor y = p.make(n, h.cols, h.type);
    p.k.select(y, h, rows);
    return y;
}

// d log p / dh is linear in the upstream gradient row by row, so the way back of a chunk is walked while its logits are
// alive, and only scaled later. Where the head itself is trained the chunk's logits are made a second time instead.
Tensor log_probs(Pass& p, Tensor h, const Head& head, Targets t) {
    constexpr int chunk = 256;
    Tensor w = head.w->m.w;
    int dim = h.cols, vocabulary = head.w->m.out;
    Tensor logp = p.make(t.n, 1, Type::f32, {h, w}), dh;
    bool trained = w.grad, ahead = logp.grad && !trained;
    if (ahead) dh = p.make(t.n, dim, Type::f32);
    dh.fresh = true;
    Head by = head;
    // Rows first .. first + n - 1: log p, or (with s) the gradients, scaled.
    auto walk = [=](Pass& p, int first, Tensor logp, Tensor dh, Tensor dw, const float* s) {
        size_t mark = p.mem.used;
        int n = std::min(chunk, t.n - first);
        Tensor x = as_operand(p, select(p, h, t.rows + first, n)), z = logits(p, x, by), dz;
        if (dh || dw) dz = p.make(n, vocabulary, p.operand);
        p.k.pick(logp.slice(first, n), dz, z, t.want + first, s, by.softcap);
        if (dh) {
            Product back{dz, &by.w->m, {}, nullptr};
            p.k.matmul_dx(dh.slice(first, n), &back, 1);
        }
        if (dw) p.k.matmul_dw(dw, dz, x, 1);
        p.mem.rewind(mark);
    };
    for (int first = 0; first < t.n; first += chunk) walk(p, first, logp, dh, {}, nullptr);
    p.back({logp}, [=](Pass& p) {
        const float* s = p.d(logp).f();
        Tensor back = dh;
        if (trained) {
            back = p.make(t.n, dim, Type::f32);
            back.fresh = true;
            Tensor again = p.make(t.n, 1, Type::f32);
            for (int first = 0; first < t.n; first += chunk) walk(p, first, again, back, p.grad(w), s + first);
        }
        p.k.select_back(p.grad(h), back, t.rows, trained ? nullptr : s);
    });
    return logp;
}
