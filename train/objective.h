// objective.h - what a step minimises, as a function of the log-probabilities of its target tokens.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>
#include "data.h"

// Of the whole step: every micro-batch, every device.
struct StepSize {
    size_t targets = 0, examples = 0;
};

struct Objective {
    virtual ~Objective() = default;
    // The share of a micro-batch in the step's loss. logp: of its target tokens, example by example, sequence by
    // sequence; dlogp: the loss's derivative by each. Adds to `metrics` shares of whatever the log should show.
    virtual double loss(std::span<Example* const> examples, std::span<const float> logp, StepSize step,
                        std::span<float> dlogp, std::map<std::string, double>& metrics) const = 0;
    virtual bool needs_reference() const { return false; }
};

// Sum over target tokens of -log p, divided by their number in the whole step: how it is cut into micro-batches does
// not matter.
std::unique_ptr<Objective> sft();

// Direct preference optimisation (Rafailov et al. 2023, eq. 7): with u the difference between chosen and rejected of
// log p - log p_ref, each summed over the answer's tokens,
//   sigmoid   -(1 - s) log sigma(beta u) - s log sigma(-beta u)            s = label smoothing (Mitchell 2023)
//   hinge     max(0, 1 - beta u)                                           (Zhao et al. 2023)
//   ipo       (v - 1 / (2 beta))^2, v as u but per token of each answer    (Azar et al. 2023, eq. 17; TRL)
// Mean over the step's pairs. Metrics as in TRL.
enum class DpoLoss { sigmoid, hinge, ipo };
std::unique_ptr<Objective> dpo(DpoLoss, double beta, double label_smoothing);
// The loss of one pair and its derivative by u (by v for ipo).
double dpo_loss(DpoLoss, double beta, double label_smoothing, double u, double* derivative);
