// delta.cu - the gated delta rule forward: chunked and recurrent are one kernel, since a chunk may be cut anywhere.
//
// What does not wait for the state is made first, for all chunks at once. What a column of the values is written and
// read by depends on no other column, so then a block takes a head of a sequence and some of its columns, and goes
// through the chunks with that part of the state in registers. That walk is all that takes its time in order: per chunk
// one product with the state, the writes row after row, one product onto the state, and three barriers.
#include "delta.h"
#include "families.h"
#include "runtime.h"

namespace DD_CUDA {
namespace {

// ---- the inputs made ready

struct Ready {
    RowProducts products;
    float g[chunk], beta[chunk];
};

// A warp a row's key or query: as long as it must be, zeros behind its end and where there is no row. Keys of rows
// before the pass's are left alone.
__device__ __forceinline__ void load_side(const Rule& w, const Piece& c, int h, int i, bool is_key, float* to) {
    int lane = int(threadIdx.x) % warp, key = w.r.key, kh = key_head(w.r, h);
    bool there = c.from <= i && i < c.n, keeps = there && h == first_head(w.r, kh);
    size_t at = side_at(w, c.row + i, kh, is_key);
    float by = there ? over_length(w, at) * (is_key ? 1 : 1 / sqrtf(float(key))) : 0;
    float* out = (is_key ? w.k : w.q) + (size_t(c.row + i) * w.r.key_heads + kh) * padded(key);
    for (int d = lane; d < padded(key); d += warp) {
        float v = there && d < key ? read(w.x, at + d) * by : 0;
        if (d >= key || i >= c.from || !is_key) to[d] = v;
        if (keeps) out[d] = v;
    }
}

// A block a chunk and a value head; the first of those that share a key head keeps its keys and queries.
__global__ void __launch_bounds__(pair_threads) ready_kernel(Rule w) {
    Piece c = piece(w.b, int(blockIdx.x));
    if (c.n <= c.from) return;
    const DeltaRule& r = w.r;
    int h = int(blockIdx.y), key = r.key, wide = (r.value + 15) / 16 * 16, width = pitch(key);
    int thread = int(threadIdx.x);
    size_t head = r.state ? size_t(w.b.slot[c.s]) * r.value_heads + h : 0;
    const float* open = r.open + head * chunk * (key + wide + 1);
    Ready& shared = static_shared<Ready>();
    float *k = &dynamic_shared<float>(), *q = k + chunk * width;

    for (int i = thread / warp; i < chunk; i += pair_warps)
        load_side(w, c, h, i, true, k + i * width), load_side(w, c, h, i, false, q + i * width);
    for (int i = thread; i < chunk * key && c.from; i += pair_threads)
        if (i % chunk < c.from) k[i % chunk * width + i / chunk] = open[i];
    if (thread < chunk) {
        size_t at = size_t(c.row + thread) * r.value_heads + h;
        bool there = c.from <= thread && thread < c.n;
        float g = there ? -(speed_of(w, h) * exact_softplus(step_of(w, at, h))) : 0;
        shared.g[thread] = thread < c.from ? open[chunk * (key + wide) + thread] : g;
        shared.beta[thread] = there ? sigmoid(read(w.open, at)) : 0;
    }
    __syncthreads(); // keys, queries and decays are there

    rows_by_rows(shared.products, k, q, k, width, padded(key));
    __syncthreads(); // every warp's part is there

    // A thread a pair.
    int i = thread / chunk, j = thread % chunk;
    bool there = c.from <= i && i < c.n;
    float kk = shared.products.sum(0, i, j), qk = shared.products.sum(1, i, j), between = 0, since = 0;
    for (int n = 0; n <= i; n++) since += shared.g[n];
    for (int n = j + 1; n <= i; n++) between += shared.g[n];
    float D = there && j <= i ? exact_exp2(between * log2_e) : 0;
    Pairs& p = w.pairs[c.number * r.value_heads + h];
    p.D[i][j] = D, p.A[i][j] = qk * D, p.P[i][j] = j < i ? kk * D : 0;
    if (j < 4) p.D[i][chunk + j] = p.A[i][chunk + j] = p.P[i][chunk + j] = 0;
    if (j == 0) p.e[i] = there ? exact_exp2(since * log2_e) : 0, p.g[i] = shared.g[i], p.beta[i] = shared.beta[i];
}

// ---- the rule

// Rows of partial sums, and of writes: their lanes too find banks of their own.
template <int columns> constexpr int part_width = columns + 4;
template <int columns> constexpr int write_width = columns + 8;
template <int columns> size_t shared_floats(int key) {
    return size_t(2 * chunk_floats(key) + padded(key) / 32 * 2 * chunk * part_width<columns> +
                  chunk * write_width<columns>);
}

// A thread a column: what every row has left to write, and what it writes. `found` is what the keys found in the
// state, by warps; `u` holds the writes of rows before `from`, and gets those of from .. n-1.
template <int columns>
__device__ __forceinline__ void write_rows(const Pairs& p, const float (&v)[chunk], const float* found, float* u,
                                           int from, int n, float (&left)[chunk]) {
    float written[chunk];
    float sum[chunk] = {};
    for (int part = 0; part < int(blockDim.x) / warp; part++, found += 2 * chunk * part_width<columns>)
#pragma unroll
        for (int i = 0; i < chunk; i++) sum[i] += found[i * part_width<columns>];
#pragma unroll
    for (int i = 0; i < chunk; i++) left[i] = fmaf(-p.e[i], sum[i], v[i]);
#pragma unroll
    for (int i = 0; i < chunk; i++) {
#pragma unroll
        for (int j = 0; j < i; j += 4) {
            Four of;
            move<uint4>(&of, &p.P[i][j]);
#pragma unroll
            for (int m = j; m < i && m < j + 4; m++) left[i] = fmaf(-of.v[m - j], written[m], left[i]);
        }
        bool now = from <= i && i < n;
        float& to = u[i * write_width<columns>];
        written[i] = now ? p.beta[i] * left[i] : to;
        if (now) to = written[i];
    }
}

template <int columns>
__global__ void __launch_bounds__(most_keys, 1) delta_kernel(Rule w, Numbers y, float* states, float* ws) {
    constexpr int tiles = columns / 16, apart = part_width<columns>, width = write_width<columns>;
    const DeltaRule& r = w.r;
    int s = int(blockIdx.x) / r.value_heads, h = int(blockIdx.x) % r.value_heads, key = r.key;
    int thread = int(threadIdx.x), warps = int(blockDim.x) / warp, mine = thread / warp, lane = thread % warp;
    int g = lane / 4, t = lane % 4, corner = int(blockIdx.y) * columns, col = corner + thread;
    int first = w.b.first[s], end = w.b.first[s + 1], wide = (r.value + 15) / 16 * 16;
    if (first == end) return;

    float* memory = &dynamic_shared<float>();
    auto stage = [&](int number) { return Chunk(memory + number % 2 * chunk_floats(key), key); };
    float *part = memory + 2 * chunk_floats(key), *u = part + warps * 2 * chunk * apart;
    size_t head = r.state ? size_t(w.b.slot[s]) * r.value_heads + h : 0;
    float* state = r.state ? r.state + head * key * wide : nullptr;
    float* open = r.state ? r.open + head * chunk * (key + wide + 1) : nullptr;

    // What the pass finds: the state, and in the chunk that is open the rows before its own.
    Piece c = piece(w.b, s, 0);
    fetch(stage(0), w, c, h);
    cp_async_commit();
    int pos = w.b.pos[first];
    State<tiles> S{};
    if (state && pos >= chunk) S.each(wide, key, r.value - corner, [&](float& x, int at) { x = state[corner + at]; });
    for (int i = thread; i < chunk * padded(key) && c.n == chunk; i += int(blockDim.x)) // to be folded
        if (i % chunk < c.from) stage(0).k[i % chunk * pitch(key) + i / chunk] = i / chunk < key ? open[i] : 0;
    for (int i = thread; i < chunk * columns; i += int(blockDim.x)) {
        int j = i / columns, m = i % columns;
        u[j * width + m] = j < c.from && corner + m < r.value ? open[chunk * key + j * wide + corner + m] : 0;
    }

    bool folded = false;
    for (int number = 0; c.from < c.n; number++) {
        Chunk now = stage(number);
        const Pairs& p = *now.p;
        cp_async_wait<0>();
        __syncthreads(); // the chunk is there, and everybody has done with the one before
        Piece next = piece(w.b, s, number + 1);
        if (next.n > 0) fetch(stage(number + 1), w, next, h);
        cp_async_commit();
        float v[chunk];
        if (thread < columns)
            load_column(v, w.x, value_at(w, c.row, h) + col, size_t(w.x.cols), c.from, col < r.value ? c.n : 0);
        if (states) {
            float* to = states + (c.number * r.value_heads + h) * padded(key) * padded(r.value) + corner;
            S.each(padded(r.value), INT_MAX, INT_MAX, [&](float x, int at) { to[at] = x; });
        }

        // What keys and queries find in the state; of a few rows only the half of the chunk that they lie in.
        float* mine_of = part + mine * 2 * chunk * apart;
        int half = c.from / 8 * 8;
        if (half == 0 && c.n > 8) S.find({0, 8, 16, 24}, now.k, pitch(key), mine_of, apart);
        else S.find({half, chunk + half}, now.k, pitch(key), mine_of, apart);
        __syncthreads(); // what the state holds is there

        if (thread < columns) {
            float left[chunk];
            write_rows<columns>(p, v, part + thread, u + thread, c.from, c.n, left);
#pragma unroll
            for (int i = 0; i < chunk; i++)
                if (ws && c.from <= i && i < c.n && col < r.value)
                    ws[(size_t(c.row + i) * r.value_heads + h) * r.value + col] = left[i];
        }
        __syncthreads(); // what the chunk writes is there

        if (c.n == chunk) {
            S.write(p.e[chunk - 1], u, width, [&](int i) { return p.D[chunk - 1][i]; }, now.k, pitch(key));
            folded = true;
        }
        // What the queries read of it: 16 rows by eight columns, a warp each.
        for (int m = mine * 8; m < columns && y.data; m += warps * 8) {
            float here[4] = {}, before[4] = {};
            for (int n = 0; n < warps; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    before[i] += part[(n * 2 * chunk + chunk + g + i / 2 * 8) * apart + m + t * 2 + i % 2];
#pragma unroll
            for (int j = 0; j < chunk; j += 8) {
                const float *A = &p.A[g][j + t], *down = &p.A[g + 8][j + t], *at = u + (j + t) * width + m + g;
                mma_f32(here, split({A[0], down[0], A[4], down[4]}), split({at[0], at[4 * width]}));
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = g + i / 2 * 8, j = corner + m + t * 2 + i % 2;
                if (c.from <= row && row < c.n && j < r.value)
                    write(y, (size_t(c.row + row) * r.value_heads + h) * r.value + j,
                          fmaf(p.e[row], before[i], here[i]));
            }
        }
        c = next;
    }
    if (!state) return;
    if (folded) S.each(wide, key, r.value - corner, [&](float x, int at) { state[corner + at] = x; });
    for (int row = max(first, end - chunk); row < end && thread < columns && col < r.value; row++) {
        int i = w.b.pos[row] % chunk;
        open[chunk * key + i * wide + col] = u[i * width + thread];
    }
}

// Keys and decays of the last rows, for the passes to come; after all blocks of the rule have read those of passes
// before.
__global__ void __launch_bounds__(256) keep_kernel(Rule w) {
    const DeltaRule& r = w.r;
    int s = int(blockIdx.x) / r.value_heads, h = int(blockIdx.x) % r.value_heads, kh = key_head(r, h), key = r.key;
    int end = w.b.first[s + 1], first = max(w.b.first[s], end - chunk), wide = (r.value + 15) / 16 * 16;
    float* open = r.open + (size_t(w.b.slot[s]) * r.value_heads + h) * chunk * (key + wide + 1);
    for (int i = int(threadIdx.x); i < (end - first) * key; i += 256) {
        int row = first + i / key, d = i % key;
        open[d * chunk + w.b.pos[row] % chunk] = w.k[(size_t(row) * r.key_heads + kh) * padded(key) + d];
    }
    int row = first + int(threadIdx.x);
    if (row >= end) return;
    Piece c = piece(w.b, s, (row - piece(w.b, s, 0).row) / chunk);
    open[chunk * (key + wide) + w.b.pos[row] % chunk] = w.pairs[c.number * r.value_heads + h].g[row - c.row];
}

template <int columns> void start(const Rule& w, const Numbers& y, float* states, float* ws) {
    dim3 grid(unsigned(w.b.seqs * w.r.value_heads), groups_of(size_t(w.r.value), columns));
    launch<delta_kernel<columns>>(grid, unsigned(padded(w.r.key)), shared_floats<columns>(w.r.key) * 4, w, y, states,
                                  ws);
}

void delta(Tensor y, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    if (!rows.n) return;
    float* room = static_cast<float*>(workspace(prepared_size(r, rows) * 4));
    Rule w = prepare(x, a, b, rate, bias, r, rows, room);
    delta_forward(w, numbers(y), nullptr, nullptr);
    if (r.state) launch<keep_kernel>(unsigned(rows.seqs * r.value_heads), 256, 0, w);
}

} // namespace

size_t prepared_size(const DeltaRule& r, const Rows& rows) {
    return 2 * size_t(rows.n) * size_t(r.key_heads * padded(r.key)) +
           chunks_of(rows) * size_t(r.value_heads) * sizeof(Pairs) / 4;
}
Rule prepare(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& rate, const Tensor& bias,
             const DeltaRule& r, const Rows& rows, float* room) {
    if (r.key > most_keys)
        fail(Exit::no_resource, "cuda: the delta rule has keys of %d numbers; %d is the most", r.key, most_keys);
    size_t keys = size_t(rows.n) * size_t(r.key_heads * padded(r.key));
    Rule w{r, rows, numbers(x), numbers(a), numbers(b), rate.f(), bias.f(), room, room + keys};
    w.pairs = reinterpret_cast<Pairs*>(w.k + keys);
    launch<ready_kernel>(dim3(unsigned(chunks_of(rows)), unsigned(r.value_heads)), pair_threads,
                         size_t(2 * chunk * pitch(r.key)) * 4, w);
    return w;
}
void delta_forward(const Rule& w, const Numbers& y, float* states, float* ws) {
    by_columns(w, [&](auto columns) { start<columns>(w, y, states, ws); });
}

void linear_attention(Kernels& k) {
    k.delta = delta;
    delta_back(k);
}

} // namespace DD_CUDA
