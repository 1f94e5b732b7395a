// delta.inl - the gated delta rule forward (ref_delta.cpp says what it is): for the rows of a chunk that a pass has,
// one product against the state and one against the chunk's keys, by the tile of tile.inl; then row after row.

constexpr int chunk = 16;

// The rows from .. from+rows-1 of a chunk of one value head.
struct DeltaChunk {
    int key, value, kw, wide;               // sizes; kw: key rounded up to 16
    int from = 0, rows = 0;
    float *state, *keys, *u, *g;            // as list.h says a cache has them
    float *q, *k;                           // [rows][kw], k right behind q
    float *scaled;                          // [2 rows][kw]: q and k times the decay from before the chunk
    float *pairs;                           // [2 rows][16]: q.k and k.k, then times D, the second with its sign turned
    float *seen;                            // [2 rows][wide]: what q and k read in the state
    alignas(64) float D[chunk][chunk], e[chunk], beta[chunk];
};

INLINE Stretch floats(const float* x, long ldx, const float* w, long ldw, int steps) {
    return {(const uint32_t*)x, ldx, {(const char*)w}, ldw * 4, steps, Kind::singles};
}

// to[c][r] = from[r][c] for so many rows, zero up to the next 16; columns by sixteens.
static void turn(const float* from, long ld, int rows, int cols, float* to, long ldto) {
    for (int r = 0; r < rows; r += 16)
        for (int c = 0; c < cols; c += 16) {
            I t[16];
            for (int i = 0; i < 16; i++) t[i] = r + i < rows ? load_words(from + (r + i) * ld + c) : set_words(0);
            transpose(t);
            for (int i = 0; i < 16 && c + i < cols; i++) store_words(to + (c + i) * ldto + r, t[i]);
        }
}

// What a token writes by and how far it lets the past decay, of all rows and heads of a pass.
static void decays(Tensor a, Tensor b, Tensor rate, Tensor bias, float* g, float* beta) {
    each_row(a.rows, 32 * a.cols, [&](int i) {
        size_t row = size_t(i) * a.cols;
        each(0, size_t(a.cols), [&](size_t h, int n) BODY {
            F speed = exp2(get(rate, h, n) * set(log2e));
            store(g + row + h, -(speed * softplus(get(a, row + h, n) + get(bias, h, n))), n);
            store(beta + row + h, sigmoid(get(b, row + h, n)), n);
        });
    });
}

// Rows of x at length 1 times `scale`; zero from `key` to `kw`.
static void unit_rows(const Tensor& x, size_t at, int rows, int key, int kw, float scale, float* to) {
    for (int i = 0; i < rows; i++, at += size_t(x.cols), to += kw) {
        F squares = set(0);
        each(0, size_t(key), [&](size_t d, int n) BODY { F v = get(x, at + d, n); squares = fma(v, v, squares); });
        F by = set(1 / __builtin_sqrtf(sum(squares) + 1e-6f) * scale);
        each(0, size_t(key), [&](size_t d, int n) BODY { store(to + d, get(x, at + d, n) * by); });
    }
}

// D and e of the chunk's rows.
static void chunk_decays(DeltaChunk& c) {
    F between = set(0);
    float since = 0;
    for (int i = 0; i < c.from + c.rows; i++) {
        since += c.g[i];
        between = before(i, between + set(c.g[i]), set(0));
        if (i < c.from) continue;
        store(c.D[i - c.from], exp2(between * set(log2e)));
        c.e[i - c.from] = since;
    }
    for (int i = c.rows; i < chunk; i++) c.e[i] = 0;
    store(c.e, exp2(load(c.e) * set(log2e)));
}

static void scale_rows(const float* from, const float* by, int rows, int cols, float* to) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j += 16) store(to + i * cols + j, set(by[i]) * load(from + i * cols + j));
}

// The pairs of the chunk's rows with all before them, and what its rows read in the state (`queries` too).
static void chunk_products(const DeltaChunk& c, bool begins, bool queries) {
    block_product(floats(c.q, c.kw, c.keys, chunk, c.key), 1, 2 * c.rows, c.pairs, chunk, false);
    if (begins) return void(__builtin_memset(c.seen, 0, size_t(2 * c.rows) * c.wide * 4));
    int skip = queries ? 0 : c.rows;
    scale_rows(c.q, c.e, queries ? c.rows : 0, c.kw, c.scaled);
    scale_rows(c.k, c.e, c.rows, c.kw, c.scaled + c.rows * c.kw);
    block_product(floats(c.scaled + skip * c.kw, c.kw, c.state, c.wide, c.key), c.wide / 16, 2 * c.rows - skip,
                  c.seen + skip * c.wide, c.wide, false);
}
static void chunk_pairs(const DeltaChunk& c) {
    for (int i = 0; i < c.rows; i++) {
        float *a = c.pairs + i * chunk, *p = a + c.rows * chunk;
        store(a, load(a) * load(c.D[i]));
        store(p, -(load(p) * load(c.D[i])));
    }
}

// Columns col .. col+16V-1 of the rows, one after another: row i's values begin at v + i x.cols, its outputs at y.
template <int V> void chunk_rows(const DeltaChunk& c, int col, const Tensor& x, size_t v, const Tensor& y, size_t to,
                                 float* w) {
    for (int i = 0; i < c.rows; i++) {
        const float *a = c.pairs + i * chunk, *p = a + c.rows * chunk;
        const float *q = c.seen + i * c.wide + col, *k = q + c.rows * c.wide;
        F left[V], out[V];
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) {
            int n = c.value - col - 16 * j;
            left[j] = get(x, v + size_t(i) * x.cols + col + 16 * j, n < 16 ? n : 16) - load(k + 16 * j);
            out[j] = load(q + 16 * j);
        }
        float* at = c.u + col;
        for (int t = 0; t < c.from + i; t++, at += c.wide) {
            F by_a = set(a[t]), by_p = set(p[t]);
#pragma GCC unroll 4
            for (int j = 0; j < V; j++) {
                F u = load(at + 16 * j);
                left[j] = fma(by_p, u, left[j]), out[j] = fma(by_a, u, out[j]);
            }
        }
        F own = set(a[c.from + i]), beta = set(c.beta[i]);
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) {
            F u = beta * left[j];
            store(at + 16 * j, u);
            if (w) store(w + i * c.wide + col + 16 * j, left[j]);
            int n = c.value - col - 16 * j;
            if (y) put(y, to + size_t(i) * y.cols + col + 16 * j, fma(own, u, out[j]), n < 16 ? n : 16);
        }
    }
}
constexpr int row_vectors = tile_vectors == 4 ? 4 : 1;
static void chunk_rows(const DeltaChunk& c, const Tensor& x, size_t v, const Tensor& y, size_t to, float* w) {
    int col = 0;
    for (; col + 16 * row_vectors <= c.wide; col += 16 * row_vectors) chunk_rows<row_vectors>(c, col, x, v, y, to, w);
    for (; col < c.wide; col += 16) chunk_rows<1>(c, col, x, v, y, to, w);
}

// The state behind a full chunk, into `next`, which may be where it was. `decayed`: [key][16], for the keys times D.
static void fold(const DeltaChunk& c, bool begins, float* decayed, float* next) {
    int last = c.rows - 1;
    F to_end = load(c.D[last]), whole = set(c.e[last]);
    for (int d = 0; d < c.key; d++) store(decayed + d * chunk, load(c.keys + d * chunk) * to_end);
    for (size_t i = 0; i < size_t(c.key) * c.wide && !begins; i += 16) store(next + i, whole * load(c.state + i));
    block_product(floats(decayed, chunk, c.u, c.wide, chunk), c.wide / 16, c.key, next, c.wide, !begins);
}

static void delta(Tensor y, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, const DeltaRule& r,
                  const Rows& rows) {
    int heads = r.value_heads, kw = (r.key + 15) & ~15, wide = r.wide();
    float *g = (float*)scratch(size_t(rows.n) * heads * 8), *beta = g + size_t(rows.n) * heads;
    decays(a, b, rate, bias, g, beta);
    float scale = 1 / __builtin_sqrtf(float(r.key));
    auto item = [&](int i, int thread) {
        int s = i / heads, h = i % heads, kh = r.key_head(h);
        size_t own = r.state ? 0 : r.state_size() + aligned(r.open_size());
        size_t part = size_t(4 * chunk) * kw + 2 * chunk * chunk + size_t(2 * chunk) * wide + size_t(r.key) * chunk;
        float* memory = (float*)scratch((own + part) * 4, thread);
        DeltaChunk c{r.key, r.value, kw, wide};
        c.state = r.state ? r.state + (size_t(rows.slot[s]) * heads + h) * r.state_size() : memory;
        c.keys = r.state ? r.open + (size_t(rows.slot[s]) * heads + h) * r.open_size() : memory + r.state_size();
        c.u = c.keys + r.key * chunk, c.g = c.u + chunk * wide;
        c.q = memory + own, c.scaled = c.q + 2 * chunk * kw, c.pairs = c.scaled + 2 * chunk * kw;
        c.seen = c.pairs + 2 * chunk * chunk;
        float* decayed = c.seen + 2 * chunk * wide;
        for (int row = rows.first[s]; row < rows.first[s + 1]; row += c.rows) {
            bool begins = rows.pos[row] < chunk;
            c.from = rows.pos[row] % chunk;
            c.rows = rows.first[s + 1] - row < chunk - c.from ? rows.first[s + 1] - row : chunk - c.from;
            c.k = c.q + c.rows * kw;
            size_t at = size_t(row) * x.cols;
            unit_rows(x, at + size_t(kh) * r.key, c.rows, r.key, kw, scale, c.q);
            unit_rows(x, at + size_t(r.key_heads + kh) * r.key, c.rows, r.key, kw, 1, c.k);
            if (c.rows == chunk) turn(c.k, kw, chunk, r.key, c.keys, chunk);
            else
                for (int j = 0; j < c.rows; j++)
                    for (int d = 0; d < r.key; d++) c.keys[d * chunk + c.from + j] = c.k[j * kw + d];
            for (int j = 0; j < c.rows; j++) {
                c.g[c.from + j] = g[size_t(row + j) * heads + h];
                c.beta[j] = beta[size_t(row + j) * heads + h];
            }
            chunk_decays(c);
            chunk_products(c, begins, true);
            chunk_pairs(c);
            chunk_rows(c, x, at + size_t(2 * r.key_heads) * r.key + size_t(h) * r.value, y,
                       size_t(row) * y.cols + size_t(h) * r.value, nullptr);
            if (c.from + c.rows == chunk) fold(c, begins, decayed, c.state);
        }
    };
    int items = rows.seqs * heads;
    if (size_t(rows.n) * heads * r.state_size() > 32768) return parallel(items, item);
    for (int i = 0; i < items; i++) item(i, 0);
}
