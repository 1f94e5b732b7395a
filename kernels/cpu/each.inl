// each.inl - reading and writing tensors of floats and bf16 alike, sixteen numbers at a time, on every thread.

INLINE F get(const Tensor& t, size_t i, int n) {
    if (n == 16) return t.type == Type::bf16 ? load(t.h() + i) : load(t.f() + i);
    return t.type == Type::bf16 ? load(t.h() + i, n) : load(t.f() + i, n);
}
INLINE void put(const Tensor& t, size_t i, F v, int n) {
    if (n == 16) t.type == Type::bf16 ? store(t.h() + i, v) : store(t.f() + i, v);
    else t.type == Type::bf16 ? store(t.h() + i, v, n) : store(t.f() + i, v, n);
}
// What a gradient is made of: overwritten while fresh, added to afterwards.
INLINE void give(const Tensor& d, size_t i, F v, int n) { put(d, i, d.fresh ? v : get(d, i, n) + v, n); }

#define BODY __attribute__((always_inline)) // of a lambda: it is compiled for whole vectors and once more for the rest

// body(i, n): numbers i .. i+n-1, n = 16 but for the last. Below some 16 thousand numbers a second thread is not
// worth it.
template <class Body> INLINE void each(size_t first, size_t last, Body body) {
    for (; first + 16 <= last; first += 16) body(first, 16);
    if (first < last) body(first, int(last - first));
}
template <class Body> INLINE void each(size_t count, Body body) {
    split(int((count + 15) / 16), 1024, [&](int from, int to, int) {
        size_t last = size_t(to) * 16;
        each(size_t(from) * 16, last < count ? last : count, body);
    });
}
// body(i) for every row of a tensor of so many columns.
template <class Body> INLINE void each_row(int rows, int cols, Body body) {
    split(rows, 1 + 16384 / (cols + 1), [&](int from, int to, int) {
        for (int i = from; i < to; i++) body(i);
    });
}
// body(j, n) for columns j .. j+n-1 of a tensor of so many rows: for what must go through the rows in order.
template <class Body> INLINE void each_column(int rows, int cols, Body body) {
    split((cols + 15) / 16, 1 + 1024 / (rows + 1), [&](int from, int to, int) {
        int last = to * 16;
        each(size_t(from) * 16, size_t(last < cols ? last : cols), body);
    });
}

// ---- mathematics, step for step as in ref.h

constexpr float log2e = 1.44269504f;

INLINE F exp2(F x) {
    x = min(set(126), max(set(-126), x));           // NaN stays NaN
    F n = nearest(x), r = x - n, p = set(1.3264739e-3f);
    p = fma(p, r, set(9.6715167e-3f));
    p = fma(p, r, set(5.5507337e-2f));
    p = fma(p, r, set(2.4022242e-1f));
    p = fma(p, r, set(6.9314698e-1f));
    p = fma(p, r, set(1));
    return times_power(p, n);
}
INLINE F sigmoid(F x) { return set(1) / (set(1) + exp2(-x * set(log2e))); }
INLINE F tanh(F x) { return set(1) - set(2) / (set(1) + exp2(x * set(2 * log2e))); }
INLINE F softplus(F x) {
    F t = exp2(-max(x, -x) * set(log2e)), s = t / (set(2) + t), z = s * s, p = set(1 / 15.f);
    for (float c : {1 / 13.f, 1 / 11.f, 1 / 9.f, 1 / 7.f, 1 / 5.f, 1 / 3.f, 1.f}) p = fma(p, z, set(c));
    return max(x, set(0)) + set(2) * s * p;
}
