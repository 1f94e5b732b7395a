// bench - how fast the whole is, as a share of what this machine can do in the same second.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cmath>
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../kernels/parallel.h"
#include "../kernels/probe.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"
#include "../kernels/timed.h"
#include "../models/work.h"
#include "../train/run_folder.h"
#include "common.h"
#include "init.h"
#include "speed.h"
#include "verbs.h"

extern char** environ;

namespace {

struct {
    ModelFlags model;
    std::vector<std::string> only, types;
    int reps = 7;
    bool json = false, by_kernel = false;
} o;

const char* parts[] = {"prefill", "extract", "decode", "batch", "train", "recompute", "start"};

constexpr const char* sizes = R"({"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30,
"num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152,
"max_position_embeddings": 8192, "rope_theta": 100000, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
"initializer_range": 0.0416667, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})";

// A random model of SmolLM2-135M's sizes in a folder that goes away again.
struct RandomModel {
    std::string folder = format("%s/dd-bench-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    RandomModel() {
        if (!mkdtemp(folder.data()))
            fail(Exit::no_resource, "%s: no folder could be made here; TMPDIR chooses another place", folder.c_str());
        write_file(folder + "/sizes.json", sizes);
        init_model(folder + "/sizes.json", folder, 1, "bf16", "");
    }
    ~RandomModel() {
        for (const char* f : {"sizes.json", "config.json", "model.safetensors", "tokenizer.json"})
            unlink((folder + "/" + f).c_str());
        rmdir(folder.c_str());
    }
};

// A file that goes away again.
struct TempFile {
    const char* folder = getenv("TMPDIR");
    std::string path = format("%s/dd-bench-%d.safetensors", folder ? folder : "/tmp", int(getpid()));
    ~TempFile() { unlink(path.c_str()); }
};

// Every matrix in another type.
struct Requantise : Visit {
    Type to;
    Arena& mem;
    Requantise(Type to, Arena& mem) : to(to), mem(mem) {}
    void matrix(const std::string& name, Weight& w, int out, int in) override {
        if (w.m.w.type == to || in % info(to).block) return;
        Tensor from = w.m.w, t = mem.make(out, in, to);
        parallel(out, [&](int i, int) {
            std::vector<float> row(size_t(in), 0.0f);
            dequantize(from.type, from.slice(i, 1).data, row.data(), row.size());
            quantize(to, row.data(), t.slice(i, 1).data, row.size());
        });
        w.m.w = t, w.m.panels = nullptr;
        (void)name;
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string&, Tensor&, int, float) override {}
};

// ---- what is timed

struct Measured {
    std::string part, type;             // type of the weights
    std::string what;
    double tokens = 0;                  // in the time measured
    double counted = 0;                 // operations or bytes that the share is of
    std::string of;                     // which of them, in words
    probe::Limit limit = nullptr;
    probe::Timing t{};
    size_t resident = 0;                // at its highest
    std::vector<KernelTime> kernels{};
};

void time(Measured& m, const std::function<void()>& f, int reps, double least = 0.02) {
    f();
    m.resident = peak_resident_memory();                // before the bandwidth probe takes its own
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

Measured prefill(Session& s, const std::string& type) {
    constexpr int n = 512;
    Work w = forward_work(*s.model, 1, 0, n, 1);
    Measured m{"prefill", type, "a prompt of 512 tokens", n, w.body, "body operations", compute_limit(s)};
    reset_peak();
    time(m, [&] { run_generate(s, 1, n, 1); }, o.reps);
    return m;
}

// Activations of every block, of every token, to a file on disk, as a share of the same prompts walked plainly.
constexpr int extract_rows = 8, extract_tokens = 512;
Session* walked = nullptr;
double plain_prefill() {                                // billions of tokens a second, as limits are
    double begun = probe::now();
    run_generate(*walked, extract_rows, extract_tokens, 1);
    return extract_rows * extract_tokens / (probe::now() - begun) * 1e-9;
}

Measured extracting(Session& s, const std::string& type) {
    const double n = extract_rows * extract_tokens;
    Measured m{"extract", type, format("resid_post.* of %d x %d tokens to disk", extract_rows, extract_tokens), n, n,
               "tokens", plain_prefill};
    walked = &s;
    std::vector<Row> rows;
    for (int i = 0; i < extract_rows; i++) rows.push_back({i, some_ids(s, extract_tokens, uint64_t(i)), {}, 0, false});
    const std::vector<Tap> taps = parse_points(*s.model, "resid_post.*");
    std::vector<SafetensorsWriter::Item> items;
    for (const Tap& t : taps) items.push_back({t.name, Type::f32, {int64_t(n), t.width}});
    TempFile to;
    reset_peak();
    time(m, [&] {
        SafetensorsWriter file(to.path, items, {});
        extract(s, rows, taps, false, [&](size_t t, int64_t first, const float* data, int64_t count) {
            file.write(t, first, data, count);
        });
        file.commit();
    }, o.reps);
    return m;
}

// One sequence is limited by reading the weights, many by computing with them.
Measured decode(Session& s, const std::string& type, int sequences) {
    int tokens = sequences == 1 ? 128 : 64;
    double flops = 0, bytes = 0;
    for (int i = 0; i < tokens; i++) {
        Work w = forward_work(*s.model, sequences, i, 1, sequences);
        flops += w.body + w.head, bytes += w.weights + w.cache;
    }
    Measured m{sequences == 1 ? "decode" : "batch", type, format("%d x %d new tokens", sequences, tokens),
               double(sequences) * tokens};
    if (sequences == 1) m.counted = bytes, m.of = "weights and cache read", m.limit = probe::bandwidth;
    else m.counted = flops, m.of = "body and head operations", m.limit = compute_limit(s);
    reset_peak();
    time(m, [&] { run_generate(s, sequences, 1, tokens); }, o.reps);
    return m;
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

Measured training(Session& s, const std::string& type, bool recompute) {
    constexpr int rows = 4, tokens = 512, rank = 16;
    TrainOptions t;
    t.lora.rank = rank, t.lora.alpha = 32, t.lora.targets = {"all"};
    t.steps = 1 << 20, t.batch_size = rows, t.recompute = recompute;
    Work w = adapter_step_work(*s.model, rows, tokens, rows * (tokens - 1), rank);
    Measured m{recompute ? "recompute" : "train", type,
               format("a step of LoRA, rank 16, 4 rows of 512 tokens%s", recompute ? ", recomputing" : ""),
               rows * tokens, w.body + w.head, "4N operations", compute_limit(s)};
    reset_peak();
    {
        Trainer trainer(s, t, sft(), random_rows(s, rows, tokens), std::nullopt);
        int step = 0;
        time(m, [&] { trainer.step(++step); }, std::max(5, o.reps - 2));
        trainer.adapters().detach(*s.model);
    }
    return m;
}

// The whole of another process: load, one token, end.
void start_once(const std::string& model) {
    std::vector<std::string> words = {"dd",  "generate",     "--model", model,    "--prompt",
                                      "The", "--max-tokens", "1",       "--raw", "--quiet"};
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
        fail(Exit::failed, "bench: dd generate --model %s did not run to its end", model.c_str());
}

Measured start(const Session& s, const std::string& model, const std::string& type) {
    Measured m{"start", type, "process, load, first token", 1, 0, "", compute_limit(s)};
    time(m, [&] { start_once(model); }, o.reps, 0.5);
    m.resident = 0;
    return m;
}

// ---- the report

Json row(const Measured& m) {
    Json r = {{"part", m.part},
              {"weights", m.type},
              {"what", m.what},
              {"accepted", m.t.accepted},
              {"dropped", m.t.rejected}};
    if (!m.t.accepted) return r;
    r["seconds"] = m.t.seconds;
    r["spread"] = {m.t.low, m.t.high};
    if (m.resident) r["resident_bytes"] = m.resident;
    if (!m.counted) return r;
    r["tokens_per_second"] = m.tokens / m.t.seconds;
    r["counted"] = m.counted, r["counted_what"] = m.of;
    r["giga_per_second"] = m.counted / m.t.seconds * 1e-9;
    r["limit"] = m.limit == plain_prefill ? "prefill" : probe::name(m.limit), r["limit_giga_per_second"] = m.t.limit;
    r["share"] = m.counted / m.t.seconds * 1e-9 / m.t.limit;
    for (const KernelTime& k : m.kernels) r["kernels"][k.name] = {{"seconds", k.seconds}, {"calls", k.calls}};
    return r;
}

void print(const Measured& m) {
    std::string head = format("%-9s %-7s %-52s", m.part.c_str(), m.type.c_str(), m.what.c_str());
    if (!m.t.accepted) {
        printf("%s nothing: all %d repetitions were disturbed\n", head.c_str(), m.t.rejected);
        return;
    }
    if (!m.counted) printf("%s %.3f s", head.c_str(), m.t.seconds);
    else {
        double rate = m.counted / m.t.seconds * 1e-9;
        bool bytes = m.limit == probe::bandwidth;
        if (m.limit == plain_prefill)
            printf("%s %8.1f tok/s %21.1f %% of %.0f (the same prompts, nothing taken)", head.c_str(),
                   m.tokens / m.t.seconds, 100 * rate / m.t.limit, m.t.limit * 1e9);
        else
            printf("%s %8.1f tok/s %7.1f %s %5.1f %% of %.0f (%s)", head.c_str(), m.tokens / m.t.seconds, rate,
                   bytes ? "GB/s   " : "GFLOP/s", 100 * rate / m.t.limit, m.t.limit, probe::name(m.limit));
    }
    printf(", %+.0f .. %+.0f %% of %d", 100 * (m.t.low - 1), 100 * (m.t.high - 1), m.t.accepted);
    if (m.t.rejected) printf(", %d dropped", m.t.rejected);
    if (m.resident) printf(", %.2f GB", double(m.resident) * 1e-9);
    printf("\n");
    double rest = m.t.seconds;
    for (const KernelTime& k : m.kernels) {
        rest -= k.seconds;
        if (k.seconds > 0.005 * m.t.seconds)
            printf("          %-16s %5.1f %%, %.1f us a call\n", k.name.c_str(), 100 * k.seconds / m.t.seconds,
                   1e6 * k.seconds / double(k.calls));
    }
    if (!m.kernels.empty()) printf("          %-16s %5.1f %%\n", "elsewhere", 100 * rest / m.t.seconds);
    fflush(stdout);
}

bool wanted(const char* part) { return o.only.empty() || std::count(o.only.begin(), o.only.end(), part); }

std::vector<std::string> split_list(const std::vector<std::string>& given) {
    std::vector<std::string> out;
    for (const std::string& g : given)
        for (size_t at = 0; at <= g.size();) {
            size_t end = std::min(g.find(',', at), g.size());
            out.push_back(g.substr(at, end - at));
            at = end + 1;
        }
    return out;
}

Type type_named(const std::string& name) {
    for (Type t : {Type::f32, Type::f16, Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1}) {
        std::string n = info(t).name;
        for (char& c : n) c = char(tolower(c));
        if (n == name) return t;
    }
    fail(Exit::usage, "--types %s: stored, or one of f32, f16, bf16, q8_0, q4_0, q4_1", name.c_str());
}

}  // namespace

void verb::bench_flags(Flags& f) {
    o.model.declare(f);
    f.add("only", &o.only, "PART,..",
          "prefill, extract, decode, batch, train, recompute, start; default: all of them");
    f.add("types", &o.types, "TYPE,..",
          "weights as stored, or turned into f32, f16, bf16, q8_0, q4_0, q4_1; default: stored (a random model: bf16, "
          "q8_0, q4_1)");
    f.number("reps", &o.reps, "N", 5, 1000, "repetitions that count");
    f.add("by-kernel", &o.by_kernel, "", "also which kernels the time went to");
    f.add("json", &o.json, "",
          "one JSON object. Counted are: prefill and training, 2 out in a row for every matrix of the body (training "
          "4N: twice that, and the head); a batch, body and head; decoding, bytes of all matrices as stored and of the "
          "cache; extract, tokens, as a share of the same prompts with nothing taken. Other shares are of a probe in "
          "the same second; repetitions beside a busy process are dropped");
}

void verb::bench(const Flags&) {
    o.only = split_list(o.only), o.types = split_list(o.types);
    for (const std::string& p : o.only)
        if (std::none_of(std::begin(parts), std::end(parts), [&](const char* k) { return p == k; }))
            fail(Exit::usage, "--only %s: prefill, extract, decode, batch, train, recompute or start was expected",
                 p.c_str());
    if (o.model.session.device.starts_with("cuda"))
        fail(Exit::no_resource, "bench --device %s: shares are of limits that are measured on the CPU, a GPU's are not "
             "measured yet; --device cpu, or make ladder for kernels on a GPU", o.model.session.device.c_str());
    std::unique_ptr<RandomModel> random;
    if (o.model.session.model.empty()) {
        random = std::make_unique<RandomModel>();
        o.model.session.model = random->folder;
        if (o.types.empty()) o.types = {"bf16", "q8_0", "q4_1"};
    }
    if (o.types.empty()) o.types = {"stored"};
    if (o.by_kernel) o.model.session.kernels = &timed(cpu());
    Json rows = Json::array();
    auto report = [&](const Measured& m) {
        if (o.json) rows.push_back(row(m));
        else print(m);
    };
    std::string kernels, precision, model = o.model.session.model;
    for (size_t i = 0; i < o.types.size(); i++) {
        const std::string& type = o.types[i];
        bool stored = type == "stored";
        o.model.session.quiet = i > 0 || o.json;
        o.model.session.pack = stored;
        auto s = o.model.open();
        if (!stored) {
            Requantise visit(type_named(type), s->weights);
            s->model->weights(visit);
            pack_weights(*s->model, s->k, s->operand, s->weights);
            s->checkpoint.drop_pages();
        }
        kernels = s->k.name, precision = s->operand == Type::f32 ? "f32" : "bf16";
        if (wanted("prefill")) report(prefill(*s, type));
        if (wanted("extract") && i == 0) report(extracting(*s, type));
        if (wanted("decode")) report(decode(*s, type, 1));
        if (wanted("batch")) report(decode(*s, type, 32));
        if (i > 0) continue;                            // the way back differs little by type
        if (wanted("train")) report(training(*s, type, false));
        if (wanted("recompute")) report(training(*s, type, true));
        if (wanted("start")) report(start(*s, model, "stored"));
    }
    if (!o.json) return;
    Json out = build_description();
    out["model"] = random ? Json("random, SmolLM2-135M's sizes") : Json(model);
    out["kernels"] = kernels, out["precision"] = precision, out["threads"] = threads(), out["rows"] = rows;
    printf("%s\n", dump(out).c_str());
}
