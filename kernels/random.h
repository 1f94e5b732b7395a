// random.h - random numbers without hidden state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
// numbers: as easy as 1, 2, 3"). A number is a function of a key and a counter, so there is nothing to save and
// nothing that depends on the order of calls: sampling is keyed by (seed, sequence, position), dropout by (seed, step,
// site), a generated item by its name.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

// Ten rounds of Philox on a 128-bit counter with a 64-bit key. Known answers stand in tests/engine.cpp.
inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
    for (int round = 0; round < 10; round++) {
        uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
        c = {uint32_t(b >> 32) ^ c[1] ^ k[0], uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ k[1], uint32_t(a)};
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return c;
}

// A stream of numbers named by (seed, a, b): what it yields depends on nothing else.
class Random {
public:
    explicit Random(uint64_t seed, uint64_t a = 0, uint32_t b = 0)
        : key_{uint32_t(seed), uint32_t(seed >> 32)}, counter_{0, b, uint32_t(a), uint32_t(a >> 32)} {}

    uint32_t u32() {
        if (left_ == 0) {
            block_ = philox(counter_, key_);
            counter_[0]++;
            left_ = 4;
        }
        return block_[4 - left_--];
    }
    // Uniform in [0, 1), 24 bits.
    float uniform() { return float(u32() >> 8) * 0x1p-24f; }
    // Uniform in [0, 1), 53 bits.
    double uniform53() {
        uint64_t hi = u32(), lo = u32();
        return double((hi << 21) | (lo >> 11)) * 0x1p-53;
    }
    // Uniform in 0 .. n-1, without bias (Lemire 2019). n > 0.
    uint32_t below(uint32_t n) {
        uint64_t m = uint64_t(u32()) * n;
        if (uint32_t(m) < n)
            for (uint32_t floor = -n % n; uint32_t(m) < floor;) m = uint64_t(u32()) * n;
        return uint32_t(m >> 32);
    }
    // Standard normal (Box and Muller 1958).
    float normal() {
        double r = std::sqrt(-2 * std::log(1 - uniform53())), a = 6.283185307179586 * uniform53();
        return float(r * std::cos(a));
    }

private:
    std::array<uint32_t, 2> key_;
    std::array<uint32_t, 4> counter_, block_{};
    int left_ = 0;
};
