// attention_back.cu - attention backward by mma.sync (Dao 2023, FlashAttention-2, section 2.3.2), the shares of the
// softmax made again from its log2 sum. Nothing is added by atomics: one kernel sums over queries for the gradients of
// keys and values, another over keys for that of the queries, and both make the scores anew.
#include "attention.h"
#include "families.h"

namespace DD_CUDA {
namespace {

struct BackWork {
    const bf16 *q, *k, *v, *dy;
    Numbers dq, dk, dv;
    const float *l, *products; // [heads, rows]: log2 sum exp, and dy.y
    Rows b;
    float scale;
    int size, heads, kv_heads, window;
    bool wide;
};

// A block has `down` warps' rows of 16, and takes `step` from the other side at a time; `across` warps share 16 rows
// and take the columns of the result among them.
template <int head_> struct Back {
    static constexpr int head = head_, down = head == 512 ? 2 : 4, across = head / 128 > 1 ? head / 128 : 1;
    static constexpr int rows = down * 16,
                         step = head == 64    ? 64
                                : head == 128 ? 32
                                              : 16,
                         threads = down * across * warp;
    static constexpr int width = head / 8 / across;
    struct Shared {
        bf16 own[2][rows * head], other[2][step * head];
        float l[step], products[step];
    };
};

// n rows, begin .., of a sequence's head.
template <class P, int n>
__device__ __forceinline__ void load_side(bf16* to, const bf16* from, const BackWork& w, int s, int heads, int head,
                                          int begin, int rows) {
    const bf16* corner = from + (size_t(w.b.first[s] + begin) * heads + head) * w.size;
    load_head<P::head, n, n, P::threads>(to, from, w.wide, w.size, [&](int r) {
        return begin + r < rows ? corner + size_t(r) * heads * w.size : nullptr;
    });
}

// Scores and their gradients before the softmax become shares p and ds; a query sees a key at most window - 1 before.
__device__ __forceinline__ void shares(float& p, float& ds, const BackWork& w, int query, int key, int rows, float l,
                                       float product) {
    bool seen = query < rows && key <= query && (!w.window || key > query - w.window);
    p = seen ? fast_exp2(fmaf(p, w.scale * log2_e, -l)) : 0.0f;
    ds = seen ? p * w.scale * (ds - product) : 0.0f;
}

template <class P>
__device__ __forceinline__ void give_rows(const Numbers& to, const float (&sum)[P::width][4], const BackWork& w, int s,
                                          int heads, int head, int begin, int rows) {
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, col = mine % P::across * P::width * 8;
    if (!to.data) return;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int r = begin + mine / P::across * 16 + half * 8 + lane / 4;
        if (r >= rows) continue;
        size_t at = (size_t(w.b.first[s] + r) * heads + head) * w.size;
#pragma unroll
        for (int j = 0; j < P::width; j++)
            for (int n = 0; n < 2; n++) {
                int c = col + j * 8 + lane % 4 * 2 + n;
                float x = sum[j][half * 2 + n];
                if (c < w.size) write(to, at + c, to.fresh ? x : read(to, at + c) + x);
            }
    }
}

// A block a tile of keys; queries come in tiles from the diagonal on, those of all heads that share the keys. Scores
// are made turned, keys down and queries across, so that as they lie they are the A of the products with dy and q.
template <class P> __global__ void __launch_bounds__(P::threads, 1) key_kernel(BackWork w) {
    auto& shared = dynamic_shared<typename P::Shared>();
    Block block = block_of_rows(w.b, int(blockIdx.x), P::rows);
    if (block.rows < 0) return;
    int s = block.sequence, begin = block.begin, rows = block.rows, kv_head = int(blockIdx.y),
        group = w.heads / w.kv_heads;
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, row = mine / P::across * 16;
    int col = mine % P::across * P::width * 8;
    load_side<P, P::rows>(shared.own[0], w.k, w, s, w.kv_heads, kv_head, begin, rows);
    load_side<P, P::rows>(shared.own[1], w.v, w, s, w.kv_heads, kv_head, begin, rows);

    float dk[P::width][4] = {}, dv[P::width][4] = {};
    int end = w.window ? min(rows, begin + P::rows + w.window - 1) : rows;
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int query = begin; query < end; query += P::step) {
            __syncthreads(); // everybody has done with the queries before
            load_side<P, P::step>(shared.other[0], w.q, w, s, w.heads, head, query, rows);
            load_side<P, P::step>(shared.other[1], w.dy, w, s, w.heads, head, query, rows);
            cp_async_commit();
            for (int i = int(threadIdx.x); i < P::step; i += P::threads) {
                size_t at = size_t(head) * w.b.n + w.b.first[s] + min(query + i, rows - 1);
                shared.l[i] = w.l[at], shared.products[i] = w.products[at];
            }
            cp_async_wait<0>();
            __syncthreads(); // queries, their gradients and sums are there
            float p[P::step / 8][4] = {}, ds[P::step / 8][4] = {};
            multiply_heads<P::head, P::rows, P::step>(p, shared.own[0], shared.other[0], row);
            multiply_heads<P::head, P::rows, P::step>(ds, shared.own[1], shared.other[1], row);
#pragma unroll
            for (int j = 0; j < P::step / 8; j++)
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    int q = j * 8 + lane % 4 * 2 + n % 2, key = begin + row + n / 2 * 8 + lane / 4;
                    shares(p[j][n], ds[j][n], w, query + q, key, rows, shared.l[q], shared.products[q]);
                }
            multiply_back<P::step>(dv, p, shared.other[1], col);
            multiply_back<P::step>(dk, ds, shared.other[0], col);
        }
    give_rows<P>(w.dk, dk, w, s, w.kv_heads, kv_head, begin, rows);
    give_rows<P>(w.dv, dv, w, s, w.kv_heads, kv_head, begin, rows);
}

// A block a tile of queries of one head; keys come in tiles up to the diagonal.
template <class P> __global__ void __launch_bounds__(P::threads, 1) query_kernel(BackWork w) {
    auto& shared = dynamic_shared<typename P::Shared>();
    Block block = block_of_rows(w.b, int(gridDim.x - 1 - blockIdx.x), P::rows);
    if (block.rows < 0) return;
    int s = block.sequence, begin = block.begin, rows = block.rows, head = int(blockIdx.y);
    int kv_head = head / (w.heads / w.kv_heads);
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, row = mine / P::across * 16;
    int col = mine % P::across * P::width * 8;
    load_side<P, P::rows>(shared.own[0], w.q, w, s, w.heads, head, begin, rows);
    load_side<P, P::rows>(shared.own[1], w.dy, w, s, w.heads, head, begin, rows);

    float dq[P::width][4] = {}, l[2], product[2];
    for (int half = 0; half < 2; half++) {
        size_t at = size_t(head) * w.b.n + w.b.first[s] + min(begin + row + half * 8 + lane / 4, rows - 1);
        l[half] = w.l[at], product[half] = w.products[at];
    }
    int first = w.window ? max(0, begin - w.window + 1) / P::step * P::step : 0;
    for (int key = first; key < min(rows, begin + P::rows); key += P::step) {
        __syncthreads(); // everybody has done with the keys before
        load_side<P, P::step>(shared.other[0], w.k, w, s, w.kv_heads, kv_head, key, rows);
        load_side<P, P::step>(shared.other[1], w.v, w, s, w.kv_heads, kv_head, key, rows);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads(); // keys and values are there
        float p[P::step / 8][4] = {}, ds[P::step / 8][4] = {};
        multiply_heads<P::head, P::rows, P::step>(p, shared.own[0], shared.other[0], row);
        multiply_heads<P::head, P::rows, P::step>(ds, shared.own[1], shared.other[1], row);
#pragma unroll
        for (int j = 0; j < P::step / 8; j++)
#pragma unroll
            for (int n = 0; n < 4; n++)
                shares(p[j][n], ds[j][n], w, begin + row + n / 2 * 8 + lane / 4, key + j * 8 + lane % 4 * 2 + n % 2,
                       rows, l[n / 2], product[n / 2]);
        multiply_back<P::step>(dq, ds, shared.other[0], col);
    }
    give_rows<P>(w.dq, dq, w, s, w.heads, head, begin, rows);
}

// A warp a row and head.
__global__ void __launch_bounds__(256)
    products_kernel(float* to, Numbers dy, Numbers y, int head, int heads, size_t n) {
    size_t i = size_t(blockIdx.x) * 8 + threadIdx.x / warp;
    if (i >= n) return;
    float sum = 0;
    for (int j = int(threadIdx.x) % warp; j < head; j += warp)
        sum = fmaf(read(y, i * head + j), read(dy, i * head + j), sum);
    sum = warp_sum(sum);
    if (threadIdx.x % warp == 0) to[i % heads * (n / heads) + i / heads] = sum;
}

template <int head> void start(const BackWork& w) {
    using P = Back<head>;
    unsigned blocks = blocks_of_rows(w.b, P::rows);
    if (w.dk.data || w.dv.data)
        launch<key_kernel<P>>(dim3(blocks, unsigned(w.kv_heads)), P::threads, sizeof(typename P::Shared), w);
    if (w.dq.data) launch<query_kernel<P>>(dim3(blocks, unsigned(w.heads)), P::threads, sizeof(typename P::Shared), w);
}

void attend_back(Tensor dq, Tensor dk, Tensor dv, Tensor dy, Tensor y, Tensor l, Tensor q, Tensor k, Tensor v,
                 const Rows& b, int head, float scale, int window) {
    if (!b.n) return;
    if (q.type == Type::f32) return plain_attend_back(dq, dk, dv, dy, y, l, q, k, v, b, head, scale, window);
    auto data = [](const Tensor& t) { return static_cast<const bf16*>(t.data); };
    BackWork w{data(q), data(k), data(v), data(dy), numbers(dq), numbers(dk), numbers(dv), l.f(), nullptr, b, scale};
    w.products = row_products(dy, y, head);
    w.size = head, w.heads = q.cols / head, w.kv_heads = k.cols / head, w.window = window;
    w.wide = head % 8 == 0 && (size_t(q.data) | size_t(k.data) | size_t(v.data) | size_t(dy.data)) % 16 == 0;
    for_head(head, [&]<int head>() { start<head>(w); });
}

} // namespace

float* row_products(const Tensor& dy, const Tensor& y, int head) {
    size_t n = y.count() / size_t(head);
    float* to = static_cast<float*>(workspace(n * 4));
    launch<products_kernel>(groups_of(n, 8), 256, 0, to, numbers(dy), numbers(y), head, y.cols / head, n);
    return to;
}

void attention_back(Kernels& k) { k.attend_back = attend_back; }

} // namespace DD_CUDA
