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
#include "draw.h"
#include "ref.h"

namespace ref {
namespace {

struct Candidate { float z; int id; uint64_t w; };
bool better(const Candidate& a, const Candidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

uint64_t weight(float z, float top, float scale) {
    if (z == top) return one;                   // infinite ones as well
    const float x = (z - top) * scale;
    return x == x ? uint64_t(exp2(x) * float(one)) : 0;         // NaN is never drawn
}

int draw(const float* z, int n, const Draw& d, uint64_t random) {
    float top = -INFINITY;
    for (int i = 0; i < n; i++) top = z[i] > top ? z[i] : top;
    if (top == -INFINITY) return 0;
    std::vector<Candidate> all;
    for (int i = 0; i < n; i++)
        if (const uint64_t w = weight(z[i], top, d.scale)) all.push_back({z[i], i, w});
    std::sort(all.begin(), all.end(), better);
    if (d.top_k > 0 && size_t(d.top_k) < all.size()) all.resize(size_t(d.top_k));
    const auto sum_of = [&] {
        uint64_t sum = 0;
        for (const Candidate& c : all) sum += c.w;
        return sum;
    };
    if (d.top_p < 1) {
        uint64_t left = bound_of(d.top_p, sum_of());
        size_t last = 0;
        while (all[last].w < left) left -= all[last++].w;
        all.resize(last + 1);
    }
    std::erase_if(all, [&](const Candidate& c) { return c.w < uint64_t(d.min_p * double(one)); });
    std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    uint64_t left = below(random, sum_of());
    size_t i = 0;
    while (left >= all[i].w) left -= all[i++].w;
    return all[i].id;
}

}  // namespace

void sample(int* next, Tensor z, const Draw& d) {
    for (int i = 0; i < z.rows; i++) next[i] = draw(z.f() + size_t(i) * z.cols, z.cols, d, bits_of(d, i));
}

// Keskar et al. 2019, section 4.1.
void penalise(Tensor y, Tensor z, Tensor seen, const Rows& b, const int* row, float penalty) {
    const auto tokens = [&](int s) { return (int*)seen.data + size_t(b.slot[s]) * seen.cols; };
    for (int s = 0; s < b.seqs; s++)
        for (int i = b.first[s]; i < b.first[s + 1]; i++) {
            int* const at = tokens(s) + b.pos[i];
            *at = std::find(tokens(s), at, b.ids[i]) == at ? b.ids[i] : -1;
        }
    for (int i = 0; i < z.rows; i++) {
        int s = 0;
        while (b.first[s + 1] <= row[i]) s++;
        for (int p = 0; p <= b.pos[row[i]]; p++) {
            const int t = tokens(s)[p];
            if (t < 0) continue;
            const float v = z.f()[size_t(i) * z.cols + t];
            y.f()[size_t(i) * y.cols + t] = v > 0 ? v / penalty : v * penalty;
        }
    }
}

}  // namespace ref
