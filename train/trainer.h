// trainer.h - one run of training: parameters, steps, validation. What a folder keeps of it is checkpoint.h's matter.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include "../models/session.h"
#include "objective.h"
#include "optimizer.h"

struct TrainOptions {
    OptimizerOptions optimizer;
    LoraConfig lora;
    bool full = false;                          // every weight, instead of an adapter
    std::string train_edits;                    // "gains" or "vector": these instead, the model frozen (edits.h)
    std::vector<int> edit_blocks;
    std::string adapter_init;                   // start from this adapter
    std::string ref_adapter;                    // DPO's reference; empty: the model without an adapter
    bool precompute_ref = false, recompute = false, shuffle = true;
    int steps = 0, epochs = 1;                  // steps 0: as many as the epochs take
    int batch_size = 4, grad_accum = 1;
    uint64_t seed = 42;
    Ranks* ranks = nullptr;                     // this process and those that share its steps; null: it is alone
};

struct StepLog {
    int step = 0;
    double epoch = 0, loss = 0, grad_norm = 0, lr = 0, seconds = 0;
    size_t targets = 0, tokens = 0;
    std::map<std::string, double> metrics;
};

// What a run will hold in memory, part by part (bytes).
struct MemoryPlan {
    size_t weights = 0, trained = 0, activations = 0, gradients = 0, working = 0;
    size_t summing = 0;                         // what a library took to add up gradients: known when it has
    size_t total() const { return weights + trained + activations + gradients + working + summing; }
    std::string text() const;                   // one line, with the parts
};

class Trainer {
public:
    // Takes the session's model over: makes or reads the adapter, makes the edits, or turns every weight into f32 that
    // is trained.
    // Exit::no_resource, before anything large is made, when the plan does not fit.
    Trainer(Session&, const TrainOptions&, std::unique_ptr<Objective>, Dataset train, std::optional<Dataset> valid);
    ~Trainer();                                 // trained edits end with it: the session has its own again

    int steps() const { return steps_; }
    StepLog step(int s);                        // s counts from 1; Exit::numerics when loss or gradients are not finite
    double validation_loss();                   // per target token, or per pair
    const MemoryPlan& plan() const { return plan_; }
    const std::string& summed() const { return summed_; }       // how ranks add up gradients; known when allocated
    std::string reference() const;              // which reference DPO compares with, in words
    void check_memory() const;                  // Exit::no_resource if what plan() says is not to be had
    void allocate();                            // what plan() said; called by the first step. Exit::no_resource when
                                                // what sums gradients over devices leaves too little for a step
    std::vector<Parameter>& parameters() { return optimizer_->parameters(); }
    Adapters& adapters() { return adapters_; }
    bool trains_adapter() const { return !options.full && options.train_edits.empty(); }
    size_t trained_numbers() const;
    void weights_changed();                     // a checkpoint has been read into the parameters: pack them again
    const Dataset& data() const { return train_; }
    const Memory& memory() const { return *s_.k.memory; }       // where parameters and moments are
    const TrainOptions options;
    Ranks& ranks() const { return *options.ranks; }
    int rows_a_pass() const;                    // of one rank, at most

private:
    std::vector<Example*> examples_of(int step);
    std::vector<Example*> share_of(std::span<Example* const>, int rank) const;
    template <class F> void passes(std::span<Example* const>, F&& each);
    void precompute_references();
    Batch batch_of(std::span<Example* const>) const;
    std::vector<float> log_probs_of(std::span<Example* const>, Tape*,
                                    const std::function<void(std::span<float>, std::span<float>)>& back);
    void reference_of(std::span<Example* const>);
    void make_plan();
    void count_summing(size_t free);
    void explain_numerics(int step, std::span<Example* const>, double loss, double norm);

    Session& s_;
    std::unique_ptr<Objective> objective_;
    Dataset train_;
    std::optional<Dataset> valid_;
    Arena trained_;                             // parameters, gradients, moments
    Adapters adapters_, reference_;
    std::vector<Edit> fixed_edits_;             // the session's own, while others are trained
    std::unique_ptr<Optimizer> optimizer_;
    std::vector<Parameter> found_;              // what will be trained
    std::unique_ptr<Arena> scratch_;
    std::unique_ptr<Tape> tape_;
    MemoryPlan plan_;
    std::string summed_;
    Order order_;
    int steps_ = 0;
    uint64_t total_ = 0;                        // positions of the order that the run covers
};
