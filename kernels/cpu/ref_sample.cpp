// ref_sample.cpp - how a token is drawn, to the bit.
//
// A logit z weighs w = 2^42 e^((z - top) / temperature), cut off to a whole number: what weighs less than 2^-42 of the
// best is never drawn, which is at most 6e-8 of the whole in a vocabulary of 262144. Sums of whole numbers are exact,
// so whoever adds them up, in whatever order and however many at a time, draws the same token.
//
// Candidates go by their logits, of equals the earlier first. Which of them may be drawn is a cut in that order; the
// draw itself goes through those that may in the order of ids: the first whose running sum exceeds r / 2^64 of the
// whole, r the 64 random bits of (seed, stream, place).
#include <algorithm>
#include <vector>
#include "../random.h"
#include "ref.h"

namespace ref {
namespace {

constexpr uint64_t one = uint64_t(1) << 42;     // so that 2^21 of them can be added

struct Candidate { float z; int id; uint64_t w; };
bool better(const Candidate& a, const Candidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

uint64_t weight(float z, float top, float scale) {
    if (z == top) return one;                   // infinite ones as well
    const float x = (z - top) * scale;
    return x == x ? uint64_t(exp2(x) * float(one)) : 0;         // NaN is never drawn
}

// The worst that may be drawn. Sorted are only as many as it takes.
Candidate cut(std::vector<Candidate>& all, const Draw& d) {
    const auto best_first = [&](size_t from, size_t to) {       // the best `to`, of which `from` are there
        std::nth_element(all.begin() + long(from), all.begin() + long(to - 1), all.end(), better);
        std::sort(all.begin() + long(from), all.begin() + long(to), better);
    };
    if (d.top_k > 0 && size_t(d.top_k) < all.size()) {
        std::nth_element(all.begin(), all.begin() + d.top_k - 1, all.end(), better);
        all.resize(size_t(d.top_k));
    }
    if (d.top_p >= 1) return *std::max_element(all.begin(), all.end(), better);
    uint64_t sum = 0, before = 0;
    for (const Candidate& c : all) sum += c.w;
    const uint64_t bound = std::clamp(uint64_t(d.top_p * double(sum)), uint64_t(1), sum);
    for (size_t i = 0, sorted = 0;; i++) {
        if (i == sorted) sorted = std::min(all.size(), 4 * i + 256), best_first(i, sorted);
        before += all[i].w;
        if (before >= bound) return all[i];
    }
}

int draw(const float* z, int n, const Draw& d, uint64_t random) {
    float top = -INFINITY;
    for (int i = 0; i < n; i++) top = z[i] > top ? z[i] : top;
    if (top == -INFINITY) return 0;
    std::vector<uint64_t> w(size_t(n), 0);
    for (int i = 0; i < n; i++) w[size_t(i)] = weight(z[i], top, d.scale);
    Candidate worst{-INFINITY, n, 0};
    if (d.top_k > 0 || d.top_p < 1) {
        std::vector<Candidate> all;
        for (int i = 0; i < n; i++)
            if (w[size_t(i)]) all.push_back({z[i], i, w[size_t(i)]});
        worst = cut(all, d);
    }
    const uint64_t least = uint64_t(d.min_p * double(one));
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        uint64_t& v = w[size_t(i)];
        if (v < least || better(worst, {z[i], i, v})) v = 0;
        sum += v;
    }
    uint64_t left = uint64_t((unsigned __int128)random * sum >> 64);
    int i = 0;
    while (left >= w[size_t(i)]) left -= w[size_t(i++)];
    return i;
}

}  // namespace

void sample(int* next, Tensor z, const Draw& d) {
    for (int i = 0; i < z.rows; i++) {
        Random r(d.seed, d.stream[i], uint32_t(d.pos[d.row[i]] + 1));
        const uint64_t high = r.u32();
        next[i] = draw(z.f() + size_t(i) * z.cols, z.cols, d, high << 32 | r.u32());
    }
}

}  // namespace ref
