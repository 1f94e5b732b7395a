// plan.cpp - what a training run will hold in memory, known before it holds it.
#include <algorithm>
#include "trainer.h"

std::string MemoryPlan::text() const {
    auto gb = [](size_t n) { return double(n) * 1e-9; };
    const std::string library = summing ? format(", to sum gradients %.2f", gb(summing)) : "";
    return format(
        "weights %.2f GB, trained parameters with gradients and moments %.2f, activations %.2f, their gradients %.2f, "
        "working memory %.2f%s: %.2f GB in all",
        gb(weights), gb(trained), gb(activations), gb(gradients), gb(working), library.c_str(), gb(total()));
}

// The heaviest micro-batch that can come, walked there and back with kernels that do nothing.
void Trainer::make_plan() {
    std::vector<Example*> heavy;
    for (Example& e : train_.examples) heavy.push_back(&e);
    size_t n = std::min<size_t>(heavy.size(), rows_a_pass());
    std::partial_sort(heavy.begin(), heavy.begin() + long(n), heavy.end(),
                      [](Example* a, Example* b) { return a->tokens() > b->tokens(); });
    heavy.resize(n);
    for (size_t i = 0; heavy.size() < size_t(rows_a_pass()); i++) heavy.push_back(heavy[i]); // epochs may meet
    size_t tokens = 0;
    for (const Example* e : heavy) tokens += e->tokens();
    if (tokens >> 28)
        fail(Exit::usage,
             "--batch-size %d: %zu tokens in one pass are more than can be counted; fewer rows a pass, and "
             "--grad-accum for the rest",
             options.batch_size, tokens);
    Batch b = batch_of(heavy);
    std::vector<int> at, want;
    for (int i = 0; i < b.tokens(); i++) at.push_back(i), want.push_back(0);       // as if every token counted

    Arena counting(size_t(1) << 42, true);
    Tape tape(size_t(1) << 42, true);
    tape.recompute = options.recompute;
    Optimizer* real = optimizer_.get();
    std::vector<Grad> dummies(found_.size());
    if (!real)
        for (size_t i = 0; i < found_.size(); i++) {
            dummies[i].data = this;                     // "has a gradient": the walk looks no further
            found_[i].w->grad = &dummies[i];
        }
    Pass p{nothing, counting, b.rows(), s_.operand};
    p.tape = &tape, p.edits = &s_.edits;
    Tensor h = s_.model->forward(p);
    Tensor logp = log_probs(p, h, s_.model->head(), {int(at.size()), at.data(), want.data()});
    tape.backward(p, logp, logp);
    plan_.activations = counting.peak;
    plan_.gradients = tape.gradients.peak();
    plan_.weights = s_.weights.used;
    plan_.trained = trained_.used + (real ? 0 : Optimizer::bytes(trained_numbers(), found_.size()));
    plan_.working = size_t(128) << 20;
    if (!real)
        for (Parameter& q : found_) q.w->grad = nullptr;
}

constexpr const char* remedy = "--recompute, a smaller --batch-size or --max-length";

void Trainer::check_memory() const {
    if (optimizer_) return;
    const size_t here = size_t(ranks().on_this_machine);
    need_memory(memory(), here * (plan_.total() - plan_.weights - trained_.used),
                (here > 1 ? format("%zu ranks of this run (each: ", here) : "this run (") + plan_.text() + ")", remedy);
}

// What the library that sums gradients has taken of what was free: it says so nowhere.
void Trainer::count_summing(size_t free) {
    plan_.summing = free - std::min(free, available_memory(memory()));
    need_memory(memory(), plan_.activations + plan_.gradients + plan_.working,
                "activations, their gradients and working memory of this run (" + plan_.text() + ")", remedy);
}
