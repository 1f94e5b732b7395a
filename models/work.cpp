#include "work.h"
#include <algorithm>

namespace {

struct Sum : Visit {
    double body = 0, head = 0, sides = 0, bytes = 0;
    const Weight* last = nullptr;               // what the head multiplies by: the table, where they are tied
    explicit Sum(Model& m) : last(m.head().w) { m.weights(*this); }
    void matrix(const std::string&, Weight& w, int out, int in) override {
        (&w == last ? head : body) += double(out) * in;
        if (&w != last) sides += double(out) + in;
        bytes += double(w.m.w.bytes());
    }
    void table(const std::string&, Weight&, int, int) override {}
    void vector(const std::string&, Tensor&, int, float) override {}
};

}  // namespace

Work forward_work(Model& m, int sequences, int from, int tokens, int heads) {
    Sum sum(m);
    Work w;
    w.body = 2 * sum.body * sequences * tokens;
    w.head = 2 * sum.head * heads;
    w.weights = sum.bytes;
    for (const Model::Block& b : m.blocks) {
        double pairs = 0;
        for (int i = from; i < from + tokens; i++) pairs += b.window ? std::min(i + 1, b.window) : i + 1;
        w.attention += 4.0 * pairs * sequences * b.heads * b.head_size;
        double seen = b.window ? std::min(from + tokens, b.window) : from + tokens;
        w.cache += seen * sequences * b.kv_heads * b.head_size * 2 * 2;        // keys and values, in bf16
        // A fixed state: looked into twice and added to by every token; read once, written once in 16 positions.
        w.attention += 6.0 * double(b.state) * sequences * tokens;
        w.cache += 4.0 * double(b.state) * sequences * (1 + tokens / 16.0);
    }
    return w;
}

Work adapter_step_work(Model& m, int sequences, int tokens, int targets, int rank) {
    Work w = forward_work(m, sequences, 0, tokens, targets);
    w.body *= 2, w.head *= 2, w.attention *= 3.5;
    w.adapter = 6.0 * rank * Sum(m).sides * sequences * tokens;
    return w;
}
