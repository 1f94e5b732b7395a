#include "measure.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include "../engine/safetensors.h"
#include "../kernels/parallel.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"
#include "../models/work.h"
#include "../train/run_folder.h"
#include "speed.h"

extern char** environ;

namespace {

void time(Measured& m, const Session& s, const std::function<void()>& f, int reps, double least = 0.02) {
    f();
    if (s.k.memory->host) m.resident = peak_resident_memory();  // before the bandwidth probe takes its own
    take_kernel_times();
    int runs = 0;
    m.t = probe::measure([&] { f(), runs++; }, m.limit, reps, least);
    m.kernels = take_kernel_times();
    for (KernelTime& k : m.kernels) k.seconds /= runs, k.calls /= runs;
}

// The most memory that was resident, counted from here on.
void reset_peak() {
    probe::release();
    if (FILE* f = fopen("/proc/self/clear_refs", "w")) {
        fputs("5", f);
        fclose(f);
    }
}

std::vector<int> some_ids(const Session& s, size_t n, uint64_t which) {
    Random random(1, which);
    std::vector<int> ids(n);
    for (int& id : ids) id = int(random.below(uint32_t(s.model->vocabulary)));
    return ids;
}

void run_generate(Session& s, int sequences, int prompt, int tokens) {
    std::vector<Request> requests(size_t(sequences), Request{});
    for (size_t i = 0; i < requests.size(); i++) requests[i].prompt = some_ids(s, size_t(prompt), i);
    GenerateOptions g;
    g.max_tokens = tokens, g.slots = sequences, g.ignore_eos = true;
    generate(s, requests, g);
}

Dataset random_rows(const Session& s, int rows, int tokens) {
    Dataset d;
    d.path = "bench", d.kind = "sft";
    for (int i = 0; i < rows; i++) {
        std::vector<int> ids = some_ids(s, size_t(tokens), uint64_t(i));
        d.examples.push_back({{Sequence{ids, ids}}, Json(i), i});
    }
    return d;
}

// A file that goes away again.
struct TempFile {
    const char* folder = getenv("TMPDIR");
    std::string path = format("%s/dd-bench-%d.safetensors", folder ? folder : "/tmp", int(getpid()));
    ~TempFile() { unlink(path.c_str()); }
};

// The prompts that extract walks, with nothing taken: billions of tokens a second, as limits are.
constexpr int extract_rows = 8, extract_tokens = 512;
Session* walked = nullptr;
const probe::Probe plain = {"the same prompts, nothing taken", [] {
    const double begun = probe::now();
    run_generate(*walked, extract_rows, extract_tokens, 1);
    return extract_rows * extract_tokens / (probe::now() - begun) * 1e-9;
}};

// The whole of another process: load, one token, end.
void start_once(const SessionOptions& o) {
    std::vector<std::string> words = {"dd",       "generate", "--model",      o.model, "--device", o.device,
                                      "--prompt", "The",      "--max-tokens", "1",     "--raw",    "--quiet"};
    std::vector<char*> argv;
    for (std::string& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    pid_t child;
    int status = 0, error = posix_spawn(&child, "/proc/self/exe", &files, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (error || waitpid(child, &status, 0) != child || status)
        fail(Exit::failed, "bench: dd generate --model %s did not run to its end", o.model.c_str());
}

struct Requantise : Visit {
    Session& s;
    Type to;
    Requantise(Session& s, Type to) : s(s), to(to) {}
    void matrix(const std::string& name, Weight& w, int out, int in) override {
        if (w.m.w.type == to || in % info(to).block) return;
        const Memory& memory = *s.k.memory;
        Tensor from = w.m.w, t{nullptr, out, in, to};
        if (!memory.host && info(from.type).block > 1)
            fail(Exit::usage, "--types %s: %s is in blocks of %s already; stored was expected, or a model in floats",
                 info(to).name, name.c_str(), info(from.type).name);
        std::vector<char> fetched, made;
        if (!memory.host) {
            fetched.resize(from.bytes()), made.resize(t.bytes());
            memory.download(fetched.data(), from.data, from.bytes());
            from.data = fetched.data(), t.data = made.data();
        } else {
            t = s.weights.make(out, in, to);
        }
        parallel(out, [&](int i, int) {
            std::vector<float> row(size_t(in), 0.0f);
            dequantize(from.type, from.slice(i, 1).data, row.data(), row.size());
            quantize(to, row.data(), t.slice(i, 1).data, row.size());
        });
        w.m.w = s.weights.hold(t), w.m.panels = nullptr;
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string&, Tensor&, int, float) override {}
};

}  // namespace

Amounts amounts_for(const Session& s) {
    Amounts a;
    if (!s.k.memory->host) a.prompt = 2048, a.rows = 16, a.length = 2048;
    return a;
}

Measured measure_prefill(Session& s, const std::string& type, const Amounts& a) {
    Work w = forward_work(*s.model, 1, 0, a.prompt, 1);
    Measured m{"prefill", type, format("a prompt of %d tokens", a.prompt), double(a.prompt), w.body, "body operations",
               compute_limit(s)};
    reset_peak();
    time(m, s, [&] { run_generate(s, 1, a.prompt, 1); }, a.reps);
    return m;
}

Measured measure_extract(Session& s, const std::string& type, const Amounts& a) {
    const double n = extract_rows * extract_tokens;
    Measured m{"extract", type, format("resid_post.* of %d x %d tokens to disk", extract_rows, extract_tokens), n, n,
               "tokens", &plain};
    walked = &s;
    std::vector<Row> rows;
    for (int i = 0; i < extract_rows; i++) rows.push_back({i, some_ids(s, extract_tokens, uint64_t(i)), {}, 0, false});
    const std::vector<Tap> taps = parse_points(*s.model, "resid_post.*");
    std::vector<SafetensorsWriter::Item> items;
    for (const Tap& t : taps) items.push_back({t.name, Type::f32, {int64_t(n), t.width}});
    TempFile to;
    reset_peak();
    time(m, s, [&] {
        SafetensorsWriter file(to.path, items, {});
        extract(s, rows, taps, false, [&](size_t t, int64_t first, const float* data, int64_t count) {
            file.write(t, first, data, count);
        });
        file.commit();
    }, a.reps);
    return m;
}

// One sequence is limited by reading the weights, many by computing with them.
Measured measure_decode(Session& s, const std::string& type, const Amounts& a, int sequences) {
    int tokens = sequences == 1 ? a.alone : a.together;
    double flops = 0, bytes = 0;
    for (int i = 0; i < tokens; i++) {
        Work w = forward_work(*s.model, sequences, i, 1, sequences);
        flops += w.body + w.head, bytes += w.weights + w.cache;
    }
    Measured m{sequences == 1 ? "decode" : "batch", type, format("%d x %d new tokens", sequences, tokens),
               double(sequences) * tokens};
    if (sequences == 1) m.counted = bytes, m.of = "weights and cache read", m.limit = bandwidth_limit(s);
    else m.counted = flops, m.of = "body and head operations", m.limit = compute_limit(s);
    reset_peak();
    time(m, s, [&] { run_generate(s, sequences, 1, tokens); }, a.reps);
    return m;
}

Measured measure_training(Session& s, const std::string& type, const Amounts& a, bool recompute) {
    constexpr int rank = 16;
    TrainOptions t;
    t.lora.rank = rank, t.lora.alpha = 32, t.lora.targets = {"all"};
    t.steps = 1 << 20, t.batch_size = a.rows, t.recompute = recompute;
    Work w = adapter_step_work(*s.model, a.rows, a.length, a.rows * (a.length - 1), rank);
    Measured m{recompute ? "recompute" : "train", type,
               format("a step of LoRA, rank %d, %d rows of %d tokens%s", rank, a.rows, a.length,
                      recompute ? ", recomputing" : ""),
               double(a.rows) * a.length, w.body + w.head, "4N operations", compute_limit(s)};
    reset_peak();
    Trainer trainer(s, t, sft(), random_rows(s, a.rows, a.length), std::nullopt);
    struct Detach {                                     // also when a step does not fit
        Trainer& trainer;
        Model& model;
        ~Detach() { trainer.adapters().detach(model); }
    } detach{trainer, *s.model};
    int step = 0;
    time(m, s, [&] { trainer.step(++step); }, std::min(a.reps, std::max(5, a.reps - 2)));
    return m;
}

Measured measure_start(const Session& s, const SessionOptions& o, const Amounts& a) {
    Measured m{"start", "stored", "process, load, first token", 1, 0, "", compute_limit(s)};
    time(m, s, [&] { start_once(o); }, a.reps, 0.5);
    m.resident = 0;
    return m;
}

void requantise(Session& s, Type to) {
    Requantise visit(s, to);
    s.model->weights(visit);
    pack_weights(*s.model, s.k, s.operand, s.weights);
    s.checkpoint.drop_pages();
}
