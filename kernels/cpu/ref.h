// ref.h - what the parts of the scalar reference share: how single numbers are read, and the order of every sum.
#pragma once
#include <cmath>
#include "../kernels.h"
#include "../quant.h"

namespace ref {

inline float read(Tensor t, size_t i) { return t.type == Type::bf16 ? bf16_to_f32(t.h()[i]) : t.f()[i]; }
inline void write(Tensor t, size_t i, float v) {
    if (t.type == Type::bf16) t.h()[i] = f32_to_bf16(v);
    else t.f()[i] = v;
}
inline float round_to(Type t, float v) { return t == Type::bf16 ? bf16_to_f32(f32_to_bf16(v)) : v; }
// What a gradient is made of: overwritten while fresh, added to afterwards.
inline void give(Tensor d, size_t i, float v) { write(d, i, d.fresh ? v : read(d, i) + v); }

// Sums along a row are kept in 16 lanes, element j in lane j mod 16, and then added in one tree: lane i takes lane
// i + 8, then i + 4, i + 2, i + 1. Sixteen floats are one AVX-512 register, two of AVX2, and a loop here.
struct Lanes {
    float lane[16] = {};
    void add(size_t j, float v) { lane[j % 16] += v; }
    void fma(size_t j, float a, float b) { lane[j % 16] = std::fmaf(a, b, lane[j % 16]); }
    float sum() const {
        float s[16];
        for (int i = 0; i < 16; i++) s[i] = lane[i];
        for (int half = 8; half; half /= 2)
            for (int i = 0; i < half; i++) s[i] += s[i + half];
        return s[0];
    }
};

constexpr float log2e = 1.44269504f;

// 2^x for x in [-126, 126] (clamped; NaN stays NaN): 2^n by the exponent, 2^r for |r| <= 1/2 by the polynomial of
// degree
// 5 of least relative error among those with p(0) = 1: 1.7e-7 with its roundings. A polynomial and not libm, so that
// every lane of every instruction set gives these bits.
inline float exp2(float x) {
    x = x < -126 ? -126 : x;
    x = x > 126 ? 126 : x;
    float shifted = x + 0x1.8p23f, r = x - (shifted - 0x1.8p23f);      // x to the nearest whole n, in the lowest bits
    float p = 1.3264739e-3f;
    for (float c : {9.6715167e-3f, 5.5507337e-2f, 2.4022242e-1f, 6.9314698e-1f, 1.0f}) p = std::fmaf(p, r, c);
    uint32_t bits;
    __builtin_memcpy(&bits, &shifted, 4);
    bits = (bits + 127) << 23;
    float power;
    __builtin_memcpy(&power, &bits, 4);
    return p * power;
}
inline float sigmoid(float x) { return 1 / (1 + exp2(-x * log2e)); }
inline float tanh(float x) { return 1 - 2 / (1 + exp2(x * (2 * log2e))); }

// log(1 + e^x) = max(x, 0) + log(1 + t), t = e^-|x|; and log(1 + t) = 2 artanh(t / (2 + t)), by its series.
inline float softplus(float x) {
    float t = exp2((x > 0 ? -x : x) * log2e), s = t / (2 + t), z = s * s, p = 1 / 15.f;
    for (float c : {1 / 13.f, 1 / 11.f, 1 / 9.f, 1 / 7.f, 1 / 5.f, 1 / 3.f, 1.f}) p = std::fmaf(p, z, c);
    return (x > 0 ? x : 0) + 2 * s * p;
}

#define K(name, args) void name args;
DD_KERNELS(K)
#undef K

}  // namespace ref
