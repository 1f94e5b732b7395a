// draw.cpp - ref_sample.cpp without the sort. Candidates fall into buckets by how far they are from the best one, so
// that a cut is found in one of them, and only the candidates of that one are put in order.
#include "draw.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace ref {
namespace {

struct Candidate { float z; int id; };
bool better(const Candidate& a, const Candidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

struct Row {
    const float *z, *weights;
    int n;
    float top, scale;
    Candidate worst;                            // that may be drawn, so far

    // Signed, since that is one instruction.
    uint64_t weight(int i) const { return uint64_t(int64_t(weights[i])); }
    bool candidate(int i) const { return weights[i] >= 1 && !better(worst, {z[i], i}); }

    static constexpr int buckets = 1024;
    // Greater logits never have a greater number: each step of the computation keeps the order.
    int bucket(int i) const { return std::min(buckets - 1, int((top - z[i]) * scale * (buckets / 43.0f))); }

    // The sum of amount(i), from the best candidate on, reaches a bound, which is made from the whole sum: there
    // candidates end.
    template <class Amount, class Bound> void cut(Amount amount, Bound bound) {
        std::array<uint64_t, buckets> of{};
        uint64_t all = 0;
        for (int i = 0; i < n; i++)
            if (candidate(i)) of[size_t(bucket(i))] += amount(i);
        for (const uint64_t v : of) all += v;
        uint64_t left = bound(all);
        int at = 0;
        while (at < buckets - 1 && of[size_t(at)] < left) left -= of[size_t(at++)];
        std::vector<Candidate> here;
        for (int i = 0; i < n; i++)
            if (candidate(i) && bucket(i) == at) here.push_back({z[i], i});
        std::sort(here.begin(), here.end(), better);
        size_t last = 0;
        while (last + 1 < here.size() && amount(here[last].id) < left) left -= amount(here[last++].id);
        worst = here[last];
    }
};

}  // namespace

int draw_by_weights(const float* z, const float* weights, int n, float top, const Draw& d, int row) {
    Row r{z, weights, n, top, d.scale, {-INFINITY, n}};
    if (d.top_k > 0)
        r.cut([](int) { return uint64_t(1); }, [&](uint64_t all) { return std::min(all, uint64_t(d.top_k)); });
    if (d.top_p < 1) r.cut([&](int i) { return r.weight(i); }, [&](uint64_t all) { return bound_of(d.top_p, all); });
    const auto share = [&, least = uint64_t(d.min_p * double(one))](int i) {
        const uint64_t w = r.weight(i);
        return w >= least && r.candidate(i) ? w : 0;
    };
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) sum += share(i);
    uint64_t left = below(bits_of(d, row), sum);
    for (int i = 0;; i++) {
        const uint64_t w = share(i);
        if (left < w) return i;
        left -= w;
    }
}

}  // namespace ref
