#include "groups.h"
#include "../quant.h"

namespace {

using Bytes = const uint8_t*;

float half(Bytes p) { return f16_to_f32(uint16_t(p[0] | p[1] << 8)); }

// Six-bit scale and minimum of group g of a Q4_K or Q5_K block.
void scale_and_minimum(Bytes s, int g, int* scale, int* minimum) {
    if (g < 4) *scale = s[g] & 63, *minimum = s[g + 4] & 63;
    else *scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4, *minimum = s[g + 4] >> 4 | (s[g] >> 6) << 4;
}

// Groups 2p and 2p+1 of a Q4_K or Q5_K block share 32 bytes: low nibbles, then high nibbles.
void read_k_group(Type t, Bytes b, int g, int8_t* q, float* d, float* m) {
    int scale, minimum, shift = 4 * (g % 2);
    scale_and_minimum(b + 4, g, &scale, &minimum);
    *d = half(b) * float(scale);
    *m = -(half(b + 2) * float(minimum));
    Bytes high = b + 16, low = (t == Type::q5_k ? b + 48 : b + 16) + 32 * (g / 2);
    if (t == Type::q4_k)
        for (int j = 0; j < 32; j++) q[j] = int8_t(low[j] >> shift & 15);
    else
        for (int j = 0; j < 32; j++) q[j] = int8_t((low[j] >> shift & 15) | (high[j] >> g & 1) << 4);
}

// Group g (of 16) of a Q6_K block: half of 128 weights, quarter of 32, half of the quarter.
void read_q6_group(Bytes b, int g, int8_t* q, float* d) {
    int part = g / 8, quarter = g % 8 / 2, l0 = g % 2 * 16;
    Bytes ql = b + 64 * part + 32 * (quarter % 2) + l0, qh = b + 128 + 32 * part + l0;
    *d = half(b + 208) * float(int8_t(b[192 + g]));
    for (int j = 0; j < 16; j++)
        q[j] = int8_t(((ql[j] >> 4 * (quarter / 2) & 15) | (qh[j] >> 2 * quarter & 3) << 4) - 32);
}

}  // namespace

void read_group(Type t, const void* row, int g, int8_t* q, float* d, float* m) {
    int per_block = info(t).block / group_size(t);
    Bytes b = Bytes(row) + size_t(g / per_block) * info(t).bytes;
    g %= per_block;
    *m = 0;
    if (t == Type::q4_k || t == Type::q5_k) return read_k_group(t, b, g, q, d, m);
    if (t == Type::q6_k) return read_q6_group(b, g, q, d);
    *d = half(b);
    if (t == Type::q8_0) {
        for (int j = 0; j < 32; j++) q[j] = int8_t(b[2 + j]);
        return;
    }
    bool five = t == Type::q5_0 || t == Type::q5_1;
    if (has_minimum(t)) *m = half(b + 2);
    Bytes bits = b + (has_minimum(t) ? 4 : 2), nibbles = bits + (five ? 4 : 0);
    uint32_t fifth = five ? uint32_t(bits[0] | bits[1] << 8 | bits[2] << 16) | uint32_t(bits[3]) << 24 : 0;
    int zero = t == Type::q4_0 ? 8 : t == Type::q5_0 ? 16 : 0;
    for (int j = 0; j < 16; j++) {
        q[j] = int8_t(((nibbles[j] & 15) | int(fifth >> j & 1) << 4) - zero);
        q[j + 16] = int8_t((nibbles[j] >> 4 | int(fifth >> (j + 16) & 1) << 4) - zero);
    }
}
