// delta.cu - the gated delta rule forward: chunked and recurrent are one kernel, since a chunk may be cut anywhere.
//
// What a column of the values is written and read by depends on no other column, so a block takes a head of a sequence
// and some of its columns, and goes through the sequence with that part of the state in shared memory.
#include "delta.h"
#include "families.h"
#include "runtime.h"

namespace DD_CUDA {
namespace {

// ---- the inputs made ready

// A warp a key or query of a head.
__global__ void __launch_bounds__(256) lengths_kernel(Rule w, size_t n) {
    size_t i = size_t(blockIdx.x) * 8 + threadIdx.x / warp;
    if (i >= n) return;
    int kh = int(i / 2 % w.r.key_heads), row = int(i / 2 / w.r.key_heads);
    bool is_key = i % 2;
    size_t from = side_at(w, row, kh, is_key), to = i / 2 * w.r.key;
    float by = over_length(w, from) * (is_key ? 1 : 1 / sqrtf(float(w.r.key)));
    for (int d = int(threadIdx.x) % warp; d < w.r.key; d += warp)
        (is_key ? w.k : w.q)[to + d] = read(w.x, from + d) * by;
}
struct Decays {
    Rule w;
    __device__ void operator()(size_t i, int left) const {
        for (int n = 0; n < left; n++) {
            int h = int((i + n) % w.r.value_heads);
            w.g[i + n] = -(speed_of(w, h) * exact_softplus(step_of(w, i + n, h)));
            w.beta[i + n] = sigmoid(read(w.open, i + n));
        }
    }
};

// ---- the rule

// Columns of the values a block takes: as many as let the state's part lie beside keys and queries.
template <int columns> constexpr int most_keys = columns == 64 ? 256 : columns == 32 ? 512 : 1024;
template <int columns> size_t shared_floats(int key) {
    return size_t(key) * columns + 2 * chunk * size_t(apart(key)) + 3 * chunk * columns;
}

template <int columns>
__global__ void __launch_bounds__(delta_threads) delta_kernel(Rule w, Numbers y, float* states, float* ws) {
    constexpr int groups = delta_threads / columns, each = chunk / groups; // threads of a column, rows of a thread
    const DeltaRule& r = w.r;
    int s = int(blockIdx.x) / r.value_heads, h = int(blockIdx.x) % r.value_heads, kh = key_head(r, h), key = r.key;
    int group = int(threadIdx.x) / columns, mine = int(threadIdx.x) % columns, col = int(blockIdx.y) * columns + mine;
    int first = w.b.first[s], end = w.b.first[s + 1], wide = (r.value + 15) / 16 * 16;
    bool there = col < r.value;
    if (first == end) return;

    Pairs& p = static_shared<Pairs>();
    float *S = &dynamic_shared<float>(), *q = S + key * columns, *k = q + chunk * apart(key);
    float *u = k + chunk * apart(key), *seen = u + chunk * columns, *out = seen + chunk * columns;
    size_t head = r.state ? size_t(w.b.slot[s]) * r.value_heads + h : 0;
    float* state = r.state ? r.state + head * key * wide : nullptr;
    float* open = r.state ? r.open + head * chunk * (key + wide + 1) : nullptr;

    // What the pass finds: the state, and in the chunk that is open the rows before its own.
    int pos = w.b.pos[first];
    for (int d = group; d < key; d += groups)
        S[d * columns + mine] = state && pos >= chunk && there ? state[size_t(d) * wide + col] : 0;
    for (int j = group; j < pos % chunk; j += groups)
        u[j * columns + mine] = there ? open[chunk * key + j * wide + col] : 0;
    for (int i = int(threadIdx.x); i < pos % chunk * key; i += delta_threads)
        k[i / key * apart(key) + i % key] = open[i % key * chunk + i / key];
    if (int(threadIdx.x) < pos % chunk) p.g[threadIdx.x] = open[chunk * (key + wide) + threadIdx.x];

    bool folded = false;
    for (int row = first; row < end;) {
        int from = w.b.pos[row] % chunk, n = min(chunk, from + end - row);
        __syncthreads(); // everybody has done with the chunk before
        load_chunk(w, p, q, k, row - from, from, n, kh, h);
        if (states && there) {
            float* to = states + (chunk_number(w, s, (row - first) / chunk) * r.value_heads + h) * key * r.value;
            for (int d = group; d < key; d += groups) to[size_t(d) * r.value + col] = S[d * columns + mine];
        }
        __syncthreads(); // keys, queries and decays are there
        pair_up(p, q, k, key, from, n);
        __syncthreads(); // pairs are there

        // What keys and queries find in the state.
        float by_k[each] = {}, by_q[each] = {};
        for (int d = 0; d < key; d++) {
            float v = S[d * columns + mine];
#pragma unroll
            for (int i = 0; i < each; i++) {
                int at = group * each + i;
                if (at < from || at >= n) continue;
                by_k[i] = fmaf(p.e[at] * k[at * apart(key) + d], v, by_k[i]);
                by_q[i] = fmaf(p.e[at] * q[at * apart(key) + d], v, by_q[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < each; i++) {
            seen[(group * each + i) * columns + mine] = by_k[i];
            out[(group * each + i) * columns + mine] = by_q[i];
        }
        __syncthreads(); // what the state holds is there

        // Row after row, a thread a column.
        for (int i = from; i < n && group == 0; i++) {
            size_t at = size_t(row - from + i) * r.value_heads + h;
            float left = (there ? read(w.x, value_at(w, row - from + i, h) + col) : 0) - seen[i * columns + mine];
            for (int j = 0; j < i; j++) left = fmaf(-p.P(i, j), u[j * columns + mine], left);
            u[i * columns + mine] = p.beta[i] * left;
            float o = out[i * columns + mine];
            for (int j = 0; j <= i; j++) o = fmaf(p.A(i, j), u[j * columns + mine], o);
            if (there && y.data) write(y, at * r.value + col, o);
            if (there && ws) ws[at * r.value + col] = left;
        }
        __syncthreads(); // what the chunk writes is there
        if (n == chunk) {
            for (int d = group; d < key; d += groups) {
                float v = p.e[chunk - 1] * S[d * columns + mine];
                for (int j = 0; j < chunk; j++)
                    v = fmaf(k[j * apart(key) + d] * p.D[chunk - 1][j], u[j * columns + mine], v);
                S[d * columns + mine] = v;
            }
            folded = true;
        }
        row += n - from;
    }
    if (!state || !there) return;
    for (int d = group; d < key && folded; d += groups) state[size_t(d) * wide + col] = S[d * columns + mine];
    for (int row = max(first, end - chunk) + group; row < end; row += groups) {
        int i = w.b.pos[row] % chunk;
        open[chunk * key + i * wide + col] = u[i * columns + mine];
    }
}

// Keys and decays of the last rows, for the passes to come; after all blocks of the rule have read those of passes
// before.
__global__ void __launch_bounds__(delta_threads) keep_kernel(Rule w) {
    const DeltaRule& r = w.r;
    int s = int(blockIdx.x) / r.value_heads, h = int(blockIdx.x) % r.value_heads, kh = key_head(r, h), key = r.key;
    int end = w.b.first[s + 1], first = max(w.b.first[s], end - chunk), wide = (r.value + 15) / 16 * 16;
    float* open = r.open + (size_t(w.b.slot[s]) * r.value_heads + h) * chunk * (key + wide + 1);
    for (int i = int(threadIdx.x); i < (end - first) * key; i += delta_threads) {
        int row = first + i / key, d = i % key;
        open[d * chunk + w.b.pos[row] % chunk] = w.k[(size_t(row) * r.key_heads + kh) * key + d];
    }
    int row = first + int(threadIdx.x);
    if (row < end) open[chunk * (key + wide) + w.b.pos[row] % chunk] = w.g[size_t(row) * r.value_heads + h];
}

template <int columns> void start(const Rule& w, const Numbers& y, float* states, float* ws) {
    if (columns > 16 && w.r.key > most_keys<columns>) return start<(columns > 16 ? columns / 2 : 16)>(w, y, states, ws);
    dim3 grid(unsigned(w.b.seqs * w.r.value_heads), groups_of(size_t(w.r.value), columns));
    launch<delta_kernel<columns>>(grid, delta_threads, shared_floats<columns>(w.r.key) * 4, w, y, states, ws);
}

void delta(Tensor y, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    if (!rows.n) return;
    float* room = static_cast<float*>(workspace(prepared_size(r, rows) * 4));
    Rule w = prepare(x, a, b, rate, bias, r, rows, room);
    delta_forward(w, numbers(y), nullptr, nullptr);
    if (r.state) launch<keep_kernel>(unsigned(rows.seqs * r.value_heads), delta_threads, 0, w);
}

} // namespace

size_t prepared_size(const DeltaRule& r, const Rows& rows) {
    return 2 * size_t(rows.n) * size_t(r.key_heads * r.key + r.value_heads);
}
Rule prepare(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& rate, const Tensor& bias,
             const DeltaRule& r, const Rows& rows, float* room) {
    if (r.key > 1024) fail(Exit::no_resource, "cuda: the delta rule has keys of %d numbers; 1024 is the most", r.key);
    size_t n = size_t(rows.n), keys = n * size_t(r.key_heads * r.key), items = 2 * n * size_t(r.key_heads);
    Rule w{r, rows, numbers(x), numbers(a), numbers(b), rate.f(), bias.f(), room, room + keys};
    w.g = w.k + keys, w.beta = w.g + n * size_t(r.value_heads);
    launch<lengths_kernel>(groups_of(items, 8), 256, 0, w, items);
    each(n * size_t(r.value_heads), Decays{w});
    return w;
}
void delta_forward(const Rule& w, const Numbers& y, float* states, float* ws) { start<64>(w, y, states, ws); }

void linear_attention(Kernels& k) {
    k.delta = delta;
    delta_back(k);
}

} // namespace DD_CUDA
