// sweep.inl - up to four vectors of columns of a product, and the rows that pass over them.

// Where a vector's 16 columns go: row i at y + i * row, the first n of the 16.
struct Target {
    char* y;
    size_t row;
    int n;
    bool half;              // bf16
};

enum class Give { write, add, add_scaled };

constexpr int most_products = 8;        // in one call

struct Sweep {
    int vectors = 0, stretches = 0;
    Stretch s[2 * most_products];
    Target y[4];
    Give give = Give::write;
    float factor = 1;                   // of add_scaled: y = fma(factor, c, y)
    bool in_groups = false;             // s[0] is over groups: by registers (few rows) or from scratch
    Groups groups;
    const char* next = nullptr;         // memory to fetch meanwhile
    float* carry = nullptr;             // sums between blocks of a long reduction, [row][ld_carry]
    long ld_carry = 0;
    bool carried = false, last = true;  // there are some from the block before; this block is the last
};

INLINE F load_target(const char* y, bool half, int n) {
    if (n == 16) return half ? load((const uint16_t*)y) : load((const float*)y);
    return half ? load((const uint16_t*)y, n) : load((const float*)y, n);
}
INLINE void store_target(char* y, F x, bool half, int n) {
    if (n == 16) half ? store((uint16_t*)y, x) : store((float*)y, x);
    else half ? store((uint16_t*)y, x, n) : store((float*)y, x, n);
}

// Rows row .. row+rows-1 of the result, from a tile's c (64 floats a row).
static void finish(const Sweep& s, int v0, int vectors, int row, int rows, const float* c) {
    for (int v = 0; v < vectors; v++) {
        const Target& t = s.y[v0 + v];
        char* y = t.y + row * t.row;
        const float* from = c + 16 * v;
        if (s.give == Give::write && t.n == 16 && t.half)
            for (int i = 0; i < rows; i++) store((uint16_t*)(y + i * t.row), load(from + 64 * i));
        else if (s.give == Give::write && t.n == 16)
            for (int i = 0; i < rows; i++) store((float*)(y + i * t.row), load(from + 64 * i));
        else
            for (int i = 0; i < rows; i++, y += t.row) {
                F x = load(from + 64 * i);
                if (s.give == Give::add) x = load_target(y, t.half, t.n) + x;
                else if (s.give == Give::add_scaled) x = fma(set(s.factor), x, load_target(y, t.half, t.n));
                store_target(y, x, t.half, t.n);
            }
    }
}

// Stretches of one kind run together in one tile.
static void run_stretches(const Sweep& s, int first, int v0, int vectors, int row, int rows, float* c, bool streaming,
                          const char* next) {
    for (int i = first; i < s.stretches;) {
        int j = i + 1;
        while (j < s.stretches && s.s[j].kind == s.s[i].kind) j++;
        tile_of(s.s[i].kind, rows, vectors, streaming)(s.s + i, j - i, v0, row, c, 64, s.carried || i > 0, next);
        i = j;
    }
}

// The part of a product in groups: scales by exact chains, plus minima by sums of x.
static void group_product(const Sweep& s, int v0, int vectors, int row, int rows, float* c, const char* next) {
    const Groups& q = s.groups;
    group_tile_of(rows, vectors)(s.s[0], q, v0, row, c, next);
    if (!q.minimum) return;
    alignas(64) float low[group_rows[0] * 64];
    Stretch m{(const uint32_t*)q.sums, q.n, {}, 256, q.n, Kind::singles};
    for (int v = 0; v < 4; v++) m.w[v] = (const char*)(q.m + 16 * v);
    tile_of(Kind::singles, rows, vectors)(&m, 1, v0, row, low, 64, false, nullptr);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            store(c + 64 * i + 16 * v, load(c + 64 * i + 16 * v) + load(low + 64 * i + 16 * v));
}

// Rows first .. last-1, spread evenly over tiles.
static void sweep_rows(const Sweep& s, int first, int last) {
    alignas(64) float c[12 * 64];
    for (int v0 = 0; v0 < s.vectors; v0 += tile_vectors) {
        int vectors = s.vectors - v0 < tile_vectors ? s.vectors - v0 : tile_vectors;
        int most = s.in_groups ? group_rows[vectors - 1] : tile_rows[vectors - 1];
        int tiles = (last - first + most - 1) / most;
        for (int t = 0; t < tiles; t++) {
            int row = first + int(long(last - first) * t / tiles),
                rows = first + int(long(last - first) * (t + 1) / tiles) - row;
            const char* next = s.next && v0 == 0 && t < 4 ? s.next + long(t) * s.s[0].steps * 64 : nullptr;
            if (s.carried)
                for (int i = 0; i < rows; i++)
                    for (int v = 0; v < vectors; v++)
                        store(c + 64 * i + 16 * v, load(s.carry + (row + i) * s.ld_carry + 16 * (v0 + v)));
            if (s.in_groups) group_product(s, v0, vectors, row, rows, c, next);
            run_stretches(s, s.in_groups, v0, vectors, row, rows, c, false, next);
            if (s.last) {
                finish(s, v0, vectors, row, rows, c);
            } else {
                for (int i = 0; i < rows; i++)
                    for (int v = 0; v < vectors; v++)
                        store(s.carry + (row + i) * s.ld_carry + 16 * (v0 + v), load(c + 64 * i + 16 * v));
            }
        }
    }
}

// A few rows over one panel of 32 columns that comes from memory.
static void sweep_few(const Sweep& s, int n) {
    alignas(64) float c[12 * 64];
    int most = s.in_groups ? few_group_rows : few_rows, passes = (n + most - 1) / most;
    for (int p = 0; p < passes; p++) {
        int row = n * p / passes, rows = n * (p + 1) / passes - row;
        const Stretch& x = s.s[0];
        if (s.in_groups) {
            auto go = s.groups.nibbles ? few_groups<true> : few_groups<false>;
            go(x.kind == Kind::singles, rows)(s.groups, x.x, x.ldx, row, c);
        }
        run_stretches(s, s.in_groups, 0, 2, row, rows, c, true, nullptr);
        finish(s, 0, s.vectors, row, rows, c);
    }
}

// ---- operands as words

struct Words { const uint32_t* at; long ld; };

INLINE size_t aligned(size_t n) { return (n + 63) & ~size_t(63); }

// Rows of odd length get a zero behind, in scratch: steps of pairs take two numbers.
INLINE size_t padded_bytes(Tensor t) {
    return t.cols % 2 ? aligned(t.rows * row_bytes(t.type, size_t(t.cols) + 1)) : 0;
}

static Words words(Tensor t, char*& scratch) {
    long per_row = t.type == Type::bf16 ? (t.cols + 1) / 2 : t.cols + t.cols % 2;
    if (t.cols % 2 == 0) return {(const uint32_t*)t.data, per_row};
    char* to = scratch;
    scratch += padded_bytes(t);
    size_t size = row_bytes(t.type, size_t(t.cols)), number = row_bytes(t.type, 1);
    for (size_t i = 0; i < size_t(t.rows); i++) {
        __builtin_memcpy(to + i * (size + number), (char*)t.data + i * size, size);
        __builtin_memset(to + i * (size + number) + size, 0, number);
    }
    return {(const uint32_t*)to, per_row};
}
