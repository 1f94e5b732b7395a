// optimizer.h - AdamW over the trained tensors, and the learning rate's schedule.
#pragma once
#include <string>
#include <vector>
#include "../kernels/kernels.h"
#include "ranks.h"

struct Parameter {
    std::string name;
    Tensor* w;              // f32, where the model or the adapter holds it; from here on it has a Grad
    bool decay = true;      // matrices; not norms
    Tensor m{}, v{};        // first and second moments
};

struct OptimizerOptions {
    double lr = 2e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, max_grad_norm = 1;
    std::string schedule = "cosine";        // constant, linear, cosine: after the warm-up, down to 0 at the last step
    double warmup = 0.03;                   // steps if >= 1, else a fraction of all
};
// Of step 1 .. steps, as transformers' schedules give it: the warm-up climbs from 0 in equal steps.
double learning_rate(const OptimizerOptions&, int step, int steps);

class Optimizer {
public:
    // Allocates gradients and moments for every parameter, zeroed.
    Optimizer(const Kernels&, Arena&, std::vector<Parameter>);
    ~Optimizer();
    void zero_gradients();
    // How sum_gradients will do it, in words: from device to device where every rank can; by way of the processes'
    // memory where one cannot, and why. Said once, by all ranks.
    std::string meet(Ranks&);
    void sum_gradients(Ranks&);             // over all ranks
    double gradient_norm() const;           // of all gradients together
    // One update with rate lr; gradients scaled so that their norm is at most max_grad_norm (0: any), as torch's
    // clip_grad_norm_ does. step counts from 1.
    void update(const OptimizerOptions&, double lr, int step, double norm);
    std::vector<Parameter>& parameters() { return parameters_; }
    static Tensor gradient(const Parameter&);
    size_t count() const;                   // numbers trained
    static size_t bytes(size_t numbers, size_t tensors) { return 12 * numbers + 192 * tensors; }

private:
    const Kernels& k_;
    const Memory& memory_;
    std::vector<Parameter> parameters_;
    Tensor all_gradients_;                  // one after the other, each at a multiple of 64 bytes
    std::vector<Grad> gradients_;
    Tensor sum_;                            // a double
    void* group_ = nullptr;                 // of the devices of all ranks; null: they do not reach each other
};
