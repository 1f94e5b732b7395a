// split.h - products of f32 by tensor cores, at the accuracy of f32.
//
// A number is the sum of two of tf32, which has eleven bits: the nearest one, and what is missing, of which the last
// bit may be lost. A product of two such sums is three products: high by high, and high by low both ways; low by low
// lies below 2^-22 of the whole. mma.sync cuts its sums off instead of rounding them, each time by up to the last bit:
// so chains are short, and what goes on for a whole sequence (a state) is added to outside of them.
//
// Error of the delta rule over 400 tokens, relative to the rule in double: f32 2.52e-7; so 2.76e-7; with low by low
// 2.74e-7; high parts cut off instead of rounded 8.2e-7; bf16 in place of tf32 6.45e-6; high by high alone 4.29e-4.
// (Cuda.TheDeltaRuleIsAsAccurateAsInF32, on the machine of on_cpu/.)
#pragma once
#include "device.h"

namespace DD_CUDA {

template <int n> struct Split {
    uint32_t high[n], low[n];
};
template <int n> __device__ __forceinline__ Split<n> split(const float (&x)[n]) {
    Split<n> s;
#pragma unroll
    for (int i = 0; i < n; i++) {
        s.high[i] = (bits(x[i]) + 0x1000) & ~0x1fffu; // of a NaN this may make a zero; the rest stays one
        s.low[i] = bits(x[i] - from_bits(s.high[i])) & ~0x1fffu;
    }
    return s;
}
// d (16 x 8) += a (16 x 8) b (8 x 8), of f32. In lane 4 g + t stand
//   of a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4);  of b: (t, g), (t + 4, g);
//   of d: (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
// Which numbers of a reduction stand at t and which at t + 4 is free, if it is the same in a and b.
__device__ __forceinline__ void mma_f32(float (&d)[4], const Split<4>& a, const Split<2>& b) {
    mma_tf32(d, a.low, b.high); // the small ones first
    mma_tf32(d, a.high, b.low);
    mma_tf32(d, a.high, b.high);
}
// Operands of a product along rows in shared memory, which meet their numbers 2 t and 2 t + 1 in lane 4 g + t: `at` of
// row g, `down` of row g + 8.
__device__ __forceinline__ Split<2> split_pair(const float* at) {
    alignas(8) float v[2];
    move<uint2>(v, at);
    return split(v);
}
__device__ __forceinline__ Split<4> split_rows(const float* at, const float* down) {
    alignas(8) float v[2], w[2];
    move<uint2>(v, at), move<uint2>(w, down);
    return split({v[0], w[0], v[1], w[1]});
}

} // namespace DD_CUDA
