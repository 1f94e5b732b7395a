// quant.cpp - the block formats, one function a block each way. Layouts: ggml-common.h of ggml; a block is given by the
// offsets of its parts, and every product is rounded on its own, in the order in which ggml writes it.
#include "quant.h"
#include <algorithm>
#include <cmath>
#include <cstring>

float f16_to_f32(uint16_t h) {
    const uint32_t sign = uint32_t(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest < 0x400) return std::copysign(float(rest) * 0x1p-24f, sign ? -1.f : 1.f);     // zero and subnormal
    uint32_t u = sign | ((rest << 13) + (uint32_t(127 - 15) << 23));
    if (rest >= 0x7c00) u = sign | 0x7f800000 | rest << 13 | (rest > 0x7c00 ? 0x400000 : 0);   // NaN becomes quiet
    float f;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    const uint16_t sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return sign | 0x7e00 | (u >> 13 & 0x3ff);
    if (u >= 0x47800000) return sign | 0x7c00;      // 65536 and above
    if (u < 0x38800000) {                           // below 2^-14: a float near 1/2 has the ulp of a subnormal half
        const float rounded = std::fabs(f) + 0.5f;
        memcpy(&u, &rounded, 4);
        return sign | uint16_t(u - 0x3f000000);
    }
    u += 0xfff + (u >> 13 & 1);                     // to nearest, ties to even; may carry into infinity, as it should
    return sign | uint16_t((u - (uint32_t(127 - 15) << 23)) >> 13);
}

namespace {

float half(const uint8_t* p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return f16_to_f32(h);
}
void put_half(uint8_t* p, float f) {
    const uint16_t h = f32_to_f16(f);
    memcpy(p, &h, 2);
}

// Blocks of 32: byte j holds number j in its low half and number j + 16 in its high half.

void read_q8_0(const uint8_t* b, float* y) {            // d, q[32]
    const float d = half(b);
    for (int j = 0; j < 32; j++) y[j] = float(int8_t(b[2 + j])) * d;
}
void read_q4_0(const uint8_t* b, float* y) {            // d, q[16]
    const float d = half(b);
    for (int j = 0; j < 16; j++) {
        y[j] = float((b[2 + j] & 15) - 8) * d;
        y[j + 16] = float((b[2 + j] >> 4) - 8) * d;
    }
}
void read_q4_1(const uint8_t* b, float* y) {            // d, m, q[16]
    const float d = half(b), m = half(b + 2);
    for (int j = 0; j < 16; j++) {
        y[j] = float(b[4 + j] & 15) * d + m;
        y[j + 16] = float(b[4 + j] >> 4) * d + m;
    }
}
// Bit j of the word h is the fifth bit of number j.
uint32_t word(const uint8_t* p) {
    uint32_t h;
    memcpy(&h, p, 4);
    return h;
}
void read_q5_0(const uint8_t* b, float* y) {            // d, h, q[16]
    const float d = half(b);
    const uint32_t h = word(b + 2);
    for (int j = 0; j < 16; j++) {
        y[j] = float(int((b[6 + j] & 15) | (h >> j & 1) << 4) - 16) * d;
        y[j + 16] = float(int(b[6 + j] >> 4 | (h >> (j + 16) & 1) << 4) - 16) * d;
    }
}
void read_q5_1(const uint8_t* b, float* y) {            // d, m, h, q[16]
    const float d = half(b), m = half(b + 2);
    const uint32_t h = word(b + 4);
    for (int j = 0; j < 16; j++) {
        y[j] = float((b[8 + j] & 15) | (h >> j & 1) << 4) * d + m;
        y[j + 16] = float(b[8 + j] >> 4 | (h >> (j + 16) & 1) << 4) * d + m;
    }
}

// Blocks of 256. Q4_K and Q5_K: eight groups of 32, each with a scale and a minimum of six bits, packed in s[12].
struct ScaleMin { uint8_t scale, min; };
ScaleMin scale_min(const uint8_t* s, int group) {
    if (group < 4) return {uint8_t(s[group] & 63), uint8_t(s[group + 4] & 63)};
    return {uint8_t((s[group + 4] & 15) | s[group - 4] >> 6 << 4), uint8_t(s[group + 4] >> 4 | s[group] >> 6 << 4)};
}
void read_q4_k(const uint8_t* b, float* y) {            // d, dmin, s[12], q[128]: 32 bytes hold two groups
    const float d = half(b), dmin = half(b + 2);
    for (int g = 0; g < 8; g++) {
        const ScaleMin s = scale_min(b + 4, g);
        const float scale = d * s.scale, min = dmin * s.min;
        const uint8_t* q = b + 16 + g / 2 * 32;
        for (int l = 0; l < 32; l++) y[g * 32 + l] = scale * float(g % 2 ? q[l] >> 4 : q[l] & 15) - min;
    }
}
void read_q5_k(const uint8_t* b, float* y) {            // d, dmin, s[12], h[32], q[128]: bit g of h is for group g
    const float d = half(b), dmin = half(b + 2);
    const uint8_t* h = b + 16;
    for (int g = 0; g < 8; g++) {
        const ScaleMin s = scale_min(b + 4, g);
        const float scale = d * s.scale, min = dmin * s.min;
        const uint8_t* q = b + 48 + g / 2 * 32;
        for (int l = 0; l < 32; l++)
            y[g * 32 + l] = scale * float((g % 2 ? q[l] >> 4 : q[l] & 15) | (h[l] >> g & 1) << 4) - min;
    }
}
// Q6_K: sixteen groups of 16 with a signed scale each. In either half of the block, row r of 32 numbers takes four bits
// from ql (rows 0 and 2 share 32 bytes, rows 1 and 3 the next 32) and two from qh.
void read_q6_k(const uint8_t* b, float* y) {            // ql[128], qh[64], s[16], d
    const float d = half(b + 208);
    for (int i = 0; i < 256; i++) {
        const int part = i / 128, r = i / 32 % 4, l = i % 32;
        const uint8_t low = b[part * 64 + r % 2 * 32 + l], high = b[128 + part * 32 + l];
        const int q = (r < 2 ? low & 15 : low >> 4) | (high >> 2 * r & 3) << 4;
        y[i] = d * float(int8_t(b[192 + i / 16])) * float(q - 32);
    }
}

// f towards zero, held within low .. high. (A block of subnormals has no finite 1/d; what it holds is multiplied by 0.)
int whole(float f, int low, int high) { return f >= float(low) ? f <= float(high) ? int(f) : high : low; }

void write_q8_0(const float* x, uint8_t* b) {
    float most = 0;
    for (int j = 0; j < 32; j++) most = std::max(most, std::fabs(x[j]));
    const float d = most / 127, inverse = d != 0 ? 1 / d : 0;
    put_half(b, d);
    for (int j = 0; j < 32; j++) b[2 + j] = uint8_t(whole(std::round(x[j] * inverse), -128, 127));
}
void write_q4_0(const float* x, uint8_t* b) {
    float most = 0, extreme = 0;        // the number of largest magnitude becomes -8, whatever its sign
    for (int j = 0; j < 32; j++)
        if (most < std::fabs(x[j])) most = std::fabs(x[j]), extreme = x[j];
    const float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
    put_half(b, d);
    const auto q = [&](int j) { return whole(x[j] * inverse + 8.5f, 0, 15); };
    for (int j = 0; j < 16; j++) b[2 + j] = uint8_t(q(j) | q(j + 16) << 4);
}
void write_q4_1(const float* x, uint8_t* b) {
    const auto [min, max] = std::minmax_element(x, x + 32);
    const float m = *min, d = (*max - m) / 15, inverse = d != 0 ? 1 / d : 0;
    put_half(b, d);
    put_half(b + 2, m);
    const auto q = [&](int j) { return whole((x[j] - m) * inverse + 0.5f, 0, 15); };
    for (int j = 0; j < 16; j++) b[4 + j] = uint8_t(q(j) | q(j + 16) << 4);
}

void read_f32(const uint8_t* b, float* y) { memcpy(y, b, 4); }
void read_f16(const uint8_t* b, float* y) { *y = half(b); }
void read_bf16(const uint8_t* b, float* y) { *y = bf16_to_f32(uint16_t(b[0] | b[1] << 8)); }
void write_f32(const float* x, uint8_t* b) { memcpy(b, x, 4); }
void write_f16(const float* x, uint8_t* b) { put_half(b, *x); }
void write_bf16(const float* x, uint8_t* b) {
    const uint16_t h = f32_to_bf16(*x);
    memcpy(b, &h, 2);
}

// The loop over blocks is compiled once a format, so that the one-number formats need no call a number.
template <void (*read)(const uint8_t*, float*)> void read_all(Type type, const void* blocks, float* y, size_t n) {
    const size_t block = info(type).block, bytes = info(type).bytes;
    for (auto b = (const uint8_t*)blocks; n > 0; n -= block, b += bytes, y += block) read(b, y);
}
template <void (*write)(const float*, uint8_t*)> void write_all(Type type, const float* x, void* blocks, size_t n) {
    const size_t block = info(type).block, bytes = info(type).bytes;
    for (auto b = (uint8_t*)blocks; n > 0; n -= block, b += bytes, x += block) write(x, b);
}

void check_whole(Type type, size_t n) {
    require(n % info(type).block == 0, "%zu numbers are not whole blocks of %s, which hold %d", n, info(type).name,
            info(type).block);
}

}  // namespace

void dequantize(Type type, const void* blocks, float* y, size_t n) {
    check_whole(type, n);
    switch (type) {
        case Type::f32: return read_all<read_f32>(type, blocks, y, n);
        case Type::f16: return read_all<read_f16>(type, blocks, y, n);
        case Type::bf16: return read_all<read_bf16>(type, blocks, y, n);
        case Type::q8_0: return read_all<read_q8_0>(type, blocks, y, n);
        case Type::q4_0: return read_all<read_q4_0>(type, blocks, y, n);
        case Type::q4_1: return read_all<read_q4_1>(type, blocks, y, n);
        case Type::q5_0: return read_all<read_q5_0>(type, blocks, y, n);
        case Type::q5_1: return read_all<read_q5_1>(type, blocks, y, n);
        case Type::q4_k: return read_all<read_q4_k>(type, blocks, y, n);
        case Type::q5_k: return read_all<read_q5_k>(type, blocks, y, n);
        case Type::q6_k: return read_all<read_q6_k>(type, blocks, y, n);
        default: fail(Exit::failed, "%s does not hold weights: it cannot be dequantised", info(type).name);
    }
}

void quantize(Type type, const float* x, void* blocks, size_t n) {
    check_whole(type, n);
    switch (type) {
        case Type::f32: return write_all<write_f32>(type, x, blocks, n);
        case Type::f16: return write_all<write_f16>(type, x, blocks, n);
        case Type::bf16: return write_all<write_bf16>(type, x, blocks, n);
        case Type::q8_0: return write_all<write_q8_0>(type, x, blocks, n);
        case Type::q4_0: return write_all<write_q4_0>(type, x, blocks, n);
        case Type::q4_1: return write_all<write_q4_1>(type, x, blocks, n);
        default: fail(Exit::failed, "no quantiser for %s: use F32, F16, BF16, Q8_0, Q4_0 or Q4_1", info(type).name);
    }
}
