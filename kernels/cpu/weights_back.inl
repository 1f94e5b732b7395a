// weights_back.inl - matmul_dw: dy^T x, reduced over rows (tokens). One side, the narrower, is transposed into scratch
// and takes the place of x in the sweep; the other is paired row by row on the fly, 64 columns at a time.

constexpr int dw_tokens = 512;          // of a block that is paired: 64 KiB
constexpr int dw_rows = 384;            // of dw in one item: its sums wait in 96 KiB between blocks

// Steps of the reduction: two tokens (pairs), or one.
INLINE int token_steps(Tensor t) { return t.type == Type::bf16 ? (t.rows + 1) / 2 : t.rows; }

// Words of step k, columns c .. c+n-1 of t.
INLINE I token_words(Tensor t, int k, int c, int n) {
    static constexpr uint16_t none[16] = {};
    if (t.type == Type::f32) {
        if (k >= t.rows) return set_words(0);
        const float* row = t.f() + size_t(k) * t.cols + c;
        return as_words(n == 16 ? load(row) : load(row, n));
    }
    if (2 * k >= t.rows) return set_words(0);
    const uint16_t *a = t.h() + size_t(2 * k) * t.cols + c, *b = 2 * k + 1 < t.rows ? a + t.cols : none;
    return n == 16 ? zip(a, b) : zip(a, b, n);
}

// to[column][step], ld words a column.
static void transpose_tokens(Tensor t, uint32_t* to, long ld) {
    int steps = token_steps(t), across = (t.cols + 15) / 16;
    split((steps + 15) / 16, 1 + 64 / across, [&](int first, int last, int) {
        for (int k = 16 * first; k < 16 * last; k += 16)
            for (int c = 0; c < t.cols; c += 16) {
                int n = t.cols - c < 16 ? t.cols - c : 16;
                I r[16];
                for (int i = 0; i < 16; i++) r[i] = token_words(t, k + i, c, n);
                transpose(r);
                for (int i = 0; i < n; i++) store_words(to + (c + i) * ld + k, r[i]);
            }
    });
}

// dw[column][row] of a block, 16 by 16: row i of c is column i of dw.
static void finish_transposed(Tensor dw, float s, int first, int rows, int column, int columns, const float* c) {
    for (int i = 0; i < rows; i += 16)
        for (int j = 0; j < columns; j += 16) {
            int n = rows - i < 16 ? rows - i : 16;
            I r[16];
            for (int k = 0; k < 16; k++) r[k] = k < n ? load_words(c + 64 * (i + k) + j) : set_words(0);
            transpose(r);
            for (int k = 0; k < 16 && j + k < columns; k++) {
                char* to = (char*)(dw.f() + size_t(column + j + k) * dw.cols + first + i);
                store_target(to, fma(set(s), as_floats(r[k]), load_target(to, false, n)), false, n);
            }
        }
}

static void matmul_dw(Tensor dw, Tensor dy, Tensor x, float s) {
    if (!dw || !x.rows) return;
    bool swapped = x.cols < dy.cols && x.cols <= 64;
    Tensor a = swapped ? x : dy, b = swapped ? dy : x;
    int steps = token_steps(a), block = a.type == Type::bf16 ? dw_tokens / 2 : dw_tokens / 2;
    long ld = ((steps + 15) & ~15) + 16;
    uint32_t* turned = (uint32_t*)scratch(size_t((a.cols + 15) & ~15) * ld * 4);
    transpose_tokens(a, turned, ld);

    int cap = a.cols <= 16 ? 3 : 4, groups = (b.cols + 16 * cap - 1) / (16 * cap),
        blocks = (a.cols + dw_rows - 1) / dw_rows;
    parallel(groups * blocks, [&](int item, int thread) {
        int column = item % groups * 16 * cap, columns = b.cols - column < 16 * cap ? b.cols - column : 16 * cap;
        int first = int(long(a.cols) * (item / groups) / blocks),
            last = int(long(a.cols) * (item / groups + 1) / blocks);
        char* paired = (char*)scratch(size_t(block) * 256 + size_t(last - first) * 256, thread);
        Sweep sweep;
        sweep.vectors = (columns + 15) / 16, sweep.stretches = 1;
        sweep.carry = (float*)(paired + size_t(block) * 256), sweep.ld_carry = 64;
        sweep.give = Give::add_scaled, sweep.factor = s;
        for (int v = 0; v < sweep.vectors; v++) {
            int rest = columns - 16 * v;
            sweep.y[v] = {(char*)(dw.f() + size_t(first) * dw.cols + column + 16 * v), size_t(dw.cols) * 4,
                          rest < 16 ? rest : 16, false};
        }
        for (int k = 0; k < steps; k += block) {
            int n = steps - k < block ? steps - k : block;
            for (int i = 0; i < n; i++)
                for (int v = 0; v < sweep.vectors; v++)
                    store_words(paired + 256 * i + 64 * v, token_words(b, k + i, column + 16 * v, sweep.y[v].n));
            Stretch& t = sweep.s[0] = {
                turned + first * ld + k, ld, {}, 256, n, a.type == Type::bf16 ? Kind::pairs : Kind::singles};
            for (int v = 0; v < 4; v++) t.w[v] = paired + 64 * v;
            sweep.carried = k > 0, sweep.last = k + n == steps && !swapped;
            sweep_rows(sweep, 0, last - first);
        }
        if (swapped) finish_transposed(dw, s, first, last - first, column, columns, sweep.carry);
    });
}
