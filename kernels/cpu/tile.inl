// tile.inl - the inner loop of every product: R rows times V vectors of 16 columns, one accumulator an output.
//
// Everything multiplied here lies in steps of one word (32 bits) a row of x and one word a column of w: a pair of bf16
// or one float. A tile walks through stretches of the reduction one after another without letting go of its sums: x w^T
// and then the adapter's u b^T; dy w of all that read one x; the panels of a sequence's values.

enum class Kind {
    pairs,          // x and w in pairs of bf16
    mixed,          // x in floats, two words a step; w in pairs of bf16
    singles,        // x and w in floats
};

struct Stretch {
    const uint32_t* x;      // row 0
    long ldx;               // words from row to row
    const char* w[4];       // a vector's 16 words of step 0
    long step;              // bytes to the next
    int steps;
    Kind kind;
};

enum class Part { whole, low, high };

template <Part part> INLINE F part_of(I words) {
    return part == Part::low ? low_half(words) : part == Part::high ? high_half(words) : as_floats(words);
}

// One link of the chain of every output: x from its word, w from the given half of its.
template <int R, int V, Part x_part, Part w_part>
INLINE void chain(F (&acc)[R][V], const uint32_t* x, long ldx, const char* const* w, long at) {
    F b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) b[v] = part_of<w_part>(load_words(w[v] + at));
#pragma GCC unroll 12
    for (int i = 0; i < R; i++) {
        F a = part_of<x_part>(spread(x + i * ldx));
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) acc[i][v] = fma(a, b[v], acc[i][v]);
    }
}

#ifdef HAVE_BF16_DOT
template <int R, int V>
INLINE void chain_pairs(F (&acc)[R][V], const uint32_t* x, long ldx, const char* const* w, long at) {
    I b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) b[v] = load_words(w[v] + at);
#pragma GCC unroll 12
    for (int i = 0; i < R; i++) {
        I a = spread(x + i * ldx);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) acc[i][v] = dot(acc[i][v], a, b[v]);
    }
}
#else
template <int R, int V>
INLINE void chain_pairs(F (&acc)[R][V], const uint32_t* x, long ldx, const char* const* w, long at) {
    chain<R, V, Part::high, Part::high>(acc, x, ldx, w, at);         // the second of a pair first
    chain<R, V, Part::low, Part::low>(acc, x, ldx, w, at);
}
#endif

// c (R rows, ldc floats apart) = the sums over n stretches; `more`: continued from c. Rows start at `row` of each
// stretch's x, vectors at v0. Meanwhile one line a step is fetched from `next`; a streaming tile, whose w comes from
// memory, fetches its own panel some way ahead instead.
constexpr int ahead = 3072;

template <Kind kind, int R, int V, bool streaming>
__attribute__((noinline)) void tile(const Stretch* s, int n, int v0, long row, float* c, long ldc, bool more,
                                    const char* next) {
    F acc[R][V];
#pragma GCC unroll 12
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) acc[i][v] = more ? load(c + i * ldc + 16 * v) : set(0);
    long line = next ? 64 : 0;
    if (!next) next = (const char*)c;
    for (; n > 0; n--, s++) {
        const uint32_t* x = s->x + row * s->ldx;
        long ldx = s->ldx, step = s->step, at = 0;
        const char* w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) w[v] = s->w[v0 + v];
        for (int k = s->steps; k > 0; k--, at += step) {
            if (streaming) {
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) prefetch(w[v] + at + ahead);
            } else {
                prefetch_far(next);
                next += line;
            }
            if (kind == Kind::pairs) chain_pairs<R, V>(acc, x, ldx, w, at);
            else if (kind == Kind::singles) chain<R, V, Part::whole, Part::whole>(acc, x, ldx, w, at);
            else {
                chain<R, V, Part::whole, Part::low>(acc, x, ldx, w, at);
                chain<R, V, Part::whole, Part::high>(acc, x + 1, ldx, w, at);
            }
            x += kind == Kind::mixed ? 2 : 1;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) store(c + i * ldc + 16 * v, acc[i][v]);
}

using Tile = void (*)(const Stretch*, int, int, long, float*, long, bool, const char*);

// The tile for so many rows and vectors; a streaming one goes through a panel of two vectors.
struct Tiles { Tile at[3][tile_vectors + 1][12]; };

template <Kind kind, int V, bool streaming, int R> constexpr void add_tiles(Tiles& all) {
    all.at[int(kind)][streaming ? tile_vectors : V - 1][R - 1] = tile<kind, R, V, streaming>;
    if constexpr (R > 1) add_tiles<kind, V, streaming, R - 1>(all);
}
template <Kind kind> constexpr void add_tiles(Tiles& all) {
    add_tiles<kind, 2, true, few_rows>(all);
    add_tiles<kind, 1, false, tile_rows[0]>(all);
    if constexpr (tile_vectors == 4) {
        add_tiles<kind, 2, false, tile_rows[1]>(all);
        add_tiles<kind, 3, false, tile_rows[2]>(all);
        add_tiles<kind, 4, false, tile_rows[3]>(all);
    }
}
constexpr Tiles all_tiles() {
    Tiles all{};
    add_tiles<Kind::pairs>(all);
    add_tiles<Kind::mixed>(all);
    add_tiles<Kind::singles>(all);
    return all;
}

INLINE Tile tile_of(Kind kind, int rows, int vectors, bool streaming = false) {
    static constexpr Tiles all = all_tiles();
    return all.at[int(kind)][streaming ? tile_vectors : vectors - 1][rows - 1];
}
