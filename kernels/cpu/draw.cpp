// draw.cpp - ref_sample.cpp without the sort, and without most of the row.
//
// Candidates go by their logits, so a cut leaves those from some logit on. A guess that is surely not above it (the
// k-th best of the blocks' best; or e^-7 of the best, if what is above weighs enough) leaves few; these fall into
// buckets by how far they are from the best one, so that the cut is found in one of them, and only the candidates of
// that one are put in order.
#include "draw.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace ref {
namespace {

struct Candidate { float z; int id; };
bool better(const Candidate& a, const Candidate& b) { return a.z != b.z ? a.z > b.z : a.id < b.id; }

constexpr int block = 64, buckets = 1024;

struct Row {
    const float *z, *weights;
    int n;
    float top, scale;
    std::vector<float>& best;                   // of each block of ids
    std::vector<int>& live;                     // the candidates, in the order of ids

    void find_best() {
        best.resize(size_t((n + block - 1) / block));
        for (int i = 0; i < n; i += block) {
            float of[16];                       // so many that none waits for another
            std::fill_n(of, 16, -INFINITY);
            const int end = std::min(n, i + block);
            int j = i;
            for (; j + 16 <= end; j += 16)
                for (int l = 0; l < 16; l++) of[l] = z[j + l] > of[l] ? z[j + l] : of[l];
            for (; j < end; j++) of[0] = z[j] > of[0] ? z[j] : of[0];
            best[size_t(i / block)] = *std::max_element(of, of + 16);
        }
    }
    // At least k logits are as great as this.
    float no_more_than_best(int k) const {
        if (size_t(k) > best.size()) return -INFINITY;
        std::vector<float> by_size = best;
        std::nth_element(by_size.begin(), by_size.begin() + (k - 1), by_size.end(), std::greater<>());
        return by_size[size_t(k - 1)];
    }

    // Signed, since that is one instruction.
    uint64_t weight(int i) const { return uint64_t(int64_t(weights[i])); }
    uint64_t weight_of_live() const {
        uint64_t sum = 0;
        for (const int i : live) sum += weight(i);
        return sum;
    }

    // Whoever weighs anything and has such a logit or a greater one.
    void gather(float least) {
        live.resize(size_t(n));
        int count = 0;
        for (int i = 0; i < n; i += block) {
            if (best[size_t(i / block)] < least) continue;
            for (int j = i; j < std::min(n, i + block); j++)
                live[size_t(count)] = j, count += weights[j] >= 1 && z[j] >= least;
        }
        live.resize(size_t(count));
    }

    // Greater logits never have a greater number: each step of the computation keeps the order.
    int bucket(int i) const { return std::min(buckets - 1, int((top - z[i]) * scale * (buckets / 43.0f))); }

    // Candidates end where the sum of amount(i), from the best one on, reaches `left`.
    template <class Amount> void cut(Amount amount, uint64_t left) {
        std::array<uint64_t, buckets> of{};
        for (const int i : live) of[size_t(bucket(i))] += amount(i);
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
    void cut_by_count(int k) {
        gather(no_more_than_best(k));
        if (live.size() < size_t(k)) gather(-INFINITY);
        if (live.size() > size_t(k)) cut([](int) { return uint64_t(1); }, uint64_t(k));
    }
    void cut_by_weight(double top_p) {
        uint64_t all = 0;
        for (int i = 0; i < n; i++) all += weight(i);
        const uint64_t bound = bound_of(top_p, all);
        gather(top - 10 / scale);
        if (weight_of_live() < bound) gather(-INFINITY);
        cut([&](int i) { return weight(i); }, bound);
    }
};

}  // namespace

int draw_by_weights(const float* z, const float* weights, int n, float top, const Draw& d, int row) {
    static thread_local std::vector<float> best;
    static thread_local std::vector<int> live;
    Row r{z, weights, n, top, d.scale, best, live};
    const bool by_count = d.top_k > 0 && d.top_k < n, by_weight = d.top_p < 1, all = !by_count && !by_weight;
    if (!all) r.find_best();
    if (by_count) r.cut_by_count(d.top_k);
    if (by_count && by_weight) r.cut([&](int i) { return r.weight(i); }, bound_of(d.top_p, r.weight_of_live()));
    if (!by_count && by_weight) r.cut_by_weight(d.top_p);

    const int count = all ? n : int(live.size());
    const auto id = [&](int i) { return all ? i : live[size_t(i)]; };
    const auto share = [&, least = uint64_t(d.min_p * double(one))](int i) {
        const uint64_t w = r.weight(i);
        return w >= least ? w : 0;
    };
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) sum += share(id(i));
    uint64_t left = below(bits_of(d, row), sum);
    for (int i = 0; i < count; i++) {
        const uint64_t w = share(id(i));
        if (left < w) return id(i);
        left -= w;
    }
    return id(count - 1);                       // not reached: left is below the sum
}

}  // namespace ref
