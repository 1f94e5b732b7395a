// delta_back.cu - the delta rule's way back: forward once more, keeping the state before every chunk and what each row
// had left to write; then, a block a head of a sequence, from the last chunk to the first with the gradient of the
// state behind. Letters and order of sums as in ref_delta.cpp; what value heads give to the key head that they share,
// and what rows give to rate and bias, is added up by kernels of their own, in one order.
#include "columns.h"
#include "delta.h"
#include "families.h"
#include "runtime.h"

namespace DD_CUDA {
namespace {

constexpr int most = 256; // numbers of a key or a value: what shared memory holds

struct BackRule {
    Rule w;
    Numbers dx, db, dy;
    float *states, *ws, *dstate; // as delta_forward has them; [sequence][head][key][value]
    float *dq, *dk, *dg;         // [row][head][key] twice, [row][head]
};

struct BackPairs {
    float X[chunk][chunk], Y[chunk][chunk], E[chunk][chunk]; // of A and P, times D; of the decay between the two rows
    float before[chunk], after[chunk];                       // of the decays from before the chunk, and to its end
};

// One chain over `steps` of f(step), beginning with `sum`.
template <class X, class W> __device__ __forceinline__ float chain(float sum, int steps, X x, W w) {
    for (int i = 0; i < steps; i++) sum = fmaf(x(i), w(i), sum);
    return sum;
}
// A whole warp's.
__device__ __forceinline__ float row_dot(const float* a, const float* b, int n) {
    float sum = 0;
    for (int j = int(threadIdx.x) % warp; j < n; j += warp) sum = fmaf(a[j], b[j], sum);
    return warp_sum(sum);
}

// Arrays of a chunk in shared memory.
struct BackRows {
    float *q, *k, *dq, *dk, *behind; // [16][key]
    float *u, *w, *o, *du, *dw;      // [16][value]
    int K, V;                        // numbers between rows
    __device__ BackRows(float* memory, int key, int value) : K(apart(key)), V(apart(value)) {
        q = memory, k = q + chunk * K, dq = k + chunk * K, dk = dq + chunk * K, behind = dk + chunk * K;
        u = behind + chunk * K, w = u + chunk * V, o = w + chunk * V, du = o + chunk * V, dw = du + chunk * V;
    }
};
size_t shared_bytes(int key, int value) { return size_t(5 * chunk) * size_t(apart(key) + apart(value)) * 4; }

// The gradients of what is written: column by column, from the last row to the first.
__device__ __forceinline__ void writes_back(const Pairs& p, const BackRows& c, int n, int value) {
    for (int j = int(threadIdx.x); j < value; j += delta_threads)
        for (int i = n - 1; i >= 0; i--) {
            float d = c.du[i * c.V + j];
            for (int t = i; t < n; t++) {
                d = fmaf(p.A(t, i), c.o[t * c.V + j], d);
                if (t > i) d = fmaf(-p.P(t, i), c.dw[t * c.V + j], d);
            }
            c.du[i * c.V + j] = d, c.dw[i * c.V + j] = p.beta[i] * d;
        }
}
// A thread a pair.
__device__ __forceinline__ void pairs_back(BackPairs& b, const Pairs& p, const BackRows& c, int n, int value) {
    int i = int(threadIdx.x) / chunk, j = int(threadIdx.x) % chunk;
    if (i >= n || j >= n) return;
    float x = 0, y = 0;
    if (j <= i) {
        auto u = [&](int t) { return c.u[j * c.V + t]; };
        x = chain(0, value, [&](int t) { return c.o[i * c.V + t]; }, u) * p.D[i][j];
        if (j < i) y = -chain(0, value, [&](int t) { return c.dw[i * c.V + t]; }, u) * p.D[i][j];
    }
    b.X[i][j] = x, b.Y[i][j] = y, b.E[i][j] = j < i ? x * p.qk[i][j] + y * p.kk[i][j] : 0;
}
// Every decay that spans the step to row t.
__device__ __forceinline__ float decay_back(const BackPairs& b, int t, int n, float whole) {
    float since = 0, spans = 0, until = 0;
    for (int i = n - 1; i >= t; i--) since += b.before[i];
    for (int j = 0; j < t; j++) {
        for (int i = n - 1; i >= t; i--) spans += b.E[i][j];
        until += b.after[j];
    }
    return since + spans + until + whole;
}

__global__ void __launch_bounds__(delta_threads) delta_back_kernel(BackRule a) {
    const Rule& w = a.w;
    int heads = w.r.value_heads, s = int(blockIdx.x) / heads, h = int(blockIdx.x) % heads, kh = key_head(w.r, h);
    int key = w.r.key, value = w.r.value, thread = int(threadIdx.x), lane = thread % warp;
    int first = w.b.first[s], rows = w.b.first[s + 1] - first, chunks = (rows + chunk - 1) / chunk;
    Pairs& p = static_shared<Pairs>();
    BackPairs& b = static_shared<BackPairs>();
    BackRows c(&dynamic_shared<float>(), key, value);
    float* dS = a.dstate + size_t(blockIdx.x) * key * value;

    for (int number = chunks - 1; number >= 0; number--) {
        int row = first + number * chunk, n = min(chunk, first + rows - row);
        bool last = number == chunks - 1; // nothing comes behind
        const float* S = a.states + (chunk_number(w, s, number) * heads + h) * key * value;
        __syncthreads(); // everybody has done with the chunk behind
        load_chunk(w, p, c.q, c.k, row, 0, n, kh, h);
        for (int i = thread; i < n * value; i += delta_threads) {
            size_t of = size_t(row + i / value) * heads + h, at = of * value + i % value;
            int to = i / value * c.V + i % value;
            c.w[to] = a.ws[at], c.o[to] = read(a.dy, at), c.u[to] = w.beta[of] * c.w[to];
        }
        __syncthreads(); // the chunk is there
        pair_up(p, c.q, c.k, key, 0, n);
        __syncthreads(); // pairs are there

        // From the state behind.
        const float* to_end = p.D[n - 1];
        for (int i = thread; i < n * value; i += delta_threads) {
            int r = i / value, j = i % value;
            c.du[r * c.V + j] = last ? 0 : chain(0, key, [&](int d) { return c.k[r * c.K + d] * to_end[r]; },
                                                 [&](int d) { return dS[size_t(d) * value + j]; });
        }
        __syncthreads(); // what the state behind asks of the writes is there
        writes_back(p, c, n, value);
        __syncthreads(); // the writes' gradients are there
        pairs_back(b, p, c, n, value);

        // By way of the state before, and of the state behind.
        for (int i = thread; i < n * key; i += delta_threads) {
            int r = i / key, d = i % key;
            const float *before = S + size_t(d) * value, *behind = dS + size_t(d) * value;
            auto state = [&](int j) { return before[j]; };
            c.dq[r * c.K + d] = chain(0, value, [&](int j) { return p.e[r] * c.o[r * c.V + j]; }, state);
            c.dk[r * c.K + d] = chain(0, value, [&](int j) { return -(p.e[r] * c.dw[r * c.V + j]); }, state);
            c.behind[r * c.K + d] = last ? 0 : chain(0, value, [&](int j) { return c.u[r * c.V + j] * to_end[r]; },
                                                     [&](int j) { return behind[j]; });
        }
        float along = 0;
        for (int i = thread; i < key * value && !last; i += delta_threads) along = fmaf(dS[i], S[i], along);
        float whole = last ? 0 : p.e[n - 1] * block_sum<delta_threads, 2>(along);
        __syncthreads(); // of keys and queries, the parts by way of states are there
        for (int r = thread / warp; r < n; r += delta_threads / warp) {
            float by_q = row_dot(c.q + r * c.K, c.dq + r * c.K, key);
            float by_k = row_dot(c.k + r * c.K, c.dk + r * c.K, key);
            float after = row_dot(c.k + r * c.K, c.behind + r * c.K, key);
            float dbeta = row_dot(c.du + r * c.V, c.w + r * c.V, value);
            if (lane) continue;
            b.before[r] = by_q + by_k, b.after[r] = after;
            size_t at = size_t(row + r) * heads + h;
            if (a.db.data) {
                float d = dbeta * (p.beta[r] * (1 - p.beta[r]));
                write(a.db, at, a.db.fresh ? d : read(a.db, at) + d);
            }
        }
        __syncthreads(); // of the decays too
        if (thread < n) a.dg[size_t(row + thread) * heads + h] = decay_back(b, thread, n, whole);

        // By way of the pairs.
        for (int i = thread; i < n * key; i += delta_threads) {
            int r = i / key, d = i % key;
            size_t at = (size_t(row + r) * heads + h) * key + d;
            auto k = [&](int t) { return c.k[t * c.K + d]; };
            a.dq[at] = chain(c.dq[r * c.K + d], n, [&](int t) { return b.X[r][t]; }, k);
            float dk = c.dk[r * c.K + d] + c.behind[r * c.K + d];
            dk = chain(dk, n, [&](int t) { return b.Y[r][t] + b.Y[t][r]; }, k);
            a.dk[at] = chain(dk, n, [&](int t) { return b.X[t][r]; }, [&](int t) { return c.q[t * c.K + d]; });
        }
        for (int i = thread; i < n * value && a.dx.data; i += delta_threads) {
            size_t at = value_at(w, row + i / value, h) + i % value;
            float d = c.dw[i / value * c.V + i % value];
            write(a.dx, at, a.dx.fresh ? d : read(a.dx, at) + d);
        }
        for (int i = thread; i < key * value; i += delta_threads) { // the state before
            int d = i / value, j = i % value;
            float sum = last ? 0 : p.e[n - 1] * dS[i];
            sum = chain(sum, n, [&](int r) { return p.e[r] * c.q[r * c.K + d]; },
                        [&](int r) { return c.o[r * c.V + j]; });
            dS[i] = chain(sum, n, [&](int r) { return c.k[r * c.K + d]; },
                          [&](int r) { return -(p.e[r] * c.dw[r * c.V + j]); });
        }
    }
}

// The gradient of a decay, back through its softplus.
struct StepBack {
    Numbers da;
    Rule w;
    const float* dg;
    __device__ void operator()(size_t i, int left) const {
        Four d{};
        for (int n = 0; n < left; n++) {
            int h = int((i + n) % w.r.value_heads);
            d.v[n] = -(dg[i + n] * speed_of(w, h)) * sigmoid(step_of(w, i + n, h));
        }
        give4(da, i, d, left);
    }
};

// What a key head's query or key gets, from all its value heads, back through its length: a warp each.
__global__ void __launch_bounds__(256) lengths_back_kernel(BackRule a, unsigned n) {
    const Rule& w = a.w;
    unsigned i = blockIdx.x * 8 + threadIdx.x / warp, heads = unsigned(w.r.key_heads);
    if (i >= n) return;
    int kh = int(i / 2 % heads), row = int(i / 2 / heads), lane = int(threadIdx.x) % warp;
    bool is_key = i % 2;
    size_t at = side_at(w, row, kh, is_key);
    float by = over_length(w, at), scale = is_key ? 1 : 1 / sqrtf(float(w.r.key)), d[most / warp], along = 0;
#pragma unroll
    for (int j = 0; j < most / warp; j++) {
        int number = lane + j * warp;
        d[j] = 0;
        if (number >= w.r.key) continue;
#pragma unroll 1
        for (int h = 0; h < w.r.value_heads; h++)
            if (key_head(w.r, h) == kh)
                d[j] += (is_key ? a.dk : a.dq)[(size_t(row) * w.r.value_heads + h) * w.r.key + number];
        d[j] *= scale;
        along = fmaf(read(w.x, at + number) * by, d[j], along);
    }
    along = warp_sum(along);
#pragma unroll
    for (int j = 0; j < most / warp; j++) {
        size_t number = at + lane + j * warp;
        if (lane + j * warp >= w.r.key) continue;
        float v = fmaf(-(read(w.x, number) * by), along, d[j]) * by;
        write(a.dx, number, a.dx.fresh ? v : read(a.dx, number) + v);
    }
}

// What a row gives to a head's rate or bias.
struct DecayTerm {
    Rule w;
    const float* dg;
    bool of_rate;
    __device__ void operator()(Four& sum, size_t row, int h, int left) const {
        for (int n = 0; n < 4 && n < left; n++) {
            size_t at = row * w.r.value_heads + h + n;
            float step = step_of(w, at, h + n), speed = speed_of(w, h + n);
            sum.v[n] += of_rate ? dg[at] * -(speed * exact_softplus(step)) : -(dg[at] * speed) * sigmoid(step);
        }
    }
};

void delta_back(Tensor dx, Tensor da, Tensor db, Tensor drate, Tensor dbias, Tensor dy, Tensor x, Tensor a, Tensor b,
                Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    if (!rows.n) return;
    if (r.key > most || r.value > most)
        fail(Exit::no_resource, "cuda: the delta rule's way back has heads of %d by %d numbers; %d is the most; train "
             "with --device cpu", r.key, r.value, most);
    size_t n = size_t(rows.n), heads = size_t(r.value_heads), state = heads * size_t(r.key) * size_t(r.value);
    size_t sizes[] = {shares_size(r.value_heads), prepared_size(r, rows),      chunks_of(rows) * state,
                      n * heads * size_t(r.value), size_t(rows.seqs) * state, n * heads * size_t(r.key),
                      n * heads * size_t(r.key),   n * heads},
           all = 0;
    for (size_t size : sizes) all += size;
    float *room = static_cast<float*>(workspace(all * 4)), *parts[8];
    for (int i = 0; i < 8; i++) parts[i] = room, room += sizes[i];
    Rule w = prepare(x, a, b, rate, bias, r, rows, parts[1]);
    delta_forward(w, {}, parts[2], parts[3]);
    BackRule back{w, numbers(dx), numbers(db), numbers(dy), parts[2], parts[3], parts[4], parts[5],
                  parts[6], parts[7]};
    launch<delta_back_kernel>(unsigned(size_t(rows.seqs) * heads), delta_threads, shared_bytes(r.key, r.value), back);
    if (da) each(n * heads, StepBack{numbers(da), w, parts[7]});
    unsigned items = unsigned(2 * n) * unsigned(r.key_heads);
    if (dx) launch<lengths_back_kernel>(groups_of(items, 8), 256, 0, back, items);
    for (bool of_rate : {true, false})
        if (const Tensor& to = of_rate ? drate : dbias)
            sum_columns(numbers(to), n, r.value_heads, 1, 1, DecayTerm{w, parts[7], of_rate}, parts[0]);
}

} // namespace

void delta_back(Kernels& k) { k.delta_back = delta_back; }

} // namespace DD_CUDA
