#include "objective.h"
#include <cmath>

namespace {

struct Sft : Objective {
    double loss(std::span<Example* const>, std::span<const float> logp, StepSize step, std::span<float> dlogp,
                std::map<std::string, double>&) const override {
        double sum = 0;
        for (size_t i = 0; i < logp.size(); i++) {
            sum -= logp[i];
            dlogp[i] = -1 / float(step.targets);
        }
        return sum / double(step.targets);
    }
};

double log_sigmoid(double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Dpo : Objective {
    DpoLoss kind;
    double beta, smoothing;
    Dpo(DpoLoss kind, double beta, double smoothing) : kind(kind), beta(beta), smoothing(smoothing) {}

    bool needs_reference() const override { return true; }

    double loss(std::span<Example* const> examples, std::span<const float> logp, StepSize step, std::span<float> dlogp,
                std::map<std::string, double>& metrics) const override {
        double total = 0, share = 1 / double(step.examples);
        size_t at = 0;
        for (const Example* e : examples) {
            double sum[2] = {}, ratio[2];
            int n[2];
            size_t first = at;
            for (int side : {0, 1}) {
                n[side] = e->sequences[side].targets();
                for (int i = 0; i < n[side]; i++) sum[side] += logp[at++];
                ratio[side] = sum[side] - e->reference[side];
            }
            bool per_token = kind == DpoLoss::ipo;
            double u = per_token ? ratio[0] / n[0] - ratio[1] / n[1] : ratio[0] - ratio[1], du;
            total += share * dpo_loss(kind, beta, smoothing, u, &du);
            for (int side : {0, 1})
                for (int i = 0; i < n[side]; i++)
                    dlogp[first++] = float(share * du * (side ? -1 : 1) / (per_token ? n[side] : 1));
            double chosen = beta * ratio[0], rejected = beta * ratio[1];
            metrics["rewards_chosen"] += share * chosen;
            metrics["rewards_rejected"] += share * rejected;
            metrics["rewards_margin"] += share * (chosen - rejected);
            metrics["rewards_accuracy"] += share * (chosen > rejected);
            metrics["logps_chosen"] += share * sum[0];
            metrics["logps_rejected"] += share * sum[1];
        }
        return total;
    }
};

}  // namespace

double dpo_loss(DpoLoss kind, double beta, double s, double u, double* derivative) {
    double x = beta * u;
    switch (kind) {
        case DpoLoss::hinge:
            *derivative = x < 1 ? -beta : 0;
            return std::max(0.0, 1 - x);
        case DpoLoss::ipo:
            *derivative = 2 * (u - 1 / (2 * beta));
            return (u - 1 / (2 * beta)) * (u - 1 / (2 * beta));
        default:
            *derivative = -(1 - s) * beta * sigmoid(-x) + s * beta * sigmoid(x);
            return -(1 - s) * log_sigmoid(x) - s * log_sigmoid(-x);
    }
}

std::unique_ptr<Objective> sft() { return std::make_unique<Sft>(); }
std::unique_ptr<Objective> dpo(DpoLoss kind, double beta, double smoothing) {
    return std::make_unique<Dpo>(kind, beta, smoothing);
}
