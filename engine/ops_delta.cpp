// ops_delta.cpp - linear attention: the short convolution and the gated delta rule. Like attention they look at other
// tokens, so they know the cache.
#include "ops.h"

namespace {

enum State { conv_tail = 2, delta_state, delta_open };      // what they keep in a cache

}  // namespace

Tensor convolution(Pass& p, Tensor x, Tensor w) {
    Tensor y = p.make(x.rows, x.cols, p.operand, {x, w}), past;
    int taps = int(w.count() / size_t(x.cols));
    if (p.cache) {
        require(!p.tape, "convolution: a pass with a cache cannot be recorded");
        past = p.cache->state(p.k, p.layer, conv_tail, p.cache->slots * (taps - 1), x.cols, x.type);
    }
    p.k.convolve(y, x, w, past, p.rows);
    p.back({y}, [=](Pass& p) {
        if (Tensor d = p.d(y)) p.k.convolve_back(p.grad(x), p.grad(w), d, x, w, p.rows);
    });
    return y;
}

Tensor delta_rule(Pass& p, Tensor x, Tensor a, Tensor b, Tensor rate, Tensor bias, DeltaRule r) {
    Tensor y = p.make(x.rows, r.value_heads * r.value, p.operand, {x, a, b, rate, bias});
    if (p.cache) {
        require(!p.tape, "delta_rule: a pass with a cache cannot be recorded");
        int heads = p.cache->slots * r.value_heads;
        r.state = p.cache->state(p.k, p.layer, delta_state, heads, int(r.state_size()), Type::f32).f();
        r.open = p.cache->state(p.k, p.layer, delta_open, heads, int(r.open_size()), Type::f32).f();
    }
    p.k.delta(y, x, a, b, rate, bias, r, p.rows);
    p.back({y}, [=](Pass& p) {
        if (Tensor d = p.d(y))
            p.k.delta_back(p.grad(x), p.grad(a), p.grad(b), p.grad(rate), p.grad(bias), d, x, a, b, rate, bias, r,
                           p.rows);
    });
    return y;
}
