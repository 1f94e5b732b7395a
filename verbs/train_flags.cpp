// train_flags - the flags of `dd train`, and which of them go together.
#include "train_flags.h"

void TrainFlags::declare(Flags& f) {
    OptimizerOptions& opt = t.optimizer;
    model.declare(f);
    model.declare_edits(f);
    f.choice("method", &method, {"sft", "dpo"}, "supervised, or direct preference optimisation");
    f.add("train-file", &train_file, "F.jsonl", "rows to train on");
    f.add("valid-file", &valid_file, "F.jsonl", "rows to measure the loss on, with --eval-every and at the end");
    f.add("out", &out, "RUN", "the folder of the run");
    f.number("lora-rank", &t.lora.rank, "R", 1, 65536, "rank of the adapter");
    f.number("lora-alpha", &t.lora.alpha, "A", 0, 1e6, "the adapter is scaled by A / R");
    f.number("lora-dropout", &t.lora.dropout, "P", 0, 0.99, "share of the adapter's input that is dropped");
    f.add("lora-targets", &targets, "all|NAME,..|REGEX", "which matrices get an adapter");
    f.add("rslora", &t.lora.rslora, "", "scale by A / sqrt(R)");
    f.add("adapter-init", &t.adapter_init, "DIR", "start from this adapter");
    f.add("full", &t.full, "", "train every weight instead of an adapter");
    f.choice("train-edits", &t.train_edits, {"", "gains", "vector"},
             "train interventions instead, the model frozen: a factor for every head, or a vector added at resid_post; "
             "written to RUN/edits.json, for --edits");
    f.add("edit-blocks", &edit_blocks, "B,..", "blocks of --train-edits; default: gains all, vector the middle one");
    f.choice("init", &init, {"", "random"}, "random: --model is a new model of --config-json's sizes (with --full)");
    f.add("config-json", &config_json, "FILE", "sizes for --init random");
    f.add("preset", &preset, "NAME", "a published model's sizes for --init random");
    f.number("steps", &t.steps, "N", 0, 1e9, "optimizer steps; 0: as --epochs says");
    f.number("epochs", &t.epochs, "N", 1, 1e6, "times over the rows");
    f.number("batch-size", &t.batch_size, "N", 1, 65536, "rows a pass");
    f.number("grad-accum", &t.grad_accum, "N", 1, 65536, "passes a step");
    f.number("max-length", &length.max_length, "N", 2, 1 << 24, "longest row, in tokens");
    f.add("truncate", &length.truncate, "", "cut longer rows (counted and said) instead of refusing them");
    f.number("lr", &opt.lr, "X", 0, 10, "learning rate");
    f.choice("schedule", &opt.schedule, {"constant", "linear", "cosine"}, "of the learning rate after the warm-up");
    f.number("warmup", &opt.warmup, "N|SHARE", 0, 1e9, "steps, or a fraction of all when below 1");
    f.number("weight-decay", &opt.weight_decay, "X", 0, 10, "decoupled from the gradient");
    f.number("adam-beta1", &opt.beta1, "X", 0, 1, "decay of the first moment");
    f.number("adam-beta2", &opt.beta2, "X", 0, 1, "decay of the second moment");
    f.number("adam-eps", &opt.eps, "X", 0, 1, "outside the root");
    f.number("max-grad-norm", &opt.max_grad_norm, "X", 0, 1e9, "clip gradients to this norm; 0: never");
    f.add("no-shuffle", &no_shuffle, "", "rows in the order of the file");
    f.add("recompute", &t.recompute, "", "keep only what enters each layer: less memory, a quarter more time");
    f.number("eval-every", &eval_every, "N", 0, 1e9, "steps between validations; 0: at the end");
    f.number("save-every", &save_every, "N", 0, 1e9,
             "steps between checkpoints; 0: at the end, and when interrupted");
    f.number("keep", &keep, "N", 2, 1e6, "checkpoints kept");
    f.number("ranks", &ranks, "N", 1, 256,
             "processes on this machine that share the rows of each step; under mpirun: as many as it starts");
    f.number("gpus", &gpus, "N", 1, 64, "the same, with a CUDA device for each");
    f.number("seed", &seed, "N", 0, 9e18, "of the order of rows, of a new adapter, of dropout");
    f.number("beta", &beta, "X", 1e-6, 1e6, "DPO: how far from the reference costs");
    f.choice("dpo-loss", &dpo_loss, {"sigmoid", "ipo", "hinge"}, "DPO: the loss of a pair");
    f.number("label-smoothing", &label_smoothing, "X", 0, 0.5, "DPO: share of labels taken to be wrong");
    f.add("ref-adapter", &t.ref_adapter, "DIR",
          "DPO: the reference is the model with this adapter; default: with none");
    f.add("precompute-ref", &t.precompute_ref, "",
          "DPO: log-probabilities of the reference once, before the first step");
    f.add("raw", &raw, "", "prompts are plain text, not conversations");
    f.add("resume", &resume, "", "go on with the run in --out from its last whole checkpoint");
    f.add("resume-force", &resume_force, "", "even if flags or files have changed");
    f.add("dry-run", &dry_run, "",
          "open and check everything, show targets, the memory plan and the steps; train nothing");
}

void TrainFlags::settle() {
    if (train_file.empty()) fail(Exit::usage, "--train-file is missing: rows to train on");
    for (const std::string* file : {&train_file, &valid_file})
        if (*file == "-") fail(Exit::usage, "--train-file and --valid-file must be files: they are hashed, too");
    if (trains_edits() && (t.full || !t.adapter_init.empty() || !t.ref_adapter.empty()))
        fail(Exit::usage, "--train-edits: --full, --adapter-init and --ref-adapter do not go with it; --adapter does");
    if (!trains_edits() && !edit_blocks.empty()) fail(Exit::usage, "--edit-blocks: only --train-edits has blocks");
    if (!trains_edits() && !model.session.adapters.empty())
        fail(Exit::usage,
             "--adapter: training starts from one adapter with --adapter-init DIR, or merge it first (dd merge)");
    if (init == "random" && !t.full)
        fail(Exit::usage, "--init random needs --full: a new model has nothing that an adapter could ride on");
    if (init == "random" && out.empty()) fail(Exit::usage, "--init random needs --out: the new model is made there");

    t.seed = uint64_t(seed), t.shuffle = !no_shuffle;
    t.lora.targets = parts_of(targets), t.lora.base = model.session.model;
    for (const std::string& b : parts_of(edit_blocks)) {
        char* end;
        t.edit_blocks.push_back(int(strtol(b.c_str(), &end, 10)));
        if (b.empty() || *end) fail(Exit::usage, "--edit-blocks %s: numbers of blocks were expected", b.c_str());
    }
    model.session.pack = !t.full;
}

std::unique_ptr<Objective> TrainFlags::objective() const {
    if (method == "sft") return sft();
    DpoLoss kind = dpo_loss == "hinge" ? DpoLoss::hinge : dpo_loss == "ipo" ? DpoLoss::ipo : DpoLoss::sigmoid;
    return dpo(kind, beta, label_smoothing);
}
