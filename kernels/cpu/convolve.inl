// convolve.inl - the short causal convolution of every channel, some channels at a time through all rows.

constexpr int filter_channels = 256;        // of an item: weights and gradients of a few rows stay in the first cache

// The filters of channels first .. first+n-1, a row a tap.
struct Filters {
    int first, n, taps;
    float* w;                               // [taps][filter_channels]

    Filters(Tensor weights, int cols, int item, float* memory)
        : first(item * filter_channels), n(cols - first < filter_channels ? cols - first : filter_channels),
          taps(int(weights.count() / size_t(cols))), w(memory) {
        for (int c = 0; c < n; c++)
            for (int j = 0; j < taps; j++) w[j * filter_channels + c] = weights.f()[(first + c) * taps + j];
    }
};

// Where tap j of a row finds its input: in the pass, in the tail; null before the sequence's beginning.
struct Tap { const Tensor* t; size_t at; };
INLINE Tap tap_of(const Filters& f, const Tensor& x, const Tensor& tail, const Rows& b, int s, int i, int j) {
    int back = f.taps - 1 - j, pos = b.pos[i] - back;
    if (i - back >= b.first[s]) return {&x, size_t(i - back) * x.cols + f.first};
    if (pos < 0 || !tail) return {nullptr, 0};
    return {&tail, size_t(tail_row(b, s, pos, f.taps)) * x.cols + f.first};
}

constexpr int most_taps = 16;

// A row of y from the taps begin .. taps-1 (those before see nothing: they would add zeros). T: how many taps there
// are, 0 if the compiler does not know.
template <int T> void filter_row(const Filters& f, const Tap* from, int begin, Tensor y, size_t to) {
    int first = T ? 0 : begin, taps = T ? T : f.taps;
    each(0, size_t(f.n), [&](size_t c, int n) BODY {
        F u = set(0);
#pragma GCC unroll 4
        for (int j = first; j < taps; j++)
            u = fma(load(f.w + j * filter_channels + c), get(*from[j].t, from[j].at + c, n), u);
        put(y, to + c, u * sigmoid(u), n);
    });
}

static void convolve(Tensor y, Tensor x, Tensor w, Tensor tail, const Rows& b) {
    int items = (x.cols + filter_channels - 1) / filter_channels, taps = int(w.count() / size_t(x.cols));
    if (taps > most_taps) return reference.convolve(y, x, w, tail, b);
    auto item = [&](int k, int thread) {
        Filters f(w, x.cols, k, (float*)scratch(size_t(taps) * filter_channels * 4, thread));
        for (int s = 0; s < b.seqs; s++) {
            int last = b.first[s + 1];
            for (int i = b.first[s]; i < last; i++) {
                Tap from[most_taps];
                int begin = 0;
                for (int j = 0; j < taps; j++) {
                    from[j] = tap_of(f, x, tail, b, s, i, j);
                    if (!from[j].t) begin = j + 1;
                }
                (taps == 4 && !begin ? filter_row<4> : filter_row<0>)(f, from, begin, y, size_t(i) * x.cols + f.first);
            }
            for (int i = last - taps + 1 > b.first[s] ? last - taps + 1 : b.first[s]; i < last && tail; i++) {
                size_t row = size_t(tail_row(b, s, b.pos[i], taps));
                size_t at = size_t(i) * x.cols + f.first, to = row * x.cols + f.first;
                each(0, size_t(f.n), [&](size_t c, int n) BODY { put(tail, to + c, get(x, at + c, n), n); });
            }
        }
    };
    if (x.count() > 16384) return parallel(items, item);
    for (int k = 0; k < items; k++) item(k, 0);
}

static void convolve_back(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, const Rows& b) {
    int items = (x.cols + filter_channels - 1) / filter_channels, taps = int(w.count() / size_t(x.cols));
    if (taps > most_taps) return reference.convolve_back(dx, dw, dy, x, w, b);
    parallel(items, [&](int k, int thread) {
        size_t part = size_t(taps) * filter_channels;
        float* memory = (float*)scratch(3 * part * 4, thread);
        Filters f(w, x.cols, k, memory);
        float *sums = memory + part, *dus = memory + 2 * part;         // [taps][channels]: of dw; du of the last rows
        for (int c = 0; c < f.n && dw; c++)
            for (int j = 0; j < taps; j++) sums[j * filter_channels + c] = dw.f()[(f.first + c) * taps + j];
        for (int s = 0; s < b.seqs; s++) {
            int first = b.first[s], last = b.first[s + 1];
            auto hand_out = [&](int t) {                    // dx of row t: du of rows t .. t+taps-1 are there
                each(0, size_t(f.n), [&](size_t c, int n) BODY {
                    F d = set(0);
                    for (int i = 0; i < taps && t + i < last; i++)
                        d = fma(load(f.w + (taps - 1 - i) * filter_channels + c),
                                load(dus + (t + i) % taps * filter_channels + c), d);
                    give(dx, size_t(t) * x.cols + f.first + c, d, n);
                });
            };
            for (int i = first; i < last; i++) {
                Tap from[most_taps];
                int begin = taps - 1 - (i - first) > 0 ? taps - 1 - (i - first) : 0;
                for (int j = begin; j < taps; j++) from[j] = tap_of(f, x, {}, b, s, i, j);
                float* du = dus + i % taps * filter_channels;
                each(0, size_t(f.n), [&](size_t c, int n) BODY {
                    F u = set(0);
                    for (int j = begin; j < taps; j++)
                        u = fma(load(f.w + j * filter_channels + c), get(x, from[j].at + c, n), u);
                    F g = sigmoid(u);
                    F d = get(dy, size_t(i) * x.cols + f.first + c, n) * (g * (set(1) + u * (set(1) - g)));
                    store(du + c, d);
                    for (int j = begin; j < taps && dw; j++) {
                        float* sum = sums + j * filter_channels + c;
                        store(sum, fma(d, get(x, from[j].at + c, n), load(sum)));
                    }
                });
                if (dx && i - taps + 1 >= first) hand_out(i - taps + 1);
            }
            for (int t = last - taps + 1 > first ? last - taps + 1 : first; t < last && dx; t++) hand_out(t);
        }
        for (int c = 0; c < f.n && dw; c++)
            for (int j = 0; j < taps; j++) dw.f()[(f.first + c) * taps + j] = sums[j * filter_channels + c];
    });
}
