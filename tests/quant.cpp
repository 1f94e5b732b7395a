// quant.cpp - the block formats against ggml's own numbers (made by its gguf package; see data/README.md).
#include <cmath>
#include <limits>
#include "../engine/safetensors.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"
#include "files.h"

namespace {

TEST(Quant, DequantizesBitEqual) {
    const auto file = open_safetensors(data_file("quants.safetensors"));
    for (const Type type : {Type::f16, Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1, Type::q5_0, Type::q5_1,
                            Type::q4_k, Type::q5_k, Type::q6_k}) {
        const std::string name = info(type).name;
        const Stored *blocks = file->find(name + ".bytes"), *values = file->find(name + ".values");
        ASSERT_TRUE(blocks && values) << name;
        std::vector<float> y(values->bytes / 4);
        dequantize(type, blocks->data, y.data(), y.size());
        EXPECT_EQ(memcmp(y.data(), values->data, values->bytes), 0) << name;
    }
}

TEST(Quant, QuantizesBitEqual) {
    const auto file = open_safetensors(data_file("quants.safetensors"));
    for (const Type type : {Type::f16, Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1}) {
        const std::string name = info(type).name;
        const Stored *blocks = file->find(name + ".bytes"), *source = file->find(name + ".source");
        ASSERT_TRUE(blocks && source) << name;
        std::vector<float> x(source->bytes / 4);
        memcpy(x.data(), source->data, source->bytes);
        std::string made(blocks->bytes, '\0');
        quantize(type, x.data(), made.data(), x.size());
        EXPECT_EQ(made, std::string(blocks->data, blocks->bytes)) << name;
    }
}

uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

TEST(Quant, HalfToFloatIsTheCompilersForEveryHalf) {
    for (uint32_t h = 0; h < 65536; h++) {
        const uint16_t in = uint16_t(h);
        _Float16 compiler;
        memcpy(&compiler, &in, 2);
        ASSERT_EQ(bits(f16_to_f32(in)), bits(float(compiler))) << h;
    }
}

TEST(Quant, FloatToHalfIsTheCompilers) {
    const auto same = [](uint32_t u) {
        const _Float16 compiler = _Float16(from_bits(u));
        uint16_t expected;
        memcpy(&expected, &compiler, 2);
        return f32_to_f16(from_bits(u)) == expected;
    };
    for (uint32_t h = 0; h < 65536; h++) {      // every half, what lies next to it, and the ties between halves
        const uint32_t u = bits(f16_to_f32(uint16_t(h)));
        for (const uint32_t off : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x1fffu}) ASSERT_TRUE(same(u + off)) << u + off;
    }
    Random random(7);
    for (int i = 0; i < 1'000'000; i++) {
        const uint32_t u = random.u32();
        ASSERT_TRUE(same(u)) << u;
    }
}

TEST(Quant, Bf16RoundsToEvenAndKeepsNaN) {
    EXPECT_EQ(f32_to_bf16(from_bits(0x3f808000)), 0x3f80);      // ties to even
    EXPECT_EQ(f32_to_bf16(from_bits(0x3f818000)), 0x3f82);
    EXPECT_EQ(f32_to_bf16(from_bits(0x7f7fffff)), 0x7f80);      // the largest float becomes infinity
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(from_bits(0x7f800001)))));
}

// Zeros stay zeros, and no number leaves its step (bounds from the definitions).
TEST(Quant, RoundTripErrorIsWithinHalfAStep) {
    Random random(1);
    for (const Type type : {Type::q8_0, Type::q4_0, Type::q4_1}) {
        for (int round = 0; round < 1000; round++) {
            float x[32], y[32], most = 0, low = 1e30f, high = -1e30f;
            for (float& v : x) {
                v = random.normal() * std::exp(random.normal());
                most = std::max(most, std::fabs(v)), low = std::min(low, v), high = std::max(high, v);
            }
            char block[64];
            quantize(type, x, block, 32);
            dequantize(type, block, y, 32);
            const float step = type == Type::q8_0 ? most / 127 : type == Type::q4_0 ? most / 8 : (high - low) / 15;
            // Q4_0 has -8 .. 7 steps: what lies at +8 falls back to 7. The 0.002 are for d and m, which become halves.
            const float allowed = step * (type == Type::q4_0 ? 1.f : 0.5f) + most * 0.002f;
            for (int j = 0; j < 32; j++) ASSERT_LE(std::fabs(x[j] - y[j]), allowed) << info(type).name;
        }
        const float zeros[32] = {};
        float y[32];
        char block[64];
        quantize(type, zeros, block, 32);
        dequantize(type, block, y, 32);
        for (const float v : y) EXPECT_EQ(v, 0);
    }
}

// What cannot be represented must not be undefined: these run under the sanitizers.
TEST(Quant, StrangeNumbersDoNotTrap) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    for (const Type type : {Type::f16, Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1})
        for (const float strange : {nan, inf, -inf, 1e-45f, -1e-45f, 1e38f}) {
            float x[32] = {1, -2, 3}, y[32];
            x[5] = strange;
            char block[128];
            quantize(type, x, block, 32);
            dequantize(type, block, y, 32);
            for (float& v : x) v = strange;
            quantize(type, x, block, 32);
        }
}

TEST(Quant, RefusesHalfBlocksAndForeignTypes) {
    float y[256] = {};
    EXPECT_THROW(dequantize(Type::q8_0, y, y, 31), Error);
    EXPECT_THROW(dequantize(Type::q4_k, y, y, 128), Error);
    EXPECT_THROW(dequantize(Type::i32, y, y, 32), Error);
    EXPECT_THROW(quantize(Type::q6_k, y, y, 256), Error);
}

}  // namespace
