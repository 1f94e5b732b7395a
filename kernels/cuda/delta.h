// delta.h - what the delta rule's kernels share: its inputs made ready, and what the rows of a chunk are to each other.
//
// ref_delta.cpp says what the rule is; letters as there. Everything is f32, and every sum over a key or a value but
// that of a length is one chain, so that a row has the reference's bits but for those of its length, however the chunk
// is cut.
#pragma once
#include "device.h"

namespace DD_CUDA {

constexpr int chunk = 16, delta_threads = chunk * chunk;

// A pass, after prepare().
struct Rule {
    DeltaRule r;
    Rows b;
    Numbers x, a, open; // open: what a token writes by, before its sigmoid
    const float *rate, *bias;
    float *q, *k;                  // [row][key head][key], as long as they must be
    float *g = nullptr, *beta = nullptr; // [row][value head]
};
__device__ __forceinline__ int key_head(const DeltaRule& r, int h) {
    return r.tiled ? h % r.key_heads : h / (r.value_heads / r.key_heads);
}
__device__ __forceinline__ size_t value_at(const Rule& w, int row, int h) { // of x
    return size_t(row) * w.x.cols + 2 * w.r.key_heads * w.r.key + h * w.r.value;
}
// Keys and queries, by turns: number 2 kh or 2 kh + 1 of a row's heads.
__device__ __forceinline__ size_t side_at(const Rule& w, int row, int kh, bool is_key) {
    return size_t(row) * w.x.cols + ((is_key ? w.r.key_heads : 0) + kh) * w.r.key;
}
// A whole warp's.
__device__ __forceinline__ float over_length(const Rule& w, size_t at) {
    float sum = 0;
    for (int d = int(threadIdx.x) % warp; d < w.r.key; d += warp) {
        float v = read(w.x, at + d);
        sum = fmaf(v, v, sum);
    }
    return 1 / sqrtf(warp_sum(sum) + 1e-6f);
}
__device__ __forceinline__ float exact_softplus(float x) { // ref.h's, to the bit
    float t = exact_exp2((x > 0 ? -x : x) * log2_e), s = t / (2 + t), z = s * s, p = 1 / 15.f;
    p = fmaf(p, z, 1 / 13.f);
    p = fmaf(p, z, 1 / 11.f);
    p = fmaf(p, z, 1 / 9.f);
    p = fmaf(p, z, 1 / 7.f);
    p = fmaf(p, z, 1 / 5.f);
    p = fmaf(p, z, 1 / 3.f);
    p = fmaf(p, z, 1.f);
    return (x > 0 ? x : 0) + 2 * s * p;
}
__device__ __forceinline__ float speed_of(const Rule& w, int h) { return exact_exp2(w.rate[h] * log2_e); }
__device__ __forceinline__ float step_of(const Rule& w, size_t at, int h) { return read(w.a, at) + w.bias[h]; }

// How many floats of workspace prepare() wants, and what it makes of the inputs there.
size_t prepared_size(const DeltaRule&, const Rows&);
Rule prepare(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& rate, const Tensor& bias,
             const DeltaRule&, const Rows&, float* room);
// Every state before a chunk and what every row had left to write, for the way back: `states` by chunks, as
// chunk_number counts them, [head][key][value]; w: [row][head][value]. Either null: not wanted; y likewise.
void delta_forward(const Rule&, const Numbers& y, float* states, float* w);
__device__ __forceinline__ size_t chunk_number(const Rule& w, int s, int number) {
    return size_t(w.b.first[s] / chunk + s + number);
}
inline size_t chunks_of(const Rows& b) { return size_t(b.n / chunk + b.seqs); }

// The rows of a chunk to each other.
struct Pairs {
    float D[chunk][chunk], qk[chunk][chunk], kk[chunk][chunk], e[chunk], g[chunk], beta[chunk];
    __device__ float A(int i, int j) const { return qk[i][j] * D[i][j]; }
    __device__ float P(int i, int j) const { return kk[i][j] * D[i][j]; }
};
// Keys and queries in shared memory are `apart` numbers apart: odd, so that the threads of a warp, which read one
// column of different rows, find them in different banks.
inline __host__ __device__ int apart(int size) { return size | 1; }

// Rows from .. n-1 of a chunk whose row 0 is, or would be, row `row` of the pass.
__device__ __forceinline__ void load_chunk(const Rule& w, Pairs& p, float* q, float* k, int row, int from, int n,
                                           int kh, int h) {
    int key = w.r.key, t = int(threadIdx.x);
    for (int i = t; i < (n - from) * key; i += delta_threads) {
        int j = from + i / key, d = i % key;
        size_t at = (size_t(row + j) * w.r.key_heads + kh) * key + d;
        q[j * apart(key) + d] = w.q[at], k[j * apart(key) + d] = w.k[at];
    }
    if (t < from || t >= n) return;
    size_t at = size_t(row + t) * w.r.value_heads + h;
    p.g[t] = w.g[at], p.beta[t] = w.beta[at];
}
// Of rows from .. n-1, with all rows before them: a thread a pair.
__device__ __forceinline__ void pair_up(Pairs& p, const float* q, const float* k, int key, int from, int n) {
    int i = int(threadIdx.x) / chunk, j = int(threadIdx.x) % chunk;
    if (i < from || i >= n || j > i) return;
    float between = 0, since = 0, qk = 0, kk = 0;
    for (int t = 0; t <= i; t++) since += p.g[t];
    for (int t = j + 1; t <= i; t++) between += p.g[t];
    for (int d = 0; d < key; d++) {
        float other = k[j * apart(key) + d];
        kk = fmaf(k[i * apart(key) + d], other, kk);
        qk = fmaf(q[i * apart(key) + d], other, qk);
    }
    if (j == 0) p.e[i] = exact_exp2(since * log2_e);
    p.D[i][j] = exact_exp2(between * log2_e), p.qk[i][j] = qk, p.kk[i][j] = kk;
}

} // namespace DD_CUDA
