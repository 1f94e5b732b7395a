// rest.inl - the loss head, edits and the optimizer.

static void softcap(Tensor y, float c) {
    each(y.count(), [&](size_t i, int n) BODY { put(y, i, set(c) * tanh(get(y, i, n) / set(c)), n); });
}

static void pick_row(Tensor logp, Tensor dz, Tensor z, const int* want, const float* s, float c, int i) {
    const size_t row = size_t(i) * z.cols, cols = size_t(z.cols);
    const float* at = z.f() + row;
    F most = set(at[0]);
    each(0, cols, [&](size_t j, int n) BODY { most = max(before(n, get(z, row + j, n), most), most); });
    float top = largest(most);
    F lanes = set(0);
    each(0, cols, [&](size_t j, int n) BODY {
        lanes = lanes + before(n, exp2((get(z, row + j, n) - set(top)) * set(log2e)), set(0));
    });
    float total = sum(lanes), inverse = 1 / total;
    logp.f()[i] = (at[want[i]] - top) - __builtin_logf(total);
    if (!dz) return;
    alignas(64) float hit[16] = {};
    hit[want[i] % 16] = 1;
    each(0, cols, [&](size_t j, int n) BODY {
        F v = get(z, row + j, n), wanted = j == size_t(want[i] & ~15) ? load(hit) : set(0);
        F d = wanted - exp2((v - set(top)) * set(log2e)) * set(inverse);
        if (c > 0) d = d * (set(1) - (v / set(c)) * (v / set(c)));
        put(dz, row + j, s ? set(s[i]) * d : d, n);
    });
}
static void pick(Tensor logp, Tensor dz, Tensor z, const int* want, const float* s, float c) {
    each_row(z.rows, z.cols, [&](int i) { pick_row(logp, dz, z, want, s, c, i); });
}

static void argmax(int* best, Tensor z) {
    each_row(z.rows, z.cols, [&](int i) {
        const float* row = z.f() + size_t(i) * z.cols;
        F most = set(-__builtin_inff());
        each(0, size_t(z.cols), [&](size_t j, int n) BODY { most = max(before(n, load(row + j, n), most), most); });
        float top = largest(most);
        int j = 0;
        while (j < z.cols && row[j] != top) j++;
        best[i] = j < z.cols ? j : 0;
    });
}

// The weights here, the rest as any processor does it.
static void sample(int* next, Tensor z, const Draw& d) {
    parallel(z.rows, [&](int i, int thread) {
        const float* row = z.f() + size_t(i) * z.cols;
        float* w = (float*)scratch(size_t(z.cols) * 4, thread);
        F most = set(-__builtin_inff());
        each(0, size_t(z.cols), [&](size_t j, int n) BODY { most = max(before(n, load(row + j, n), most), most); });
        float top = largest(most);
        if (!__builtin_isfinite(top)) {
            Tensor one = z;
            one.data = (void*)row, one.rows = 1;
            Draw of = d;
            of.stream += i, of.row += i;
            return reference.sample(next + i, one, of);
        }
        each(0, size_t(z.cols), [&](size_t j, int n) BODY {     // NaN becomes 0
            F x = (load(row + j, n) - set(top)) * set(d.scale);
            store(w + j, max(exp2(x) * set(0x1p42f), set(0)), n);
        });
        next[i] = ref::draw_by_weights(row, w, z.cols, top, d, i);
    });
}

static void penalise(Tensor y, Tensor z, Tensor seen, const Rows& b, const int* row, float penalty) {
    reference.penalise(y, z, seen, b, row, penalty);    // a few numbers of each row
}

// ---- edits

static void scale_heads(Tensor y, Tensor x, Tensor s) {
    size_t head = size_t(x.cols / s.cols);
    each_row(x.rows, x.cols, [&](int i) {
        for (int h = 0; h < s.cols; h++) {
            size_t from = size_t(i) * x.cols + h * head;
            each(from, from + head, [&](size_t j, int n) BODY { put(y, j, get(x, j, n) * set(s.f()[h]), n); });
        }
    });
}

static void scale_heads_back(Tensor dx, Tensor ds, Tensor dy, Tensor x, Tensor s) {
    size_t head = size_t(x.cols / s.cols);
    if (dx) each_row(dy.rows, dy.cols, [&](int i) {
        for (int h = 0; h < s.cols; h++) {
            size_t from = size_t(i) * dy.cols + h * head;
            each(from, from + head, [&](size_t j, int n) BODY { give(dx, j, get(dy, j, n) * set(s.f()[h]), n); });
        }
    });
    if (ds) split(s.cols, 1 + int(16384 / (size_t(dy.rows) * head + 1)), [&](int first, int last, int) {
        for (int h = first; h < last; h++)
            for (int i = 0; i < dy.rows; i++) {
                size_t from = size_t(i) * dy.cols + h * head;
                F dot = set(0);
                each(from, from + head, [&](size_t j, int n) BODY { dot = fma(get(dy, j, n), get(x, j, n), dot); });
                ds.f()[h] += sum(dot);
            }
    });
}

static void add_row(Tensor y, Tensor x, Tensor v, float s) {
    each_row(x.rows, x.cols, [&](int i) {
        size_t row = size_t(i) * x.cols;
        each(0, size_t(x.cols),
             [&](size_t j, int n) BODY { put(y, row + j, fma(set(s), get(v, j, n), get(x, row + j, n)), n); });
    });
}

static void sum_rows(Tensor dv, Tensor dy, float s) {
    if (dv) each_column(dy.rows, dy.cols, [&](size_t j, int n) BODY {
        F acc = get(dv, j, n);
        for (int i = 0; i < dy.rows; i++) acc = fma(set(s), get(dy, size_t(i) * dy.cols + j, n), acc);
        put(dv, j, acc, n);
    });
}

static void project_out(Tensor y, Tensor x, Tensor v) {
    size_t cols = size_t(x.cols);
    F square = set(0);
    each(0, cols, [&](size_t j, int n) BODY { square = fma(get(v, j, n), get(v, j, n), square); });
    float norm = sum(square);
    each_row(x.rows, x.cols, [&](int i) {
        size_t row = size_t(i) * cols;
        F dot = set(0);
        each(0, cols, [&](size_t j, int n) BODY { dot = fma(get(x, row + j, n), get(v, j, n), dot); });
        float along = sum(dot) / norm;
        each(0, cols,
             [&](size_t j, int n) BODY { put(y, row + j, fma(set(-along), get(v, j, n), get(x, row + j, n)), n); });
    });
}

// ---- optimizer

static void sum_squares(double* result, Tensor x) {
    constexpr size_t share = 65536;
    int shares = int((x.count() + share - 1) / share);
    double* sums = (double*)scratch(size_t(shares) * 8 + 64);
    parallel(shares, [&](int s, int) {
        Doubles lanes = no_doubles();
        size_t last = size_t(s + 1) * share;
        each(size_t(s) * share, last < x.count() ? last : x.count(),
             [&](size_t i, int n) BODY { lanes = add_squares(lanes, get(x, i, n)); });
        sums[s] = sum(lanes);
    });
    for (int s = 0; s < shares; s++) *result += sums[s];
}

static void adamw(Tensor w, Tensor m, Tensor v, Tensor g, float gs, const AdamW& a) {
    F keep = set(1 - a.lr * a.decay), rate = set(float(a.lr / (1 - __builtin_pow(double(a.beta1), a.step))));
    F scale = set(float(1 / __builtin_sqrt(1 - __builtin_pow(double(a.beta2), a.step))));
    F b1 = set(a.beta1), b2 = set(a.beta2), c1 = set(1 - a.beta1), c2 = set(1 - a.beta2), eps = set(a.eps);
    each(w.count(), [&](size_t i, int n) BODY {
        F d = set(gs) * get(g, i, n), mean = fma(b1, get(m, i, n), c1 * d), square = fma(b2, get(v, i, n), c2 * d * d);
        put(m, i, mean, n);
        put(v, i, square, n);
        put(w, i, keep * get(w, i, n) - rate * (mean / (root(square) * scale + eps)), n);
    });
}
