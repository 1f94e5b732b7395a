// moving.inl - copies, sums and rows picked by number.

static void zero(Tensor y) {
    split(int((y.bytes() + 65535) / 65536), 4, [&](int first, int last, int) {
        size_t end = size_t(last) * 65536;
        __builtin_memset((char*)y.data + size_t(first) * 65536, 0,
                         (end < y.bytes() ? end : y.bytes()) - size_t(first) * 65536);
    });
}

static void copy(Tensor y, Tensor x) {
    if (y.type != x.type) return each(y.count(), [&](size_t i, int n) BODY { put(y, i, get(x, i, n), n); });
    split(int((y.bytes() + 65535) / 65536), 2, [&](int first, int last, int) {
        size_t at = size_t(first) * 65536, end = size_t(last) * 65536;
        __builtin_memcpy((char*)y.data + at, (char*)x.data + at, (end < y.bytes() ? end : y.bytes()) - at);
    });
}

static void add(Tensor y, Tensor a, Tensor b) {
    each(y.count(), [&](size_t i, int n) BODY { put(y, i, get(a, i, n) + get(b, i, n), n); });
}

static void add_to(Tensor dx, Tensor dy, float s) {
    if (dx) each(dx.count(), [&](size_t i, int n) BODY { give(dx, i, set(s) * get(dy, i, n), n); });
}

static void gather(Tensor y, Tensor table, const int* ids, float s) {
    size_t bytes = row_bytes(table.type, table.cols);
    split(y.rows, 1 + 16384 / (y.cols + 1), [&](int first, int last, int thread) {
        for (int i = first; i < last; i++) {
            Tensor row{(char*)table.data + ids[i] * bytes, 1, table.cols, table.type};
            if (row.type != Type::f32 && row.type != Type::bf16) {
                row = {scratch(size_t(table.cols) * 4, thread), 1, table.cols, Type::f32};
                dequantize(table.type, (char*)table.data + ids[i] * bytes, row.f(), size_t(row.cols));
            }
            each(0, size_t(y.cols),
                 [&](size_t j, int n) BODY { put(y, size_t(i) * y.cols + j, set(s) * get(row, j, n), n); });
        }
    });
}

static void gather_back(Tensor dtable, Tensor dy, const int* ids, float s, int pad) {
    if (!dtable) return;
    each_column(dy.rows, dy.cols, [&](size_t j, int n) BODY {
        for (int i = 0; i < dy.rows; i++) {
            size_t to = size_t(ids[i]) * dy.cols + j;
            if (ids[i] != pad) put(dtable, to, get(dtable, to, n) + set(s) * get(dy, size_t(i) * dy.cols + j, n), n);
        }
    });
}

static void select(Tensor y, Tensor x, const int* rows) {
    each_row(y.rows, y.cols, [&](int i) {
        size_t to = size_t(i) * y.cols, from = size_t(rows[i]) * y.cols;
        each(0, size_t(y.cols), [&](size_t j, int n) BODY { put(y, to + j, get(x, from + j, n), n); });
    });
}

static void select_back(Tensor dx, Tensor dy, const int* rows, const float* s) {
    if (!dx) return;
    if (dx.fresh) zero(dx);
    each_column(dy.rows, dy.cols, [&](size_t j, int n) BODY {
        for (int i = 0; i < dy.rows; i++) {
            size_t to = size_t(rows[i]) * dx.cols + j;
            put(dx, to, fma(set(s ? s[i] : 1), get(dy, size_t(i) * dy.cols + j, n), get(dx, to, n)), n);
        }
    });
}

static void columns(Tensor y, Tensor x, int first) {
    each_row(y.rows, y.cols, [&](int i) {
        size_t to = size_t(i) * y.cols, from = size_t(i) * x.cols + first;
        each(0, size_t(y.cols), [&](size_t j, int n) BODY { put(y, to + j, get(x, from + j, n), n); });
    });
}

static void columns_back(Tensor dx, Tensor dy, int first) {
    if (!dx) return;
    if (dx.fresh) zero(dx);
    each_row(dy.rows, dy.cols, [&](int i) {
        size_t to = size_t(i) * dx.cols + first, from = size_t(i) * dy.cols;
        each(0, size_t(dy.cols),
             [&](size_t j, int n) BODY { put(dx, to + j, get(dx, to + j, n) + get(dy, from + j, n), n); });
    });
}

static void follow(int* ids, int* pos, const int* next, int n) {
    for (int i = 0; i < n; i++) ids[i] = next[i], pos[i]++;
}
