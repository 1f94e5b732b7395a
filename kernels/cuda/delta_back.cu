// delta_back.cu - the delta rule's way back: forward once more, keeping the state before every chunk and what each row
// had left to write; then a walk from the last chunk to the first with the gradient of the state behind, which, as the
// walk forward, goes by columns of the values and keeps its state in registers; then all the rest, a block a chunk.
// Letters as in ref_delta.cpp; what value heads give to the key head that they share, and what rows give to rate and
// bias, is added up by kernels of their own, in one order.
#include "columns.h"
#include "delta.h"
#include "families.h"
#include "runtime.h"

namespace DD_CUDA {
namespace {

constexpr int most = most_keys; // numbers of a key or a value

struct BackRule {
    Rule w;
    Numbers dx, db, dy;
    float *states, *ws;         // as delta_forward has them
    float *behind, *du;         // like them: gradients of the states behind chunks, and of what is written
    float *dq, *dk, *dg;        // [row][head][key] twice, [row][head]
};
__device__ __forceinline__ size_t state_at(const Rule& w, const Piece& c, int h) {
    return (c.number * w.r.value_heads + h) * padded(w.r.key) * padded(w.r.value);
}

// ---- the walk

template <int columns> constexpr int behind_part = columns + 4;
template <int columns> constexpr int behind_width = columns + 8;
template <int columns> size_t behind_floats(int key) {
    return size_t(2 * chunk_floats(key) + padded(key) / 32 * chunk * behind_part<columns> +
                  2 * chunk * behind_width<columns>);
}

// A thread a column: the gradient of what every row writes, from the last to the first. `o`: of the outputs; `found`:
// what the keys found in the gradient of the state behind, by warps.
template <int columns>
__device__ __forceinline__ void writes_back(const Pairs& p, const float (&o)[chunk], const float* found,
                                            const float* to_end, float (&du)[chunk], float* dw) {
    float sum[chunk] = {};
    for (int part = 0; part < int(blockDim.x) / warp; part++, found += chunk * behind_part<columns>)
#pragma unroll
        for (int i = 0; i < chunk; i++) sum[i] += found[i * behind_part<columns>];
#pragma unroll
    for (int i = 0; i < chunk; i++) du[i] = to_end[i] * sum[i];
    auto take = [&](const float* row, int rows, float v) { // du[i] += row[i] v, i < rows
#pragma unroll
        for (int i = 0; i < rows; i += 4) {
            Four of;
            move<uint4>(&of, row + i);
#pragma unroll
            for (int m = i; m < rows && m < i + 4; m++) du[m] = fmaf(of.v[m - i], v, du[m]);
        }
    };
#pragma unroll
    for (int t = 0; t < chunk; t++) take(p.A[t], t + 1, o[t]);
#pragma unroll
    for (int t = chunk - 1; t >= 0; t--) {
        float d = p.beta[t] * du[t];
        dw[t * behind_width<columns>] = d;
        take(p.P[t], t, -d);
    }
}

template <int columns> __global__ void __launch_bounds__(most_keys, 1) behind_kernel(BackRule a) {
    constexpr int tiles = columns / 16, apart = behind_part<columns>, width = behind_width<columns>;
    const Rule& w = a.w;
    int heads = w.r.value_heads, s = int(blockIdx.x) / heads, h = int(blockIdx.x) % heads, key = w.r.key;
    int value = w.r.value, thread = int(threadIdx.x), warps = int(blockDim.x) / warp, mine = thread / warp;
    int corner = int(blockIdx.y) * columns, col = corner + thread;
    int chunks = (w.b.first[s + 1] - w.b.first[s] + chunk - 1) / chunk;
    if (!chunks) return;

    float* memory = &dynamic_shared<float>();
    auto stage = [&](int number) { return Chunk(memory + number % 2 * chunk_floats(key), key); };
    float *part = memory + 2 * chunk_floats(key), *o = part + warps * chunk * apart, *dw = o + chunk * width;
    State<tiles> dS{};
    fetch(stage(chunks - 1), w, piece(w.b, s, chunks - 1), h);
    cp_async_commit();
    for (int number = chunks - 1; number >= 0; number--) {
        Piece c = piece(w.b, s, number);
        Chunk now = stage(number);
        const Pairs& p = *now.p;
        cp_async_wait<0>();
        __syncthreads(); // the chunk is there, and everybody has done with the one behind
        if (number) fetch(stage(number - 1), w, piece(w.b, s, number - 1), h);
        cp_async_commit();
        float v[chunk];
        if (thread < columns)
            load_column(v, a.dy, (size_t(c.row) * heads + h) * value + col, size_t(heads) * value, 0,
                        col < value ? c.n : 0);
        float* to = a.behind + state_at(w, c, h) + corner;
        dS.each(padded(value), INT_MAX, INT_MAX, [&](float x, int at) { to[at] = x; });

        dS.find({0, 8}, now.k, pitch(key), part + mine * chunk * apart, apart);
        __syncthreads(); // what the state behind asks of the writes is there
        if (thread < columns) {
            float du[chunk];
            writes_back<columns>(p, v, part + thread, p.D[c.n - 1], du, dw + thread);
#pragma unroll
            for (int i = 0; i < chunk; i++) {
                o[i * width + thread] = v[i];
                if (i < c.n && col < value) a.du[(size_t(c.row + i) * heads + h) * value + col] = du[i];
            }
        }
        __syncthreads(); // the writes' gradients are there
        dS.write(p.e[c.n - 1], o, width, [&](int i) { return p.e[i]; }, now.q, pitch(key));
        dS.write(1, dw, width, [&](int i) { return -p.e[i]; }, now.k, pitch(key));
    }
}

// ---- the rest, a block a chunk and a value head

struct BackPairs {
    RowProducts products;
    // X and Y of A and P, times D; E of the decay between the two rows; of those from before the chunk, and to its end
    float X[chunk][Pairs::apart], Y[chunk][Pairs::apart], E[chunk][Pairs::apart], before[chunk], after[chunk];
};
// Arrays of a chunk in shared memory.
struct BackRows {
    Chunk of;                        // keys, queries, pairs
    float *dq, *dk, *behind;         // [16][pitch(key)]
    float *u, *o, *dw;               // [16][pitch(value)]
    int K, V;
    __device__ BackRows(float* memory, int key, int value) : of(memory, key), K(pitch(key)), V(pitch(value)) {
        dq = memory + chunk_floats(key), dk = dq + chunk * K, behind = dk + chunk * K;
        u = behind + chunk * K, o = u + chunk * V, dw = o + chunk * V;
    }
};
size_t back_floats(int key, int value) {
    return size_t(chunk_floats(key)) + size_t(3 * chunk) * size_t(pitch(key) + pitch(value));
}

// A whole warp's.
__device__ __forceinline__ float row_dot(const float* a, const float* b, int n) {
    float sum = 0;
    for (int j = int(threadIdx.x) % warp; j < n; j += warp) sum = fmaf(a[j], b[j], sum);
    return warp_sum(sum);
}
// A warp a row: its writes, and their gradients, which are those of its values and of beta.
__device__ __forceinline__ void load_writes(const BackRule& a, const BackRows& c, const Piece& m, int h, int i) {
    const Rule& w = a.w;
    bool there = i < m.n;
    size_t of = size_t(m.row + i) * w.r.value_heads + h, from = of * w.r.value;
    float beta = c.of.p->beta[i], dbeta = 0;
    for (int j = int(threadIdx.x) % warp; j < padded(w.r.value); j += warp) {
        bool in = there && j < w.r.value;
        float left = in ? a.ws[from + j] : 0, du = in ? a.du[from + j] : 0;
        c.u[i * c.V + j] = beta * left, c.dw[i * c.V + j] = beta * du, c.o[i * c.V + j] = in ? read(a.dy, from + j) : 0;
        dbeta = fmaf(du, left, dbeta);
        if (!in || !a.dx.data) continue;
        size_t at = value_at(w, m.row + i, h) + j;
        write(a.dx, at, a.dx.fresh ? beta * du : read(a.dx, at) + beta * du);
    }
    dbeta = warp_sum(dbeta) * (beta * (1 - beta));
    if (there && a.db.data && threadIdx.x % warp == 0) write(a.db, of, a.db.fresh ? dbeta : read(a.db, of) + dbeta);
}
// A warp eight numbers of the key: by way of the state before, and of that behind. Returns the two states' product.
__device__ __forceinline__ float states_back(const BackRows& c, const float* before, const float* behind, int n, int d,
                                             int value) {
    int lane = int(threadIdx.x) % warp, g = lane / 4, t = lane % 4;
    const Pairs& p = *c.of.p;
    float dq[4] = {}, dk[4] = {}, end[4] = {}, along = 0;
#pragma unroll 4
    for (int j = t * 2; j < (value + 15) / 16 * 16; j += 8) { // behind it no block has written
        int row = g * c.V + j, down = row + 8 * c.V, at = (d + g) * padded(value) + j;
        Split<2> S = split_pair(before + at), dS = split_pair(behind + at);
        along = fmaf(before[at], behind[at], fmaf(before[at + 1], behind[at + 1], along));
        mma_f32(dq, split_rows(c.o + row, c.o + down), S);
        mma_f32(dk, split_rows(c.dw + row, c.dw + down), S);
        mma_f32(end, split_rows(c.u + row, c.u + down), dS);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = g + i / 2 * 8, to = row * c.K + d + t * 2 + i % 2;
        c.dq[to] = p.e[row] * dq[i], c.dk[to] = -(p.e[row] * dk[i]), c.behind[to] = p.D[n - 1][row] * end[i];
    }
    return along;
}
// A warp eight numbers of the key: what its rows get by way of the pairs is added to what they got by the states.
__device__ __forceinline__ void pairs_back(const BackRule& a, const BackPairs& b, const BackRows& c, const Piece& m,
                                           int h, int d) {
    int lane = int(threadIdx.x) % warp, g = lane / 4, t = lane % 4;
    float dq[4] = {}, dk[4] = {};
#pragma unroll
    for (int j = 0; j < chunk; j += 8) {
        auto rows = [&](auto f) { return split({f(g, j + t), f(g + 8, j + t), f(g, j + t + 4), f(g + 8, j + t + 4)}); };
        const float *k = c.of.k + (j + t) * c.K + d + g, *q = c.of.q + (j + t) * c.K + d + g;
        Split<2> keys = split({k[0], k[4 * c.K]}), queries = split({q[0], q[4 * c.K]});
        mma_f32(dq, rows([&](int i, int j) { return b.X[i][j]; }), keys);
        mma_f32(dk, rows([&](int i, int j) { return b.Y[i][j] + b.Y[j][i]; }), keys);
        mma_f32(dk, rows([&](int i, int j) { return b.X[j][i]; }), queries);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = g + i / 2 * 8, number = d + t * 2 + i % 2, from = row * c.K + number;
        if (row >= m.n || number >= a.w.r.key) continue;
        size_t at = (size_t(m.row + row) * a.w.r.value_heads + h) * a.w.r.key + number;
        a.dq[at] = c.dq[from] + dq[i], a.dk[at] = (c.dk[from] + c.behind[from]) + dk[i];
    }
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

__global__ void __launch_bounds__(pair_threads) chunk_back_kernel(BackRule a) {
    const Rule& w = a.w;
    const Piece m = piece(w.b, int(blockIdx.x));
    if (m.n <= 0) return;
    int h = int(blockIdx.y), key = w.r.key, value = w.r.value, thread = int(threadIdx.x), mine = thread / warp;
    BackPairs& b = static_shared<BackPairs>();
    BackRows c(&dynamic_shared<float>(), key, value);
    const Pairs& p = *c.of.p;
    fetch(c.of, w, m, h);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads(); // keys, queries and pairs are there
    for (int i = mine; i < chunk; i += pair_warps) load_writes(a, c, m, h, i);
    __syncthreads(); // writes are there

    rows_by_rows(b.products, c.o, c.dw, c.u, c.V, padded(value));
    float along = 0;
    for (int d = mine * 8; d < padded(key); d += pair_warps * 8)
        along += states_back(c, a.states + state_at(w, m, h), a.behind + state_at(w, m, h), m.n, d, value);
    // A barrier is in this: products, and of keys and queries the parts by way of states, are there.
    float whole = p.e[m.n - 1] * block_sum<pair_threads, 2>(along);

    int i = thread / chunk, j = thread % chunk;
    float x = b.products.sum(0, i, j), y = b.products.sum(1, i, j);
    b.X[i][j] = x * p.D[i][j], b.Y[i][j] = j < i ? -y * p.D[i][j] : 0;
    b.E[i][j] = j < i ? x * p.A[i][j] - y * p.P[i][j] : 0;
    for (int r = mine; r < m.n; r += pair_warps) {
        float by_q = row_dot(c.of.q + r * c.K, c.dq + r * c.K, key);
        float by_k = row_dot(c.of.k + r * c.K, c.dk + r * c.K, key);
        float after = row_dot(c.of.k + r * c.K, c.behind + r * c.K, key);
        if (thread % warp == 0) b.before[r] = by_q + by_k, b.after[r] = after;
    }
    __syncthreads(); // pairs and decays are there
    if (thread < m.n) a.dg[size_t(m.row + thread) * w.r.value_heads + h] = decay_back(b, thread, m.n, whole);
    for (int d = mine * 8; d < key; d += pair_warps * 8) pairs_back(a, b, c, m, h, d);
}

// ---- decays, lengths, and the whole

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

template <int columns> void start(const BackRule& a) {
    dim3 grid(unsigned(a.w.b.seqs * a.w.r.value_heads), groups_of(size_t(a.w.r.value), columns));
    launch<behind_kernel<columns>>(grid, unsigned(padded(a.w.r.key)), behind_floats<columns>(a.w.r.key) * 4, a);
}

void delta_back(Tensor dx, Tensor da, Tensor db, Tensor drate, Tensor dbias, Tensor dy, Tensor x, Tensor a, Tensor b,
                Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    if (!rows.n) return;
    if (r.key > most || r.value > most)
        fail(Exit::no_resource, "cuda: the delta rule's way back has heads of %d by %d numbers; %d is the most; train "
             "with --device cpu", r.key, r.value, most);
    size_t n = size_t(rows.n), heads = size_t(r.value_heads), values = n * heads * size_t(r.value);
    size_t states = chunks_of(rows) * heads * size_t(padded(r.key) * padded(r.value)), keys = n * heads * size_t(r.key);
    size_t sizes[] = {prepared_size(r, rows), states, values, states, values, keys, keys, n * heads,
                      shares_size(r.value_heads)},
           all = 0;
    for (size_t& size : sizes) size = (size + 3) / 4 * 4, all += size;
    float *room = static_cast<float*>(workspace(all * 4)), *parts[9];
    for (int i = 0; i < 9; i++) parts[i] = room, room += sizes[i];
    Rule w = prepare(x, a, b, rate, bias, r, rows, parts[0]);
    delta_forward(w, {}, parts[1], parts[2]);
    BackRule back{w, numbers(dx), numbers(db), numbers(dy), parts[1], parts[2], parts[3], parts[4],
                  parts[5], parts[6], parts[7]};
    by_columns(w, [&](auto columns) { start<columns>(back); });
    launch<chunk_back_kernel>(dim3(unsigned(chunks_of(rows)), unsigned(heads)), pair_threads,
                              back_floats(r.key, r.value) * 4, back);
    if (da) each(n * heads, StepBack{numbers(da), w, parts[7]});
    unsigned items = unsigned(2 * n) * unsigned(r.key_heads);
    if (dx) launch<lengths_back_kernel>(groups_of(items, 8), 256, 0, back, items);
    for (bool of_rate : {true, false})
        if (const Tensor& to = of_rate ? drate : dbias)
            sum_columns(numbers(to), n, r.value_heads, 1, 1, DecayTerm{w, parts[7], of_rate}, parts[8]);
}

} // namespace

void delta_back(Kernels& k) { k.delta_back = delta_back; }

} // namespace DD_CUDA
