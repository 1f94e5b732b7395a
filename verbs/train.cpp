// train - fine-tuning: LoRA or every weight, supervised or by preferences.
#include <cmath>
#include <filesystem>
#include "../engine/file.h"
#include "../kernels/parallel.h"
#include "../models/work.h"
#include "../train/edits.h"
#include "../train/run_folder.h"
#include "common.h"
#include "init.h"
#include "speed.h"
#include "verbs.h"

namespace {

struct {
    ModelFlags model;
    TrainOptions t;
    LengthRule length;
    std::string method = "sft", train_file, valid_file, out, init, config_json, preset, dpo_loss = "sigmoid";
    std::vector<std::string> targets{"all"}, edit_blocks;
    double beta = 0.1, label_smoothing = 0;
    int eval_every = 0, save_every = 0, keep = 2, ranks = 1, gpus = 0;
    bool raw = false, no_shuffle = false, resume = false, resume_force = false, dry_run = false, csv = false;
    int64_t seed = 42;
} o;

// The text of the first rows with what counts in the loss between [[ and ]].
void show_targets(Session& s, const Dataset& d) {
    for (size_t i = 0; i < std::min<size_t>(3, d.examples.size()); i++)
        for (const Sequence& q : d.examples[i].sequences) {
            std::string text;
            bool inside = false;
            for (size_t t = 0; t < q.ids.size(); t++) {
                bool counts = t > 0 && q.labels[t] >= 0;
                if (counts != inside) text += counts ? "[[" : "]]", inside = counts;
                text += s.tokenizer() ? s.tokenizer()->piece(q.ids[t]) : std::to_string(q.ids[t]) + " ";
            }
            put("row " + dump(d.examples[i].id) + ": " + text + (inside ? "]]\n" : "\n"));
        }
}

void describe(const Dataset& d) {
    fprintf(stderr, "dd: %s: %zu %s rows, %zu tokens, %zu of them targets (%.1f %%)", d.path.c_str(), d.examples.size(),
            d.kind.c_str(), d.tokens(), d.targets(), 100.0 * double(d.targets()) / double(d.tokens()));
    if (d.truncated) fprintf(stderr, ", %zu rows cut to --max-length", d.truncated);
    if (d.without_targets) fprintf(stderr, ", %zu rows left out because nothing in them counts", d.without_targets);
    fprintf(stderr, "\n");
}

Json hashes(Session& s) {
    Json h = {{"model", sha256_of_file(s.checkpoint.file_of_weights())}, {"train_file", sha256_of_file(o.train_file)}};
    if (!o.valid_file.empty()) h["valid_file"] = sha256_of_file(o.valid_file);
    if (!o.t.adapter_init.empty()) h["adapter_init"] = sha256_of_file(o.t.adapter_init + "/adapter_model.safetensors");
    return h;
}

Json line_of(const StepLog& l) {
    Json line = {{"step", l.step},       {"epoch", l.epoch},
                 {"loss", l.loss},       {"grad_norm", l.grad_norm},
                 {"lr", l.lr},           {"target_tokens", l.targets},
                 {"tokens", l.tokens},   {"tokens_per_s", double(l.tokens) / l.seconds},
                 {"seconds", l.seconds}, {"peak_bytes", peak_resident_memory()}};
    for (const auto& [name, value] : l.metrics) line[name] = value;
    return line;
}

// Every part of lists with commas.
std::vector<std::string> parts_of(const std::vector<std::string>& lists) {
    std::vector<std::string> parts;
    for (const std::string& t : lists)
        for (size_t at = 0; at <= t.size();) {
            size_t end = std::min(t.find(',', at), t.size());
            parts.push_back(t.substr(at, end - at));
            at = end + 1;
        }
    return parts;
}

std::unique_ptr<Objective> objective() {
    if (o.method == "sft") return sft();
    DpoLoss kind = o.dpo_loss == "hinge" ? DpoLoss::hinge : o.dpo_loss == "ipo" ? DpoLoss::ipo : DpoLoss::sigmoid;
    return dpo(kind, o.beta, o.label_smoothing);
}

Dataset read(const std::string& path, const RowReader& reader) {
    return o.method == "sft" ? read_sft(path, reader, o.length) : read_preferences(path, reader, o.length);
}

struct Done {
    StepLog last;                   // step 0: none was done
    double seconds = 0;
    size_t tokens = 0, targets = 0;
};

// The steps after `first`. `folder`: rank 0's; the others have none.
void steps(Trainer& t, RunFolder* folder, int first, Done& done) {
    Progress progress;
    for (int step = first + 1; step <= t.steps(); step++) {
        const StepLog l = done.last = t.step(step);
        done.seconds += l.seconds, done.tokens += l.tokens, done.targets += l.targets;
        if (folder) folder->log(line_of(l));
        double left = done.seconds / (step - first) * (t.steps() - step);
        std::string line = format("step %d/%d  loss %.4f  grad %.3f  lr %.2e  %.0f tokens/s  %.2f GB  %s left", step,
                                  t.steps(), l.loss, l.grad_norm, l.lr, double(l.tokens) / l.seconds,
                                  double(resident_memory()) * 1e-9, duration(left).c_str());
        if (on_terminal(2) && folder) progress.show(line);
        else if (!o.model.session.quiet) fprintf(stderr, "%s\n", line.c_str());
        if ((o.eval_every && step % o.eval_every == 0) || (step == t.steps() && !o.valid_file.empty())) {
            double loss = t.validation_loss();
            if (folder) folder->log({{"step", step}, {"eval_loss", loss}});
            progress.clear();
            if (!o.model.session.quiet) fprintf(stderr, "dd: step %d: validation loss %.4f\n", step, loss);
        }
        bool stop = t.ranks().any(interrupted()), last = step == t.steps();
        if (folder && (stop || last || (o.save_every && step % o.save_every == 0))) folder->save(t, step, o.keep);
        if (stop && !last) {
            progress.clear();
            t.ranks().wait();           // until it is saved
            fail(Exit::interrupted, "interrupted after step %d of %d; --resume --out %s goes on from there", step,
                 t.steps(), o.out.c_str());
        }
    }
}

// A rank was killed, and this one has what all had after their last step.
void save_what_there_is(Trainer& t, RunFolder* folder, const StepLog& last) {
    if (last.step == 0) return;
    std::optional<RunFolder> of_rank_0;
    if (!folder) {
        folder = &of_rank_0.emplace(o.out, true);
        if (folder->cut_log(last.step) < last.step) folder->log(line_of(last));
    }
    if (!folder->holds(last.step)) folder->save(t, last.step, o.keep);
}

void run(Trainer& t, RunFolder* folder, Session& s, int first) {
    Done done;
    try {
        steps(t, folder, first, done);
        if (folder) {
            folder->prune(o.keep);      // a run killed between its last checkpoint and here has one too many
            folder->write_result(t, s);
        }
        t.ranks().wait();               // until it is written
    } catch (const LostRank& lost) {
        if (lost.save) save_what_there_is(t, folder, done.last);
        throw;
    }
    if (!folder || done.seconds == 0 || t.ranks().on_this_machine < t.ranks().size) return;     // nothing to compare
    set_threads(std::min(256, threads() * t.ranks().on_these_cores));
    // Products of the body for every token and of the head for every target: forward, and back to the activations;
    // where the weights themselves are trained, back to them as well.
    Work w = forward_work(*s.model, 1, 0, 1, 1);
    double products = w.body * double(done.tokens) + w.head * double(done.targets);
    std::string speed =
        "training: " + against_machine(s, double(done.tokens), (t.options.full ? 3 : 2) * products, done.seconds) +
        format("; %s counted, %.2f GB resident at most", t.options.full ? "6N" : "4N",
               double(peak_resident_memory()) * 1e-9);
    write_file(folder->path + "/speed.txt", speed + "\n");
    if (!o.model.session.quiet) fprintf(stderr, "dd: %s\n", speed.c_str());
}

// Adapters and blocks that the trainer will ask for: wrong ones are said before the weights are packed.
void check_what_is_read_later(Session& s) {
    const Model& m = *s.model;
    for (const std::string* adapter : {&o.t.adapter_init, &o.t.ref_adapter}) {
        if (adapter->empty()) continue;
        Arena room(adapter_room(split_scale(*adapter).first));
        Adapters(room).add(*s.model, *adapter);
    }
    if (o.t.train_edits.empty()) return;
    const std::vector<Edit> before = s.edits;
    Arena room((size_t(1) << 20) + size_t(m.layers) * size_t(m.dim + 2048) * 4);
    create_edits(s, o.t.train_edits, o.t.edit_blocks, room);
    s.edits = before;
}

// Ranks are started alike, or they would wait for each other for ever. Exit::usage naming what differs.
void need_alike(Ranks& ranks, const Json& mine) {
    std::vector<Json> of_each;
    for (const std::string& text : ranks.gather(dump(mine))) of_each.push_back(parse_json(text, "rank"));
    for (size_t r = 1; r < of_each.size(); r++)
        for (const auto& [name, value] : of_each[0].items())
            if (of_each[r].value(name, Json()) != value)
                fail(Exit::usage, "rank %zu has %s %s, rank 0 has %s; all ranks must be started alike", r, name.c_str(),
                     dump(of_each[r].value(name, Json())).c_str(), dump(value).c_str());
}

// The ranks have been started alike; what differs from here on: each has its share of the cores, or its device, and
// only rank 0 talks.
void take_place(Ranks& ranks, const Flags& f) {
    ranks.meet();
    const Json all = f.values();
    Json flags = Json::object();
    for (const auto& [name, value] : all.items())
        if (name != "threads" && name != "quiet") flags["--" + name] = value;
    need_alike(ranks, flags);
    const int asked = o.gpus ? o.gpus : f.given("ranks") ? o.ranks : ranks.size;
    if (asked != ranks.size)
        fail(Exit::usage, "mpirun has started %d ranks, not %d; leave --ranks and --gpus out, it knows", ranks.size,
             asked);
    o.ranks = ranks.size;
    o.t.ranks = &ranks;
    if (o.gpus) o.model.session.device = format("cuda:%d", ranks.place);
    o.model.session.quiet |= ranks.rank > 0;
    if (ranks.size == 1) return;
    const int given = o.model.session.threads, each = given ? given : std::max(1, threads() / ranks.on_these_cores);
    set_threads(each);
    if (!o.model.session.quiet)
        fprintf(stderr, "dd: %d ranks share each step; threads of each: %d\n", ranks.size, each);
}

std::string how_to_go_on() {
    const int step = o.dry_run ? 0 : newest_checkpoint(o.out);
    return step ? format("step %d is saved: --resume --out %s goes on from there", step, o.out.c_str())
                : "no step was saved: start again";
}

}  // namespace

void verb::train_flags(Flags& f) {
    OptimizerOptions& opt = o.t.optimizer;
    o.model.declare(f);
    o.model.declare_edits(f);
    f.choice("method", &o.method, {"sft", "dpo"}, "supervised, or direct preference optimisation");
    f.add("train-file", &o.train_file, "F.jsonl", "rows to train on");
    f.add("valid-file", &o.valid_file, "F.jsonl", "rows to measure the loss on, with --eval-every and at the end");
    f.add("out", &o.out, "RUN", "the folder of the run");
    f.number("lora-rank", &o.t.lora.rank, "R", 1, 65536, "rank of the adapter");
    f.number("lora-alpha", &o.t.lora.alpha, "A", 0, 1e6, "the adapter is scaled by A / R");
    f.number("lora-dropout", &o.t.lora.dropout, "P", 0, 0.99, "share of the adapter's input that is dropped");
    f.add("lora-targets", &o.targets, "all|NAME,..|REGEX", "which matrices get an adapter");
    f.add("rslora", &o.t.lora.rslora, "", "scale by A / sqrt(R)");
    f.add("adapter-init", &o.t.adapter_init, "DIR", "start from this adapter");
    f.add("full", &o.t.full, "", "train every weight instead of an adapter");
    f.choice("train-edits", &o.t.train_edits, {"", "gains", "vector"},
             "train interventions instead, the model frozen: a factor for every head, or a vector added at resid_post; "
             "written to RUN/edits.json, for --edits");
    f.add("edit-blocks", &o.edit_blocks, "B,..", "blocks of --train-edits; default: gains all, vector the middle one");
    f.choice("init", &o.init, {"", "random"}, "random: --model is a new model of --config-json's sizes (with --full)");
    f.add("config-json", &o.config_json, "FILE", "sizes for --init random");
    f.add("preset", &o.preset, "NAME", "a published model's sizes for --init random");
    f.number("steps", &o.t.steps, "N", 0, 1e9, "optimizer steps; 0: as --epochs says");
    f.number("epochs", &o.t.epochs, "N", 1, 1e6, "times over the rows");
    f.number("batch-size", &o.t.batch_size, "N", 1, 65536, "rows a pass");
    f.number("grad-accum", &o.t.grad_accum, "N", 1, 65536, "passes a step");
    f.number("max-length", &o.length.max_length, "N", 2, 1 << 24, "longest row, in tokens");
    f.add("truncate", &o.length.truncate, "", "cut longer rows (counted and said) instead of refusing them");
    f.number("lr", &opt.lr, "X", 0, 10, "learning rate");
    f.choice("schedule", &opt.schedule, {"constant", "linear", "cosine"}, "of the learning rate after the warm-up");
    f.number("warmup", &opt.warmup, "N|SHARE", 0, 1e9, "steps, or a fraction of all when below 1");
    f.number("weight-decay", &opt.weight_decay, "X", 0, 10, "decoupled from the gradient");
    f.number("adam-beta1", &opt.beta1, "X", 0, 1, "decay of the first moment");
    f.number("adam-beta2", &opt.beta2, "X", 0, 1, "decay of the second moment");
    f.number("adam-eps", &opt.eps, "X", 0, 1, "outside the root");
    f.number("max-grad-norm", &opt.max_grad_norm, "X", 0, 1e9, "clip gradients to this norm; 0: never");
    f.add("no-shuffle", &o.no_shuffle, "", "rows in the order of the file");
    f.add("recompute", &o.t.recompute, "", "keep only what enters each layer: less memory, a quarter more time");
    f.number("eval-every", &o.eval_every, "N", 0, 1e9, "steps between validations; 0: at the end");
    f.number("save-every", &o.save_every, "N", 0, 1e9,
             "steps between checkpoints; 0: at the end, and when interrupted");
    f.number("keep", &o.keep, "N", 2, 1e6, "checkpoints kept");
    f.number("ranks", &o.ranks, "N", 1, 256,
             "processes on this machine that share the rows of each step; under mpirun: as many as it starts");
    f.number("gpus", &o.gpus, "N", 1, 64, "the same, with a CUDA device for each");
    f.number("seed", &o.seed, "N", 0, 9e18, "of the order of rows, of a new adapter, of dropout");
    f.number("beta", &o.beta, "X", 1e-6, 1e6, "DPO: how far from the reference costs");
    f.choice("dpo-loss", &o.dpo_loss, {"sigmoid", "ipo", "hinge"}, "DPO: the loss of a pair");
    f.number("label-smoothing", &o.label_smoothing, "X", 0, 0.5, "DPO: share of labels taken to be wrong");
    f.add("ref-adapter", &o.t.ref_adapter, "DIR",
          "DPO: the reference is the model with this adapter; default: with none");
    f.add("precompute-ref", &o.t.precompute_ref, "",
          "DPO: log-probabilities of the reference once, before the first step");
    f.add("raw", &o.raw, "", "prompts are plain text, not conversations");
    f.add("resume", &o.resume, "", "go on with the run in --out from its last whole checkpoint");
    f.add("resume-force", &o.resume_force, "", "even if flags or files have changed");
    f.add("dry-run", &o.dry_run, "",
          "open and check everything, show targets, the memory plan and the steps; train nothing");
}

namespace {

void train_as(Ranks& ranks, const Flags& f) {
    take_place(ranks, f);
    const bool first_rank = ranks.rank == 0;
    if (o.train_file.empty()) fail(Exit::usage, "--train-file is missing: rows to train on");
    for (const std::string* file : {&o.train_file, &o.valid_file})
        if (*file == "-") fail(Exit::usage, "--train-file and --valid-file must be files: they are hashed, too");
    bool edits = !o.t.train_edits.empty();
    if (edits && (o.t.full || !o.t.adapter_init.empty() || !o.t.ref_adapter.empty()))
        fail(Exit::usage, "--train-edits: --full, --adapter-init and --ref-adapter do not go with it; --adapter does");
    if (!edits && !o.edit_blocks.empty()) fail(Exit::usage, "--edit-blocks: only --train-edits has blocks");
    if (!edits && !o.model.session.adapters.empty())
        fail(Exit::usage,
             "--adapter: training starts from one adapter with --adapter-init DIR, or merge it first (dd merge)");
    o.t.seed = uint64_t(o.seed), o.t.shuffle = !o.no_shuffle;
    o.t.lora.targets = parts_of(o.targets);
    for (const std::string& b : parts_of(o.edit_blocks)) {
        char* end;
        o.t.edit_blocks.push_back(int(strtol(b.c_str(), &end, 10)));
        if (b.empty() || *end) fail(Exit::usage, "--edit-blocks %s: numbers of blocks were expected", b.c_str());
    }
    o.t.lora.base = o.model.session.model;
    o.model.session.pack = !o.t.full;
    std::optional<RunFolder> folder;                // in a dry run it only checks, and leaves nothing behind
    if (first_rank && (!o.dry_run || !o.out.empty())) folder.emplace(o.out, o.resume);
    if (o.init == "random") {
        if (!o.t.full)
            fail(Exit::usage, "--init random needs --full: a new model has nothing that an adapter could ride on");
        if (o.out.empty()) fail(Exit::usage, "--init random needs --out: the new model is made there");
        std::string fresh = o.out + "/init";
        if (first_rank && !exists(fresh + "/config.json"))
            init_model(new_model(o.config_json, o.preset), fresh, uint64_t(o.seed), "f32", o.model.session.model);
        o.model.session.model = fresh;
        ranks.wait();
    }
    Dataset train;
    std::optional<Dataset> valid;
    auto s = o.model.open([&](Session& s) {
        const int context = s.model->context;
        if (o.length.max_length > context && f.given("max-length"))
            fail(Exit::usage, "--max-length %d: this model's context is %d", o.length.max_length, context);
        o.length.max_length = std::min(o.length.max_length, context);
        check_what_is_read_later(s);
        RowReader reader = s.reader();
        reader.raw = o.raw, reader.longest = 0;     // --max-length says it better
        train = read(o.train_file, reader);
        if (!o.valid_file.empty()) valid = read(o.valid_file, reader);
    });
    if (!o.model.session.quiet) describe(train);
    if (o.dry_run && first_rank) show_targets(*s, train);
    Trainer t(*s, o.t, objective(), std::move(train), std::move(valid));
    if (!o.model.session.quiet) {
        fprintf(stderr, "dd: %zu numbers are trained, %d steps of %d x %d rows; %s\n", t.trained_numbers(), t.steps(),
                o.t.batch_size, o.t.grad_accum, t.plan().text().c_str());
        if (o.method == "dpo")
            fprintf(stderr, "dd: reference: %s%s\n", t.reference().c_str(),
                    o.t.precompute_ref ? ", computed once before the first step" : "");
    }
    if (o.dry_run) return t.check_memory();
    t.allocate();
    if (!o.model.session.quiet && ranks.size > 1) fprintf(stderr, "dd: gradients are summed %s\n", t.summed().c_str());

    const Json build = build_description(), files = hashes(*s);
    const char* precision = s->operand == Type::f32 ? "f32" : "bf16";
    Json alike = {{"program", build["version"]}, {"kernels", build["kernels"]}, {"precision", precision}};
    for (const auto& [name, hash] : files.items()) alike["SHA-256 of " + name] = hash;
    need_alike(ranks, alike);
    Json run = {{"flags", f.values()},
                {"build", build},
                {"hashes", files},
                {"steps", t.steps()},
                {"trained_numbers", t.trained_numbers()},
                {"precision", precision},
                {"memory_plan_bytes", t.plan().total()}};
    if (o.method == "dpo") run["reference"] = t.reference();
    int first = 0;
    if (o.resume && first_rank) {
        Json before = folder->description();
        if (!o.resume_force)
            need_same_run(before, run, {"threads", "resume", "resume-force", "quiet", "dry-run", "keep", "save-every",
                                        "eval-every", "config", "out", "ranks", "gpus", "device"});
        first = folder->resume(t);
        fprintf(stderr, "dd: %s: goes on after step %d of %d\n", o.out.c_str(), first, t.steps());
    } else if (first_rank) {
        folder->write_description(run);
    }
    first = std::stoi(ranks.gather(std::to_string(first))[0]);
    if (first && !first_rank) read_checkpoint(o.out, first, t);
    ::run(t, folder ? &*folder : nullptr, *s, first);
    if (!o.model.session.quiet)
        fprintf(stderr, "dd: done: %s/%s\n", o.out.c_str(), o.t.full ? "model" : edits ? "edits.json" : "adapter");
}

}  // namespace

void verb::train(const Flags& f) {
    watch_interrupts();
    if (o.gpus && (f.given("ranks") || f.given("device")))
        fail(Exit::usage,
             "--gpus says how many ranks there are and which device each has: leave --ranks and --device out");
    const auto ranks = join_ranks(o.gpus ? o.gpus : o.ranks, interrupted, how_to_go_on);
    if (!ranks) return;                             // those that were started here have done it
    try {
        train_as(*ranks, f);
    } catch (const LostRank&) {
        throw;                                      // another one says why
    } catch (const Error& e) {
        if (ranks->give_up(e.code)) throw;
        throw Error(e.code, "");
    } catch (...) {
        if (ranks->give_up(Exit::failed)) throw;
        throw Error(Exit::failed, "");
    }
}
