// eval - judge a model, with and without what is claimed to change it, paired by item.
//
// The folder of a judgement:
//   run.json              every resolved flag, the build, hashes, the arms
//   answers-ARM.jsonl     what the model answered, a line an item, as it came: what --resume goes on from
//   items-ARM.jsonl       the same judged, in the order of the items
//   report.json, .txt     the table and all its numbers
//   speed.txt             tokens and operations a second, and their share of the machine's
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include "../engine/file.h"
#include "../eval/task.h"
#include "../models/work.h"
#include "../train/run_folder.h"
#include "common.h"
#include "gym_flags.h"
#include "speed.h"
#include "verbs.h"

namespace {

struct {
    ModelFlags model;
    GymFlags gym;
    TaskOptions task;
    std::string name, against = "none", out;
    bool list = false, alone = false, json = false, resume = false, want_think = false;
} o;

// Answers on disk, appended as they come.
class AnswerFile {
public:
    explicit AnswerFile(const std::string& path) : path_(path) {}
    ~AnswerFile() {
        if (file_) fclose(file_);
    }

    // What an earlier run left, by item; a torn last line is dropped.
    std::vector<std::optional<Json>> read(size_t items) const {
        std::vector<std::optional<Json>> all(items);
        std::ifstream in(path_, std::ios::binary);
        for (std::string line; std::getline(in, line);) {
            Json o = parse_json_or_null(line);
            if (!o.is_object() || !o.contains("item") || !o.contains("answer")) continue;
            size_t i = o["item"];
            if (i < items) all[i] = o["answer"];
        }
        return all;
    }

    void add(size_t item, const Json& answer) {
        std::string line = dump({{"item", item}, {"answer", answer}}) + "\n";
        if (!file_) file_ = fopen(path_.c_str(), "a");
        if (!file_ || fwrite(line.data(), 1, line.size(), file_) != line.size() || fflush(file_))
            fail(Exit::no_resource, "%s: cannot be written (%s)", path_.c_str(), strerror(errno));
    }

private:
    std::string path_;
    FILE* file_ = nullptr;
};

struct ArmFlags {
    std::string name;
    ModelFlags model;
};

// What --model, --adapter and the edits describe, last; before it, what it is compared with.
std::vector<ArmFlags> arms() {
    const ModelFlags& m = o.model;
    bool adapted = !m.session.adapters.empty(), edited = m.has_edits(), other = o.against != "none";
    std::vector<ArmFlags> all;
    if (!o.alone && (adapted || edited || other)) {
        ArmFlags before{other ? "against" : "base", m};
        before.model.session.adapters.clear();
        if (other) before.model.session.adapters.push_back(o.against);
        before.model.clear_edits();
        all.push_back(before);
    }
    all.push_back({adapted && edited ? "adapter+edits" : adapted ? "adapter" : edited ? "edits" : "model", m});
    if (all.size() == 2 && all[0].name == "against" && !adapted && !edited) all[1].name = "base";
    return all;
}

Json hashes(const ModelFlags& m) {
    Json h = {{"model", sha256_of_file(Checkpoint(m.session.model).file_of_weights())}};
    auto adapter = [&](const std::string& name, std::string path) {
        if (!exists(path) && path.rfind(':') != path.npos) path.resize(path.rfind(':'));
        h[name] = sha256_of_file(path + "/adapter_model.safetensors");
    };
    for (size_t i = 0; i < m.session.adapters.size(); i++)
        adapter("adapter " + std::to_string(i), m.session.adapters[i]);
    if (o.against != "none") adapter("against", o.against);
    if (!o.task.data.empty()) h["data"] = sha256_of_file(o.task.data);
    return h;
}

// Answers of one arm, those of an earlier run included.
TaskArm answer(Task& task, const ArmFlags& flags, std::string& speed) {
    ModelFlags model = flags.model;
    auto s = model.open();
    AnswerFile file(o.out + "/answers-" + flags.name + ".jsonl");
    std::vector<std::optional<Json>> got = file.read(task.items());
    std::set<size_t> done;
    for (size_t i = 0; i < got.size(); i++)
        if (got[i]) done.insert(i);
    if (!done.empty() && !o.model.session.quiet)
        fprintf(stderr, "dd: %s: %zu of %zu answers are there already\n", flags.name.c_str(), done.size(), got.size());
    using Clock = std::chrono::steady_clock;
    auto start = Clock::now();
    auto since = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    size_t before = done.size();
    Task::Walked all{0, 0};
    Progress progress;
    task.run(*s, std::set<size_t>(done), [&](size_t item, Json a) {
        file.add(item, a);
        Task::Walked one = task.walked(item, a);
        all.tokens += one.tokens, all.heads += one.heads;
        got[item] = std::move(a);
        done.insert(item);
        double left = since() / double(done.size() - before) * double(got.size() - done.size());
        progress.show(format("%s: %zu of %zu items, %s left", flags.name.c_str(), done.size(), got.size(),
                             duration(left).c_str()));
        if (interrupted()) {
            progress.clear();
            fail(Exit::interrupted, "interrupted after %zu of %zu items of %s; --resume --out %s goes on from there",
                 done.size(), got.size(), flags.name.c_str(), o.out.c_str());
        }
    });
    progress.clear();
    double seconds = since();
    Work w = forward_work(*s->model, 1, 0, 1, 1);
    double flops = w.body * double(all.tokens) + w.head * double(all.heads);
    std::string line = format("judging %s: %zu items, %lld tokens in %s: ", flags.name.c_str(), done.size() - before,
                              (long long)all.tokens, duration(seconds).c_str()) +
                       against_machine(*s, double(all.tokens), flops, seconds);
    speed += line + "\n";
    if (!o.model.session.quiet) fprintf(stderr, "dd: %s\n", line.c_str());
    TaskArm arm{flags.name, {}};
    for (std::optional<Json>& a : got) {
        require(a.has_value(), "eval: an item was not answered");
        arm.answers.push_back(std::move(*a));
    }
    return arm;
}

void open_folder(const Json& run) {
    if (o.out.empty()) fail(Exit::usage, "--out is missing: the folder of the judgement");
    std::string description = o.out + "/run.json";
    if (o.resume) {
        if (!exists(description)) fail(Exit::usage, "--resume: %s holds no judgement (no run.json)", o.out.c_str());
        Json before = read_json_file(description);
        need_same_run(before, run, {"threads", "slots", "resume", "quiet", "config", "out", "json"});
        return;
    }
    if (exists(o.out) && !(is_folder(o.out) && std::filesystem::is_empty(o.out)))
        fail(Exit::usage, "--out %s: there is something already; choose another folder, or --resume", o.out.c_str());
    make_folders(o.out);
    write_file(description, run.dump(2) + "\n");
}

}  // namespace

void verb::eval_flags(Flags& f) {
    std::vector<std::string> names;
    for (const TaskEntry& t : tasks()) names.push_back(t.name);
    f.choice("task", &o.name, names, "what to judge by (--list says what each is)");
    f.add("list", &o.list, "", "the tasks, a line each");
    o.model.declare(f);
    o.model.declare_edits(f);
    f.add("against", &o.against, "ADAPTER|none", "what to compare with: this adapter, or the model as it is");
    f.add("alone", &o.alone, "", "no comparison: only the model with its adapter and edits");
    f.add("out", &o.out, "RUN", "the folder of the judgement");
    f.add("data", &o.task.data, "F.jsonl", "loss: the rows");
    f.add("raw", &o.task.raw, "", "loss: prompts are plain text, not conversations");
    o.gym.declare(f, "test", 300);
    f.number("max-tokens", &o.task.max_tokens, "N", 1, 1 << 20,
             "gym: most new tokens an answer; longer ones are wrong");
    f.add("think", &o.want_think, "", "gym: let a thinking model think; --no-think: tell it not to");
    f.number("slots", &o.task.slots, "N", 1, 4096, "gym: answers at a time; scores do not depend on it");
    f.add("resume", &o.resume, "", "go on with the judgement in --out");
    f.add("json", &o.json, "", "the report as one JSON object instead of the table");
}

void verb::eval(const Flags& f) {
    if (o.list) {
        for (const TaskEntry& t : tasks()) printf("%-8s %s\n", t.name, t.help);
        return;
    }
    if (o.name.empty()) fail(Exit::usage, "--task is missing (dd eval --list)");
    if (o.model.session.model.empty())
        fail(Exit::usage, "--model is missing: a Hugging Face directory or a .gguf file");
    o.model.session.deterministic = true;
    watch_interrupts();
    o.task.gym = o.gym.options();
    o.task.interrupted = interrupted;
    if (f.given("think")) o.task.think = o.want_think;
    const TaskEntry* entry = nullptr;
    for (const TaskEntry& t : tasks())
        if (o.name == t.name) entry = &t;
    Json run = {{"flags", f.values()}, {"build", build_description()}, {"hashes", hashes(o.model)}};
    std::unique_ptr<Task> task;
    {                                   // bad rows and bad flags are said before anything is written
        for (ArmFlags& arm : arms()) {
            arm.model.session.pack = false, arm.model.session.quiet = true;
            auto s = arm.model.open();
            if (!task) task = entry->make(*s, o.task);
        }
    }
    open_folder(run);
    std::vector<TaskArm> answered;
    std::string speed;
    for (const ArmFlags& arm : arms()) {
        answered.push_back(answer(*task, arm, speed));
        std::string lines;
        for (size_t i = 0; i < task->items(); i++) lines += dump(task->row(i, answered.back().answers[i])) + "\n";
        write_file(o.out + "/items-" + arm.name + ".jsonl", lines);
    }
    TaskReport report = task->report(answered);
    write_file(o.out + "/report.json", report.json.dump(2) + "\n");
    write_file(o.out + "/report.txt", report.table);
    write_file(o.out + "/speed.txt", speed);
    if (o.json) printf("%s\n", dump(report.json).c_str());
    else printf("%s", report.table.c_str());
}
