// sha256.cpp - SHA-256 (FIPS 180-4), with the CPU's own instructions where it has them.
#include <cpuid.h>
#include <fcntl.h>
#include <immintrin.h>
#include <unistd.h>
#include <bit>
#include <cerrno>
#include <cstring>
#include "file.h"

namespace {

alignas(16) constexpr uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// Takes whole blocks of 64 bytes into the state.
void blocks_plain(uint32_t state[8], const uint8_t* p, size_t blocks) {
    for (; blocks > 0; blocks--, p += 64) {
        uint32_t w[64];
        for (int t = 0; t < 16; t++) {
            memcpy(&w[t], p + 4 * t, 4);
            w[t] = __builtin_bswap32(w[t]);
        }
        for (int t = 16; t < 64; t++) {
            const uint32_t a = w[t - 15], b = w[t - 2];
            w[t] = w[t - 16] + w[t - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) +
                   (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
        }
        uint32_t s[8];
        memcpy(s, state, sizeof s);
        for (int t = 0; t < 64; t++) {
            const uint32_t e = s[4], a = s[0];
            const uint32_t one = s[7] + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                                 ((e & s[5]) ^ (~e & s[6])) + constants[t] + w[t];
            const uint32_t two = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) +
                                 ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof s[0]);
            s[4] += one;
            s[0] = one + two;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

// The same with SHA-NI, which keeps the state as the words ABEF and CDGH and does two rounds an instruction.
[[gnu::target("sha,sse4.1")]] void blocks_sha_ni(uint32_t state[8], const uint8_t* p, size_t blocks) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    auto at = (__m128i*)state;
    const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(at), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(at + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, efgh, 8), cdgh = _mm_blend_epi16(efgh, badc, 0xf0);
    for (; blocks > 0; blocks--, p += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];                                   // the last 16 words of the schedule, four rounds each
        for (int i = 0; i < 16; i++) {
            __m128i& now = w[i % 4];
            if (i < 4) {
                now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)p + i), big_endian);
            } else {
                const __m128i last = w[(i + 3) % 4];
                const __m128i seven_back = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
                now = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) % 4]), seven_back);
                now = _mm_sha256msg2_epu32(now, last);
            }
            const __m128i sum = _mm_add_epi32(now, _mm_load_si128((const __m128i*)constants + i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(at, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(at + 1, _mm_alignr_epi8(dchg, feba, 8));
}

bool has_sha_ni() {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}

class Sha256 {
public:
    explicit Sha256(bool plain = false) : blocks_(!plain && has_sha_ni() ? blocks_sha_ni : blocks_plain) {}

    void add(const void* data, size_t n) {
        auto p = (const uint8_t*)data;
        total_ += n;
        if (held_ > 0) {
            const size_t take = std::min(n, 64 - held_);
            memcpy(block_ + held_, p, take);
            p += take, n -= take, held_ += take;
            if (held_ < 64) return;
            blocks_(state_, block_, 1);
            held_ = 0;
        }
        blocks_(state_, p, n / 64);
        held_ = n % 64;
        if (held_ > 0) memcpy(block_, p + n - held_, held_);
    }
    std::string hex() {
        const uint64_t bits = __builtin_bswap64(total_ * 8);
        const uint8_t end[64] = {0x80};
        add(end, 1 + (119 - held_) % 64);               // leaves room for the length at the end of a block
        add(&bits, 8);
        std::string s;
        for (const uint32_t word : state_) s += format("%08x", word);
        return s;
    }

private:
    uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t block_[64];
    size_t held_ = 0;
    uint64_t total_ = 0;
    void (*const blocks_)(uint32_t*, const uint8_t*, size_t);
};

}  // namespace

std::string sha256(std::string_view bytes, bool plain) {
    Sha256 sha(plain);
    sha.add(bytes.data(), bytes.size());
    return sha.hex();
}

std::string sha256_of_file(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(Exit::bad_input, "%s: cannot be read: %s", path.c_str(), strerror(errno));
    Sha256 sha;
    std::vector<char> buffer(1 << 20);
    ssize_t n;
    while ((n = read(fd, buffer.data(), buffer.size())) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        sha.add(buffer.data(), size_t(n));
    }
    const int error = errno;
    close(fd);
    if (n < 0) fail(Exit::bad_input, "%s: cannot be read: %s", path.c_str(), strerror(error));
    return sha.hex();
}
