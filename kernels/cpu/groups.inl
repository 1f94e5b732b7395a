// groups.inl - products with weights in groups: sum over groups of d (x . q), q exact integers, plus that of m (sum
// of x).

// Two panels of 32 columns at most, in groups, and what is made of them for many rows.
struct Groups {
    const char* panel[2] = {};
    size_t step = 0;                    // bytes a group
    int n = 0, pairs = 0;               // groups, and pairs of k in each
    bool nibbles = false, half = false, minimum = false;
    int zero = 0;                       // what a nibble of 0 stands for, negated
    size_t scales = 0, minima = 0;      // where in a group
    const float *d = nullptr, *m = nullptr;     // unpacked: [group][64]
    const float* sums = nullptr;        // of x: [row][group], where the type has minima
};

static Groups groups_of(const Matrix& m, const Layout& l) {
    Groups g;
    Type t = m.w.type;
    g.panel[0] = (const char*)m.panels;
    g.step = l.step, g.n = l.steps, g.pairs = group_size(t) / 2;
    g.nibbles = l.form == Form::nibbles, g.half = half_scales(t), g.minimum = has_minimum(t);
    g.zero = t == Type::q4_0 ? 8 : 0;
    g.scales = size_t(g.pairs) * (g.nibbles ? 32 : 64);
    g.minima = g.scales + (g.half ? 64 : 128);
    return g;
}

INLINE F scale(const char* p, bool half, int v) {
    return half ? load_f16((const uint16_t*)p + 16 * v) : load((const float*)p + 16 * v);
}

// Pair j of a group for vector v of its panel: as the dot product wants it, or as floats.
template <bool nibbles> INLINE Q quant_pair(const char* group, int j, int v, Nibbles table) {
    if (!nibbles) return quant_bytes(group + 64 * j + 32 * v);
    return quant_nibbles(load_words(group + 128 * (j % 8 / 2) + 64 * v), 2 * (j % 2) + j / 8, table);
}
template <bool nibbles> INLINE Two float_pair(const char* group, int j, int v, F table) {
    if (!nibbles) return two_bytes(group + 64 * j + 32 * v);
    return two_nibbles(load_words(group + 128 * (j % 8 / 2) + 64 * v), 2 * (j % 2) + j / 8, table);
}

// ---- few rows: unpacked in registers on the way from memory

// One panel times R rows of x in pairs, G groups at a time: a group's sixteen steps wait for each other, another's do
// not.
template <bool nibbles, int R, int G>
INLINE void add_groups(const Groups& q, const char* group, const uint32_t* x, long ldx, const float* sums,
                       Nibbles table, F (&acc)[R][2], F (&low)[R][2]) {
    for (size_t line = 0; line < G * q.step; line += 64) prefetch(group + ahead + line);
    F t[G][R][2];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int h = 0; h < G; h++) t[h][i][0] = t[h][i][1] = set(0);
    for (int first = 0; first < q.pairs; first += 8)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
#pragma GCC unroll 2
            for (int h = 0; h < G; h++) {
                Q b[2] = {quant_pair<nibbles>(group + h * q.step, first + j, 0, table),
                          quant_pair<nibbles>(group + h * q.step, first + j, 1, table)};
#pragma GCC unroll 8
                for (int i = 0; i < R; i++) {
                    I a = spread(x + i * ldx + h * q.pairs + first + j);
                    t[h][i][0] = dot(t[h][i][0], a, b[0]);
                    t[h][i][1] = dot(t[h][i][1], a, b[1]);
                }
            }
#pragma GCC unroll 2
    for (int h = 0; h < G; h++, group += q.step)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            F d = scale(group + q.scales, q.half, v);
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) acc[i][v] = fma(t[h][i][v], d, acc[i][v]);
            if (!q.minimum) continue;
            F m = scale(group + q.minima, q.half, v);
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) low[i][v] = fma(set(sums[i * q.n + h]), m, low[i][v]);
        }
}

// Rows row .. row+R-1 of x in pairs times one panel; c is R rows of 32, 64 apart.
template <bool nibbles, int R>
__attribute__((noinline)) void few_pairs(const Groups& q, const uint32_t* x, long ldx, long row, float* c) {
    constexpr int G = R == 1 ? 2 : 1;
    const Nibbles table = nibble_table(q.zero);
    F acc[R][2], low[R][2];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) acc[i][0] = acc[i][1] = low[i][0] = low[i][1] = set(0);
    x += row * ldx;
    const char* group = q.panel[0];
    const float* sums = q.sums + row * q.n;
    int g = 0;
    for (; g + G <= q.n; g += G, group += G * q.step, x += G * q.pairs, sums += G)
        add_groups<nibbles, R, G>(q, group, x, ldx, sums, table, acc, low);
    if (g < q.n) add_groups<nibbles, R, 1>(q, group, x, ldx, sums, table, acc, low);
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) store(c + 64 * i, acc[i][0] + low[i][0]), store(c + 64 * i + 16, acc[i][1] + low[i][1]);
}

// The same with x in floats: w = d q + m enters as it is. (d q is exact in the types that have an m, so that fma rounds
// where the reference does.)
template <bool nibbles, int R>
__attribute__((noinline)) void few_floats(const Groups& q, const uint32_t* x, long ldx, long row, float* c) {
    const F table = nibble_floats(q.zero);
    F acc[R][2];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) acc[i][0] = acc[i][1] = set(0);
    x += row * ldx;
    const char* group = q.panel[0];
    for (int g = 0; g < q.n; g++, group += q.step, x += 2 * q.pairs) {
        for (size_t line = 0; line < q.step; line += 64) prefetch(group + ahead + line);
        F d[2], m[2];
        for (int v = 0; v < 2; v++) {
            d[v] = scale(group + q.scales, q.half, v);
            m[v] = q.minimum ? scale(group + q.minima, q.half, v) : set(0);
        }
        for (int first = 0; first < q.pairs; first += 8)
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++)
#pragma GCC unroll 2
                for (int v = 0; v < 2; v++) {
                    Two b = float_pair<nibbles>(group, first + j, v, table);
                    F even = fma(b.even, d[v], m[v]), odd = fma(b.odd, d[v], m[v]);
#pragma GCC unroll 8
                    for (int i = 0; i < R; i++) {
                        const uint32_t* at = x + i * ldx + 2 * (first + j);
                        acc[i][v] = fma(as_floats(spread(at)), even, acc[i][v]);
                        acc[i][v] = fma(as_floats(spread(at + 1)), odd, acc[i][v]);
                    }
                }
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) store(c + 64 * i, acc[i][0]), store(c + 64 * i + 16, acc[i][1]);
}

using FewGroups = void (*)(const Groups&, const uint32_t*, long, long, float*);
template <bool nibbles> FewGroups few_groups(bool floats, int rows) {
    static constexpr FewGroups in_pairs[] = {
#define T(R) few_pairs<nibbles, R <= few_group_rows ? R : 1>
        T(1), T(2), T(3), T(4)};
#undef T
    static constexpr FewGroups in_floats[] = {
#define T(R) few_floats<nibbles, R <= few_group_rows ? R : 1>
        T(1), T(2), T(3), T(4)};
#undef T
    return (floats ? in_floats : in_pairs)[rows - 1];
}

// ---- many rows: unpacked once into scratch

enum class Unpacked { exact, rounded, floats };     // pairs of q; pairs of bf16(d q + m); floats d q + m

// Vector v of a panel, all of the reduction: words of step k at to + k * step. Scales and minima, as floats, to d and
// m.
template <Unpacked kind, bool nibbles>
void unpack_vector(const Groups& q, const char* panel, int v, char* to, long step, float* d, float* m) {
    const F table = nibble_floats(q.zero);
    const Nibbles pair_table = nibble_table(q.zero);
    for (int g = 0; g < q.n; g++, panel += q.step) {
        F dv = scale(panel + q.scales, q.half, v), mv = q.minimum ? scale(panel + q.minima, q.half, v) : set(0);
        if (kind == Unpacked::exact) {
            store(d + 64 * g, dv);
            if (q.minimum) store(m + 64 * g, mv);
        }
        for (int first = 0; first < q.pairs; first += 8)
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                if (kind == Unpacked::exact) {
                    store_words(to, exact_pairs(quant_pair<nibbles>(panel, first + j, v, pair_table)));
                } else {
                    Two b = float_pair<nibbles>(panel, first + j, v, table);
                    b = {fma(b.even, dv, mv), fma(b.odd, dv, mv)};
                    if (kind == Unpacked::rounded) store_words(to, pairs(b.even, b.odd));
                    else store((float*)to, b.even), store((float*)(to += step), b.odd);
                }
                to += step;
            }
    }
}
template <Unpacked kind>
void unpack_vector(const Groups& q, const char* panel, int v, char* to, long step, float* d, float* m) {
    q.nibbles ? unpack_vector<kind, true>(q, panel, v, to, step, d, m)
              : unpack_vector<kind, false>(q, panel, v, to, step, d, m);
}

// A tile over exact integers: the chain of every group from zero, then the chain of these by their scales. Some groups
// wait in memory and are added together: sums that leave and enter registers at every group cost a fifth of the tile.
// (The minima are a product of their own, of floats: see sweep.inl.)
constexpr int waiting_groups = 8;

template <int R, int V>
__attribute__((noinline)) void group_tile(const Stretch& s, const Groups& q, int v0, long row, float* c,
                                          const char* next) {
    alignas(64) float waiting[waiting_groups][R * V * 16];
    const uint32_t* x = s.x + row * s.ldx;
    const char* w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) w[v] = s.w[v0 + v];
    long at = 0, line = next ? 64 : 0;
    if (!next) next = (const char*)c;
    for (int first = 0; first < q.n; first += waiting_groups) {
        int n = q.n - first < waiting_groups ? q.n - first : waiting_groups;
        for (int g = 0; g < n; g++) {
            F t[R][V];
#pragma GCC unroll 8
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) t[i][v] = set(0);
            for (int k = q.pairs; k > 0; k--, x++, at += s.step) {
                prefetch_far(next);
                next += line;
                chain_pairs<R, V>(t, x, s.ldx, w, at);
            }
#pragma GCC unroll 8
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) store(waiting[g] + 16 * (i * V + v), t[i][v]);
        }
        F acc[R][V];
#pragma GCC unroll 8
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) acc[i][v] = first ? load(c + 64 * i + 16 * v) : set(0);
        for (int g = 0; g < n; g++) {
            F d[V];
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) d[v] = load(q.d + 64 * (first + g) + 16 * (v0 + v));
#pragma GCC unroll 8
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) acc[i][v] = fma(load(waiting[g] + 16 * (i * V + v)), d[v], acc[i][v]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) store(c + 64 * i + 16 * v, acc[i][v]);
    }
}

using GroupTile = void (*)(const Stretch&, const Groups&, int, long, float*, const char*);
template <int V> GroupTile group_tile_of(int rows) {
    static constexpr GroupTile all[] = {group_tile<1, V>, group_tile<2, V>, group_tile<3, V>,
                                        group_tile<4, V>, group_tile<5, V>, group_tile<6, V>};
    return all[rows - 1];
}
static GroupTile group_tile_of(int rows, int vectors) {
    if constexpr (tile_vectors == 4) {
        if (vectors == 4) return group_tile_of<4>(rows);
        if (vectors == 3) return group_tile_of<3>(rows);
        if (vectors == 2) return group_tile_of<2>(rows);
    }
    return group_tile_of<1>(rows);
}
