// ref_delta.cpp - what the short convolution and the gated delta rule are.
//
// The rule (Yang, Kautz and Hatamizadeh 2025, arXiv:2412.06464, eq. 10): a head has a state S, [key, value]; a token
//
//   S = e^g S;  u = beta (v - S^T k);  S += k u^T;  o = S^T q
//
// with g = -exp(rate) softplus(a + bias), beta = sigmoid(b), k and q of length 1, q times key^(-1/2). Here by chunks of
// 16 positions counted from the sequence's beginning (ibid., section 3.3). With S the state before the chunk, D_ij the
// decay from position j to i and e_i that from before the chunk to i,
//
//   w_i = v_i - e_i S^T k_i - sum over j < i of P_ij u_j,      P_ij = (k_i.k_j) D_ij,      u_i = beta_i w_i
//   o_i = e_i S^T q_i + sum over j <= i of A_ij u_j,           A_ij = (q_i.k_j) D_ij
//   S   = e_15 S + sum over j of D_15,j k_j u_j^T              when the chunk is full
//
// A row needs the rows before it and nothing else, so a chunk may be cut anywhere, down to the one row of a decoding
// step, and gives the same bits; the state is read once a pass and written once a chunk. Decays add up the g between
// two positions, not differences of sums from the beginning, which would cancel.
#include "ref.h"
#include <algorithm>
#include <vector>

namespace ref {

// ---- the convolution

// Number c of the row `back` positions before row i: of the pass, of the tail, or zero before the beginning.
static float before(Tensor x, Tensor tail, const Rows& b, int s, int i, int back, int c, int taps) {
    int pos = b.pos[i] - back;
    if (i - back >= b.first[s]) return read(x, size_t(i - back) * x.cols + c);
    return pos < 0 || !tail ? 0 : read(tail, size_t(tail_row(b, s, pos, taps)) * x.cols + c);
}

void convolve(Tensor y, Tensor x, Tensor w, Tensor tail, const Rows& b) {
    int taps = int(w.count() / x.cols);
    for (int s = 0; s < b.seqs; s++) {
        for (int i = b.first[s]; i < b.first[s + 1]; i++)
            for (int c = 0; c < x.cols; c++) {
                float u = 0;
                for (int j = 0; j < taps; j++)
                    u = std::fmaf(w.f()[c * taps + j], before(x, tail, b, s, i, taps - 1 - j, c, taps), u);
                write(y, size_t(i) * x.cols + c, u * sigmoid(u));
            }
        for (int i = std::max(b.first[s], b.first[s + 1] - taps + 1); i < b.first[s + 1] && tail; i++)
            copy(tail.slice(tail_row(b, s, b.pos[i], taps), 1), x.slice(i, 1));
    }
}

// du = dy silu'(u); dx_t = sum over i of w_(taps-1-i) du_(t+i); dw_j = sum over t of du_t x_(t-taps+1+j).
void convolve_back(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, const Rows& b) {
    int taps = int(w.count() / x.cols);
    for (int s = 0; s < b.seqs; s++)
        for (int c = 0; c < x.cols; c++) {
            int first = b.first[s], n = b.first[s + 1] - first;
            std::vector<float> du(n);
            for (int t = 0; t < n; t++) {
                float u = 0;
                for (int j = 0; j < taps; j++)
                    u = std::fmaf(w.f()[c * taps + j], before(x, {}, b, s, first + t, taps - 1 - j, c, taps), u);
                float g = sigmoid(u);
                du[t] = read(dy, size_t(first + t) * x.cols + c) * (g * (1 + u * (1 - g)));
                for (int j = 0; j < taps && dw; j++) {
                    float& d = dw.f()[c * taps + j];
                    d = std::fmaf(du[t], before(x, {}, b, s, first + t, taps - 1 - j, c, taps), d);
                }
            }
            for (int t = 0; t < n && dx; t++) {
                float d = 0;
                for (int i = 0; i < taps && t + i < n; i++) d = std::fmaf(w.f()[c * taps + taps - 1 - i], du[t + i], d);
                give(dx, size_t(first + t) * x.cols + c, d);
            }
        }
}

// ---- the delta rule

namespace {

constexpr int C = 16;
using Numbers = std::vector<float>;

// c(i, j) = one chain over s of x(i, s) w(s, j), beginning with what is there if `more`.
template <class X, class W> void chains(Numbers& c, int rows, int cols, int steps, X x, W w, bool more = false) {
    c.resize(size_t(rows) * cols);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            float& acc = c[size_t(i) * cols + j];
            if (!more) acc = 0;
            for (int s = 0; s < steps; s++) acc = std::fmaf(x(i, s), w(s, j), acc);
        }
}
float dot(const float* a, const float* b, int n) {
    Lanes sum;
    for (int j = 0; j < n; j++) sum.fma(j, a[j], b[j]);
    return sum.sum();
}

// What the rule is given, by heads.
struct Inputs {
    Tensor x, a, b, rate, bias;
    const DeltaRule& r;

    size_t q_at(int i, int kh) const { return size_t(i) * x.cols + kh * r.key; }
    size_t k_at(int i, int kh) const { return q_at(i, r.key_heads + kh); }
    size_t v_at(int i, int h) const { return size_t(i) * x.cols + 2 * r.key_heads * r.key + h * r.value; }

    float over_length(size_t at) const {
        Lanes sum;
        for (int d = 0; d < r.key; d++) sum.fma(d, read(x, at + d), read(x, at + d));
        return 1 / std::sqrt(sum.sum() + 1e-6f);
    }
    float query_scale() const { return 1 / std::sqrt(float(r.key)); }
    float speed(int h) const { return exp2(rate.f()[h] * log2e); }
    float step(int i, int h) const { return read(a, size_t(i) * r.value_heads + h) + bias.f()[h]; }
    float beta(int i, int h) const { return sigmoid(read(b, size_t(i) * r.value_heads + h)); }
};

// A chunk of one value head. State, keys, writes and decays lie where a cache has them; the rest is of its rows here.
struct Chunk {
    const Inputs& in;
    bool begins;                                                // the first: there is no state before it
    int head, key, value, wide, n = 0;                          // n: rows so far
    float *state, *K, *U, *g;                                   // [key][wide], [key][16], [16][wide], [16]
    Numbers q, k, w, o;                                         // [16][key] or [16][value]
    float beta[C], e[C], D[C][C], kk[C][C], qk[C][C];

    Chunk(const Inputs& in, int head, bool begins, float* state, float* open)
        : in(in), begins(begins), head(head), key(in.r.key), value(in.r.value), wide(in.r.wide()), state(state),
          K(open), U(K + C * key), g(U + C * wide), q(C * key), k(C * key), w(C * value), o(C * value) {}

    float S(int d, int c) const { return begins ? 0 : state[size_t(d) * wide + c]; }
    float P(int i, int j) const { return kk[i][j] * D[i][j]; }
    float A(int i, int j) const { return qk[i][j] * D[i][j]; }
    float k_of(int d, int i) const { return K[d * C + i]; }
    float q_of(int d, int i) const { return q[i * key + d]; }

    // Row i of the chunk is row `row` of the pass.
    void enter(int row, int i) {
        int kh = in.r.key_head(head);
        float rq = in.over_length(in.q_at(row, kh)) * in.query_scale(), rk = in.over_length(in.k_at(row, kh));
        for (int d = 0; d < key; d++) {
            q[i * key + d] = read(in.x, in.q_at(row, kh) + d) * rq;
            k[i * key + d] = K[d * C + i] = read(in.x, in.k_at(row, kh) + d) * rk;
        }
        g[i] = -(in.speed(head) * softplus(in.step(row, head)));
        beta[i] = in.beta(row, head);
        float since = 0;
        for (int t = 0; t <= i; t++) since += g[t];
        e[i] = exp2(since * log2e);
        for (int j = 0; j <= i; j++) {
            float between = 0;
            for (int t = j + 1; t <= i; t++) between += g[t];
            D[i][j] = exp2(between * log2e);
            kk[i][j] = qk[i][j] = 0;
            for (int d = 0; d < key; d++) {
                kk[i][j] = std::fmaf(k[i * key + d], k_of(d, j), kk[i][j]);
                qk[i][j] = std::fmaf(q[i * key + d], k_of(d, j), qk[i][j]);
            }
        }
        for (int c = 0; c < value; c++) {
            float seen = 0, out = 0;
            for (int d = 0; d < key; d++) {
                seen = std::fmaf(e[i] * k[i * key + d], S(d, c), seen);
                out = std::fmaf(e[i] * q[i * key + d], S(d, c), out);
            }
            float left = read(in.x, in.v_at(row, head) + c) - seen;
            for (int j = 0; j < i; j++) left = std::fmaf(-P(i, j), U[j * wide + c], left);
            w[i * value + c] = left;
            U[i * wide + c] = beta[i] * left;
            for (int j = 0; j <= i; j++) out = std::fmaf(A(i, j), U[j * wide + c], out);
            o[i * value + c] = out;
        }
        n = i + 1;
    }
    void fold(float* next) const {                              // may be `state`
        for (int d = 0; d < key; d++)
            for (int c = 0; c < value; c++) {
                float s = e[C - 1] * S(d, c);
                for (int j = 0; j < C; j++) s = std::fmaf(k_of(d, j) * D[C - 1][j], U[j * wide + c], s);
                next[size_t(d) * wide + c] = s;
            }
    }
};

}  // namespace

void delta(Tensor y, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    Inputs in{x, a, b, rate, bias, r};
    for (int s = 0; s < rows.seqs; s++)
        for (int h = 0; h < r.value_heads; h++) {
            Numbers state(r.state_size()), open(r.open_size());
            size_t head = r.state ? size_t(rows.slot[s]) * r.value_heads + h : 0;
            Chunk c(in, h, true, r.state ? r.state + head * r.state_size() : state.data(),
                    r.state ? r.open + head * r.open_size() : open.data());
            for (int i = rows.first[s]; i < rows.first[s + 1]; i++) {
                int at = rows.pos[i] % C;
                c.begins = rows.pos[i] < C;
                c.enter(i, at);
                for (int j = 0; j < r.value; j++)
                    write(y, (size_t(i) * r.value_heads + h) * r.value + j, c.o[at * r.value + j]);
                if (at == C - 1) c.fold(c.state);
            }
        }
}

// ---- the way back

namespace {

// The gradients of one chunk of one head, from those of its outputs and of the state behind it.
struct ChunkBack {
    Numbers dq, dk, dw;                                         // [rows][key], [rows][key], [rows][value]
    float dg[C], dbeta[C];

    ChunkBack(const Chunk& c, const Numbers& dy, Numbers& dS, bool last) {
        int n = c.n, key = c.key, value = c.value;
        const float* D_end = c.D[n - 1];
        auto u = [&](int i, int j) { return c.U[i * c.wide + j]; };
        auto end = [&](int d, int j) { return dS[size_t(d) * value + j]; };
        auto o = [&](int i, int j) { return dy[i * value + j]; };
        auto m = [&](int i, int j) { return -(c.e[i] * dw[i * value + j]); };       // gradient of S^T k_i

        // du from the state behind, then from the outputs and writes of later rows.
        Numbers du(size_t(n) * value);
        if (!last)
            chains(du, n, value, key, [&](int i, int d) { return c.k[i * key + d] * D_end[i]; }, end);
        dw.resize(du.size());
        for (int i = n - 1; i >= 0; i--) {
            for (int j = 0; j < value; j++) {
                float& d = du[i * value + j];
                for (int t = i; t < n; t++) {
                    d = std::fmaf(c.A(t, i), o(t, j), d);
                    if (t > i) d = std::fmaf(-c.P(t, i), dw[t * value + j], d);
                }
                dw[i * value + j] = c.beta[i] * d;
            }
            dbeta[i] = dot(&du[i * value], &c.w[i * value], value);
        }

        // Of the pairs: X of A and Y of P, both times D; what each pair gives to the decay between its two.
        float X[C][C] = {}, Y[C][C] = {}, E[C][C] = {};
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) {
                float of_a = 0, of_p = 0;
                for (int t = 0; t < value; t++) {
                    of_a = std::fmaf(o(i, t), u(j, t), of_a);
                    of_p = std::fmaf(dw[i * value + t], u(j, t), of_p);
                }
                X[i][j] = of_a * c.D[i][j];
                if (j == i) continue;
                Y[i][j] = -of_p * c.D[i][j];
                E[i][j] = X[i][j] * c.qk[i][j] + Y[i][j] * c.kk[i][j];
            }

        // dq and dk: by way of the state before, of the state behind, of the pairs.
        Numbers behind(size_t(n) * key);
        auto St = [&](int j, int d) { return c.S(d, j); };
        auto k = [&](int t, int d) { return c.k[t * key + d]; };
        chains(dq, n, key, value, [&](int i, int j) { return c.e[i] * o(i, j); }, St);
        chains(dk, n, key, value, m, St);
        if (!last)
            chains(behind, n, key, value, [&](int i, int j) { return u(i, j) * D_end[i]; },
                   [&](int j, int d) { return end(d, j); });
        float before[C], after[C], whole = 0;
        for (int i = 0; i < n; i++) {
            before[i] = dot(&c.q[i * key], &dq[i * key], key) + dot(&c.k[i * key], &dk[i * key], key);
            after[i] = last ? 0 : dot(&c.k[i * key], &behind[i * key], key);
            for (int d = 0; d < key && !last; d++) dk[i * key + d] += behind[i * key + d];
        }
        chains(dq, n, key, n, [&](int i, int t) { return X[i][t]; }, k, true);
        chains(dk, n, key, n, [&](int i, int t) { return Y[i][t] + Y[t][i]; }, k, true);
        chains(dk, n, key, n, [&](int i, int t) { return X[t][i]; }, [&](int t, int d) { return c.q_of(d, t); }, true);

        // dg: every decay that spans the step to row t.
        Lanes all;
        for (int j = 0; j < value && !last; j++) {
            float sum = 0;
            for (int d = 0; d < key; d++) sum = std::fmaf(end(d, j), c.S(d, j), sum);
            all.add(j, sum);
        }
        if (!last) whole = c.e[n - 1] * all.sum();
        float since = 0, until = 0, from[C] = {};
        for (int t = n - 1; t >= 0; t--) {
            since += before[t];
            Lanes spans;
            for (int j = 0; j < t; j++) spans.add(j, from[j] += E[t][j]);
            dg[t] = since + spans.sum();
        }
        for (int t = 0; t < n; t++) {
            dg[t] = (dg[t] + until) + whole;
            until += after[t];
        }

        // The state before.
        for (float& d : dS) d = last ? 0 : c.e[n - 1] * d;
        chains(dS, key, value, n, [&](int d, int i) { return c.e[i] * c.q_of(d, i); }, o, true);
        chains(dS, key, value, n, [&](int d, int i) { return c.k_of(d, i); }, m, true);
    }
};

// x = y / r: dx = r (dy - y (y.dy)).
void length_back(Tensor dx, Tensor x, size_t at, float r, const float* dy, float scale, int n) {
    Numbers y(n), d(n);
    for (int j = 0; j < n; j++) y[j] = read(x, at + j) * r, d[j] = dy[j] * scale;
    float along = dot(y.data(), d.data(), n);
    for (int j = 0; j < n; j++) give(dx, at + j, std::fmaf(-y[j], along, d[j]) * r);
}

}  // namespace

// From the last chunk to the first. What a key head gets from its value heads is added up in their order.
void delta_back(Tensor dx, Tensor da, Tensor db, Tensor drate, Tensor dbias, Tensor dy, Tensor x, Tensor a, Tensor b,
                Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    Inputs in{x, a, b, rate, bias, r};
    Numbers dgs(size_t(rows.n) * r.value_heads);
    for (int s = 0; s < rows.seqs; s++)
        for (int kh = 0; kh < r.key_heads; kh++) {
            int first = rows.first[s], n = rows.first[s + 1] - first, chunks = (n + C - 1) / C;
            std::vector<Numbers> dq(chunks), dk(chunks);
            for (int h = 0; h < r.value_heads; h++) {
                if (r.key_head(h) != kh) continue;
                std::vector<Numbers> states(chunks + 1, Numbers(r.state_size())), open(chunks, Numbers(r.open_size()));
                std::vector<Chunk> there;
                for (int t = 0; t < chunks; t++) {
                    Chunk& c = there.emplace_back(in, h, t == 0, states[t].data(), open[t].data());
                    for (int i = 0; i < C && t * C + i < n; i++) c.enter(first + t * C + i, i);
                    if (t + 1 < chunks) c.fold(states[t + 1].data());
                }
                Numbers dS(size_t(r.key) * r.value);
                for (int t = chunks - 1; t >= 0; t--) {
                    const Chunk& c = there[t];
                    int row = first + t * C;
                    Numbers out(size_t(c.n) * r.value);
                    for (int i = 0; i < c.n; i++)
                        for (int j = 0; j < r.value; j++)
                            out[i * r.value + j] = read(dy, (size_t(row + i) * r.value_heads + h) * r.value + j);
                    ChunkBack back(c, out, dS, t == chunks - 1);
                    for (int i = 0; i < c.n; i++) {
                        size_t at = size_t(row + i) * r.value_heads + h;
                        float step = in.step(row + i, h), dstep = -(back.dg[i] * in.speed(h)) * sigmoid(step);
                        dgs[at] = back.dg[i];
                        if (da) give(da, at, dstep);
                        if (db) give(db, at, back.dbeta[i] * (c.beta[i] * (1 - c.beta[i])));
                        for (int j = 0; j < r.value && dx; j++)
                            give(dx, in.v_at(row + i, h) + j, back.dw[i * r.value + j]);
                    }
                    for (auto [sum, part] : {std::pair{&dq[t], &back.dq}, {&dk[t], &back.dk}}) {
                        if (sum->empty()) *sum = *part;
                        else for (size_t i = 0; i < sum->size(); i++) (*sum)[i] += (*part)[i];
                    }
                }
            }
            for (int i = 0; i < n && dx; i++) {
                size_t q = in.q_at(first + i, kh), k = in.k_at(first + i, kh), at = size_t(i % C) * r.key;
                length_back(dx, x, q, in.over_length(q), &dq[i / C][at], in.query_scale(), r.key);
                length_back(dx, x, k, in.over_length(k), &dk[i / C][at], 1, r.key);
            }
        }
    for (int i = 0; i < rows.n; i++)
        for (int h = 0; h < r.value_heads; h++) {
            float dg = dgs[size_t(i) * r.value_heads + h], step = in.step(i, h);
            if (drate) drate.f()[h] = std::fmaf(dg, -(in.speed(h) * softplus(step)), drate.f()[h]);
            if (dbias) dbias.f()[h] += -(dg * in.speed(h)) * sigmoid(step);
        }
}

}  // namespace ref
