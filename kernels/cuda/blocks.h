// blocks.h - weights in blocks as they lie on the device: in planes, so that every load is aligned. All codes of a
// matrix in the order of its rows, then all fifth bits or upper halves, then the scales of the K formats' groups, then
// each block's scale (and minimum). As many bytes as before, and every block where its number says in each plane.
#pragma once
#include "device.h"

namespace DD_CUDA {

// Bytes of a block in each plane.
struct Parts {
    int codes, high, scales, whole;
};
__host__ __device__ constexpr Parts parts(Type t) {
    return t == Type::q8_0   ? Parts{32, 0, 0, 2}
           : t == Type::q4_0 ? Parts{16, 0, 0, 2}
           : t == Type::q4_1 ? Parts{16, 0, 0, 4}
           : t == Type::q5_0 ? Parts{16, 4, 0, 2}
           : t == Type::q5_1 ? Parts{16, 4, 0, 4}
           : t == Type::q4_k ? Parts{128, 0, 12, 4}
           : t == Type::q5_k ? Parts{128, 32, 12, 4}
           : t == Type::q6_k ? Parts{128, 64, 16, 2}
                             : Parts{};
}
__host__ __device__ constexpr int block_of(Type t) { return parts(t).codes > 32 ? 256 : parts(t).codes ? 32 : 1; }
// Numbers that share a scale.
__host__ __device__ constexpr int group_of(Type t) { return t == Type::q6_k ? 16 : 32; }
__host__ __device__ constexpr bool in_blocks(Type t) { return block_of(t) > 1; }
__host__ __device__ constexpr bool has_low(Type t) { // w = d q + m, not d q
    return t == Type::q4_1 || t == Type::q5_1 || t == Type::q4_k || t == Type::q5_k;
}

struct Stored {
    const uint8_t *codes, *high, *scales, *whole; // floats: codes alone
};
// Of a tensor that lies on the device.
inline Stored stored(const Tensor& t) {
    Parts p = parts(t.type);
    size_t blocks = t.count() / size_t(block_of(t.type));
    auto* at = static_cast<const uint8_t*>(t.data);
    return {at, at + blocks * p.codes, at + blocks * (p.codes + p.high), at + blocks * (p.codes + p.high + p.scales)};
}

// What four codes from a multiple of four on are: whole numbers, and the scale and minimum of their group.
template <Type type> __device__ __forceinline__ void codes4(const Stored& w, size_t at, int (&q)[4]) {
    size_t block = at / block_of(type);
    int i = int(at % block_of(type)), g = i / 32, l = i % 32;
    auto word = [](const uint8_t* p) { return *reinterpret_cast<const uint32_t*>(p); };
    if (type == Type::q8_0) {
        uint32_t c = word(w.codes + at);
        for (int j = 0; j < 4; j++) q[j] = int8_t(c >> 8 * j);
    } else if (type == Type::q6_k) {
        uint32_t c = word(w.codes + block * 128 + i / 128 * 64 + g % 2 * 32 + l) >> (g % 4 / 2 * 4);
        uint32_t h = word(w.high + block * 64 + i / 128 * 32 + l) >> (g % 4 * 2);
        for (int j = 0; j < 4; j++) q[j] = int((c >> 8 * j & 15) | (h >> 8 * j & 3) << 4) - 32;
    } else if (block_of(type) == 256) {
        uint32_t c = word(w.codes + block * 128 + g / 2 * 32 + l) >> (g % 2 * 4);
        uint32_t h = type == Type::q5_k ? word(w.high + block * 32 + l) >> g : 0;
        for (int j = 0; j < 4; j++) q[j] = int((c >> 8 * j & 15) | (h >> 8 * j & 1) << 4);
    } else {
        uint32_t c = word(w.codes + block * 16 + l % 16) >> (l / 16 * 4);
        uint32_t h = parts(type).high ? word(w.high + block * 4) >> l : 0;
        constexpr int zero = type == Type::q4_0 ? 8 : type == Type::q5_0 ? 16 : 0;
        for (int j = 0; j < 4; j++) q[j] = int((c >> 8 * j & 15) | (h >> j & 1) << 4) - zero;
    }
}

__device__ __forceinline__ float half_at(const uint8_t* p) { return to_float(*reinterpret_cast<const half*>(p)); }

// d and m of the group of number `at`: w = d q + m, the product rounded first.
template <Type type> __device__ __forceinline__ void scale_at(const Stored& w, size_t at, float& d, float& m) {
    size_t block = at / block_of(type);
    int g = int(at % block_of(type)) / group_of(type);
    const uint8_t* whole = w.whole + block * parts(type).whole;
    d = half_at(whole), m = 0;
    if (type == Type::q6_k) {
        d *= float(int8_t(w.scales[block * 16 + g]));
    } else if (block_of(type) == 256) {
        const uint8_t* s = w.scales + block * 12;
        int scale, low;
        if (g < 4) scale = s[g] & 63, low = s[g + 4] & 63;
        else scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4, low = s[g + 4] >> 4 | (s[g] >> 6) << 4;
        d *= float(scale);
        m = -(half_at(whole + 2) * float(low));
    } else if (has_low(type)) {
        m = half_at(whole + 2);
    }
}

// Four weights as numbers, from number `at` on, of which `left` exist.
template <Type type> __device__ __forceinline__ Four weights4(const Stored& w, size_t at, int left = 4) {
    Four f{};
    if constexpr (in_blocks(type)) {
        int q[4];
        float d, m;
        codes4<type>(w, at, q);
        scale_at<type>(w, at, d, m);
        for (int j = 0; j < 4; j++) f.v[j] = has_low(type) ? float(q[j]) * d + m : float(q[j]) * d;
    } else {
        for (int j = 0; j < 4; j++) {
            if (j >= left) continue;
            if (type == Type::f32) f.v[j] = reinterpret_cast<const float*>(w.codes)[at + j];
            else if (type == Type::f16) f.v[j] = to_float(reinterpret_cast<const half*>(w.codes)[at + j]);
            else f.v[j] = to_float(reinterpret_cast<const bf16*>(w.codes)[at + j]);
        }
    }
    return f;
}

// The same where the type is known at run time only.
__device__ __forceinline__ Four weights4_of(Type t, const Stored& w, size_t at, int left = 4) {
    switch (t) {
        case Type::f32:
            return weights4<Type::f32>(w, at, left);
        case Type::f16:
            return weights4<Type::f16>(w, at, left);
        case Type::bf16:
            return weights4<Type::bf16>(w, at, left);
        case Type::q8_0:
            return weights4<Type::q8_0>(w, at);
        case Type::q4_0:
            return weights4<Type::q4_0>(w, at);
        case Type::q4_1:
            return weights4<Type::q4_1>(w, at);
        case Type::q5_0:
            return weights4<Type::q5_0>(w, at);
        case Type::q5_1:
            return weights4<Type::q5_1>(w, at);
        case Type::q4_k:
            return weights4<Type::q4_k>(w, at);
        case Type::q5_k:
            return weights4<Type::q5_k>(w, at);
        default:
            return weights4<Type::q6_k>(w, at);
    }
}

// body.template operator()<type>() for a type that weights can have.
template <class F> void for_type(Type t, F body) {
    switch (t) {
        case Type::f32:
            return body.template operator()<Type::f32>();
        case Type::f16:
            return body.template operator()<Type::f16>();
        case Type::bf16:
            return body.template operator()<Type::bf16>();
        case Type::q8_0:
            return body.template operator()<Type::q8_0>();
        case Type::q4_0:
            return body.template operator()<Type::q4_0>();
        case Type::q4_1:
            return body.template operator()<Type::q4_1>();
        case Type::q5_0:
            return body.template operator()<Type::q5_0>();
        case Type::q5_1:
            return body.template operator()<Type::q5_1>();
        case Type::q4_k:
            return body.template operator()<Type::q4_k>();
        case Type::q5_k:
            return body.template operator()<Type::q5_k>();
        case Type::q6_k:
            return body.template operator()<Type::q6_k>();
        default:
            fail(Exit::failed, "cuda: no weight has type %s", info(t).name);
    }
}

} // namespace DD_CUDA
