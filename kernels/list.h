// list.h - every kernel, once: its name, its arguments, what it computes. Read this page first.
//
// Letters, fixed here: x a product's input, y its output, w a weight; n rows are tokens; d before a name is its
// gradient. Outputs come first. A gradient may be absent (nobody wants it); when it is `fresh` it is overwritten,
// otherwise added to. Operands of products are bf16, or f32 for --precision f32: the type of x decides the arithmetic,
// and ref.cpp defines it to the bit. Every sum has one order, whatever the number of rows, threads or lanes, so that
// the same row gives the same bits in every batch and on every instruction set.
#pragma once
#include "tensor.h"

// Which rows of a pass are which tokens: rows first[s] .. first[s+1]-1 are consecutive positions of sequence s.
struct Rows {
    int n = 0, seqs = 0;
    const int *ids = nullptr, *pos = nullptr;       // [n]
    const int* first = nullptr;                     // [seqs + 1]
    const int* slot = nullptr;                      // [seqs] where each sequence's state lives in the cache
    int longest = 0;                                // rows of the longest sequence
};

// A matrix w(out, in) that products multiply by: as it is stored, and the one copy that this machine's kernels read.
struct Matrix {
    int out = 0, in = 0;
    Tensor w;                       // (out, in), or (in, out) if `transposed`; any type, straight from the file
    bool transposed = false;
    float scale = 1;                // folded into the copy (an adapter's alpha / r)
    Type operand = Type::bf16;      // the arithmetic that the copy was made for: the type of x
    void* panels = nullptr;         // made by pack; null for the scalar reference, which reads w
    size_t panel_bytes = 0;
};

// One of the products that share x: y = x w^T, continued in the same sums by u b^T where an adapter rides on w.
struct Product {
    Tensor y;
    const Matrix* w = nullptr;
    Tensor u;                       // [n, rank], an operand; absent: no adapter
    const Matrix* b = nullptr;
};

// Keys and values as attention reads them, in panels of 16 positions.
//   k: [panel][head][size / 2][16][2]    v: [panel][head][8][size rounded up to 16][2]      (bf16)
//   k: [panel][head][size][16]           v: [panel][head][16][size rounded up to 16]        (f32)
// A cache has `room` panels a slot, used as a ring: a room smaller than the sequence is a sliding window's. Without a
// cache (room 0) the panels of the pass's sequences lie one after another.
struct KeyValues {
    void *k = nullptr, *v = nullptr;
    Type type = Type::bf16;
    int heads = 0, size = 0, room = 0;
};
inline int panel_of(const KeyValues& kv, const Rows& b, int s, int pos) {
    return kv.room ? b.slot[s] * kv.room + pos / 16 % kv.room : b.first[s] / 16 + s + pos / 16;
}
inline size_t key_panel(int size) { return size_t(size) * 16; }                     // numbers a head and panel
inline size_t value_panel(int size) { return size_t((size + 15) & ~15) * 16; }

// Where a short convolution's tail keeps position `pos` of sequence s: each slot has a row for each of the last taps - 1.
inline int tail_row(const Rows& b, int s, int pos, int taps) { return b.slot[s] * (taps - 1) + pos % (taps - 1); }

// Heads of the gated delta rule: it goes through a sequence in chunks of 16 positions, counted from its beginning. A
// cache has, of each slot and value head, the state at the beginning of the chunk and what its rows so far have left:
//   state: [key][value rounded up to 16]
//   open:  keys [key][16], then what was written [16][value rounded up to 16], then log decays [16]
// Before position 16 the state is zero, whatever lies there. Without a cache (state null) every sequence begins at 0.
struct DeltaRule {
    int key_heads = 0, value_heads = 0, key = 0, value = 0;     // numbers, and sizes
    bool tiled = false;             // value head h has key head h mod key_heads instead of h / (value_heads / key_heads)
    float *state = nullptr, *open = nullptr;
    int key_head(int h) const { return tiled ? h % key_heads : h / (value_heads / key_heads); }
    int wide() const { return (value + 15) & ~15; }
    size_t state_size() const { return size_t(key) * wide(); }              // numbers a slot and value head
    size_t open_size() const { return 16 * (size_t(key) + wide() + 1); }
};

enum class Gate { silu, gelu_tanh, sigmoid };

// How tokens are drawn from logits: softmax(z / temperature) over the top_k best, of these over the fewest that make up
// top_p of the sum, of these over those that have min_p of the best one's probability.
struct Draw {
    float scale = 0;                // log2(e) / temperature, at most 1e30
    int top_k = 0;                  // 0: all
    double top_p = 1, min_p = 0;
    uint64_t seed = 0;
    const uint64_t* stream = nullptr;       // [n] of each row of logits: which sequence draws
    const int *pos = nullptr, *row = nullptr;   // [n] logits i are of row row[i] of a pass; the token will stand at
};                                              // pos[row[i]] + 1. The number drawn depends on seed, stream and place

struct AdamW { float lr, beta1, beta2, eps, decay; int step; };         // step counts from 1

#define DD_KERNELS(K) \
  /* moving */ \
  K(zero,        (Tensor y))                                        /* y = 0                                              */ \
  K(copy,        (Tensor y, Tensor x))                              /* y = x, in y's type                                 */ \
  K(add,         (Tensor y, Tensor a, Tensor b))                    /* y = a + b; y may be a or b                         */ \
  K(add_to,      (Tensor dx, Tensor dy, float s))                   /* dx += s dy                                         */ \
  K(gather,      (Tensor y, Tensor table, const int* ids, float s)) /* y[i] = s table[ids[i]], table of any type          */ \
  K(gather_back, (Tensor dtable, Tensor dy, const int* ids, float s, int pad))  /* row `pad` gets none                    */ \
  K(select,      (Tensor y, Tensor x, const int* rows))             /* y[i] = x[rows[i]]                                  */ \
  K(select_back, (Tensor dx, Tensor dy, const int* rows, const float* s))   /* dx[rows[i]] += s[i] dy[i]                  */ \
  K(columns,     (Tensor y, Tensor x, int first))                   /* y = columns first .. first + y.cols - 1 of x       */ \
  K(columns_back, (Tensor dx, Tensor dy, int first))                /* their gradient; fresh: of the others zero          */ \
  K(follow,      (int* ids, int* pos, const int* next, int n))      /* ids = next, pos += 1: every sequence's next token  */ \
  /* products */ \
  K(pack,        (Matrix& m))                                       /* fills m.panels; with m.panels null, m.panel_bytes  */ \
  K(matmul,      (const Product* p, int n, Tensor x))               /* p[i].y = x w^T + u b^T, for each of n products     */ \
  K(matmul_dx,   (Tensor dx, const Product* p, int n))              /* dx += sum over p of y w + u b^T; y, u are gradients */ \
  K(matmul_dw,   (Tensor dw, Tensor dy, Tensor x, float s))         /* dw += s dy^T x                                     */ \
  /* rows */ \
  K(rms_norm,    (Tensor y, Tensor r, Tensor x, Tensor w, float eps))   /* y = x/rms(x) w, by chunks of w; r = 1/rms      */ \
  K(rms_norm_back, (Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor r)) \
  K(gated,       (Tensor y, Tensor g, Tensor u, Gate f))            /* y = f(g) u                                         */ \
  K(gated_back,  (Tensor dg, Tensor du, Tensor dy, Tensor g, Tensor u, Gate f)) \
  K(rotations,   (Tensor t, const int* pos, const float* freq, int pairs))  /* t[i] = cos | sin of pos[i] freq[j], freq   */ \
                                                                    /* in the process's memory                            */ \
  K(rope,        (Tensor y, Tensor x, Tensor t, int head, int sign))    /* turns pairs (j, j + t.cols/2) of each head     */ \
  K(dropout,     (Tensor y, Tensor x, float rate, uint64_t seed, uint64_t site))    /* keeps or drops, scales by 1/(1-rate) */ \
  /* attention */ \
  K(store_kv,    (KeyValues kv, Tensor k, Tensor v, const Rows& b))  /* appends rows to the panels                        */ \
  K(attend,      (Tensor y, Tensor l, Tensor q, KeyValues kv, const Rows& b, float scale, int window)) \
                                                                    /* causal softmax(scale q k^T) v over the last window */ \
                                                                    /* positions (0: all); l = log2 sum exp, [heads, n]   */ \
  K(attend_back, (Tensor dq, Tensor dk, Tensor dv, Tensor dy, Tensor y, Tensor l, Tensor q, Tensor k, Tensor v, \
                  const Rows& b, int head, float scale, int window)) \
  /* linear attention */ \
  K(convolve,    (Tensor y, Tensor x, Tensor w, Tensor tail, const Rows& b)) \
                                                                    /* y[t] = silu(sum over j of w[c][j] x[t-taps+1+j]),  */ \
                                                                    /* w by channel, x.cols of them; tail: the last rows  */ \
                                                                    /* of each slot, position t in row t mod (taps - 1)   */ \
  K(convolve_back, (Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, const Rows& b)) \
  K(delta,       (Tensor y, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, const DeltaRule& d, const Rows& r)) \
                                                                    /* x = q | k | v; writes by sigmoid(b), log decays    */ \
                                                                    /* -exp(rate) softplus(a + bias): see ref_delta.cpp   */ \
  K(delta_back,  (Tensor dx, Tensor da, Tensor db, Tensor drate, Tensor dbias, Tensor dy, Tensor x, Tensor a, Tensor b, \
                  Tensor rate, Tensor bias, const DeltaRule& d, const Rows& r)) \
  /* the loss head */ \
  K(softcap,     (Tensor y, float c))                               /* y = c tanh(y / c)                                  */ \
  K(pick,        (Tensor logp, Tensor dz, Tensor z, const int* want, const float* s, float c)) \
                                                                    /* logp = log softmax(z)[want]; dz = s its gradient,  */ \
                                                                    /* through the softcap c (0: none) that made z        */ \
  K(argmax,      (int* best, Tensor z))                             /* the first of the largest of each row; NaN is none  */ \
  K(sample,      (int* next, Tensor z, const Draw& d))              /* a token drawn for each row: see ref_sample.cpp     */ \
  K(penalise,    (Tensor y, Tensor z, Tensor seen, const Rows& b, const int* row, float penalty)) \
                                                                    /* y[i][t] = z[i][t] / penalty, or times it where it  */ \
                                                                    /* is not positive, for every t so far of the sequence */ \
                                                                    /* of row[i]; seen [slot][position]: the tokens, -1   */ \
                                                                    /* for one that was there before; b's come first      */ \
  /* edits */ \
  K(scale_heads, (Tensor y, Tensor x, Tensor s))                    /* head h of every row times s[h]                     */ \
  K(scale_heads_back, (Tensor dx, Tensor ds, Tensor dy, Tensor x, Tensor s)) \
  K(add_row,     (Tensor y, Tensor x, Tensor v, float s))           /* y = x + s v, v one row                             */ \
  K(sum_rows,    (Tensor dv, Tensor dy, float s))                   /* dv += s sum over rows of dy                        */ \
  K(project_out, (Tensor y, Tensor x, Tensor v))                    /* y = x - (x.v / v.v) v; its own adjoint             */ \
  /* optimizer */ \
  K(sum_squares, (double* sum, Tensor x))                           /* *sum += |x|^2                                      */ \
  K(adamw,       (Tensor w, Tensor m, Tensor v, Tensor g, float gs, const AdamW& a))    /* on gradients gs g              */
