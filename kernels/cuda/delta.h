// delta.h - what the delta rule's kernels share: its inputs made ready, and a state that stays in registers.
//
// ref_delta.cpp says what the rule is; letters as there. All numbers are f32, and their products are made by tensor
// cores (split.h); a row's sums depend on the key's and the value's length alone, so that its bits are the same
// however the chunk is cut, whatever goes with it, and however many columns a block takes.
#pragma once
#include "split.h"

namespace DD_CUDA {

constexpr int chunk = 16, most_keys = 256; // numbers of a key: threads of a block

// The rows of a chunk to each other: decays, and what a row's query and write take from the writes before it (A with
// the row itself); decays from before the chunk; g and beta. Zero where no row is. Rows lie `apart` numbers apart, so
// that lane 4 g + t finds (g, t) in a bank of its own.
struct Pairs {
    static constexpr int apart = chunk + 4;
    float D[chunk][apart], A[chunk][apart], P[chunk][apart], e[chunk], g[chunk], beta[chunk];
};

// A pass, after prepare().
struct Rule {
    DeltaRule r;
    Rows b;
    Numbers x, a, open; // open: what a token writes by, before its sigmoid
    const float *rate, *bias;
    float *q, *k; // [row][key head][padded(key)], as long as they must be, then zeros
    Pairs* pairs; // [chunk][value head]
};
__device__ __forceinline__ int key_head(const DeltaRule& r, int h) {
    return r.tiled ? h % r.key_heads : h / (r.value_heads / r.key_heads);
}
__device__ __forceinline__ int first_head(const DeltaRule& r, int kh) { // of those that share a key head
    return r.tiled ? kh : kh * (r.value_heads / r.key_heads);
}
__device__ __forceinline__ int64_t value_at(const Rule& w, int row, int h) { // of x
    return int64_t(row) * w.x.cols + 2 * w.r.key_heads * w.r.key + h * w.r.value;
}
// Keys and queries of a row's heads.
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
// Every state before a chunk and what every row had left to write, for the way back: `states` by chunks,
// [head][padded(key)][padded(value)]; w: [row][head][value]. Either null: not wanted; y likewise.
void delta_forward(const Rule&, const Numbers& y, float* states, float* w);

// ---- chunks

// What a pass has of a chunk: rows from .. n-1, of which row 0 is, or would be, row `row` of the pass. None if n <= 0.
struct Piece {
    int s, row, from, n;
    size_t number; // among the pass's chunks
};
inline size_t chunks_of(const Rows& b) { return size_t(b.n / chunk + 2 * b.seqs); }
__device__ __forceinline__ Piece piece(const Rows& b, int s, int number) {
    int first = b.first[s], end = b.first[s + 1], from = first < end ? b.pos[first] % chunk : 0;
    int row = first - from + number * chunk;
    return {s, row, number ? 0 : from, min(chunk, end - row), size_t(first / chunk + 2 * s + number)};
}
__device__ __forceinline__ Piece piece(const Rows& b, int number) {
    int low = 0, high = b.seqs - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (b.first[middle] / chunk + 2 * middle <= number) low = middle;
        else high = middle - 1;
    }
    return piece(b, low, number - b.first[low] / chunk - 2 * low);
}
// A block is as many warps as its state's keys want, 32 each. Rows of keys in shared memory begin eight banks apart:
// lanes 4 g + t then find (g, 2 t) and (g, 2 t + 1), or (t, g), in banks of their own.
inline __host__ __device__ int padded(int key) { return (key + 63) / 64 * 64; }
inline __host__ __device__ int pitch(int key) { return padded(key) + 8; }

struct Chunk {
    float *k, *q; // [16][pitch], one behind the other
    Pairs* p;
    __device__ Chunk(float* memory, int key) : k(memory), q(k + chunk * pitch(key)) {
        p = reinterpret_cast<Pairs*>(q + chunk * pitch(key));
    }
};
inline __host__ __device__ int chunk_floats(int key) { return 2 * chunk * pitch(key) + int(sizeof(Pairs) / 4); }

// Starts copying what a chunk has in this pass; zeros for the rows behind it.
__device__ __forceinline__ void fetch(const Chunk& to, const Rule& w, const Piece& c, int h) {
    int key = w.r.key, kh = key_head(w.r, h), threads = int(blockDim.x), lane = int(threadIdx.x) % warp;
    for (int j = c.from + int(threadIdx.x) / warp; j < chunk; j += threads / warp) {
        size_t from = j < c.n ? (size_t(c.row + j) * w.r.key_heads + kh) * padded(key) : 0;
        for (int d = lane * 4; d < padded(key); d += warp * 4) {
            cp_async16(to.k + j * pitch(key) + d, w.k + from + d, j < c.n ? 16 : 0);
            cp_async16(to.q + j * pitch(key) + d, w.q + from + d, j < c.n ? 16 : 0);
        }
    }
    const float* pairs = reinterpret_cast<const float*>(w.pairs + c.number * w.r.value_heads + h);
    for (int i = int(threadIdx.x) * 4; i < int(sizeof(Pairs) / 4); i += threads * 4)
        cp_async16(reinterpret_cast<float*>(to.p) + i, pairs + i);
}

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(bf16 x) { return to_float(x); }
// One column of the chunk's rows from .. n-1, and zeros; number 0 would be at `at`, the others `apart` behind.
template <class T>
__device__ __forceinline__ void load_column(float (&v)[chunk], const T* at, size_t apart, int from, int n) {
#pragma unroll
    for (int i = 0; i < chunk; i++) v[i] = from <= i && i < n ? number(at[i * apart]) : 0;
}
__device__ __forceinline__ void load_column(float (&v)[chunk], const Numbers& t, int64_t at, size_t apart, int from,
                                            int n) {
    if (t.narrow) load_column(v, static_cast<const bf16*>(t.data) + at, apart, from, n);
    else load_column(v, static_cast<const float*>(t.data) + at, apart, from, n);
}

// ---- rows by rows

constexpr int pair_threads = chunk * chunk, pair_warps = pair_threads / warp; // of a block with a thread a pair

// Of 16 rows of x and of z with the 16 rows of y, by the part of their length that a warp adds up.
struct RowProducts {
    float part[pair_warps][2][chunk][Pairs::apart];
    __device__ float sum(int which, int i, int j) const {
        float all = 0;
        for (int n = 0; n < pair_warps; n++) all += part[n][which][i][j];
        return all;
    }
};
__device__ __forceinline__ void rows_by_rows(RowProducts& to, const float* x, const float* z, const float* y, int width,
                                             int length) {
    int mine = int(threadIdx.x) / warp, lane = int(threadIdx.x) % warp, g = lane / 4, t = lane % 4;
    float sum[2][2][4] = {};
    for (int d = mine * 8; d < length; d += pair_warps * 8) {
        int at = g * width + d + t * 2, down = at + 8 * width;
        Split<4> a[2] = {split_rows(x + at, x + down), split_rows(z + at, z + down)};
        Split<2> b[2] = {split_pair(y + at), split_pair(y + down)};
#pragma unroll
        for (int i = 0; i < 4; i++) mma_f32(sum[i / 2][i % 2], a[i / 2], b[i % 2]);
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
        to.part[mine][i / 8][g + i % 4 / 2 * 8][i / 4 % 2 * 8 + t * 2 + i % 2] = sum[i / 8][i / 4 % 2][i % 4];
}

// ---- a state in registers

// 16 * tiles columns of a state, or of its gradient, turned: columns by keys, 32 keys a warp. Lane 4 g + t has of tile
// c and eight keys from 8 j on: columns g and g + 8 of keys 2 t and 2 t + 1, as mma.sync gives a sum. They are as they
// stand the first operand of a product along the keys, if its second has keys 2 t and 2 t + 1 where t and t + 4 stand.
template <int tiles> struct State {
    float s[tiles][4][4];

    // f(number, where it stands in a matrix of keys by columns, `cols` of them): from (0, 0) on, those that exist.
    template <class F> __device__ __forceinline__ void each(int cols, int keys_left, int cols_left, F f) {
        int lane = int(threadIdx.x) % warp, first = int(threadIdx.x) / warp * 32 + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int d = first + j / 2 * 8 + j % 2, at = d * cols + lane / 4;
#pragma unroll
            for (int c = 0; c < 2 * tiles; c++)
                if (d < keys_left && lane / 4 + c * 8 < cols_left) f(s[c / 2][j / 2][c % 2 * 2 + j % 2], at + c * 8);
        }
    }
    // What rows find in the state, 8 of them from each of `first` on, counted from `rows`: this warp's part of it, into
    // rows of the same number, which are `apart` numbers apart.
    template <int n>
    __device__ __forceinline__ void find(const int (&first)[n], const float* rows, int pitch, float* part,
                                         int apart) const {
        int lane = int(threadIdx.x) % warp, g = lane / 4, t = lane % 4;
        float x[tiles][n][4] = {};
        rows += g * pitch + int(threadIdx.x) / warp * 32 + t * 2;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            Split<2> b[n];
#pragma unroll
            for (int r = 0; r < n; r++) b[r] = split_pair(rows + first[r] * pitch + j * 8);
#pragma unroll
            for (int c = 0; c < tiles; c++) {
                const float(&v)[4] = s[c][j];
                Split<4> a = split({v[0], v[2], v[1], v[3]});
#pragma unroll
                for (int r = 0; r < n; r++) mma_f32(x[c][r], a, b[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < n; r++)
#pragma unroll
            for (int i = 0; i < tiles * 4; i++)
                part[(first[r] + t * 2 + i % 2) * apart + i / 4 * 16 + g + i % 4 / 2 * 8] = x[i / 4][r][i % 4];
    }
    // s = e s + the sum over the rows of a chunk of scale(row) u[row][column] k[row][key]; u's rows are `width` apart.
    template <class F>
    __device__ __forceinline__ void write(float e, const float* u, int width, F scale, const float* k, int pitch) {
        int lane = int(threadIdx.x) % warp, g = lane / 4, t = lane % 4;
        k += int(threadIdx.x) / warp * 32 + t * pitch + g, u += t * width + g;
        Split<2> b[2][4];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float* at = k + i / 4 * 8 * pitch + i % 4 * 8;
            b[i / 4][i % 4] = split({at[0], at[4 * pitch]});
        }
#pragma unroll
        for (int c = 0; c < tiles; c++) {
            float add[4][4] = {};
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float low = scale(i * 8 + t), high = scale(i * 8 + t + 4);
                const float *at = u + i * 8 * width + c * 16, *behind = at + 4 * width;
                Split<4> a = split({low * at[0], low * at[8], high * behind[0], high * behind[8]});
#pragma unroll
                for (int j = 0; j < 4; j++) mma_f32(add[j], a, b[i][j]);
            }
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) s[c][j][i] = fmaf(e, s[c][j][i], add[j][i]);
        }
    }
};

// f(columns of a block): the more, the fewer blocks load the same keys; but as few as it takes to give every
// multiprocessor a block. No number depends on it.
template <class F> void by_columns(const Rule& w, F f) {
    auto enough = [&](int columns) {
        return w.r.value > columns / 2 &&
               size_t(w.b.seqs * w.r.value_heads) * groups_of(size_t(w.r.value), size_t(columns)) >= 132;
    };
    if (enough(64)) f(std::integral_constant<int, 64>());
    else if (enough(32)) f(std::integral_constant<int, 32>());
    else f(std::integral_constant<int, 16>());
}

} // namespace DD_CUDA
