// quant.h - how numbers are stored in blocks, exactly as ggml defines it. The specification that kernels are tested
// against; used outside hot loops (gathering an embedding row, loading a vector, writing a checkpoint).
#pragma once
#include "tensor.h"

// n numbers of a row, from the first block on; n is a multiple of the block. Bit-equal to ggml's own dequantisation.
void dequantize(Type, const void* blocks, float* y, size_t n);
// f32, f16, bf16 (round to nearest even), Q8_0, Q4_0, Q4_1: ggml's reference quantisers.
void quantize(Type, const float* x, void* blocks, size_t n);

inline float bf16_to_f32(uint16_t h) { uint32_t u = uint32_t(h) << 16; float f; __builtin_memcpy(&f, &u, 4); return f; }
inline uint16_t f32_to_bf16(float f) {          // round to nearest even; NaN stays NaN
    uint32_t u;
    __builtin_memcpy(&u, &f, 4);
    if ((u & 0x7fffffff) > 0x7f800000) return uint16_t(u >> 16 | 64);
    return uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
float f16_to_f32(uint16_t);
uint16_t f32_to_f16(float);
