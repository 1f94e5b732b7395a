// attention_f32.cu - attention of f32, for --precision f32: a warp a query (or a key) of a head, a lane a key (or a
// query) of 32 at a time, counted from position 0.
#include "attention.h"

namespace DD_CUDA {
namespace {

constexpr int plain_threads = 128, plain_warps = plain_threads / warp, most = 512 / warp; // numbers of a head a lane

struct PlainAttend {
    float *y, *l;
    const float* q;
    KeyValues kv;
    Rows b;
    float c;
    int cols, window;
};

__device__ __forceinline__ float dot(const float* a, const float* b, int n) {
    float sum = 0;
    for (int j = 0; j < n; j++) sum = fmaf(a[j], b[j], sum);
    return sum;
}

__global__ void __launch_bounds__(plain_threads) plain_kernel(PlainAttend w) {
    int size = w.kv.size, heads = w.cols / size, id = int(blockIdx.x) * plain_warps + int(threadIdx.x) / warp;
    int lane = int(threadIdx.x) % warp, row = id / heads, head = id % heads;
    if (row >= w.b.n) return;
    int s = sequence_of(w.b, row), last = w.b.pos[row], first = w.window ? max(0, last - w.window + 1) : 0;
    int kv_head = head / (heads / w.kv.heads);
    const float *q = w.q + size_t(row) * w.cols + head * size, *ks = static_cast<const float*>(w.kv.k),
                *vs = static_cast<const float*>(w.kv.v);
    float top = -INFINITY, sum = 0, out[most] = {};
    for (int base = first / warp * warp; base <= last; base += warp) {
        int key = base + lane;
        bool seen = key >= first && key <= last;
        float score = -INFINITY;
        if (seen) score = w.c * dot(q, ks + panel_row(w.kv, w.b, s, kv_head, key, size), size);
        float highest = fmaxf(top, warp_max(score)), shrink = exact_exp2(top - highest);
        if (top == -INFINITY) shrink = 0;
        float e = seen ? exact_exp2(score - highest) : 0;
        sum = fmaf(sum, shrink, warp_sum(e)), top = highest;
        for (int i = 0; i < most; i++) out[i] *= shrink;
        for (int k = 0; k < warp; k++) {
            float share = __shfl_sync(all_lanes, e, k);
            if (base + k < first || base + k > last) continue;
            const float* v = vs + panel_row(w.kv, w.b, s, kv_head, base + k, value_stride(w.kv));
#pragma unroll
            for (int i = 0; i < most; i++)
                if (lane + i * warp < size) out[i] = fmaf(share, v[lane + i * warp], out[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < most; i++)
        if (lane + i * warp < size) w.y[size_t(row) * w.cols + head * size + lane + i * warp] = out[i] * (1 / sum);
    if (w.l && lane == 0) w.l[size_t(head) * w.b.n + row] = top + log2f(sum);
}

struct PlainBack {
    Numbers dq, dk, dv;
    const float *dy, *l, *products, *q, *k, *v;
    Rows b;
    float scale;
    int size, heads, kv_heads, window;
};

// The share of a query in a key and its gradient before the softmax.
struct Share {
    float p, ds;
};
__device__ __forceinline__ Share share_of(const PlainBack& w, size_t query, size_t key, int head) {
    const float *q = w.q + (query * w.heads + head) * w.size, *dy = w.dy + (query * w.heads + head) * w.size;
    size_t at = (key * w.kv_heads + head / (w.heads / w.kv_heads)) * w.size, of = size_t(head) * w.b.n + query;
    float p = exact_exp2(fmaf(dot(q, w.k + at, w.size), w.scale * log2_e, -w.l[of]));
    return {p, p * w.scale * (dot(dy, w.v + at, w.size) - w.products[of])};
}
__device__ __forceinline__ void give_row(const Numbers& to, size_t at, const float (&sum)[most], int size) {
    int lane = int(threadIdx.x) % warp;
    if (!to.data) return;
#pragma unroll
    for (int i = 0; i < most; i++)
        if (lane + i * warp < size) {
            size_t n = at + lane + i * warp;
            write(to, n, to.fresh ? sum[i] : read(to, n) + sum[i]);
        }
}

__global__ void __launch_bounds__(plain_threads) plain_query_kernel(PlainBack w) {
    int id = int(blockIdx.x) * plain_warps + int(threadIdx.x) / warp, lane = int(threadIdx.x) % warp;
    int row = id / w.heads, head = id % w.heads;
    if (row >= w.b.n) return;
    int begin = w.b.first[sequence_of(w.b, row)], first = w.window ? max(begin, row - w.window + 1) : begin;
    float dq[most] = {};
    for (int base = first; base <= row; base += warp) {
        Share mine{};
        if (base + lane <= row) mine = share_of(w, size_t(row), size_t(base + lane), head);
        for (int k = 0; k < warp; k++) {
            float ds = __shfl_sync(all_lanes, mine.ds, k);
            if (base + k > row) continue;
            const float* key = w.k + (size_t(base + k) * w.kv_heads + head / (w.heads / w.kv_heads)) * w.size;
#pragma unroll
            for (int i = 0; i < most; i++)
                if (lane + i * warp < w.size) dq[i] = fmaf(ds, key[lane + i * warp], dq[i]);
        }
    }
    give_row(w.dq, (size_t(row) * w.heads + head) * w.size, dq, w.size);
}

__global__ void __launch_bounds__(plain_threads) plain_key_kernel(PlainBack w) {
    int id = int(blockIdx.x) * plain_warps + int(threadIdx.x) / warp, lane = int(threadIdx.x) % warp;
    int row = id / w.kv_heads, kv_head = id % w.kv_heads, group = w.heads / w.kv_heads;
    if (row >= w.b.n) return;
    int end = w.b.first[sequence_of(w.b, row) + 1];
    if (w.window) end = min(end, row + w.window);
    float dk[most] = {}, dv[most] = {};
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int base = row; base < end; base += warp) {
            Share mine{};
            if (base + lane < end) mine = share_of(w, size_t(base + lane), size_t(row), head);
            for (int k = 0; k < warp; k++) {
                float p = __shfl_sync(all_lanes, mine.p, k), ds = __shfl_sync(all_lanes, mine.ds, k);
                if (base + k >= end) continue;
                size_t at = (size_t(base + k) * w.heads + head) * w.size;
#pragma unroll
                for (int i = 0; i < most; i++)
                    if (lane + i * warp < w.size) {
                        dv[i] = fmaf(p, w.dy[at + lane + i * warp], dv[i]);
                        dk[i] = fmaf(ds, w.q[at + lane + i * warp], dk[i]);
                    }
            }
        }
    give_row(w.dk, (size_t(row) * w.kv_heads + kv_head) * w.size, dk, w.size);
    give_row(w.dv, (size_t(row) * w.kv_heads + kv_head) * w.size, dv, w.size);
}

} // namespace

void plain_attend(const Tensor& y, const Tensor& l, const Tensor& q, const KeyValues& kv, const Rows& b, float scale,
                  int window) {
    require(kv.size <= 512, "cuda: attention heads of %d numbers; 512 is the most", kv.size);
    PlainAttend w{y.f(), l.f(), q.f(), kv, b, scale * log2_e, q.cols, window};
    launch<plain_kernel>(groups_of(size_t(b.n) * size_t(q.cols / kv.size), plain_warps), plain_threads, 0, w);
}

void plain_attend_back(const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& dy, const Tensor& y,
                       const Tensor& l, const Tensor& q, const Tensor& k, const Tensor& v, const Rows& b, int head,
                       float scale, int window) {
    require(head <= 512, "cuda: attention heads of %d numbers; 512 is the most", head);
    PlainBack w{numbers(dq),   numbers(dk),   numbers(dv), dy.f(), l.f(), row_products(dy, y, head),
                q.f(),         k.f(),         v.f(),       b,      scale, head,
                q.cols / head, k.cols / head, window};
    size_t rows = size_t(b.n);
    if (dq) launch<plain_query_kernel>(groups_of(rows * size_t(w.heads), plain_warps), plain_threads, 0, w);
    if (dk || dv) launch<plain_key_kernel>(groups_of(rows * size_t(w.kv_heads), plain_warps), plain_threads, 0, w);
}

} // namespace DD_CUDA
