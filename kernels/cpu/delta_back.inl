// delta_back.inl - the delta rule's way back, by key heads: there once more, keeping the state before every chunk; then
// from the last chunk to the first, with the gradient of the state behind. A long sequence keeps only the states before
// its segments of 64 chunks and goes there a third time, segment by segment.

constexpr int segment = 64;

struct DeltaBack {
    DeltaChunk c;
    int chunks, group, span;                // chunks in all; heads; chunks of a segment
    float *rows;                            // [chunk][32][kw]: q and k of every chunk, as a DeltaChunk has them
    float *states, *ws, *us;                // of every head of the group: [chunk][key][wide], [chunk][16][wide] twice
    float *starts;                          // [segment][head of the group][key][wide]
    float *dstate;                          // [head of the group][key][wide]
    float *dots;                            // [32][16]: q.k and k.k of a chunk
    float *outs, *douts;                    // [32][wide]: dy and dw; dy and -dw times the decay from before the chunk
    float *du, *turned_u;                   // [16][wide], [wide][16]
    float *ended, *turned;                  // [16][the wider]: rows times the decay to the end; [wide][kw]: a state
    float *dqk, *behind, *sum;              // [32][kw], [16][kw], [32][kw]
    float *turned_q, *decayed;              // [key][16] both
    alignas(64) float X[chunk][chunk], Y[chunk][chunk], E[chunk][chunk], Z[chunk][chunk];
    float dg[chunk], dbeta[chunk];
};

static size_t set_up(DeltaBack& a, char* memory) {
    size_t used = 0, kw = size_t(a.c.kw), wide = size_t(a.c.wide), key = size_t(a.c.key), n = size_t(a.span);
    size_t group = size_t(a.group), segments = size_t(a.chunks + segment - 1) / segment;
    auto take = [&](size_t numbers) {
        char* p = memory + used;
        used += aligned(numbers * 4);
        return (float*)p;
    };
    a.rows = take(n * 32 * kw);
    a.states = take(group * n * key * wide), a.ws = take(group * n * 16 * wide), a.us = take(group * n * 16 * wide);
    a.starts = take(segments * group * key * wide), a.dstate = take(group * key * wide);
    a.dots = take(32 * 16), a.outs = take(32 * wide), a.douts = take(32 * wide);
    a.du = take(16 * wide), a.turned_u = take(wide * 16);
    a.ended = take(16 * (kw > wide ? kw : wide)), a.turned = take(wide * kw);
    a.dqk = take(32 * kw), a.behind = take(16 * kw), a.sum = take(32 * kw);
    a.turned_q = take(key * 16), a.decayed = take(key * 16);
    a.c.keys = take(key * 16), a.c.g = take(16);
    a.c.scaled = take(32 * kw), a.c.pairs = take(32 * 16), a.c.seen = take(32 * wide);
    return used;
}

static float row_dot(const float* a, const float* b, int n) {
    F dot = set(0);
    for (int j = 0; j < n; j += 16) dot = fma(load(a + j), load(b + j), dot);
    return sum(dot);
}

// Chunk t of a segment of head m of the group made ready: its keys, decays and places.
static void enter(DeltaBack& a, int t, int m, int rows, const float* g, const float* beta, int stride) {
    DeltaChunk& c = a.c;
    size_t at = size_t(m) * a.span + t;
    c.rows = rows, c.q = a.rows + size_t(t) * 32 * c.kw, c.k = c.q + rows * c.kw;
    c.state = a.states + at * c.key * c.wide, c.u = a.us + at * 16 * c.wide;
    for (int i = 0; i < rows; i++) c.g[i] = g[size_t(i) * stride], c.beta[i] = beta[size_t(i) * stride];
    chunk_decays(c);
    turn(c.k, c.kw, rows, c.key, c.keys, chunk);
}

// Columns col .. col+16V-1 of du of the writes, from the last row to the first, and with it dw = beta du. dots: of
// every row, du.w so far.
template <int V> void back_rows(const DeltaBack& a, int col, F* dots) {
    const DeltaChunk& c = a.c;
    int n = c.rows, wide = c.wide;
    float *o = a.outs + col, *dw = o + n * wide, *m = a.douts + n * wide + col;
    const float *A = c.pairs, *P = c.pairs + n * chunk;                    // P with its sign turned
    const float* w = a.ws + (c.u - a.us) + col;
    for (int i = n - 1; i >= 0; i--) {
        F d[V], own = set(A[i * chunk + i]), beta = set(c.beta[i]), e = set(c.e[i]);
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) d[j] = fma(own, load(o + i * wide + 16 * j), load(a.du + i * wide + col + 16 * j));
        for (int t = i + 1; t < n; t++) {
            F by_a = set(A[t * chunk + i]), by_p = set(P[t * chunk + i]);
#pragma GCC unroll 4
            for (int j = 0; j < V; j++) {
                d[j] = fma(by_a, load(o + t * wide + 16 * j), d[j]);
                d[j] = fma(by_p, load(dw + t * wide + 16 * j), d[j]);
            }
        }
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) {
            dots[i] = fma(d[j], load(w + i * wide + 16 * j), dots[i]);
            F by_beta = beta * d[j];
            store(dw + i * wide + 16 * j, by_beta);
            store(m + i * wide + 16 * j, -(e * by_beta));
        }
    }
}
static void back_rows(DeltaBack& a) {
    F dots[chunk];
    for (F& d : dots) d = set(0);
    int col = 0;
    for (; col + 16 * row_vectors <= a.c.wide; col += 16 * row_vectors) back_rows<row_vectors>(a, col, dots);
    for (; col < a.c.wide; col += 16) back_rows<1>(a, col, dots);
    for (int i = 0; i < a.c.rows; i++) a.dbeta[i] = sum(dots[i]);
}

// Of the pairs: X of A and Y of P, times D; E, what they give to the decay between the two; Z = Y + Y^T.
static void back_pairs(DeltaBack& a) {
    const DeltaChunk& c = a.c;
    int n = c.rows;
    alignas(64) float of[2 * chunk][chunk];
    turn(c.u, c.wide, n, c.wide, a.turned_u, chunk);
    block_product(floats(a.outs, c.wide, a.turned_u, chunk, c.value), 1, 2 * n, of[0], chunk, false);
    for (int i = 0; i < n; i++) {
        F D = load(c.D[i]), none = set(0), x = before(i + 1, load(of[i]) * D, none);
        F y = before(i, -load(of[n + i]) * D, none);
        store(a.X[i], x), store(a.Y[i], y);
        store(a.E[i], before(i, x * load(a.dots + i * chunk) + y * load(a.dots + (n + i) * chunk), none));
    }
    turn(a.Y[0], chunk, n, chunk, a.Z[0], chunk);
    for (int i = 0; i < n; i++) store(a.Z[i], load(a.Y[i]) + load(a.Z[i]));
}

// dg of every row: all decays that span the step to it.
static void back_decays(DeltaBack& a, const float* before_, const float* after, float whole) {
    int n = a.c.rows;
    F from = set(0);
    float since = 0, until = 0;
    for (int t = n - 1; t >= 0; t--) {
        since += before_[t];
        from = from + load(a.E[t]);
        a.dg[t] = since + sum(before(t, from, set(0)));
    }
    for (int t = 0; t < n; t++) a.dg[t] = (a.dg[t] + until) + whole, until += after[t];
}

// e <dS, S>, column by column.
template <int V> F columns_dot(const DeltaChunk& c, const float* dstate, int col, F all) {
    F column[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) column[j] = set(0);
    for (size_t at = size_t(col), end = size_t(c.key) * c.wide; at < end; at += size_t(c.wide))
#pragma GCC unroll 4
        for (int j = 0; j < V; j++)
            column[j] = fma(load(dstate + at + 16 * j), load(c.state + at + 16 * j), column[j]);
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) all = all + column[j];
    return all;
}
static float whole_decay(const DeltaChunk& c, const float* dstate) {
    F all = set(0);
    int col = 0;
    for (; col + 64 <= c.wide; col += 64) all = columns_dot<4>(c, dstate, col, all);
    for (; col < c.wide; col += 16) all = columns_dot<1>(c, dstate, col, all);
    return c.e[c.rows - 1] * sum(all);
}

// One chunk of one head: from dy (in outs) and the gradient of the state behind, dq and dk (in dqk), dw (in outs),
// dg, dbeta and the gradient of the state before.
static void back_chunk(DeltaBack& a, float* dstate, bool begins, bool last) {
    const DeltaChunk& c = a.c;
    int n = c.rows, kw = c.kw, wide = c.wide, vectors = wide / 16, keys = kw / 16;
    const float* to_end = c.D[n - 1];
    float *dq = a.dqk, *dk = a.dqk + n * kw;
    if (last) {
        __builtin_memset(a.du, 0, size_t(n) * wide * 4);
    } else {
        scale_rows(c.k, to_end, n, kw, a.ended);
        block_product(floats(a.ended, kw, dstate, wide, c.key), vectors, n, a.du, wide, false);
    }
    scale_rows(a.outs, c.e, n, wide, a.douts);
    back_rows(a);
    back_pairs(a);

    alignas(64) float before_[chunk], after[chunk] = {};
    if (begins) {
        __builtin_memset(a.dqk, 0, size_t(2 * n) * kw * 4);
    } else {
        turn(c.state, wide, c.key, wide, a.turned, kw);
        block_product(floats(a.douts, wide, a.turned, kw, c.value), keys, 2 * n, a.dqk, kw, false);
    }
    for (int i = 0; i < n; i++)
        before_[i] = row_dot(c.q + i * kw, dq + i * kw, kw) + row_dot(c.k + i * kw, dk + i * kw, kw);
    if (!last) {
        turn(dstate, wide, c.key, wide, a.turned, kw);
        scale_rows(c.u, to_end, n, wide, a.ended);
        block_product(floats(a.ended, wide, a.turned, kw, c.value), keys, n, a.behind, kw, false);
        for (int i = 0; i < n; i++) after[i] = row_dot(c.k + i * kw, a.behind + i * kw, kw);
        for (int i = 0; i < n * kw; i += 16) store(dk + i, load(dk + i) + load(a.behind + i));
    }
    alignas(64) float Xt[chunk][chunk];
    turn(a.X[0], chunk, n, chunk, Xt[0], chunk);
    block_product(floats(a.X[0], chunk, c.k, kw, n), keys, n, dq, kw, true);
    block_product(floats(a.Z[0], chunk, c.k, kw, n), keys, n, dk, kw, true);
    block_product(floats(Xt[0], chunk, c.q, kw, n), keys, n, dk, kw, true);

    back_decays(a, before_, after, last || begins ? 0 : whole_decay(c, dstate));
    if (begins) return;
    F whole = set(c.e[n - 1]);
    for (size_t i = 0; i < size_t(c.key) * wide && !last; i += 16) store(dstate + i, whole * load(dstate + i));
    scale_rows(c.q, c.e, n, kw, c.scaled);
    turn(c.scaled, kw, n, c.key, a.turned_q, chunk);
    block_product(floats(a.turned_q, chunk, a.outs, wide, n), vectors, c.key, dstate, wide, !last);
    block_product(floats(c.keys, chunk, a.douts + n * wide, wide, n), vectors, c.key, dstate, wide, true);
}

// x = y / r: dx = r (dy - y (y.dy)), of so many rows.
static void length_back(const Tensor& dx, const Tensor& x, size_t at, int rows, int key, const float* dy, int ld,
                        float scale) {
    for (int i = 0; i < rows; i++, at += size_t(x.cols), dy += ld) {
        F squares = set(0), along = set(0);
        each(0, size_t(key), [&](size_t d, int n) BODY { F v = get(x, at + d, n); squares = fma(v, v, squares); });
        F r = set(1 / __builtin_sqrtf(sum(squares) + 1e-6f)), by = set(scale);
        each(0, size_t(key), [&](size_t d, int n) BODY {
            along = fma(get(x, at + d, n) * r, before(n, load(dy + d) * by, set(0)), along);
        });
        F all = set(sum(along));
        each(0, size_t(key), [&](size_t d, int n) BODY {
            F y = get(x, at + d, n) * r;
            give(dx, at + d, fma(-y, all, load(dy + d) * by) * r, n);
        });
    }
}

// What the rule's small inputs get, from dg and dbeta of every row and head.
static void back_inputs(Tensor da, Tensor db, Tensor drate, Tensor dbias, Tensor a, Tensor rate, Tensor bias,
                        const float* beta, const float* dg, const float* dbeta) {
    auto speed = [&](size_t h, int n) BODY { return exp2(get(rate, h, n) * set(log2e)); };
    each_row(a.rows, 32 * a.cols, [&](int i) {
        size_t row = size_t(i) * a.cols;
        each(0, size_t(a.cols), [&](size_t h, int n) BODY {
            F at = get(a, row + h, n) + get(bias, h, n), by = load(beta + row + h, n);
            if (da) give(da, row + h, -(load(dg + row + h, n) * speed(h, n)) * sigmoid(at), n);
            if (db) give(db, row + h, load(dbeta + row + h, n) * (by * (set(1) - by)), n);
        });
    });
    if (drate || dbias) each(0, size_t(a.cols), [&](size_t h, int n) BODY {
        F of_rate = drate ? get(drate, h, n) : set(0), of_bias = dbias ? get(dbias, h, n) : set(0), fast = speed(h, n);
        for (int i = 0; i < a.rows; i++) {
            size_t row = size_t(i) * a.cols + h;
            F at = get(a, row, n) + get(bias, h, n), d = load(dg + row, n);
            of_rate = fma(d, -(fast * softplus(at)), of_rate);
            of_bias = of_bias + -(d * fast) * sigmoid(at);
        }
        if (drate) put(drate, h, of_rate, n);
        if (dbias) put(dbias, h, of_bias, n);
    });
}

static void delta_back(Tensor dx, Tensor da, Tensor db, Tensor drate, Tensor dbias, Tensor dy, Tensor x, Tensor a,
                       Tensor b, Tensor rate, Tensor bias, const DeltaRule& r, const Rows& rows) {
    int heads = r.value_heads, kw = (r.key + 15) & ~15, wide = r.wide();
    size_t all = size_t(rows.n) * heads;
    float *g = (float*)scratch(all * 16), *beta = g + all, *dg = beta + all, *dbeta = dg + all;
    decays(a, b, rate, bias, g, beta);
    float scale = 1 / __builtin_sqrtf(float(r.key));
    parallel(rows.seqs * r.key_heads, [&](int i, int thread) {
        int s = i / r.key_heads, kh = i % r.key_heads, first = rows.first[s], n = rows.first[s + 1] - first;
        int chunks = (n + chunk - 1) / chunk, segments = (chunks + segment - 1) / segment;
        DeltaBack w{{r.key, r.value, kw, wide}, chunks, heads / r.key_heads, chunks < segment ? chunks : segment};
        set_up(w, (char*)scratch(set_up(w, nullptr), thread));
        size_t q_at = size_t(first) * x.cols + size_t(kh) * r.key, k_at = q_at + size_t(r.key_heads) * r.key;
        auto head = [&](int m) { return r.tiled ? kh + m * r.key_heads : kh * w.group + m; };
        auto rows_of = [&](int t) { return n - t * chunk < chunk ? n - t * chunk : chunk; };
        auto v_at = [&](int t, int h) {
            return size_t(first + t * chunk) * x.cols + size_t(2 * r.key_heads) * r.key + size_t(h) * r.value;
        };
        size_t state = r.state_size();
        auto walk = [&](int part) {                         // through a segment, from the state before it
            int from = part * segment, to = from + segment < chunks ? from + segment : chunks;
            for (int t = from; t < to; t++) {
                float* q = w.rows + size_t(t - from) * 32 * kw;
                size_t down = size_t(t) * chunk * x.cols;
                unit_rows(x, q_at + down, rows_of(t), r.key, kw, scale, q);
                unit_rows(x, k_at + down, rows_of(t), r.key, kw, 1, q + rows_of(t) * kw);
            }
            for (int m = 0; m < w.group; m++) {
                float* start = w.starts + (size_t(part) * w.group + m) * state;
                if (from) __builtin_memcpy(w.states + size_t(m) * w.span * state, start, state * 4);
                for (int t = from; t < to; t++) {
                    size_t at = size_t(first + t * chunk) * heads + head(m);
                    enter(w, t - from, m, rows_of(t), g + at, beta + at, heads);
                    chunk_products(w.c, t == 0, false);
                    chunk_pairs(w.c);
                    chunk_rows(w.c, x, v_at(t, head(m)), {}, 0, w.ws + (w.c.u - w.us));
                    float* next = t + 1 < to ? w.c.state + state : start + w.group * state;
                    if (t + 1 < chunks) fold(w.c, t == 0, w.decayed, next);
                }
            }
        };
        for (int part = 0; part < segments; part++) walk(part);
        for (int t = chunks - 1; t >= 0; t--) {
            int here = rows_of(t), in = t % segment;
            if (in == segment - 1 && t + 1 < chunks) walk(t / segment);
            for (int m = 0; m < w.group; m++) {
                size_t at = size_t(first + t * chunk) * heads + head(m);
                enter(w, in, m, here, g + at, beta + at, heads);
                block_product(floats(w.c.q, kw, w.c.keys, chunk, r.key), 1, 2 * here, w.dots, chunk, false);
                __builtin_memcpy(w.c.pairs, w.dots, size_t(2 * here) * chunk * 4);
                chunk_pairs(w.c);
                for (int i = 0; i < here; i++)
                    each(0, size_t(r.value), [&](size_t j, int n) BODY {
                        size_t from = size_t(first + t * chunk + i) * dy.cols + size_t(head(m)) * r.value + j;
                        store(w.outs + i * wide + j, get(dy, from, n));
                    });
                back_chunk(w, w.dstate + size_t(m) * state, t == 0, t == chunks - 1);
                for (int i = 0; i < here; i++) {
                    dg[at + size_t(i) * heads] = w.dg[i], dbeta[at + size_t(i) * heads] = w.dbeta[i];
                    const float* dw = w.outs + (here + i) * wide;
                    if (dx) each(0, size_t(r.value), [&](size_t j, int n) BODY {
                        give(dx, v_at(t, head(m)) + size_t(i) * x.cols + j, load(dw + j), n);
                    });
                }
                for (int i = 0; i < 2 * here * kw; i += 16)
                    store(w.sum + i, m ? load(w.sum + i) + load(w.dqk + i) : load(w.dqk + i));
            }
            size_t down = size_t(t) * chunk * x.cols;
            if (!dx) continue;
            length_back(dx, x, q_at + down, here, r.key, w.sum, kw, scale);
            length_back(dx, x, k_at + down, here, r.key, w.sum + here * kw, kw, 1);
        }
    });
    back_inputs(da, db, drate, dbias, a, rate, bias, beta, dg, dbeta);
}
