// numbers.h - bf16 and half on both sides: CUDA's own types under nvcc, two structs with the same rounding on the host.
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using bf16 = __nv_bfloat16;

__host__ __device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__host__ __device__ __forceinline__ float to_float(half x) { return __half2float(x); }
__host__ __device__ __forceinline__ bf16 to_bf16(float x) { return __float2bfloat16_rn(x); }
__host__ __device__ __forceinline__ half to_half(float x) { return __float2half_rn(x); }
__host__ __device__ __forceinline__ uint32_t bits(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
__host__ __device__ __forceinline__ float from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}
// Two bf16 in one register, `low` in the lower half: the order of every fragment register.
__device__ __forceinline__ uint32_t two_bf16(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
}

#else

struct bf16 {
    uint16_t bits;
};
struct half {
    uint16_t bits;
};

inline uint32_t bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return u;
}
inline float from_bits(uint32_t u) {
    float x;
    std::memcpy(&x, &u, 4);
    return x;
}

inline float to_float(bf16 x) { return from_bits(static_cast<uint32_t>(x.bits) << 16); }

// Round to nearest, ties to even: a carry out of the mantissa runs into the exponent, which is what rounding up means.
// Any NaN becomes 0x7fff, as the device's conversion makes it.
inline bf16 to_bf16(float x) {
    const uint32_t u = bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
    return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16)};
}

inline float to_float(half x) {
    const uint32_t sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    // Moving the bits in place leaves the exponent short by 127 - 15; the product also normalises subnormals, exactly.
    return from_bits(sign | bits(from_bits(magnitude << 13) * 0x1p112f));
}

inline half to_half(float x) {
    const uint32_t sign = (bits(x) >> 16) & 0x8000u, magnitude = bits(x) & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {0x7fff};
    if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)}; // from 65520 up: infinity
    if (magnitude < 0x38800000u) // subnormal: adding 0.5 aligns the last half bit with the last float bit, and rounds
        return {static_cast<uint16_t>(sign | (bits(from_bits(magnitude) + 0.5f) - bits(0.5f)))};
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1);
    return {static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)))};
}

inline uint32_t two_bf16(float low, float high) {
    return static_cast<uint32_t>(to_bf16(high).bits) << 16 | to_bf16(low).bits;
}

#endif
