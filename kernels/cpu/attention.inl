// attention.inl - keys and values into panels, and attention forward. Both products are the tile of tile.inl: a few
// rows
// of queries, of one head, against 16 keys a vector; then their weights against the values, a panel a stretch.

// Rows of keys in a panel of 16: lane `lane` onwards. Row i is at from + i * ld words, `words` of them.
static void pack_keys(const uint32_t* from, long ld, int rows, int lane, int words, uint32_t* panel) {
    int w = 0;
    if (rows == 16)
        for (; w + 16 <= words; w += 16) {
            I r[16];
            for (int i = 0; i < 16; i++) r[i] = load_words(from + i * ld + w);
            transpose(r);
            for (int i = 0; i < 16; i++) store_words(panel + (w + i) * 16, r[i]);
        }
    for (; w < words; w++)
        for (int i = 0; i < rows; i++) panel[w * 16 + lane + i] = from[i * ld + w];
}

// Rows of values in a panel: bf16 in pairs of rows, `size` numbers a row and `wide` with padding.
static void pack_values(const uint16_t* from, long ld, int rows, int lane, int size, int wide, uint16_t* panel) {
    for (int i = 0; i < rows;) {
        uint16_t* to = panel + (lane + i) / 2 * 2 * wide;
        if ((lane + i) % 2 == 0 && i + 1 < rows) {
            each(0, size_t(size), [&](size_t j, int n) BODY {
                const uint16_t* at = from + i * ld + j;
                store_words(to + 2 * j, n == 16 ? zip(at, at + ld) : zip(at, at + ld, n));
            });
            i += 2;
        } else {
            for (int j = 0; j < size; j++) to[2 * j + (lane + i) % 2] = from[i * ld + j];
            i++;
        }
    }
}
static void pack_values(const float* from, long ld, int rows, int lane, int size, int wide, float* panel) {
    for (int i = 0; i < rows; i++) __builtin_memcpy(panel + (lane + i) * wide, from + i * ld, 4 * size_t(size));
}

INLINE size_t element(Type t) { return t == Type::bf16 ? 2 : 4; }
INLINE char* key_panel_at(const KeyValues& kv, const Rows& b, int s, int pos, int head) {
    return (char*)kv.k + (size_t(panel_of(kv, b, s, pos)) * kv.heads + head) * key_panel(kv.size) * element(kv.type);
}
INLINE char* value_panel_at(const KeyValues& kv, const Rows& b, int s, int pos, int head) {
    return (char*)kv.v + (size_t(panel_of(kv, b, s, pos)) * kv.heads + head) * value_panel(kv.size) * element(kv.type);
}

// Rows first .. last-1 of sequence s, one head.
static void store_rows(const KeyValues& kv, Tensor k, Tensor v, const Rows& b, int s, int first, int last, int head) {
    int wide = (kv.size + 15) & ~15;
    for (int i = first; i < last;) {
        int pos = b.pos[i], lane = pos % 16, n = last - i < 16 - lane ? last - i : 16 - lane;
        size_t at = size_t(i) * k.cols + size_t(head) * kv.size;
        char *keys = key_panel_at(kv, b, s, pos, head), *values = value_panel_at(kv, b, s, pos, head);
        if (kv.type == Type::bf16) {
            pack_keys((const uint32_t*)(k.h() + at), k.cols / 2, n, lane, kv.size / 2, (uint32_t*)keys);
            pack_values(v.h() + at, v.cols, n, lane, kv.size, wide, (uint16_t*)values);
        } else {
            pack_keys((const uint32_t*)(k.f() + at), k.cols, n, lane, kv.size, (uint32_t*)keys);
            pack_values(v.f() + at, v.cols, n, lane, kv.size, wide, (float*)values);
        }
        i += n;
    }
}

// Items of at most `rows` rows of one sequence and one head, numbered through all sequences.
struct Blocks {
    int s = 0, first = 0, last = 0, head = 0;
    static int count(const Rows& b, int rows, int heads) {
        int n = 0;
        for (int s = 0; s < b.seqs; s++) n += (b.first[s + 1] - b.first[s] + rows - 1) / rows;
        return n * heads;
    }
    // The last rows of a sequence, which see the most keys, come first.
    Blocks(const Rows& b, int rows, int heads, int item) : head(item % heads) {
        int block = item / heads;
        for (;; s++) {
            int n = b.first[s + 1] - b.first[s], blocks = (n + rows - 1) / rows;
            if (block >= blocks) {
                block -= blocks;
                continue;
            }
            block = blocks - 1 - block;
            first = b.first[s] + int(long(n) * block / blocks), last = b.first[s] + int(long(n) * (block + 1) / blocks);
            return;
        }
    }
};

static void store_kv(KeyValues kv, Tensor k, Tensor v, const Rows& b) {
    if (k.type != kv.type || v.type != kv.type || kv.size % 2) return reference.store_kv(kv, k, v, b);
    constexpr int rows = 128;
    auto item = [&](int i, int) {
        Blocks at(b, rows, kv.heads, i);
        store_rows(kv, k, v, b, at.s, at.first, at.last, at.head);
    };
    int items = Blocks::count(b, rows, kv.heads);
    if (k.count() > 16384) return parallel(items, item);
    for (int i = 0; i < items; i++) item(i, 0);
}

// ---- forward

constexpr int attend_rows = 6;              // of a tile
constexpr int attend_block = 48;            // of an item: tokens

// What an item needs: the panels of its keys and values, scores and weights of a tile's rows.
struct Attention {
    Tensor y, l, q;
    KeyValues kv;
    const Rows* b;
    float c;                                // scale log2(e)
    int window, group;
    bool floats;
    int panel0 = 0, panels = 0, value_groups = 0;
    const char** keys = nullptr;            // [panels]
    Stretch* values = nullptr;              // [group of 64 numbers][panels]
    float* scores = nullptr;                // [row][16 panels]
    char* weights = nullptr;                // the same as operands
    long ld() const { return 16L * panels; }
};

// Rows of a tile: tokens i, i + 1, .. of one head, or heads of one token.
struct Queries { int rows, i, head; bool heads; };

INLINE int first_key(const Attention& a, int pos) { return a.window && pos >= a.window ? pos - a.window + 1 : 0; }

// Softmax of a tile's scores in panels [p0, p1): weights as operands, not yet divided by their sum, which is left
// inverted. All rows at once, vector by vector; only at the ends of what they see do they differ.
template <class T, int R> void weigh(const Attention& a, const Queries& q, int p0, int p1, float* inverse) {
    int from[R], to[R], whole0 = p0, whole1 = p1;           // keys that a row sees; vectors that all rows see whole
    for (int i = 0; i < R; i++) {
        int pos = a.b->pos[q.heads ? q.i : q.i + i];
        from[i] = first_key(a, pos) - 16 * a.panel0, to[i] = pos + 1 - 16 * a.panel0;
        if (whole0 < (from[i] + 15) / 16) whole0 = (from[i] + 15) / 16;
        if (whole1 > to[i] / 16) whole1 = to[i] / 16;
    }
    if (whole0 > whole1) whole0 = whole1;
    long ld = a.ld();
    T* weights = (T*)a.weights;
    F most[R], total[R], shift[R], c = set(a.c);
#pragma GCC unroll 6
    for (int i = 0; i < R; i++) most[i] = set(-__builtin_inff()), total[i] = set(0);

    auto top = [&](int v, bool cut) BODY {
#pragma GCC unroll 6
        for (int i = 0; i < R; i++) {
            F x = load(a.scores + i * ld + 16 * v);
            most[i] = max(cut ? within(from[i] - 16 * v, to[i] - 16 * v, x, most[i]) : x, most[i]);
        }
    };
    for (int v = p0; v < whole0; v++) top(v, true);
    for (int v = whole0; v < whole1; v++) top(v, false);
    for (int v = whole1; v < p1; v++) top(v, true);
    float m[R];
#pragma GCC unroll 6
    for (int i = 0; i < R; i++) m[i] = largest(most[i]) * a.c, shift[i] = set(-m[i]);

    auto weight = [&](int v, bool cut) BODY {
#pragma GCC unroll 6
        for (int i = 0; i < R; i++) {
            F e = exp2(fma(load(a.scores + i * ld + 16 * v), c, shift[i]));
            if (cut) e = within(from[i] - 16 * v, to[i] - 16 * v, e, set(0));
            store(weights + i * ld + 16 * v, e);
            total[i] = total[i] + e;
        }
    };
    for (int v = p0; v < whole0; v++) weight(v, true);
    for (int v = whole0; v < whole1; v++) weight(v, false);
    for (int v = whole1; v < p1; v++) weight(v, true);
#pragma GCC unroll 6
    for (int i = 0; i < R; i++) {
        float t = sum(total[i]);
        inverse[i] = 1 / t;
        int token = q.heads ? q.i : q.i + i, head = q.heads ? q.head + i : q.head;
        if (a.l) a.l.f()[size_t(head) * a.q.rows + token] = m[i] + __builtin_log2f(t);
    }
}
template <class T> void weigh(const Attention& a, const Queries& q, int p0, int p1, float* inverse) {
    static constexpr decltype(&weigh<T, 1>) all[] = {weigh<T, 1>, weigh<T, 2>, weigh<T, 3>,
                                                     weigh<T, 4>, weigh<T, 5>, weigh<T, 6>};
    all[q.rows - 1](a, q, p0, p1, inverse);
}

static void attend_tile(const Attention& a, const Queries& q) {
    int d = a.kv.size, steps = a.floats ? d : d / 2, last_row = q.rows - 1;
    const int* pos = a.b->pos;
    int last = pos[q.heads ? q.i : q.i + last_row];
    int p0 = first_key(a, pos[q.i]) / 16 - a.panel0, p1 = last / 16 + 1 - a.panel0;
    size_t at = size_t(q.i) * a.q.cols + size_t(q.head) * d;
    Stretch s{(const uint32_t*)((char*)a.q.data + at * element(a.q.type)),
              q.heads ? steps : a.q.cols / d * steps,
              {},
              64,
              steps,
              a.floats ? Kind::singles : Kind::pairs};
    for (int p = p0; p < p1; p += tile_vectors) {
        int n = p1 - p < tile_vectors ? p1 - p : tile_vectors;
        for (int v = 0; v < n; v++) s.w[v] = a.keys[p + v];
        tile_of(s.kind, q.rows, n)(&s, 1, 0, 0, a.scores + 16 * p, a.ld(), false, nullptr);
    }

    float inverse[attend_rows];
    a.floats ? weigh<float>(a, q, p0, p1, inverse) : weigh<uint16_t>(a, q, p0, p1, inverse);

    alignas(64) float c[attend_rows * 64];
    for (int g = 0; g < a.value_groups; g++) {
        int vectors = (d - 64 * g + 15) / 16 < 4 ? (d - 64 * g + 15) / 16 : 4;
        for (int v = 0; v < vectors; v += tile_vectors) {
            int n = vectors - v < tile_vectors ? vectors - v : tile_vectors;
            tile_of(s.kind, q.rows, n)(a.values + g * a.panels + p0, p1 - p0, v, 0, c + 16 * v, 64, false, nullptr);
        }
        for (int i = 0; i < q.rows; i++) {
            size_t to = q.heads ? at + size_t(i) * d : at + size_t(i) * a.q.cols;
            for (int v = 0; v < vectors; v++) {
                int rest = d - 64 * g - 16 * v;
                put(a.y, to + 64 * g + 16 * v, load(c + 64 * i + 16 * v) * set(inverse[i]), rest < 16 ? rest : 16);
            }
        }
    }
}

// Where the keys and values of an item are, and room for its scores.
static void set_up(Attention& a, const Blocks& at, int thread) {
    a.panel0 = first_key(a, a.b->pos[at.first]) / 16;
    a.panels = a.b->pos[at.last - 1] / 16 + 1 - a.panel0;
    a.value_groups = (a.kv.size + 63) / 64;
    size_t n = size_t(a.panels), stretches = aligned(n * a.value_groups * sizeof(Stretch)), keys = aligned(n * 8);
    char* memory = (char*)scratch(stretches + keys + n * 16 * attend_rows * 8, thread);
    a.values = (Stretch*)memory;
    a.keys = (const char**)(memory + stretches);
    a.scores = (float*)(memory + stretches + keys);
    a.weights = memory + stretches + keys + n * 16 * attend_rows * 4;
    long wide = (a.kv.size + 15) & ~15;
    for (int p = 0; p < a.panels; p++) {
        int pos = 16 * (a.panel0 + p);
        a.keys[p] = key_panel_at(a.kv, *a.b, at.s, pos, at.head);
        const char* values = value_panel_at(a.kv, *a.b, at.s, pos, at.head);
        for (int g = 0; g < a.value_groups; g++) {
            Stretch& s = a.values[g * a.panels + p];
            s = {(const uint32_t*)a.weights + p * (a.floats ? 16 : 8), a.ld() / (a.floats ? 1 : 2), {}, 4 * wide,
                 a.floats ? 16 : 8, a.floats ? Kind::singles : Kind::pairs};
            for (int v = 0; v < 4; v++) s.w[v] = values + 64 * (4 * g + v);
        }
    }
}

static void attend(Tensor y, Tensor l, Tensor q, KeyValues kv, const Rows& b, float scale, int window) {
    if (q.type != kv.type || kv.size % 2) return reference.attend(y, l, q, kv, b, scale, window);
    long work = 0;                                  // rows times panels
    for (int s = 0; s < b.seqs; s++) work += long(b.first[s + 1] - b.first[s]) * (b.pos[b.first[s + 1] - 1] / 16 + 1);
    auto item = [&](int i, int thread) {
        Blocks at(b, attend_block, kv.heads, i);
        Attention a{y, l, q, kv, &b, scale * log2e, window, q.cols / kv.size / kv.heads, q.type == Type::f32};
        set_up(a, at, thread);
        int tokens = at.last - at.first, head = at.head * a.group;
        if (tokens == 1) {
            for (int h = 0; h < a.group; h += attend_rows)
                attend_tile(a, {a.group - h < attend_rows ? a.group - h : attend_rows, at.first, head + h, true});
        } else {
            int tiles = (tokens + attend_rows - 1) / attend_rows;
            for (int h = 0; h < a.group; h++)
                for (int t = 0; t < tiles; t++) {
                    int from = int(long(tokens) * t / tiles), to = int(long(tokens) * (t + 1) / tiles);
                    attend_tile(a, {to - from, at.first + from, head + h, false});
                }
        }
    };
    int items = Blocks::count(b, attend_block, kv.heads);
    if (work * q.cols > 32768) return parallel(items, item);
    for (int i = 0; i < items; i++) item(i, 0);
}
