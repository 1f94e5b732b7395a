// kernels_delta.h - inputs of the delta rule's kernels, for the tests of every backend.
#pragma once
#include "kernels.h"

namespace delta_tests {

struct Heads { int key_heads, value_heads, key, value; bool tiled; };
inline constexpr Heads every_head[] = {
    {1, 1, 8, 12, false}, {2, 4, 16, 16, false}, {2, 6, 24, 40, true}, {1, 2, 40, 80, false}, {2, 2, 128, 128, false}};

inline DeltaRule rule_of(const Heads& h) {
    DeltaRule r{h.key_heads, h.value_heads, h.key, h.value};
    r.tiled = h.tiled;
    return r;
}
inline int columns_of(const Heads& h) { return 2 * h.key_heads * h.key + h.value_heads * h.value; }
inline std::string name_of(Type type, const Heads& h) {
    return format("%s, %d/%d heads of %d by %d", info(type).name, h.key_heads, h.value_heads, h.key, h.value);
}

// States as passes leave them: zero where no value is, decays not above 0. Otherwise any numbers.
inline void some_state(Bench& b, DeltaRule& r, int slots) {
    int heads = slots * r.value_heads, wide = r.wide();
    Tensor state = b.out(heads, int(r.state_size())), open = b.out(heads, int(r.open_size()));
    r.state = state.f(), r.open = open.f();
    for (int h = 0; h < heads; h++) {
        float* s = r.state + size_t(h) * r.state_size();
        float *u = r.open + size_t(h) * r.open_size() + 16 * r.key, *g = u + 16 * wide;
        for (int c = r.value; c < wide; c++) {
            for (int d = 0; d < r.key; d++) s[d * wide + c] = 0;
            for (int i = 0; i < 16; i++) u[i * wide + c] = 0;
        }
        for (int i = 0; i < 16; i++) g[i] = -std::fabs(g[i]) / 8;
    }
}

struct RuleInputs {
    Tensor x, a, b, rate, bias;
    RuleInputs(Bench& bench, const Heads& h, int n, Type type)
        : x(bench.in(n, columns_of(h), type)), a(bench.in(n, h.value_heads, type)),
          b(bench.in(n, h.value_heads, type)), rate(bench.in(1, h.value_heads, Type::f32, 0.5f, -1)),
          bias(bench.in(1, h.value_heads)) {}
};

}  // namespace delta_tests
