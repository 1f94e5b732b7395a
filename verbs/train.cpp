// train - fine-tuning: LoRA or every weight, supervised or by preferences.
#include <filesystem>
#include "../engine/file.h"
#include "../kernels/parallel.h"
#include "../models/work.h"
#include "../train/edits.h"
#include "../train/run_folder.h"
#include "init.h"
#include "speed.h"
#include "train_flags.h"
#include "verbs.h"

namespace {

TrainFlags o;

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

// The sizes of --init random as a model in the run's folder, made once.
void make_model(Ranks& ranks) {
    const std::string fresh = o.out + "/init";
    if (ranks.rank == 0 && !exists(fresh + "/config.json"))
        init_model(new_model(o.config_json, o.preset), fresh, uint64_t(o.seed), "f32", o.model.session.model);
    o.model.session.model = fresh;
    ranks.wait();
}

struct Datasets { Dataset train; std::optional<Dataset> valid; };

// The model, and the rows, which are read before its weights are packed.
std::unique_ptr<Session> open(Datasets& rows, const Flags& f) {
    return o.model.open([&](Session& s) {
        const int context = s.model->context;
        if (o.length.max_length > context && f.given("max-length"))
            fail(Exit::usage, "--max-length %d: this model's context is %d", o.length.max_length, context);
        o.length.max_length = std::min(o.length.max_length, context);
        check_what_is_read_later(s);
        RowReader reader = s.reader();
        reader.raw = o.raw, reader.longest = 0;     // --max-length says it better
        rows.train = read(o.train_file, reader);
        if (!o.valid_file.empty()) rows.valid = read(o.valid_file, reader);
    });
}

void describe(const Trainer& t) {
    fprintf(stderr, "dd: %zu numbers are trained, %d steps of %d x %d rows; %s\n", t.trained_numbers(), t.steps(),
            o.t.batch_size, o.t.grad_accum, t.plan().text().c_str());
    if (o.method == "dpo")
        fprintf(stderr, "dd: reference: %s%s\n", t.reference().c_str(),
                o.t.precompute_ref ? ", computed once before the first step" : "");
}

// The step that the run goes on from: of --resume, or 0. Ranks that are not the same program on the same files are
// Exit::usage; the run is described in its folder before its first step.
int begin(Trainer& t, RunFolder* folder, Session& s, const Flags& f) {
    Ranks& ranks = t.ranks();
    const Json build = build_description(), files = hashes(s);
    const char* precision = s.operand == Type::f32 ? "f32" : "bf16";
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
    if (folder && o.resume) {
        if (!o.resume_force)
            need_same_run(folder->description(), run,
                          {"threads", "resume", "resume-force", "quiet", "dry-run", "keep", "save-every", "eval-every",
                           "config", "out", "ranks", "gpus", "device"});
        first = folder->resume(t);
        fprintf(stderr, "dd: %s: goes on after step %d of %d\n", o.out.c_str(), first, t.steps());
    } else if (folder) {
        folder->write_description(run);
    }
    first = std::stoi(ranks.gather(std::to_string(first))[0]);
    if (first && !folder) read_checkpoint(o.out, first, t);
    return first;
}

void train_as(Ranks& ranks, const Flags& f) {
    take_place(ranks, f);
    o.settle();
    const bool talks = !o.model.session.quiet;
    std::optional<RunFolder> folder;                // rank 0's; in a dry run it only checks, and leaves nothing behind
    if (ranks.rank == 0 && (!o.dry_run || !o.out.empty())) folder.emplace(o.out, o.resume);
    if (o.init == "random") make_model(ranks);
    Datasets rows;
    const auto s = open(rows, f);
    if (talks) describe(rows.train);
    if (o.dry_run && ranks.rank == 0) show_targets(*s, rows.train);
    Trainer t(*s, o.t, o.objective(), std::move(rows.train), std::move(rows.valid));
    if (talks) describe(t);
    if (o.dry_run) return t.check_memory();
    t.allocate();
    if (talks && ranks.size > 1) fprintf(stderr, "dd: gradients are summed %s\n", t.summed().c_str());
    RunFolder* const of_rank_0 = folder ? &*folder : nullptr;
    run(t, of_rank_0, *s, begin(t, of_rank_0, *s, f));
    if (talks)
        fprintf(stderr, "dd: done: %s/%s\n", o.out.c_str(),
                o.t.full ? "model" : o.trains_edits() ? "edits.json" : "adapter");
}

}  // namespace

void verb::train_flags(Flags& f) { o.declare(f); }

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
