// train_flags.h - what `dd train` was asked for.
#pragma once
#include "../train/trainer.h"
#include "common.h"

struct TrainFlags {
    ModelFlags model;
    TrainOptions t;
    LengthRule length;
    std::string method = "sft", train_file, valid_file, out, init, config_json, preset, dpo_loss = "sigmoid";
    std::vector<std::string> targets{"all"}, edit_blocks;
    double beta = 0.1, label_smoothing = 0;
    int eval_every = 0, save_every = 0, keep = 2, ranks = 1, gpus = 0;
    bool raw = false, no_shuffle = false, resume = false, resume_force = false, dry_run = false;
    int64_t seed = 42;

    void declare(Flags&);
    // Everything that the flags alone tell, before anything is opened or made: Exit::usage for those that do not go
    // together; what is left of `t` and of the session is filled in.
    void settle();
    bool trains_edits() const { return !t.train_edits.empty(); }
    std::unique_ptr<Objective> objective() const;
};
