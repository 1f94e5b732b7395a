// rows.inl - norms, gates, rotations and dropout.

static void rms_norm(Tensor y, Tensor r, Tensor x, Tensor w, float eps) {
    int c = w.cols;
    each_row(r.rows, c, [&](int i) {
        size_t row = size_t(i) * c;
        F squares = set(0);
        each(0, size_t(c), [&](size_t j, int n) BODY { F v = get(x, row + j, n); squares = fma(v, v, squares); });
        float s = r.f()[i] = 1 / __builtin_sqrtf(sum(squares) / float(c) + eps);
        each(0, size_t(c),
             [&](size_t j, int n) BODY { put(y, row + j, get(x, row + j, n) * set(s) * get(w, j, n), n); });
    });
}

static void rms_norm_back(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor r) {
    int c = w.cols;
    if (dw) each_column(r.rows, c, [&](size_t j, int n) BODY {
        F acc = get(dw, j, n);
        for (int i = 0; i < r.rows; i++)
            acc = fma(get(dy, size_t(i) * c + j, n), get(x, size_t(i) * c + j, n) * set(r.f()[i]), acc);
        put(dw, j, acc, n);
    });
    if (dx) each_row(r.rows, c, [&](int i) {
        size_t row = size_t(i) * c;
        float s = r.f()[i];
        F dot = set(0);
        each(0, size_t(c),
             [&](size_t j, int n) BODY { dot = fma(get(dy, row + j, n) * get(w, j, n), get(x, row + j, n), dot); });
        float back = -(s * s * s * sum(dot) / float(c));
        each(0, size_t(c), [&](size_t j, int n) BODY {
            give(dx, row + j, fma(get(dy, row + j, n) * get(w, j, n), set(s), get(x, row + j, n) * set(back)), n);
        });
    });
}

// f(g) and its derivative.
struct Gated { F f, df; };
template <Gate kind> INLINE Gated gate(F g) {
    if (kind == Gate::silu) {
        F s = sigmoid(g);
        return {g * s, s * (set(1) + g * (set(1) - s))};
    }
    if (kind == Gate::sigmoid) {
        F s = sigmoid(g);
        return {s, s * (set(1) - s)};
    }
    F cube = set(0.044715f) * g * g, t = tanh(set(0.79788456f) * (g * (set(1) + cube)));
    return {set(0.5f) * g * (set(1) + t), set(0.5f) * (set(1) + t) + set(0.5f) * g * (set(1) - t * t) *
                                                                        (set(0.79788456f) * (set(1) + set(3) * cube))};
}

template <Gate kind> void gated_as(Tensor y, Tensor g, Tensor u) {
    each(y.count(), [&](size_t i, int n) BODY { put(y, i, gate<kind>(get(g, i, n)).f * get(u, i, n), n); });
}
static void gated(Tensor y, Tensor g, Tensor u, Gate kind) {
    (kind == Gate::silu      ? gated_as<Gate::silu>
     : kind == Gate::sigmoid ? gated_as<Gate::sigmoid>
                             : gated_as<Gate::gelu_tanh>)(y, g, u);
}

template <Gate kind> void gated_back_as(Tensor dg, Tensor du, Tensor dy, Tensor g, Tensor u) {
    each(dy.count(), [&](size_t i, int n) BODY {
        F d = get(dy, i, n);
        Gated at = gate<kind>(get(g, i, n));
        if (dg) give(dg, i, d * get(u, i, n) * at.df, n);
        if (du) give(du, i, d * at.f, n);
    });
}
static void gated_back(Tensor dg, Tensor du, Tensor dy, Tensor g, Tensor u, Gate kind) {
    (kind == Gate::silu      ? gated_back_as<Gate::silu>
     : kind == Gate::sigmoid ? gated_back_as<Gate::sigmoid>
                             : gated_back_as<Gate::gelu_tanh>)(dg, du, dy, g, u);
}

static void rotations(Tensor t, const int* pos, const float* freq, int pairs) {
    each_row(t.rows, 16 * pairs, [&](int i) {           // a sine costs as much as sixteen of other things
        float* row = t.f() + size_t(i) * t.cols;
        for (int j = 0; j < pairs; j++) {
            float angle = float(pos[i]) * freq[j];
            row[j] = __builtin_cosf(angle);
            row[pairs + j] = __builtin_sinf(angle);
        }
    });
}

static void rope(Tensor y, Tensor x, Tensor t, int head, int sign) {
    int pairs = t.cols / 2;
    if (y.data != x.data && t.cols < head) copy(y, x);          // what no pair covers stays
    each_row(x.rows, x.cols, [&](int i) {
        for (int h = 0; h < x.cols; h += head)
            each(0, size_t(pairs), [&](size_t j, int n) BODY {
                size_t a = size_t(i) * x.cols + h + j, b = a + pairs, c = size_t(i) * t.cols + j;
                F u = get(x, a, n), v = get(x, b, n), cosine = get(t, c, n),
                  sine = set(float(sign)) * get(t, c + pairs, n);
                put(y, a, fma(-v, sine, u * cosine), n);
                put(y, b, fma(u, sine, v * cosine), n);
            });
    });
}

// Philox4x32-10 (random.h) for eight counters a time, each in 64 bits of which the low half counts: 32 numbers.
struct Philox { I first, last; };
INLINE Philox philox(uint64_t counter, uint64_t site, uint64_t seed) {
    // The counters in such an order that two interleavings put their four words one after another.
    I c0 = add64(set64(counter), eight64(0, 4, 1, 5, 2, 6, 3, 7)), c1 = shift_right64(c0, 32);
    I c2 = set64(site), c3 = set64(site >> 32), m0 = set64(0xD2511F53u), m1 = set64(0xCD9E8D57u);
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; round++) {
        I a = multiply32(m0, c0), b = multiply32(m1, c2);
        c0 = exclusive_or(exclusive_or(shift_right64(b, 32), c1), set64(k0));
        c2 = exclusive_or(exclusive_or(shift_right64(a, 32), c3), set64(k1));
        c1 = b, c3 = a;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    I low = even_words(c0, c1), high = even_words(c2, c3);
    return {interleave_low64(low, high), interleave_high64(low, high)};
}

static void dropout(Tensor y, Tensor x, float rate, uint64_t seed, uint64_t site) {
    uint32_t bound = uint32_t(double(rate) * 0x1p32);
    float keep = 1 / (1 - rate);
    auto drop = [&](size_t i, I random, int n)
                    BODY { put(y, i, zero_where_below(get(x, i, n) * set(keep), random, bound), n); };
    split(int((x.count() + 31) / 32), 256, [&](int first, int last, int) {
        for (size_t i = 32 * size_t(first); i < 32 * size_t(last) && i < x.count(); i += 32) {
            Philox random = philox(i / 4, site, seed);
            size_t left = x.count() - i;
            if (left >= 32) {
                drop(i, random.first, 16), drop(i + 16, random.last, 16);
            } else {
                drop(i, random.first, left < 16 ? int(left) : 16);
                if (left > 16) drop(i + 16, random.last, int(left) - 16);
            }
        }
    });
}
