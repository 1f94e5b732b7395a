// attention.cu - attention forward by mma.sync, and what it reads: keys and values in panels of 16 rows.
//
// Tiles of queries, those heads together that share keys; keys come 64 at a time, counted from position 0, and the
// softmax is carried along as a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022). Every 256 keys
// are summed on their own and then joined to those before, in order: so that a pass of one token a sequence (decoding)
// can give each 256 keys to a block of their own and join the parts to the same bits.
#include "attention.h"
#include "families.h"

namespace DD_CUDA {
namespace {

constexpr int chunk = 256; // keys

__global__ void __launch_bounds__(256) store_kernel(KeyValues kv, Numbers k, Numbers v, Rows b) {
    int s = 0, row = int(blockIdx.x);
    for (int high = b.seqs - 1; s < high;) {
        int middle = (s + high + 1) / 2;
        if (b.first[middle] <= row) s = middle;
        else high = middle - 1;
    }
    if (kv.room && b.pos[row] + kv.room * 16 <= b.pos[b.first[s + 1] - 1]) return; // a later row takes its place
    for (int i = int(threadIdx.x) * 4; i < k.cols; i += 256 * 4)
        for (int j = i; j < min(i + 4, k.cols); j++) {
            int head = j / kv.size, at = j % kv.size;
            Numbers keys{kv.k, 0, k.narrow, false, false}, values{kv.v, 0, k.narrow, false, false};
            size_t from = size_t(row) * k.cols + j;
            write(keys, panel_row(kv, b, s, head, b.pos[row], kv.size) + at, read(k, from));
            write(values, panel_row(kv, b, s, head, b.pos[row], value_stride(kv)) + at, read(v, from));
        }
}
void store_kv(KeyValues kv, Tensor k, Tensor v, const Rows& b) {
    if (b.n) launch<store_kernel>(unsigned(b.n), 256, 0, kv, numbers(k), numbers(v), b);
}

// A running softmax of one row: what is summed is 2^(c score - top).
__device__ __forceinline__ float finite(float top) { return top == -INFINITY ? 0.0f : top; }

struct AttendWork {
    const bf16* q;
    Numbers y;
    float *l, *parts, *tops; // parts and tops: of a pass whose keys are split, [chunk][row and head]
    KeyValues kv;
    Rows b;
    float c; // scale log2 e
    int cols, group, window;
    bool wide;
};

// 16 rows a warp, `down` warps; `halves` warps share 16 rows and take the columns of the result among them.
template <int head_, int down_, int halves_, int keys_, bool split_> struct Attend {
    static constexpr int head = head_, down = down_, halves = halves_, keys = keys_;
    static constexpr bool split = split_;
    static constexpr int rows = down * 16, threads = down * halves * warp, width = head / 8 / halves;
    struct Shared {
        bf16 q[rows * head], k[2][keys * head], v[2][keys * head];
        float before[split ? 1 : width * 4][threads]; // the chunks so far, apart from tops and sums
    };
};

// Joins a chunk's sums to those of the chunks before; the same in attend_kernel and join_kernel.
struct Joint {
    float keep, take;
};
__device__ __forceinline__ Joint join(float& top, float& sum, float chunk_top, float chunk_sum) {
    float together = fmaxf(top, chunk_top), base = finite(together);
    Joint j{fast_exp2(top - base), fast_exp2(chunk_top - base)};
    sum = fmaf(sum, j.keep, chunk_sum * j.take);
    top = together;
    return j;
}

// Masks a warp's scores and turns them into shares; rescales what was summed under an earlier maximum.
template <class P>
__device__ __forceinline__ void soften(float (&score)[P::keys / 8][4], float (&out)[P::width][4], float (&top)[2],
                                       float (&sum)[2], const AttendWork& w, int key, const int (&pos)[2]) {
    int lane = int(threadIdx.x) % warp;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int last = pos[half], first = w.window ? last - w.window + 1 : 0;
        float highest = -INFINITY;
#pragma unroll
        for (int j = 0; j < P::keys / 8; j++)
#pragma unroll
            for (int n = 0; n < 2; n++) {
                int at = key + j * 8 + lane % 4 * 2 + n;
                float& x = score[j][half * 2 + n];
                x = at < first || at > last ? -INFINITY : x * w.c;
                highest = fmaxf(highest, x);
            }
        highest = fmaxf(highest, __shfl_xor_sync(all_lanes, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(all_lanes, highest, 2));
        highest = fmaxf(top[half], highest);
        float base = finite(highest), shrink = fast_exp2(top[half] - base), more = 0;
        top[half] = highest;
#pragma unroll
        for (int j = 0; j < P::keys / 8; j++)
#pragma unroll
            for (int n = 0; n < 2; n++) {
                float& x = score[j][half * 2 + n];
                x = fast_exp2(x - base);
                more += x;
            }
        sum[half] = fmaf(sum[half], shrink, more);
#pragma unroll
        for (int j = 0; j < P::width; j++) out[j][half * 2] *= shrink, out[j][half * 2 + 1] *= shrink;
    }
}

// Starts copying rows key .. of a head, up to `last`, a panel of 16 at a time; beyond come zeros.
template <class P>
__device__ __forceinline__ void fetch_panels(bf16* to, const void* from, const AttendWork& w, int s, int head, int key,
                                             int last, int stride) {
#pragma unroll
    for (int i = 0; i < P::keys / 16; i++) {
        const bf16* panel = static_cast<const bf16*>(from) +
                            (panel_number(w.kv, w.b, s, key / 16 + i) * w.kv.heads + head) * size_t(stride * 16);
        int rows = last - key - i * 16 + 1;
        load_head<P::head, 16, P::keys, P::threads>(to + i * 16 * tile_cols, panel, w.wide, w.kv.size,
                                                    [&](int r) { return r < rows ? panel + r * stride : nullptr; });
    }
}
template <class P>
__device__ __forceinline__ void fetch_keys(typename P::Shared& to, int stage, const AttendWork& w, int s, int head,
                                           int key, int last) {
    fetch_panels<P>(to.k[stage], w.kv.k, w, s, head, key, last, w.kv.size);
    fetch_panels<P>(to.v[stage], w.kv.v, w, s, head, key, last, value_stride(w.kv));
    cp_async_commit();
}

// Four lanes share a row's sum.
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(all_lanes, x, 1);
    return x + __shfl_xor_sync(all_lanes, x, 2);
}

// The end of a chunk: what it summed goes to those before or, at the last, these come to it.
template <class P>
__device__ __forceinline__ void join_chunk(typename P::Shared& shared, float (&out)[P::width][4], float (&top)[2],
                                           float (&sum)[2], float (&all_top)[2], float (&all_sum)[2], bool joined,
                                           bool ends) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        Joint j = join(all_top[half], all_sum[half], top[half], quad_sum(sum[half]));
#pragma unroll
        for (int i = 0; i < P::width; i++)
#pragma unroll
            for (int n = half * 2; n < half * 2 + 2; n++) {
                float& before = shared.before[i * 4 + n][threadIdx.x];
                float now = joined ? fmaf(before, j.keep, out[i][n] * j.take) : out[i][n] * j.take;
                if (ends) out[i][n] = now;
                else before = now, out[i][n] = 0;
            }
        top[half] = -INFINITY, sum[half] = 0;
    }
}

template <class P> __global__ void __launch_bounds__(P::threads, 1) attend_kernel(AttendWork w) {
    auto& shared = dynamic_shared<typename P::Shared>();
    int queries = P::rows / w.group, kv_head = int(blockIdx.y);
    Block block = block_of_rows(w.b, int(gridDim.x - 1 - blockIdx.x), queries); // the longest rows begin first
    if (block.rows < 0) return;
    int s = block.sequence, row0 = w.b.first[s] + block.begin, there = min(queries, block.rows - block.begin);
    int first = w.b.pos[row0], last = w.b.pos[row0 + there - 1];
    int key = w.window ? max(0, first - w.window + 1) / P::keys * P::keys : 0;
    if (P::split) key = max(key, int(blockIdx.z) * chunk), last = min(last, int(blockIdx.z + 1) * chunk - 1);
    if (key > last) return;

    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, warp_row = mine / P::halves * 16;
    int col = mine % P::halves * P::width * 8, pos[2];
    for (int half = 0; half < 2; half++) // rows that are not there see what the last one sees
        pos[half] = w.b.pos[row0 + min((warp_row + half * 8 + lane / 4) / w.group, there - 1)];
    auto query = [&](int r) {
        return size_t(row0 + r / w.group) * w.cols + size_t(kv_head * w.group + r % w.group) * w.kv.size;
    };
    load_head<P::head, P::rows, P::rows, P::threads>(
        shared.q, w.q, w.wide, w.kv.size, [&](int r) { return r < there * w.group ? w.q + query(r) : nullptr; });
    fetch_keys<P>(shared, 0, w, s, kv_head, key, last);

    float out[P::width][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    float all_top[2] = {-INFINITY, -INFINITY}, all_sum[2] = {};
    bool joined = false;
    for (int stage = 0; key <= last; key += P::keys, stage ^= 1) {
        cp_async_wait<0>();
        __syncthreads(); // these keys and values have landed, and everybody has done with those before
        if (key + P::keys <= last) fetch_keys<P>(shared, stage ^ 1, w, s, kv_head, key + P::keys, last);
        float score[P::keys / 8][4] = {};
        multiply_heads<P::head, P::rows, P::keys>(score, shared.q, shared.k[stage], warp_row);
        soften<P>(score, out, top, sum, w, key, pos);
        multiply_back<P::keys>(out, score, shared.v[stage], col);

        bool ends = key + P::keys > last;
        if constexpr (!P::split)
            if (((key + P::keys) % chunk == 0 || ends) && (joined || !ends)) {
                join_chunk<P>(shared, out, top, sum, all_top, all_sum, joined, ends);
                joined = true;
            }
    }

#pragma unroll
    for (int half = 0; half < 2; half++) {
        int r = warp_row + half * 8 + lane / 4;
        float row_sum = quad_sum(sum[half]);
        if (!joined) all_top[half] = top[half], all_sum[half] = row_sum;
        if (r >= there * w.group) continue;
        size_t number = size_t(row0 + r / w.group) * (w.cols / w.kv.size) + kv_head * w.group + r % w.group;
        if (P::split) {
            number += size_t(blockIdx.z) * w.b.n * (w.cols / w.kv.size);
            if (lane % 4 == 0 && col == 0) w.tops[number * 2] = all_top[half], w.tops[number * 2 + 1] = all_sum[half];
        } else if (w.l && lane % 4 == 0 && col == 0) {
            w.l[size_t(kv_head * w.group + r % w.group) * w.b.n + row0 + r / w.group] =
                all_top[half] + log2f(all_sum[half]);
        }
#pragma unroll
        for (int j = 0; j < P::width; j++)
            for (int n = 0; n < 2; n++) {
                int c = col + j * 8 + lane % 4 * 2 + n;
                if (c >= w.kv.size) continue;
                float x = out[j][half * 2 + n];
                if (P::split) w.parts[number * w.kv.size + c] = x;
                else write(w.y, query(r) + c, x * (1 / all_sum[half]));
            }
    }
}

// The chunks of a row and head, one after another. A block a row and head.
__global__ void __launch_bounds__(128) join_kernel(AttendWork w) {
    int heads = w.cols / w.kv.size, row = int(blockIdx.x) / heads, head = int(blockIdx.x) % heads, last = w.b.pos[row];
    size_t numbers = size_t(w.b.n) * heads;
    for (int c = int(threadIdx.x); c < w.kv.size; c += 128) {
        float top = -INFINITY, sum = 0, out = 0;
        bool joined = false;
        for (int i = (w.window ? max(0, last - w.window + 1) : 0) / chunk; i <= last / chunk; i++, joined = true) {
            size_t number = i * numbers + blockIdx.x;
            Joint j = join(top, sum, w.tops[number * 2], w.tops[number * 2 + 1]);
            float part = w.parts[number * w.kv.size + c] * j.take;
            out = joined ? fmaf(out, j.keep, part) : part;
        }
        write(w.y, size_t(row) * w.cols + head * w.kv.size + c, out * (1 / sum));
        if (w.l && c == 0) w.l[size_t(head) * w.b.n + row] = top + log2f(sum);
    }
}

template <class P> void start(const AttendWork& w, unsigned chunks = 1) {
    dim3 grid(blocks_of_rows(w.b, P::rows / w.group), unsigned(w.kv.heads), chunks);
    launch<attend_kernel<P>>(grid, P::threads, sizeof(typename P::Shared), w);
}

void attend(Tensor y, Tensor l, Tensor q, KeyValues kv, const Rows& b, float scale, int window) {
    if (!b.n) return;
    if (q.type == Type::f32) return plain_attend(y, l, q, kv, b, scale, window);
    AttendWork w{static_cast<const bf16*>(q.data), numbers(y), l.f(), nullptr, nullptr, kv, b, scale * log2_e};
    w.cols = q.cols, w.group = q.cols / kv.size / kv.heads, w.window = window;
    w.wide = kv.size % 8 == 0 && (size_t(q.data) | size_t(kv.k) | size_t(kv.v)) % 16 == 0;
    require(w.group <= 32, "cuda: %d heads share keys; 32 is the most", w.group);
    bool alone = b.n == b.seqs && w.group <= 16; // one token a sequence
    size_t chunks = size_t(kv.room ? kv.room * 16 : b.n) / chunk + 1;
    if (alone) {
        size_t rows = chunks * size_t(b.n) * size_t(q.cols / kv.size);
        w.parts = static_cast<float*>(workspace(rows * size_t(kv.size + 2) * 4)),
        w.tops = w.parts + rows * size_t(kv.size);
    }
    for_head(kv.size, [&]<int head>() {
        constexpr int rows = head == 512 ? 2 : 4, halves = head == 512 ? 2 : 1, keys = head == 512 ? 32 : 64;
        if (alone) start<Attend<head, 1, halves, keys, true>>(w, unsigned(chunks));
        else start<Attend<head, rows, halves, keys, false>>(w);
    });
    if (alone) launch<join_kernel>(unsigned(b.n * (q.cols / kv.size)), 128, 0, w);
}

} // namespace

void attention_back(Kernels&);
void attention(Kernels& k) {
    k.store_kv = store_kv, k.attend = attend;
    attention_back(k);
}

} // namespace DD_CUDA
