#include "optimizer.h"
#include <algorithm>
#include <cmath>
#include <utility>

double learning_rate(const OptimizerOptions& o, int step, int steps) {
    double done = step - 1, warmup = o.warmup >= 1 ? std::floor(o.warmup) : std::ceil(o.warmup * steps);
    if (done < warmup) return o.lr * done / std::max(1.0, warmup);
    double left = std::max(1.0, steps - warmup), share = (done - warmup) / left;
    if (o.schedule == "linear") return o.lr * std::max(0.0, 1 - share);
    if (o.schedule == "cosine") return o.lr * std::max(0.0, 0.5 * (1 + std::cos(3.141592653589793 * share)));
    return o.lr;
}

Optimizer::Optimizer(const Kernels& k, Arena& mem, std::vector<Parameter> parameters)
    : k_(k), memory_(mem.memory), parameters_(std::move(parameters)), gradients_(parameters_.size()) {
    sum_ = mem.make(1, 2);
    constexpr size_t line = 64 / sizeof(float);
    size_t lines = 0;
    for (const Parameter& p : parameters_) lines += (p.w->count() + line - 1) / line;
    k_.zero(all_gradients_ = mem.make(int(lines), int(line)));
    lines = 0;
    for (size_t i = 0; i < parameters_.size(); i++) {
        Parameter& p = parameters_[i];
        for (Tensor* t : {&p.m, &p.v}) k_.zero(*t = mem.make(p.w->rows, p.w->cols));
        gradients_[i].data = all_gradients_.f() + lines * line;
        lines += (p.w->count() + line - 1) / line;
        p.w->grad = &gradients_[i];
    }
}

Tensor Optimizer::gradient(const Parameter& p) {
    Tensor g = *p.w;
    g.data = p.w->grad->data;
    g.grad = nullptr;
    return g;
}

void Optimizer::zero_gradients() {
    for (Parameter& p : parameters_) k_.zero(gradient(p));
}

Optimizer::~Optimizer() {
    if (group_) k_.collective->leave(group_);
}

std::string Optimizer::meet(Ranks& ranks) {
    if (ranks.size == 1 || memory_.host) return "in the memory of the processes";
    const Collective* c = k_.collective;
    const std::vector<std::string> names = ranks.gather(c->name()), whys = ranks.gather(c->missing()),
                                   devices = ranks.gather(c->device());
    std::string why;
    for (size_t r = 0; r < names.size() && why.empty(); r++) {
        const auto same = std::find(devices.begin(), devices.begin() + long(r), devices[r]);
        if (names[r].empty()) why = format("rank %zu: %s", r, whys[r].c_str());
        else if (same != devices.begin() + long(r))
            why = format("ranks %zu and %zu have the same device", size_t(same - devices.begin()), r);
    }
    if (!why.empty()) return "by way of the CPU (" + why + ")";
    const std::string identity = ranks.gather(ranks.rank == 0 ? c->identity() : "")[0];
    group_ = c->join(identity, ranks.rank, ranks.size, [&] { ranks.watch(); });
    sum_gradients(ranks);           // of zeros: what it takes of the device's memory for a first sum is taken now
    return "by " + names[0] + ", from device to device";
}

// Ranks carries the numbers of the process's memory, and no others.
void Optimizer::sum_gradients(Ranks& ranks) {
    if (ranks.size == 1) return;
    if (group_) {
        void* group = std::exchange(group_, nullptr);           // a sum that ends in the middle has given it up
        k_.collective->sum(group, all_gradients_.f(), all_gradients_.count(), [&] { ranks.watch(); });
        group_ = group;
        return;
    }
    std::vector<float> copy;
    float* all = const_cast<float*>(get(memory_, all_gradients_, copy));
    ranks.sum(all, all_gradients_.count());
    if (!memory_.host) memory_.upload(all_gradients_.data, all, all_gradients_.bytes());
}

double Optimizer::gradient_norm() const {
    double sum;
    k_.zero(sum_);
    for (const Parameter& p : parameters_) k_.sum_squares((double*)sum_.data, gradient(p));
    memory_.download(&sum, sum_.data, sizeof sum);
    return std::sqrt(sum);
}

void Optimizer::update(const OptimizerOptions& o, double lr, int step, double norm) {
    float scale = o.max_grad_norm > 0 ? float(std::min(1.0, o.max_grad_norm / (norm + 1e-6))) : 1;
    for (Parameter& p : parameters_) {
        AdamW a{float(lr), float(o.beta1), float(o.beta2), float(o.eps), p.decay ? float(o.weight_decay) : 0, step};
        k_.adamw(*p.w, p.m, p.v, gradient(p), scale, a);
    }
}

size_t Optimizer::count() const {
    size_t n = 0;
    for (const Parameter& p : parameters_) n += p.w->count();
    return n;
}
