// sample.cpp - a drawn token: its distribution, what the cuts leave, and that nothing else decides it.
#include <map>
#include <numeric>
#include <set>
#include "draws.h"
#include "support.h"
#include "tiny.h"

namespace {

// What a row of logits gives in n draws, of sequence 5 at places 1 .. n.
std::map<int, int> tally(const Kernels& k, std::vector<float> logits, Draw d, int n) {
    std::map<int, int> times;
    const int cols = int(logits.size()), row = 0;
    const uint64_t stream = 5;
    for (int pos = 0; pos < n; pos++) {
        int next = -1;
        d.stream = &stream, d.pos = &pos, d.row = &row;
        k.sample(&next, {logits.data(), 1, cols}, d);
        times[next]++;
    }
    return times;
}

// Pearson's chi-square of the counts against these probabilities.
double chi_square(const std::map<int, int>& times, const std::vector<double>& p, int n) {
    double sum = 0;
    for (size_t i = 0; i < p.size(); i++) {
        const auto at = times.find(int(i));
        const double got = at == times.end() ? 0 : at->second, expected = p[i] * n;
        if (p[i] == 0) EXPECT_EQ(got, 0) << i;
        else sum += (got - expected) * (got - expected) / expected;
    }
    return sum;
}

std::vector<double> softmax(const std::vector<float>& z, double temperature, const std::vector<int>& of) {
    std::vector<double> p(z.size());
    double sum = 0;
    for (int i : of) sum += p[size_t(i)] = std::exp(z[size_t(i)] / temperature);
    for (double& v : p) v /= sum;
    return p;
}

// Twelve logits: e^z of 1 2 4 8 16 16 8 4 2 1 1 0.5, in a mixed order.
const std::vector<float> logits = [] {
    std::vector<float> z;
    for (double w : {4., 16., 1., 8., 2., 16., 0.5, 8., 1., 4., 2., 1.}) z.push_back(float(std::log(w)));
    return z;
}();
std::vector<int> everyone() {
    std::vector<int> v(logits.size());
    std::iota(v.begin(), v.end(), 0);
    return v;
}

TEST(Sample, FollowsTheDistribution) {
    constexpr int n = 20000;
    struct { Draw d; double temperature; std::vector<int> of; double bound; } cases[] = {
        // The bounds: chi-square's 99.9 % point at one degree of freedom less than there are tokens.
        {{}, 1, everyone(), 31.26},
        {{}, 0.5, everyone(), 31.26},
        {{.top_k = 3}, 1, {1, 5, 3}, 13.82},                            // of the equals the earlier
        {{.top_p = 0.5}, 1, {1, 5}, 10.83},                             // 32 of 63.5
        {{.top_p = 0.51}, 1, {1, 5, 3}, 13.82},
        {{.top_k = 6, .top_p = 0.75}, 1, {1, 5, 3, 7}, 16.27},          // 42 of 56 with the two fours: 48 is crossed
        {{.min_p = 0.2}, 1, {1, 5, 3, 7, 0, 9}, 20.52},
        {{.min_p = 0.3}, 1, {1, 5, 3, 7}, 16.27},
    };
    for (auto& c : cases) {
        c.d.scale = scale_of(c.temperature), c.d.seed = 7;
        const auto times = tally(reference, logits, c.d, n);
        EXPECT_LT(chi_square(times, softmax(logits, c.temperature, c.of), n), c.bound)
            << "top_k " << c.d.top_k << ", top_p " << c.d.top_p << ", min_p " << c.d.min_p;
    }
    // And would see one that does not: a twentieth too warm.
    const auto times = tally(reference, logits, {.scale = scale_of(1.05), .seed = 7}, n);
    EXPECT_GT(chi_square(times, softmax(logits, 1, everyone()), n), 31.26);
}

TEST(Sample, ALargeVocabularyLosesNothing) {
    // 100,000 equals: every one of them can be drawn, the first and the last hundredth as often as they should.
    const std::vector<float> flat(100000, -3);
    const auto times = tally(reference, flat, {.scale = scale_of(1), .seed = 1}, 2000);
    double low = 0, high = 0;
    for (const auto& [id, n] : times) low += id < 50000 ? n : 0, high += id >= 50000 ? n : 0;
    EXPECT_NEAR(low, 1000, 100);
    EXPECT_GT(times.size(), 1950u);
    EXPECT_EQ(low + high, 2000);
}

GenerateOptions sampled(int slots) {
    GenerateOptions g;
    g.max_tokens = 24, g.slots = slots, g.ignore_eos = true;
    g.sampling = {.temperature = 1.3, .top_p = 0.95, .top_k = 40, .seed = 11};
    return g;
}
std::vector<Request> some_requests() {
    std::vector<Request> all;
    for (int r = 0; r < 7; r++) {
        Request q;
        for (int i = 0; i <= 3 * r; i++) q.prompt.push_back(5 + (7 * i + r) % 90);
        q.stream = uint64_t(r % 5);
        all.push_back(q);
    }
    return all;
}
std::vector<Answer> answers(Session& s, const std::vector<Request>& all, const GenerateOptions& options) {
    GenerateOptions g = options;
    std::vector<Answer> out(all.size());
    g.on_done = [&](size_t r, const Answer& a) { out[r] = a; };
    generate(s, all, g);
    return out;
}
std::unique_ptr<Session> tiny_session(const Kernels* k) {
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true, o.precision = "f32", o.kernels = k;
    return std::make_unique<Session>(o);
}

TEST(Sample, DoesNotDependOnTheBatch) {
    const cuda_cpu::DeviceOnly strict;
    for (const Kernels* k : {&cpu(), &cuda_kernels()}) {
        const auto s = tiny_session(k);
        const auto all = some_requests();
        const std::vector<Answer> together = answers(*s, all, sampled(7));
        for (const int slots : {1, 3}) {
            const std::vector<Answer> some = answers(*s, all, sampled(slots));
            for (size_t r = 0; r < all.size(); r++) {
                EXPECT_EQ(some[r].ids, together[r].ids) << k->name << ", " << slots << " slots, request " << r;
                EXPECT_EQ(some[r].logprobs, together[r].logprobs);
            }
        }
        const Answer alone = answers(*s, {all[6]}, sampled(1))[0];
        EXPECT_EQ(alone.ids, together[6].ids);
        // Another seed, another text; the best one alone, the greedy text.
        GenerateOptions other = sampled(7), greedy = sampled(7), best = sampled(7);
        other.sampling.seed = 12, greedy.sampling = {}, best.sampling.top_k = 1;
        EXPECT_NE(answers(*s, all, other)[6].ids, together[6].ids);
        const auto one = answers(*s, all, greedy), two = answers(*s, all, best);
        for (size_t r = 0; r < all.size(); r++) EXPECT_EQ(one[r].ids, two[r].ids);
        EXPECT_NE(one[6].ids, together[6].ids);
    }
}

// The same logits, the same tokens: with a penalty they are drawn from a copy.
TEST(Sample, APenaltyOfNearlyNothingDrawsTheSame) {
    for (const Kernels* k : {&cpu(), &cuda_kernels()}) {
        const auto s = tiny_session(k);
        GenerateOptions with = sampled(4);
        with.sampling.repeat_penalty = 1 + 1e-12;           // in float 1, but not the path of 1
        const auto a = answers(*s, some_requests(), sampled(4)), b = answers(*s, some_requests(), with);
        for (size_t r = 0; r < a.size(); r++) {
            EXPECT_EQ(a[r].ids, b[r].ids) << k->name;
            EXPECT_EQ(a[r].logprobs, b[r].logprobs) << k->name;
        }
        with.sampling.repeat_penalty = 5;
        EXPECT_NE(answers(*s, some_requests(), with)[6].ids, a[6].ids);
    }
}

// Greedy text under a penalty against its definition: the logits of the whole text so far, from a pass of its own,
// Keskar's rule on the set of its tokens, the largest. Slots are fewer than requests, so that they are filled again.
TEST(Sample, APenaltyFallsOnTheTokensSoFar) {
    const cuda_cpu::DeviceOnly strict;
    for (const Kernels* k : {&cpu(), &cuda_kernels()}) {
        const auto s = tiny_session(k);
        const std::vector<Tap> tap = parse_points(*s->model, "logits");
        for (const float penalty : {1.7f, 0.6f}) {
            GenerateOptions g = sampled(3);
            g.sampling = {}, g.sampling.repeat_penalty = penalty, g.max_tokens = 8;
            const std::vector<Request> all = some_requests();
            const std::vector<Answer> got = answers(*s, all, g);
            g.sampling.repeat_penalty = 1;
            EXPECT_NE(got[6].ids, answers(*s, all, g)[6].ids);
            for (size_t r = 0; r < all.size(); r++) {
                std::vector<int> text = all[r].prompt;
                for (const int id : got[r].ids) {
                    std::vector<float> z;
                    extract(*s, {{0, text, {}, 0, false}}, tap, true,
                            [&](size_t, int64_t, const float* data, int64_t) { z.assign(data, data + tap[0].width); });
                    for (const int seen : std::set<int>(text.begin(), text.end())) {
                        float& v = z[size_t(seen)];
                        v = v > 0 ? v / penalty : v * penalty;
                    }
                    const int best = int(std::max_element(z.begin(), z.end()) - z.begin());
                    ASSERT_EQ(id, best) << k->name << ", request " << r << ", token " << text.size();
                    text.push_back(id);
                }
            }
        }
    }
}

}  // namespace
