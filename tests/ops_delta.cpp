// ops_delta.cpp - linear attention against its definition in double: the delta rule token by token, which shares
// nothing with the chunks that are computed, from any state, cut anywhere; every gradient against central differences.
#include "kernels.h"
#include "../engine/ops.h"
#include "support.h"

namespace {

using Doubles = std::vector<double>;

Doubles doubles(Tensor t) { return {t.f(), t.f() + t.count()}; }

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0); }

// The rule as specs and papers write it, of one sequence. state: [value head][key][value], taken along.
Doubles delta_rule(const DeltaRule& r, const Doubles& x, const Doubles& a, const Doubles& b, const Doubles& rate,
                   const Doubles& bias, Doubles& state) {
    size_t heads = size_t(r.value_heads), key = size_t(r.key), value = size_t(r.value), n = a.size() / heads;
    size_t cols = x.size() / n;
    Doubles y(n * heads * value);
    state.resize(heads * key * value);
    for (size_t t = 0; t < n; t++)
        for (size_t h = 0; h < heads; h++) {
            size_t kh = size_t(r.key_head(int(h)));
            const double *q = &x[t * cols + kh * key], *k = q + size_t(r.key_heads) * key;
            const double* v = &x[t * cols + 2 * size_t(r.key_heads) * key + h * value];
            double* S = &state[h * key * value];
            double qq = 1e-6, kk = 1e-6;
            for (size_t d = 0; d < key; d++) qq += q[d] * q[d], kk += k[d] * k[d];
            double decay = std::exp(-std::exp(rate[h]) * softplus(a[t * heads + h] + bias[h]));
            double beta = sigmoid(b[t * heads + h]);
            for (size_t c = 0; c < value; c++) {
                double seen = 0, out = 0;
                for (size_t d = 0; d < key; d++) S[d * value + c] *= decay;
                for (size_t d = 0; d < key; d++) seen += S[d * value + c] * k[d] / std::sqrt(kk);
                for (size_t d = 0; d < key; d++) S[d * value + c] += k[d] / std::sqrt(kk) * beta * (v[c] - seen);
                for (size_t d = 0; d < key; d++) out += S[d * value + c] * q[d] / std::sqrt(qq * double(key));
                y[(t * heads + h) * value + c] = out;
            }
        }
    return y;
}

Doubles convolution(const Doubles& x, const Doubles& w, size_t cols) {
    size_t n = x.size() / cols, taps = w.size() / cols;
    Doubles y(x.size());
    for (size_t t = 0; t < n; t++)
        for (size_t c = 0; c < cols; c++) {
            double u = 0;
            for (size_t j = 0; j < taps; j++)
                if (t + j + 1 >= taps) u += w[c * taps + j] * x[(t + j + 1 - taps) * cols + c];
            y[t * cols + c] = u * sigmoid(u);
        }
    return y;
}

double far(const float* ours, const Doubles& want) {
    std::vector<float> w(want.begin(), want.end());
    return ::far(ours, w.data(), w.size());
}

struct Sizes { int key_heads, value_heads, key, value; bool tiled; };
constexpr Sizes every_size[] = {
    {2, 2, 8, 12, false}, {2, 4, 16, 20, false}, {2, 6, 10, 16, true}, {1, 1, 64, 32, false}};

// Inputs of one sequence; `strength` multiplies what decides about decays.
struct Inputs {
    Bench bench;
    DeltaRule r;
    Tensor x, a, b, rate, bias;
    Inputs(const Sizes& s, int n, uint64_t seed, float strength = 1) : bench(seed) {
        r.key_heads = s.key_heads, r.value_heads = s.value_heads, r.key = s.key, r.value = s.value, r.tiled = s.tiled;
        x = bench.in(n, 2 * s.key_heads * s.key + s.value_heads * s.value);
        a = bench.in(n, s.value_heads, Type::f32, strength), b = bench.in(n, s.value_heads);
        rate = bench.in(1, s.value_heads, Type::f32, 0.25f, -2), bias = bench.in(1, s.value_heads);
    }
    Doubles expected(Doubles& state) {
        return delta_rule(r, doubles(x), doubles(a), doubles(b), doubles(rate), doubles(bias), state);
    }
};

class LinearAttention : public testing::TestWithParam<const Kernels*> {
protected:
    const Kernels& k = *GetParam();
};

// In chunks of any lengths, from the beginning or with a past: the recurrence, to 1e-5, and always the same bits.
TEST_P(LinearAttention, IsTheRecurrenceHoweverItIsCut) {
    for (const Sizes& size : every_size)
        for (float strength : {1.f, 30.f}) {
            constexpr int n = 150;
            Inputs in(size, n, 7, strength);
            Doubles end;
            Doubles want = in.expected(end);
            Arena scratch(size_t(64) << 20);
            std::vector<float> whole;
            using Cuts = std::vector<int>;
            for (Cuts cuts : {Cuts{}, {n}, {1}, {7}, {16}, {64}, {100, 1, 1, 48}, {2, 1, 70, 77}}) {
                scratch.rewind(0);
                Arena states(size_t(16) << 20);
                Cache cache(states, 3, n);
                std::vector<float> got;
                size_t next = 0;
                for (int at = 0; at < n;) {
                    int len = cuts.empty() ? n : std::min(n - at, cuts[std::min(next++, cuts.size() - 1)]);
                    Batch batch;
                    std::vector<int> ids(size_t(len), 0);
                    batch.add(ids.data(), len, at, 2);
                    Pass p{k, scratch, batch.rows(), Type::f32};
                    if (!cuts.empty()) p.cache = &cache;
                    p.layer = 0;
                    Tensor y = ::delta_rule(p, in.x.slice(at, len), in.a.slice(at, len), in.b.slice(at, len), in.rate,
                                            in.bias, in.r);
                    got.insert(got.end(), y.f(), y.f() + y.count());
                    at += len;
                }
                EXPECT_LE(far(got.data(), want), 1e-5) << "strength " << strength;
                if (whole.empty()) whole = got;
                EXPECT_EQ(memcmp(whole.data(), got.data(), got.size() * 4), 0) << "cut differently";
            }
        }
}

TEST_P(LinearAttention, ConvolutionIsItsDefinition) {
    for (int taps : {2, 4}) {
        Bench b(3);
        Tensor x = b.in(20, 56), w = b.in(1, 56 * taps);
        Arena scratch(size_t(1) << 20);
        Batch batch;
        std::vector<int> ids(20, 0);
        batch.add(ids.data(), 20, 0, 0);
        Pass p{k, scratch, batch.rows(), Type::f32};
        EXPECT_LE(far(::convolution(p, x, w).f(), convolution(doubles(x), doubles(w), 56)), 1e-6);
    }
}

// d loss / d input by central differences in double, of the loss sum(c y).
template <class F> Doubles differences(Doubles& input, const Doubles& c, F f) {
    Doubles d;
    auto loss = [&] {
        Doubles y = f();
        double sum = 0;
        for (size_t i = 0; i < y.size(); i++) sum += c[i] * y[i];
        return sum;
    };
    for (double& v : input) {
        double kept = v, h = 1e-5;
        v = kept + h;
        double up = loss();
        v = kept - h;
        d.push_back((up - loss()) / (2 * h));
        v = kept;
    }
    return d;
}

// Walks an op of `inputs` there and back with the gradient dy of its output; what each input got.
template <class F>
std::vector<std::vector<float>> gradients(const Kernels& k, std::vector<Tensor> inputs, Tensor dy, F op) {
    Arena scratch(size_t(64) << 20);
    Tape tape(size_t(64) << 20);
    Batch batch;
    std::vector<int> ids(size_t(dy.rows), 0);
    batch.add(ids.data(), dy.rows, 0, 0);
    Pass p{k, scratch, batch.rows(), Type::f32};
    p.tape = &tape;
    std::vector<std::vector<float>> got;
    for (Tensor& t : inputs) got.emplace_back(t.count(), 0.f);
    std::vector<Grad> grads(inputs.size());
    for (size_t i = 0; i < inputs.size(); i++) {            // as a weight's: there, and added to
        grads[i].data = got[i].data();
        inputs[i].grad = &grads[i];
    }
    Tensor y = op(p, inputs);
    tape.backward(p, y, dy);
    return got;
}

TEST_P(LinearAttention, EveryGradientOfTheDeltaRule) {
    for (const Sizes& size : every_size)
        for (int n : {1, 16, 39}) {
            Inputs in(size, n, 11);
            for (int j = 0; j < in.x.cols && n > 20; j++) in.x.f()[20 * in.x.cols + j] = 0;      // finite there too
            Tensor dy = in.bench.in(n, in.r.value_heads * in.r.value);
            auto got = gradients(k, {in.x, in.a, in.b, in.rate, in.bias}, dy, [&](Pass& p, std::vector<Tensor>& t) {
                return ::delta_rule(p, t[0], t[1], t[2], t[3], t[4], in.r);
            });
            std::vector<Doubles> v{doubles(in.x), doubles(in.a), doubles(in.b), doubles(in.rate), doubles(in.bias)};
            for (size_t i = 0; i < v.size(); i++) {
                Doubles want = differences(v[i], doubles(dy), [&] {
                    Doubles state;
                    return delta_rule(in.r, v[0], v[1], v[2], v[3], v[4], state);
                });
                if (i == 0 && n > 20) {                     // differences of 1e-5 are no small step from a zero vector
                    for (int j = 0; j < in.x.cols; j++) {
                        float& at_zero = got[0][size_t(20 * in.x.cols + j)];
                        EXPECT_TRUE(std::isfinite(at_zero));
                        if (j < 2 * in.r.key_heads * in.r.key) want[size_t(20 * in.x.cols + j)] = at_zero = 0;
                    }
                }
                EXPECT_LE(far(got[i].data(), want), 5e-5) << "input " << i << ", " << n << " tokens";
            }
        }
}

TEST_P(LinearAttention, EveryGradientOfTheConvolution) {
    for (int taps : {2, 4})
        for (int n : {1, 3, 21}) {
            Bench b(5);
            Tensor x = b.in(n, 20), w = b.in(1, 20 * taps), dy = b.in(n, 20);
            auto got = gradients(k, {x, w}, dy,
                                 [](Pass& p, std::vector<Tensor>& t) { return ::convolution(p, t[0], t[1]); });
            std::vector<Doubles> v{doubles(x), doubles(w)};
            for (size_t i = 0; i < 2; i++) {
                Doubles want = differences(v[i], doubles(dy), [&] { return convolution(v[0], v[1], 20); });
                EXPECT_LE(far(got[i].data(), want), 2e-6) << "input " << i;
            }
        }
}

// norm(x) * silu(z), and columns of heads under a sigmoid: as the model puts them together.
TEST_P(LinearAttention, EveryGradientOfTheGates) {
    Bench b(9);
    constexpr int n = 5, heads = 3, size = 6;
    Tensor x = b.in(n, heads * size), z = b.in(n, heads * size), w = b.in(1, size), dy = b.in(n, heads * size);
    auto got = gradients(k, {x, z, w}, dy, [](Pass& p, std::vector<Tensor>& t) {
        return gated(p, t[1], rms_norm(p, t[0], t[2], 1e-6f), Gate::silu);
    });
    std::vector<Doubles> v{doubles(x), doubles(z), doubles(w)};
    for (size_t i = 0; i < 3; i++) {
        Doubles want = differences(v[i], doubles(dy), [&] {
            Doubles y(v[0].size());
            for (size_t h = 0; h < y.size(); h += size) {
                double squares = 0;
                for (size_t j = 0; j < size; j++) squares += v[0][h + j] * v[0][h + j];
                for (size_t j = 0; j < size; j++) {
                    double gate = v[1][h + j] * sigmoid(v[1][h + j]);
                    y[h + j] = v[0][h + j] / std::sqrt(squares / size + 1e-6) * v[2][j] * gate;
                }
            }
            return y;
        });
        EXPECT_LE(far(got[i].data(), want), 2e-6) << "input " << i;
    }

    Tensor both = b.in(n, 2 * heads * size), a = b.in(n, heads * size);
    v = {doubles(both), doubles(a)};                        // now: add() takes over the memory of a
    got = gradients(k, {both, a}, dy, [](Pass& p, std::vector<Tensor>& t) {
        Tensor pairs = by_heads(t[0], 2 * size);
        Tensor q = by_heads(columns(p, pairs, 0, size), heads * size);
        Tensor gate = by_heads(columns(p, pairs, size, size), heads * size);
        return gated(p, gate, add(p, q, t[1]), Gate::sigmoid);
    });
    for (size_t i = 0; i < 2; i++) {
        Doubles want = differences(v[i], doubles(dy), [&] {
            Doubles y(v[1].size());
            for (size_t j = 0; j < y.size(); j++) {
                size_t at = j / size * 2 * size + j % size;
                y[j] = (v[0][at] + v[1][j]) * sigmoid(v[0][at + size]);
            }
            return y;
        });
        EXPECT_LE(far(got[i].data(), want), 2e-6) << "input " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Every, LinearAttention, testing::ValuesIn(paths()), [](const auto& info) {
    std::string s = info.param->name;
    std::erase(s, '+');
    return s;
});

}  // namespace
