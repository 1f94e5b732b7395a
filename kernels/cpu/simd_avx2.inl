// simd_avx2.inl - sixteen numbers at a time, in two 256-bit registers: the words of simd_avx512.inl, one for one.

#define INLINE static inline __attribute__((always_inline))

struct F { __m256 a, b; };
struct I { __m256i a, b; };

constexpr int tile_vectors = 1;                     // sixteen registers: 6 rows of one vector, twelve accumulators
constexpr int tile_rows[4] = {6, 6, 6, 6};
constexpr int few_rows = 3;
constexpr int group_rows[4] = {6, 6, 6, 6};
constexpr int few_group_rows = 2;
constexpr int few_limit = 3, few_group_limit = 4;

// ---- moving

INLINE I first(int n) {                             // all ones in the lanes before n
    alignas(64) static constexpr int ones[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    const int* at = ones + 16 - n;
    return {_mm256_loadu_si256((const __m256i*)at), _mm256_loadu_si256((const __m256i*)(at + 8))};
}

INLINE F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE F load(const float* p, int n) {
    I m = first(n);
    return {_mm256_maskload_ps(p, m.a), _mm256_maskload_ps(p + 8, m.b)};
}
INLINE void store(float* p, F x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
INLINE void store(float* p, F x, int n) {
    I m = first(n);
    _mm256_maskstore_ps(p, m.a, x.a), _mm256_maskstore_ps(p + 8, m.b, x.b);
}

INLINE I set_words(uint32_t x) { return {_mm256_set1_epi32(int(x)), _mm256_set1_epi32(int(x))}; }
INLINE I load_words(const void* p) {
    return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)};
}
INLINE void store_words(void* p, I x) {
    _mm256_storeu_si256((__m256i*)p, x.a), _mm256_storeu_si256((__m256i*)p + 1, x.b);
}
INLINE I spread(const uint32_t* p) { return set_words(*p); }
INLINE F as_floats(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
INLINE I as_words(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }

INLINE F choose(I mask, F x, F other) {
    F m = as_floats(mask);
    return {_mm256_blendv_ps(other.a, x.a, m.a), _mm256_blendv_ps(other.b, x.b, m.b)};
}
INLINE F before(int n, F x, F other) { return choose(first(n), x, other); }
INLINE F within(int from, int to, F x, F other) {
    F low = before(to >= 16 ? 16 : to <= 0 ? 0 : to, x, other);
    return before(from <= 0 ? 0 : from >= 16 ? 16 : from, other, low);
}

INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
INLINE void prefetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

// ---- arithmetic

INLINE F operator+(F x, F y) { return {x.a + y.a, x.b + y.b}; }
INLINE F operator-(F x, F y) { return {x.a - y.a, x.b - y.b}; }
INLINE F operator*(F x, F y) { return {x.a * y.a, x.b * y.b}; }
INLINE F operator/(F x, F y) { return {x.a / y.a, x.b / y.b}; }
INLINE F operator-(F x) { return {-x.a, -x.b}; }
INLINE F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
INLINE F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INLINE F root(F x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
INLINE F nearest(F x) {
    return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT), _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT)};
}

INLINE I operator+(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
INLINE I operator|(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
INLINE I operator&(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
INLINE I shift_left(I x, int n) { return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
INLINE I shift_right(I x, int n) { return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)}; }
INLINE F to_floats(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }

INLINE F times_power(F x, F n) {
    I whole{_mm256_cvtps_epi32(n.a), _mm256_cvtps_epi32(n.b)};
    return x * as_floats(shift_left(whole + set_words(127), 23));
}

INLINE float sum(F x) {
    __m256 eight = x.a + x.b;
    __m128 four = _mm256_castps256_ps128(eight) + _mm256_extractf128_ps(eight, 1),
           two = four + _mm_movehl_ps(four, four);
    return _mm_cvtss_f32(two) + _mm_cvtss_f32(_mm_movehdup_ps(two));
}
INLINE float largest(F x) {
    __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)),
           two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// ---- bf16

INLINE F high_half(I x) { return as_floats(x & set_words(0xffff0000)); }
INLINE F low_half(I x) { return as_floats(shift_left(x, 16)); }

INLINE I widen(const uint16_t* p) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)),
            _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p + 1))};
}
INLINE I widen(const uint16_t* p, int n) {
    alignas(32) uint16_t all[16] = {};
    __builtin_memcpy(all, p, 2 * size_t(n));
    return widen(all);
}
INLINE F load(const uint16_t* p) { return low_half(widen(p)); }
INLINE F load(const uint16_t* p, int n) { return low_half(widen(p, n)); }

INLINE I rounded_words(F x) {                       // to nearest even, in the low halves; NaN stays NaN
    I u = as_words(x), top = shift_right(u, 16);
    F r = as_floats(shift_right(u + (top & set_words(1)) + set_words(0x7fff), 16)),
      nan = as_floats(top | set_words(64));
    return as_words(F{_mm256_blendv_ps(r.a, nan.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
                      _mm256_blendv_ps(r.b, nan.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q))});
}
INLINE __m256i narrow(I x) { return _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xd8); }
INLINE void store(uint16_t* p, F x) { _mm256_storeu_si256((__m256i*)p, narrow(rounded_words(x))); }
INLINE void store(uint16_t* p, F x, int n) {
    alignas(32) uint16_t all[16];
    store(all, x);
    __builtin_memcpy(p, all, 2 * size_t(n));
}

INLINE F load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
            _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p + 1))};
}

INLINE I pairs(F even, F odd) { return rounded_words(even) | shift_left(rounded_words(odd), 16); }
INLINE I zip(const uint16_t* a, const uint16_t* b) { return widen(a) | shift_left(widen(b), 16); }
INLINE I zip(const uint16_t* a, const uint16_t* b, int n) { return widen(a, n) | shift_left(widen(b, n), 16); }

INLINE I zip_halves(__m256i x, __m256i y) {
    __m256i low = _mm256_unpacklo_epi16(x, y), high = _mm256_unpackhi_epi16(x, y);
    return {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
}
INLINE I zip_first(I x, I y) { return zip_halves(x.a, y.a); }
INLINE I zip_last(I x, I y) { return zip_halves(x.b, y.b); }

INLINE void transpose8(__m256i* r) {
    __m256i t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        r[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = t[i];
}
// By quarters of 8 by 8, of which two change places.
INLINE void transpose(I* r) {
    __m256i top[8], right[8], left[8], bottom[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) top[i] = r[i].a, right[i] = r[i].b, left[i] = r[i + 8].a, bottom[i] = r[i + 8].b;
    transpose8(top), transpose8(right), transpose8(left), transpose8(bottom);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) r[i] = {top[i], left[i]}, r[i + 8] = {right[i], bottom[i]};
}

// ---- weights in groups of exact integers

struct Two { F even, odd; };

INLINE Two two_bytes(const void* p) {
    I w{_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p)),
        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p + 1))};
    I even = shift_left(w, 16);
    return {to_floats({_mm256_srai_epi32(even.a, 16), _mm256_srai_epi32(even.b, 16)}),
            to_floats({_mm256_srai_epi32(w.a, 16), _mm256_srai_epi32(w.b, 16)})};
}
INLINE F nibble_floats(int zero) { return set(float(zero)); }
INLINE Two two_nibbles(I w, int s, F zero) {
    return {to_floats(shift_right(w, 4 * s) & set_words(15)) - zero,
            to_floats(shift_right(w, 4 * s + 16) & set_words(15)) - zero};
}

constexpr bool has_dot = false;
using Q = Two;
using Nibbles = F;

INLINE F dot(F acc, I a, Q b) { return fma(low_half(a), b.even, fma(high_half(a), b.odd, acc)); }
INLINE Q quant_bytes(const void* p) { return two_bytes(p); }
INLINE Nibbles nibble_table(int zero) { return nibble_floats(zero); }
INLINE Q quant_nibbles(I w, int s, Nibbles zero) { return two_nibbles(w, s, zero); }
INLINE I exact_pairs(Q q) { return shift_right(as_words(q.even), 16) | (as_words(q.odd) & set_words(0xffff0000)); }

INLINE I two_halves(const void* a, const void* b) {
    return {_mm256_loadu_si256((const __m256i*)a), _mm256_loadu_si256((const __m256i*)b)};
}
INLINE __m256i two_quarters(const void* a, const void* b) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)a)),
                                   _mm_loadu_si128((const __m128i*)b), 1);
}
INLINE I four_quarters(const void* a, const void* b, const void* c, const void* d) {
    return {two_quarters(a, b), two_quarters(c, d)};
}
INLINE I swap_middle_bytes(I x) {
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    return {_mm256_shuffle_epi8(x.a, order), _mm256_shuffle_epi8(x.b, order)};
}
INLINE void store_low_halves(void* p, I x) { _mm256_storeu_si256((__m256i*)p, narrow(x & set_words(0xffff))); }
INLINE void store_high_halves(void* p, I x) { _mm256_storeu_si256((__m256i*)p, narrow(shift_right(x, 16))); }

// ---- words of 64 bits, for random numbers; lanes of double

INLINE I set64(uint64_t x) { return {_mm256_set1_epi64x(int64_t(x)), _mm256_set1_epi64x(int64_t(x))}; }
INLINE I eight64(int a, int b, int c, int d, int e, int f, int g, int h) {
    return {_mm256_setr_epi64x(a, b, c, d), _mm256_setr_epi64x(e, f, g, h)};
}
INLINE I add64(I x, I y) { return {_mm256_add_epi64(x.a, y.a), _mm256_add_epi64(x.b, y.b)}; }
INLINE I shift_right64(I x, int n) { return {_mm256_srli_epi64(x.a, n), _mm256_srli_epi64(x.b, n)}; }
INLINE I multiply32(I x, I y) { return {_mm256_mul_epu32(x.a, y.a), _mm256_mul_epu32(x.b, y.b)}; }
INLINE I exclusive_or(I x, I y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
INLINE I even_words(I x, I y) {
    return {_mm256_blend_epi32(x.a, _mm256_slli_epi64(y.a, 32), 0xaa),
            _mm256_blend_epi32(x.b, _mm256_slli_epi64(y.b, 32), 0xaa)};
}
INLINE I interleave_low64(I x, I y) { return {_mm256_unpacklo_epi64(x.a, y.a), _mm256_unpacklo_epi64(x.b, y.b)}; }
INLINE I interleave_high64(I x, I y) { return {_mm256_unpackhi_epi64(x.a, y.a), _mm256_unpackhi_epi64(x.b, y.b)}; }
INLINE F zero_where_below(F x, I random, uint32_t bound) {
    I b = set_words(bound);
    I keep{_mm256_cmpeq_epi32(_mm256_max_epu32(random.a, b.a), random.a),
           _mm256_cmpeq_epi32(_mm256_max_epu32(random.b, b.b), random.b)};
    return as_floats(as_words(x) & keep);
}

struct Doubles { __m256d a, b, c, d; };
INLINE Doubles no_doubles() {
    return {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
}
INLINE Doubles add_squares(Doubles s, F x) {
    __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1));
    __m256d c = _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), d = _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1));
    return {s.a + a * a, s.b + b * b, s.c + c * c, s.d + d * d};
}
INLINE double sum(Doubles s) {
    __m256d four = (s.a + s.c) + (s.b + s.d);
    __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}
