// ref_attention.cpp - what attention is.
//
// Forward, for query i and head h (Vaswani et al. 2017, eq. 1): scores s_j = q.k_j by one chain; e_j = 2^(c s_j - m)
// with c = scale log2(e) and m the largest c s_j; their sum in 16 lanes, key at position p in lane p mod 16; the
// output by one chain over keys, e_j rounded to the operand's type, divided by the sum at the end. Nothing depends on
// which rows are computed together: the largest score is taken before anything is summed, and a key that may not be
// seen adds an exact zero.
#include "ref.h"
#include <algorithm>
#include <vector>

namespace ref {

static float dot2(float acc, bool pairs, float a0, float b0, float a1, float b1) {     // two steps of a chain
    return pairs ? std::fmaf(a0, b0, std::fmaf(a1, b1, acc)) : std::fmaf(a1, b1, std::fmaf(a0, b0, acc));
}

// Where key (or value) number j of head h of position p lies in the panels of sequence s.
static size_t key_at(const KeyValues& kv, const Rows& b, int s, int h, int p, int j) {
    size_t panel = size_t(panel_of(kv, b, s, p)) * kv.heads + h, lane = p % 16;
    size_t in = kv.type == Type::bf16 ? j / 2 * 32 + lane * 2 + j % 2 : j * 16 + lane;
    return panel * key_panel(kv.size) + in;
}
static size_t value_at(const KeyValues& kv, const Rows& b, int s, int h, int p, int j) {
    size_t panel = size_t(panel_of(kv, b, s, p)) * kv.heads + h, lane = p % 16, wide = (kv.size + 15) & ~15;
    size_t in = kv.type == Type::bf16 ? lane / 2 * 2 * wide + j * 2 + lane % 2 : lane * wide + j;
    return panel * value_panel(kv.size) + in;
}

void store_kv(KeyValues kv, Tensor k, Tensor v, const Rows& b) {
    Tensor keys{kv.k, 1, 1, kv.type}, values{kv.v, 1, 1, kv.type};
    for (int s = 0; s < b.seqs; s++)
        for (int i = b.first[s]; i < b.first[s + 1]; i++)
            for (int h = 0; h < kv.heads; h++)
                for (int j = 0; j < kv.size; j++) {
                    size_t from = size_t(i) * k.cols + h * kv.size + j;
                    write(keys, key_at(kv, b, s, h, b.pos[i], j), read(k, from));
                    write(values, value_at(kv, b, s, h, b.pos[i], j), read(v, from));
                }
}

void attend(Tensor y, Tensor l, Tensor q, KeyValues kv, const Rows& b, float scale, int window) {
    Tensor keys{kv.k, 1, 1, kv.type}, values{kv.v, 1, 1, kv.type};
    int d = kv.size, heads = q.cols / d, group = heads / kv.heads;
    bool pairs = q.type == Type::bf16;
    float c = scale * log2e;
    std::vector<float> e;
    for (int s = 0; s < b.seqs; s++)
        for (int i = b.first[s]; i < b.first[s + 1]; i++)
            for (int h = 0; h < heads; h++) {
                int last = b.pos[i], first = window ? std::max(0, last - window + 1) : 0, kh = h / group;
                size_t at = size_t(i) * q.cols + h * d;
                float top = -INFINITY;
                e.assign(last + 2, 0);
                for (int t = first; t <= last; t++) {
                    for (int j = 0; j < d; j += 2)
                        e[t] = dot2(e[t], pairs, read(q, at + j), read(keys, key_at(kv, b, s, kh, t, j)),
                                    read(q, at + j + 1), read(keys, key_at(kv, b, s, kh, t, j + 1)));
                    top = std::max(top, e[t]);
                }
                float m = top * c;
                Lanes sum;
                for (int t = first; t <= last; t++) {
                    e[t] = exp2(std::fmaf(e[t], c, -m));
                    sum.add(t, e[t]);
                    e[t] = round_to(q.type, e[t]);
                }
                float total = sum.sum();
                if (l) l.f()[size_t(h) * q.rows + i] = m + std::log2(total);
                for (int j = 0; j < d; j++) {
                    float o = 0;
                    for (int t = first & ~1; t <= last; t += 2)
                        o = dot2(o, pairs, e[t], e[t] ? read(values, value_at(kv, b, s, kh, t, j)) : 0,
                                 e[t + 1], e[t + 1] ? read(values, value_at(kv, b, s, kh, t + 1, j)) : 0);
                    write(y, at + j, o * (1 / total));
                }
            }
}

// The way back (Dao 2023, FlashAttention-2, section 2.3.2), e from l again: D_i = dy_i.y_i, dp = dy_i.v_j,
// ds = e scale (dp - D_i); dv_j = sum over queries e dy_i, dk_j = sum ds q_i, dq_i = sum over keys ds k_j, with e and
// ds rounded to the operand's type; chains over queries take a group's heads one after another.
void attend_back(Tensor dq, Tensor dk, Tensor dv, Tensor dy, Tensor y, Tensor l, Tensor q, Tensor k, Tensor v,
                 const Rows& b, int d, float scale, int window) {
    int heads = q.cols / d, group = heads / (k.cols / d);
    bool pairs = q.type == Type::bf16;
    float c = scale * log2e;
    for (int s = 0; s < b.seqs; s++) {
        int first = b.first[s], n = b.first[s + 1] - first;
        std::vector<float> dks(size_t(n) * k.cols), dvs(size_t(n) * k.cols);
        for (int h = 0; h < heads; h++) {
            int wide = n + n % 2;
            std::vector<float> e(size_t(wide) * wide), ds(size_t(wide) * wide);       // [query][key]
            auto at = [&](const Tensor& t, int i, int head, int j) {
                return read(t, size_t(first + i) * t.cols + head * d + j);
            };
            for (int i = 0; i < n; i++) {
                Lanes mean;
                for (int j = 0; j < d; j++) mean.fma(j, at(y, i, h, j), at(dy, i, h, j));
                float D = mean.sum(), lse = l.f()[size_t(h) * q.rows + first + i];
                for (int t = window ? std::max(0, i - window + 1) : 0; t <= i; t++) {
                    float score = 0, dp = 0;
                    for (int j = 0; j < d; j += 2) {
                        score = dot2(score, pairs, at(q, i, h, j), at(k, t, h / group, j), at(q, i, h, j + 1),
                                     at(k, t, h / group, j + 1));
                        dp = dot2(dp, pairs, at(dy, i, h, j), at(v, t, h / group, j), at(dy, i, h, j + 1),
                                  at(v, t, h / group, j + 1));
                    }
                    float p = exp2(std::fmaf(score, c, -lse));
                    e[size_t(i) * wide + t] = round_to(q.type, p);
                    ds[size_t(i) * wide + t] = round_to(q.type, p * scale * (dp - D));
                }
            }
            auto row = [&](const Tensor& t, int i, int head, int j) { return i < n ? at(t, i, head, j) : 0; };
            for (int t = 0; t < n; t++)
                for (int j = 0; j < d; j++) {
                    float &dv1 = dvs[size_t(t) * k.cols + h / group * d + j],
                          &dk1 = dks[size_t(t) * k.cols + h / group * d + j], dq1 = 0;
                    for (int i = 0; i < n; i += 2) {
                        size_t a = size_t(i) * wide + t, next = a + wide;
                        dv1 = dot2(dv1, pairs, e[a], row(dy, i, h, j), e[next], row(dy, i + 1, h, j));
                        dk1 = dot2(dk1, pairs, ds[a], row(q, i, h, j), ds[next], row(q, i + 1, h, j));
                    }
                    for (int i = 0; i < n; i += 2)
                        dq1 = dot2(dq1, pairs, ds[size_t(t) * wide + i], row(k, i, h / group, j),
                                   ds[size_t(t) * wide + i + 1], row(k, i + 1, h / group, j));
                    if (dq) give(dq, size_t(first + t) * q.cols + h * d + j, dq1);
                }
        }
        for (size_t i = 0; i < dks.size(); i++) {
            if (dk) give(dk, size_t(first) * k.cols + i, dks[i]);
            if (dv) give(dv, size_t(first) * k.cols + i, dvs[i]);
        }
    }
}

}  // namespace ref
