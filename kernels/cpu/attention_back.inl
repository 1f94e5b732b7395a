// attention_back.inl - attention's way back, by blocks of 64 keys. The tiles of scores and of dp have keys as rows and
// queries as lanes: so what belongs to a query (its l and D) is a vector, the weights and ds are, as they come out, the
// left operands of dv and dk, and ds in pairs of rows is the right operand of dq^T = sum over blocks of k^T ds.

// One sequence and one key head. "Words" are pairs of bf16, or floats: `per_word` numbers.
struct BackAttention {
    Tensor dq, dk, dv, dy, y, l, q, k, v;
    int first, n, head, group, size, window;
    float scale;
    int per_word, padded, wide;                     // padded: n to 64; wide: size to 16
    Kind kind;
    uint32_t *q_keys, *dy_keys;                     // q and dy of one query head as panels of keys: [panel][word][16]
    uint32_t *q_values, *dy_values;                 // and as panels of values: [row word][wide]
    float *ls, *ds;                                 // its l, and D = dy.y
    uint32_t *weights, *slopes, *paired,
        *turned; // of a block: e and ds [key][query], ds [key word][query], k [number][key word]
    float *sum_dq, *sum_dk, *sum_dv;                // [number][query], [key][wide], [key][wide]

    const uint32_t* row(const Tensor& t, int i, int h) const {
        return (const uint32_t*)t.data + (size_t(first + i) * t.cols + size_t(h) * size) / per_word;
    }
    int words() const { return size / per_word; }
    long query_words() const { return padded / per_word; }
};

static size_t set_up(BackAttention& a, char* memory) {
    size_t used = 0, T = size_t(a.padded), wide = size_t(a.wide);
    auto take = [&](size_t words) {
        char* p = memory + used;
        used += aligned(words * 4);
        return (uint32_t*)p;
    };
    a.q_keys = take(T * a.words()), a.dy_keys = take(T * a.words());
    a.q_values = take(T * wide / a.per_word), a.dy_values = take(T * wide / a.per_word);
    a.ls = (float*)take(T), a.ds = (float*)take(T);
    a.weights = take(T * 64 / a.per_word), a.slopes = take(T * 64 / a.per_word);
    a.paired = a.per_word == 1 ? a.slopes : take(T * 32);
    a.turned = take(wide * 64);
    a.sum_dq = (float*)take(T * wide), a.sum_dk = (float*)take(T * wide), a.sum_dv = (float*)take(T * wide);
    return used;
}

// All rows of one head of t, as keys and as values; zero from n to padded.
static void pack_head(const BackAttention& a, const Tensor& t, int h, uint32_t* keys, uint32_t* values) {
    for (int i = 0; i < a.padded; i += 16, keys += 16 * a.words(), values += 16 / a.per_word * a.wide) {
        int rows = a.n - i < 16 ? a.n - i : 16;
        if (rows < 16) {
            __builtin_memset(keys, 0, size_t(a.words()) * 64);
            __builtin_memset(values, 0, size_t(16 / a.per_word * a.wide) * 4);
        }
        if (rows <= 0) continue;
        const uint32_t* from = a.row(t, i, h);
        pack_keys(from, t.cols / a.per_word, rows, 0, a.words(), keys);
        if (a.per_word == 2) pack_values((const uint16_t*)from, t.cols, rows, 0, a.size, a.wide, (uint16_t*)values);
        else pack_values((const float*)from, t.cols, rows, 0, a.size, a.wide, (float*)values);
    }
}

static void prepare_head(const BackAttention& a, int h) {
    pack_head(a, a.q, h, a.q_keys, a.q_values);
    pack_head(a, a.dy, h, a.dy_keys, a.dy_values);
    for (int i = 0; i < a.n; i++) {
        size_t at = size_t(a.first + i) * a.dy.cols + size_t(h) * a.size;
        F dot = set(0);
        each(at, at + a.size, [&](size_t j, int n) BODY { dot = fma(get(a.y, j, n), get(a.dy, j, n), dot); });
        a.ds[i] = sum(dot);
        a.ls[i] = a.l.f()[size_t(h) * a.q.rows + a.first + i];
    }
    __builtin_memset(a.sum_dq, 0, size_t(a.size) * a.padded * 4);
}

// c = s, `vectors` of columns beginning 64 bytes apart, by `rows` rows spread over tiles.
static void block_product(Stretch s, int vectors, int rows, float* c, long ldc, bool more) {
    for (int g = 0; g < vectors; g += 4) {
        for (int v = 1; v < 4; v++) s.w[v] = s.w[0] + 64 * v;
        for (int v = 0; v < 4 && g + v < vectors; v += tile_vectors) {
            int n = vectors - g - v < tile_vectors ? vectors - g - v : tile_vectors, most = tile_rows[n - 1];
            int tiles = (rows + most - 1) / most;
            for (int t = 0; t < tiles; t++) {
                int from = rows * t / tiles, to = rows * (t + 1) / tiles;
                tile_of(s.kind, to - from, n)(&s, 1, v, from, c + from * ldc + 16 * (g + v), ldc, more, nullptr);
            }
        }
        s.w[0] += 256;
    }
}

// Weights and slopes of keys key .. key+rows-1 (of the block that begins at k0) by queries q0 .. q0+63.
static void weigh(const BackAttention& a, int k0, int key, int rows, int q0, const float* scores, const float* dps) {
    F c = set(a.scale * log2e), scale = set(a.scale);
    for (int i = 0; i < rows; i++) {
        int t = key + i, end = a.window && t + a.window < a.n ? t + a.window : a.n;
        size_t row = size_t(t - k0) * a.padded;
        Type type = a.per_word == 2 ? Type::bf16 : Type::f32;
        Tensor e{a.weights, 64, a.padded, type}, ds{a.slopes, 64, a.padded, type};
        for (int v = 0; v < 64; v += 16) {
            int at = q0 + v;
            F p = exp2(fma(load(scores + 64 * i + v), c, -load(a.ls + at)));
            F d = p * scale * (load(dps + 64 * i + v) - load(a.ds + at));
            if (at < t || at + 16 > end)
                p = within(t - at, end - at, p, set(0)), d = within(t - at, end - at, d, set(0));
            put(e, row + at, p, 16);
            put(ds, row + at, d, 16);
        }
    }
}

// Queries that see keys k0 .. k0+keys-1 lie in [k0, end).
static void weigh_block(const BackAttention& a, int k0, int keys, int end) {
    alignas(64) float scores[attend_rows * 64], dps[attend_rows * 64];
    int tiles = (keys + attend_rows - 1) / attend_rows;
    for (int t = 0; t < tiles; t++) {
        int from = keys * t / tiles, rows = keys * (t + 1) / tiles - from;
        for (int q0 = k0; q0 < end; q0 += 64) {
            auto product = [&](const Tensor& x, const uint32_t* panels, float* c) {
                Stretch s{a.row(x, k0 + from, a.head), x.cols / a.per_word, {}, 64, a.words(), a.kind};
                for (int v = 0; v < 4; v++) s.w[v] = (const char*)(panels + (q0 + 16 * v) * a.words());
                for (int v = 0; v < 4; v += tile_vectors)
                    tile_of(a.kind, rows, tile_vectors)(&s, 1, v, 0, c + 16 * v, 64, false, nullptr);
            };
            product(a.k, a.q_keys, scores);
            product(a.v, a.dy_keys, dps);
            weigh(a, k0, k0 + from, rows, q0, scores, dps);
        }
    }
}

// ds in pairs of rows, and k^T of the block.
static void pair_block(const BackAttention& a, int k0, int keys, int end) {
    if (a.per_word == 2) {
        if (keys % 2) __builtin_memset(a.slopes + keys * a.query_words() + k0 / 2, 0, size_t(end - k0) * 2);
        for (int i = 0; i < keys; i += 2)
            for (int j = k0; j < end; j += 16) {
                const uint16_t* row = (const uint16_t*)(a.slopes + i * a.query_words()) + j;
                store_words(a.paired + i / 2 * a.padded + j, zip(row, row + a.padded));
            }
    }
    static constexpr uint16_t none[16] = {};
    for (int i = 0; i < keys; i += 16 * a.per_word)
        for (int j = 0; j < a.size; j += 16) {
            int n = a.size - j < 16 ? a.size - j : 16;
            I r[16];
            for (int w = 0; w < 16; w++) {
                int row = i + w * a.per_word;
                const uint32_t* at = a.row(a.k, k0 + row, a.head) + j / a.per_word;
                if (row >= keys) r[w] = set_words(0);
                else if (a.per_word == 1) r[w] = as_words(load((const float*)at, n));
                else r[w] = zip((const uint16_t*)at, row + 1 < keys ? (const uint16_t*)at + a.k.cols : none, n);
            }
            transpose(r);
            for (int w = 0; w < n; w++) store_words(a.turned + (j + w) * 64 + i / a.per_word, r[w]);
        }
}

static void back_head(const BackAttention& a, int h, bool first_of_group) {
    prepare_head(a, h);
    int vectors = a.wide / 16;
    for (int k0 = 0; k0 < a.n; k0 += 64) {
        int keys = a.n - k0 < 64 ? a.n - k0 : 64,
            end = a.window && k0 + keys + a.window < a.n ? k0 + keys + a.window : a.n;
        end = (end + 63) & ~63;
        weigh_block(a, k0, keys, end);
        pair_block(a, k0, keys, end);
        int steps = (end - k0) / a.per_word;
        long at = k0 / a.per_word;
        Stretch to_dv{a.weights + at, a.query_words(), {(const char*)(a.dy_values + at * a.wide)},
                      4L * a.wide,    steps,           a.kind};
        Stretch to_dk{a.slopes + at, a.query_words(), {(const char*)(a.q_values + at * a.wide)},
                      4L * a.wide,   steps,           a.kind};
        block_product(to_dv, vectors, keys, a.sum_dv + size_t(k0) * a.wide, a.wide, !first_of_group);
        block_product(to_dk, vectors, keys, a.sum_dk + size_t(k0) * a.wide, a.wide, !first_of_group);
        Stretch to_dq{a.turned, 64, {(const char*)(a.paired + k0)}, 4L * a.padded, (keys + a.per_word - 1) / a.per_word,
                      a.kind};
        block_product(to_dq, (end - k0) / 16, a.size, a.sum_dq + k0, a.padded, true);
    }
    if (!a.dq) return;
    for (int i = 0; i < a.n; i += 16)
        for (int j = 0; j < a.size; j += 16) {
            int n = a.size - j < 16 ? a.size - j : 16;
            I r[16];
            for (int w = 0; w < 16; w++)
                r[w] = w < n ? load_words(a.sum_dq + size_t(j + w) * a.padded + i) : set_words(0);
            transpose(r);
            for (int w = 0; w < 16 && i + w < a.n; w++)
                give(a.dq, size_t(a.first + i + w) * a.dq.cols + size_t(h) * a.size + j, as_floats(r[w]), n);
        }
}

static void attend_back(Tensor dq, Tensor dk, Tensor dv, Tensor dy, Tensor y, Tensor l, Tensor q, Tensor k, Tensor v,
                        const Rows& b, int head, float scale, int window) {
    bool same = dy.type == q.type && k.type == q.type && v.type == q.type;
    if (!same || head % 2) return reference.attend_back(dq, dk, dv, dy, y, l, q, k, v, b, head, scale, window);
    int heads = k.cols / head, per_word = q.type == Type::bf16 ? 2 : 1;
    parallel(b.seqs * heads, [&](int item, int thread) {
        int s = item / heads, n = b.first[s + 1] - b.first[s];
        if (!n) return;
        BackAttention a{dq,
                        dk,
                        dv,
                        dy,
                        y,
                        l,
                        q,
                        k,
                        v,
                        b.first[s],
                        n,
                        item % heads,
                        q.cols / k.cols,
                        head,
                        window,
                        scale,
                        per_word,
                        (n + 63) & ~63,
                        (head + 15) & ~15,
                        per_word == 2 ? Kind::pairs : Kind::singles};
        set_up(a, (char*)scratch(set_up(a, nullptr), thread));
        for (int h = 0; h < a.group; h++) back_head(a, a.head * a.group + h, h == 0);
        auto hand_out = [&](const Tensor& d, const float* sums) {
            for (int i = 0; d && i < n; i++)
                for (int j = 0; j < head; j += 16) {
                    size_t to = size_t(a.first + i) * d.cols + size_t(a.head) * head + j;
                    give(d, to, load(sums + size_t(i) * a.wide + j), head - j < 16 ? head - j : 16);
                }
        };
        hand_out(dk, a.sum_dk);
        hand_out(dv, a.sum_dv);
    });
}
