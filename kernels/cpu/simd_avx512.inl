// simd_avx512.inl - sixteen numbers at a time, in one 512-bit register.
//
// Included inside an unnamed namespace once the target is set (see avx512.cpp). simd_avx2.inl says the same words with
// two 256-bit registers; whatever else is fast on this processor is written once, in these words.
//
//   F  sixteen floats
//   I  sixteen words of 32 bits: integers, or pairs of bf16, the first of the pair in the low half
//   Q  a pair of exact small integers for each of sixteen columns, as a dot product wants them

#define INLINE static inline __attribute__((always_inline))

using F = __m512;
using I = __m512i;

constexpr int tile_vectors = 4;                     // of 16 columns: what one tile of a product takes at most, and
constexpr int tile_rows[4] = {12, 12, 8, 6};        // how many rows for 1, 2, 3, 4 vectors: 24 accumulators are enough
constexpr int few_rows = 8;                         // so many rows go through a panel of 32 columns in one reading
constexpr int group_rows[4] = {6, 6, 6, 6};         // the same for weights in groups
constexpr int few_group_rows = 4;
constexpr int few_limit = 11, few_group_limit = 8;   // up to here rows count as few, and weights stream

// ---- moving. `n` of 16 where a row ends early: the others read as zero and are not written.

INLINE __mmask16 first(int n) { return __mmask16((1u << n) - 1); }

INLINE F set(float x) { return _mm512_set1_ps(x); }
INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
INLINE F load(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE void store(float* p, F x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }

INLINE I set_words(uint32_t x) { return _mm512_set1_epi32(int(x)); }
INLINE I load_words(const void* p) { return _mm512_loadu_si512(p); }
INLINE void store_words(void* p, I x) { _mm512_storeu_si512(p, x); }
INLINE I spread(const uint32_t* p) { return _mm512_set1_epi32(*(const int*)p); }
INLINE F as_floats(I x) { return _mm512_castsi512_ps(x); }
INLINE I as_words(F x) { return _mm512_castps_si512(x); }

// x in the lanes before n, other behind.
INLINE F before(int n, F x, F other) { return _mm512_mask_mov_ps(other, first(n), x); }

// x in lanes from .. to-1 (either may lie outside), other elsewhere.
INLINE F within(int from, int to, F x, F other) {
    auto below = [](int n) { return n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1; };
    return _mm512_mask_mov_ps(other, __mmask16(below(to) & ~below(from)), x);
}

INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
INLINE void prefetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

// ---- arithmetic: + - * / are the compiler's

INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }         // a > b ? a : b
INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }         // a < b ? a : b
INLINE F root(F x) { return _mm512_sqrt_ps(x); }
INLINE F nearest(F x) { return _mm512_roundscale_ps(x, 0); }
INLINE F times_power(F x, F n) { return _mm512_scalef_ps(x, n); }      // x 2^n, n whole

// Lane i takes lane i + 8, then i + 4, i + 2, i + 1: the order of the reference's Lanes.
INLINE float sum(F x) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
INLINE float largest(F x) { return _mm512_reduce_max_ps(x); }

// ---- bf16

INLINE F high_half(I x) { return as_floats(_mm512_and_si512(x, set_words(0xffff0000))); }
INLINE F low_half(I x) { return as_floats(_mm512_slli_epi32(x, 16)); }

INLINE F load(const uint16_t* p) {
    return as_floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
INLINE F load(const uint16_t* p, int n) {
    return as_floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p)), 16));
}

#ifdef HAVE_BF16_DOT
INLINE __m256i to_bf16(F x) { return (__m256i)_mm512_cvtneps_pbh(x); }
#else
INLINE I rounded_words(F x) {                       // to nearest even, in the low halves; NaN stays NaN
    I u = as_words(x), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), set_words(1));
    I r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, set_words(0x7fff))), 16);
    I nan = _mm512_or_si512(_mm512_srli_epi32(u, 16), set_words(64));
    return _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan);
}
INLINE __m256i to_bf16(F x) { return _mm512_cvtepi32_epi16(rounded_words(x)); }
#endif
INLINE void store(uint16_t* p, F x) { _mm256_storeu_si256((__m256i*)p, to_bf16(x)); }
INLINE void store(uint16_t* p, F x, int n) { _mm256_mask_storeu_epi16(p, first(n), to_bf16(x)); }

INLINE F load_f16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }

// Sixteen pairs (even[i], odd[i]), rounded.
INLINE I pairs(F even, F odd) {
#ifdef HAVE_BF16_DOT
    const I order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                     23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (I)_mm512_cvtne2ps_pbh(odd, even));
#else
    return _mm512_or_si512(rounded_words(even), _mm512_slli_epi32(rounded_words(odd), 16));
#endif
}

// Rows a and b of 16 bf16: sixteen pairs (a[i], b[i]).
INLINE I zip(const uint16_t* a, const uint16_t* b) {
    I low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)a));
    I high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)b));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
INLINE I zip(const uint16_t* a, const uint16_t* b, int n) {
    I low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), a));
    I high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), b));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// Rows a and b of 32 bf16: pairs (a[i], b[i]) of the first sixteen, of the last sixteen.
INLINE I zip_first(I a, I b) {
    const I order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                     39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    return _mm512_permutex2var_epi16(a, order, b);
}
INLINE I zip_last(I a, I b) {
    const I order = _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24,
                                     55, 23, 54, 22, 53, 21, 52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
    return _mm512_permutex2var_epi16(a, order, b);
}

// Sixteen rows of sixteen words become columns.
INLINE void transpose(I* r) {
    I t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

// ---- weights in groups of exact integers (see panels.inl for how they lie)

struct Two { F even, odd; };

// The integers of two bytes (k, k + 1) of each of 16 columns; of a nibble in the low and one in the high half of each
// word.
INLINE Two two_bytes(const void* p) {
    I w = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p));
    return {_mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(w, 16), 16)),
            _mm512_cvtepi32_ps(_mm512_srai_epi32(w, 16))};
}
INLINE F nibble_floats(int zero) {
    return set(float(-zero)) + _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
INLINE Two two_nibbles(I w, int s, F table) {       // a table of 16: the lookup sees the lowest four bits
    return {_mm512_permutexvar_ps(_mm512_srli_epi32(w, 4 * s), table),
            _mm512_permutexvar_ps(_mm512_srli_epi32(w, 4 * s + 16), table)};
}

#ifdef HAVE_BF16_DOT
constexpr bool has_dot = true;
using Q = I;
using Nibbles = I;                                  // sixteen bf16, twice: the lookup sees five bits

// acc + the dot product of two pairs: second element first.
INLINE F dot(F acc, I a, I b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }

INLINE Q quant_bytes(const void* p) {
    F low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
    F high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p + 1)));
    return (I)_mm512_cvtne2ps_pbh(high, low);
}
INLINE Nibbles nibble_table(int zero) {
    F t = nibble_floats(zero);
    return (I)_mm512_cvtne2ps_pbh(t, t);
}
INLINE Q quant_nibbles(I w, int s, Nibbles table) {
    return _mm512_permutexvar_epi16(_mm512_srli_epi16(w, 4 * s), table);
}
INLINE I exact_pairs(Q q) { return q; }
#else
constexpr bool has_dot = false;
using Q = Two;
using Nibbles = F;

INLINE F dot(F acc, I a, Q b) { return fma(low_half(a), b.even, fma(high_half(a), b.odd, acc)); }

INLINE Q quant_bytes(const void* p) { return two_bytes(p); }
INLINE Nibbles nibble_table(int zero) { return nibble_floats(zero); }
INLINE Q quant_nibbles(I w, int s, Nibbles table) { return two_nibbles(w, s, table); }
INLINE I exact_pairs(Q q) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(as_words(q.even), 16), as_words(q.odd));
}
#endif

// Eight words of a, then eight of b; four of each of four.
INLINE I two_halves(const void* a, const void* b) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)a)),
                              _mm256_loadu_si256((const __m256i*)b), 1);
}
INLINE I four_quarters(const void* a, const void* b, const void* c, const void* d) {
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)a)),
                                          _mm_loadu_si128((const __m128i*)b), 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)c)),
                                           _mm_loadu_si128((const __m128i*)d), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
// The two middle bytes of every word change places.
INLINE I swap_middle_bytes(I x) {
    return _mm512_shuffle_epi8(
        x, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15)));
}
// The low, or the high, half of every word: sixteen times 16 bits.
INLINE void store_low_halves(void* p, I x) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(x)); }
INLINE void store_high_halves(void* p, I x) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(x, 16)));
}

// ---- words of 64 bits, for random numbers; lanes of double

INLINE I set64(uint64_t x) { return _mm512_set1_epi64(int64_t(x)); }
INLINE I eight64(int a, int b, int c, int d, int e, int f, int g, int h) {
    return _mm512_setr_epi64(a, b, c, d, e, f, g, h);
}
INLINE I add64(I a, I b) { return _mm512_add_epi64(a, b); }
INLINE I shift_right64(I a, int n) { return _mm512_srli_epi64(a, unsigned(n)); }
INLINE I multiply32(I a, I b) { return _mm512_mul_epu32(a, b); }        // of the low halves
INLINE I exclusive_or(I a, I b) { return _mm512_xor_si512(a, b); }
// The low halves of a and of b side by side.
INLINE I even_words(I a, I b) { return _mm512_mask_blend_epi32(0xaaaa, a, _mm512_slli_epi64(b, 32)); }
INLINE I interleave_low64(I a, I b) { return _mm512_unpacklo_epi64(a, b); }
INLINE I interleave_high64(I a, I b) { return _mm512_unpackhi_epi64(a, b); }
INLINE F zero_where_below(F x, I random, uint32_t bound) {
    return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(random, set_words(bound)), x);
}

struct Doubles { __m512d low, high; };
INLINE Doubles no_doubles() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
INLINE Doubles add_squares(Doubles s, F x) {
    __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return {s.low + a * a, s.high + b * b};
}
INLINE double sum(Doubles s) {
    __m512d eight = s.low + s.high;
    __m256d four = _mm512_castpd512_pd256(eight) + _mm512_extractf64x4_pd(eight, 1);
    __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}
