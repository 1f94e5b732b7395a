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
    float top, scale;
    std::vector<int>& live;                     // the candidates, in the order of ids

    // Signed, since that is one instruction.
    uint64_t weight(int i) const { return uint64_t(int64_t(weights[i])); }

    static constexpr int buckets = 1024;
    // Greater logits never have a greater number: each step of the computation keeps the order.
    int bucket(int i) const { return std::min(buckets - 1, int((top - z[i]) * scale * (buckets / 43.0f))); }

    // The sum of amount(i), from the best candidate on, reaches a bound, which is made from the whole sum: there
    // candidates end.
    template <class Amount, class Bound> void cut(Amount amount, Bound bound) {
        std::array<uint64_t, buckets> of{};
        uint64_t all = 0;
        for (const int i : live) of[size_t(bucket(i))] += amount(i);
        for (const uint64_t v : of) all += v;
        uint64_t left = bound(all);
        int at = 0;
        while (at < buckets - 1 && of[size_t(at)] < left) left -= of[size_t(at++)];
        std::vector<Candidate> here;
        for (const int i : live)
            if (bucket(i) == at) here.push_back({z[i], i});
        std::sort(here.begin(), here.end(), better);
        size_t last = 0;
        while (last + 1 < here.size() && amount(here[last].id) < left) left -= amount(here[last++].id);
        const Candidate worst = here[last];
        std::erase_if(live, [&](int i) { return better(worst, {z[i], i}); });
    }
};

}  // namespace

int draw_by_weights(const float* z, const float* weights, int n, float top, const Draw& d, int row) {
    static thread_local std::vector<int> live;
    live.resize(size_t(n));
    int count = 0;
    for (int i = 0; i < n; i++) live[size_t(count)] = i, count += weights[i] >= 1;
    live.resize(size_t(count));
    Row r{z, weights, top, d.scale, live};
    if (d.top_k > 0 && d.top_k < count)
        r.cut([](int) { return uint64_t(1); }, [&](uint64_t) { return uint64_t(d.top_k); });
    if (d.top_p < 1) r.cut([&](int i) { return r.weight(i); }, [&](uint64_t all) { return bound_of(d.top_p, all); });
    const auto share = [&, least = uint64_t(d.min_p * double(one))](int i) {
        const uint64_t w = r.weight(i);
        return w >= least ? w : 0;
    };
    uint64_t sum = 0;
    for (const int i : live) sum += share(i);
    uint64_t left = below(bits_of(d, row), sum);
    for (const int i : live) {
        const uint64_t w = share(i);
        if (left < w) return i;
        left -= w;
    }
    return live.back();                         // not reached: left is below the sum
}

}  // namespace ref
