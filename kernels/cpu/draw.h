// draw.h - what the reference and the overlays share of drawing a token: see ref_sample.cpp.
#pragma once
#include "../list.h"
#include "../random.h"

namespace ref {

constexpr uint64_t one = uint64_t(1) << 42;     // what the best weighs; 2^21 of them can be added

// The random bits of row i.
inline uint64_t bits_of(const Draw& d, int i) {
    Random r(d.seed, d.stream[i], uint32_t(d.pos[d.row[i]] + 1));
    const uint64_t high = r.u32();
    return high << 32 | r.u32();
}
// u in 0 .. sum - 1.
inline uint64_t below(uint64_t random, uint64_t sum) { return uint64_t((unsigned __int128)random * sum >> 64); }
inline uint64_t bound_of(double top_p, uint64_t sum) {
    const uint64_t bound = uint64_t(top_p * double(sum));
    return bound < 1 ? 1 : bound > sum ? sum : bound;
}

// The token drawn from row i by its weights, which are not yet whole; top: its largest logit, finite.
int draw_by_weights(const float* z, const float* weights, int n, float top, const Draw& d, int i);

}  // namespace ref
