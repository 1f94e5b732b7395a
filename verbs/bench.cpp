// bench - how fast the whole is, as a share of what this machine can do in the same second.
#include <unistd.h>
#include <algorithm>
#include <charconv>
#include "../engine/file.h"
#include "../kernels/parallel.h"
#include "../train/run_folder.h"
#include "common.h"
#include "init.h"
#include "measure.h"
#include "verbs.h"

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

// ---- the report

Json row(const Measured& m) {
    Json r = {{"part", m.part},
              {"weights", m.type},
              {"what", m.what},
              {"accepted", m.t.accepted},
              {"dropped", m.t.rejected}};
    if (m.t.fastest > 0) r["fastest_seconds"] = m.t.fastest, r["tokens"] = m.tokens;
    if (!m.why.empty()) r["why"] = m.why;
    if (!m.t.accepted) return r;
    r["seconds"] = m.t.seconds;
    r["spread"] = {m.t.low, m.t.high};
    if (m.t.apart > 0) r["cores_apart_ns"] = m.t.apart;
    if (m.resident) r["resident_bytes"] = m.resident;
    if (!m.counted) return r;
    r["tokens_per_second"] = m.tokens / m.t.seconds;
    r["counted"] = m.counted, r["counted_what"] = m.of;
    r["giga_per_second"] = m.counted / m.t.seconds * 1e-9;
    r["limit"] = m.limit->name, r["limit_giga_per_second"] = m.t.limit;
    r["share"] = m.counted / m.t.seconds * 1e-9 / m.t.limit;
    for (const KernelTime& k : m.kernels) r["kernels"][k.name] = {{"seconds", k.seconds}, {"calls", k.calls}};
    return r;
}

void print(const Measured& m) {
    std::string head = format("%-9s %-7s %-52s", m.part.c_str(), m.type.c_str(), m.what.c_str());
    if (!m.why.empty()) {
        printf("%s not run: %s\n", head.c_str(), m.why.c_str());
        return;
    }
    if (!m.t.accepted) {
        printf("%s nothing: all %d repetitions were disturbed\n", head.c_str(), m.t.rejected);
        return;
    }
    if (!m.counted) printf("%s %.3f s", head.c_str(), m.t.seconds);
    else {
        double rate = m.counted / m.t.seconds * 1e-9;
        if (m.of == "tokens")
            printf("%s %8.1f tok/s %21.1f %% of %.0f (%s)", head.c_str(), m.tokens / m.t.seconds,
                   100 * rate / m.t.limit, m.t.limit * 1e9, m.limit->name);
        else
            printf("%s %8.1f tok/s %7.1f %s %5.1f %% of %.0f (%s)", head.c_str(), m.tokens / m.t.seconds, rate,
                   m.limit->bytes ? "GB/s   " : "GFLOP/s", 100 * rate / m.t.limit, m.t.limit, m.limit->name);
    }
    printf(", %+.0f .. %+.0f %% of %d", 100 * (m.t.low - 1), 100 * (m.t.high - 1), m.t.accepted);
    if (m.t.rejected) printf(", %d dropped", m.t.rejected);
    if (m.resident) printf(", %.2f GB", double(m.resident) * 1e-9);
    if (m.t.apart > 0) printf(", cores %.0f ns apart", m.t.apart);
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

// The kernels that the session would choose, each timed.
const Kernels& timed_kernels(const SessionOptions& o) {
    if (!o.device.starts_with("cuda")) return timed(cpu());
    int number = 0;
    std::string digits = o.device == "cuda" ? "0" : o.device.substr(std::min<size_t>(5, o.device.size()));
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || *end || number < 0)
        fail(Exit::usage, "--device %s: cpu, cuda, cuda:N or auto was expected", o.device.c_str());
    return timed(cuda(number, o.deterministic));
}

// A row, or why there is none: a device may have too little memory for one of them.
template <class F> Measured attempt(const Session& s, const char* part, const std::string& type, F measure) {
    try {
        return measure();
    } catch (const Error& e) {
        if (s.k.memory->host || e.code != Exit::no_resource) throw;
        Measured m{part, type, ""};
        m.why = e.what();
        return m;
    }
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
           "the same second, on a GPU of one read there; repetitions beside a busy process are dropped");
}

void verb::bench(const Flags&) {
    o.only = parts_of(o.only), o.types = parts_of(o.types);
    for (const std::string& p : o.only)
        if (std::none_of(std::begin(parts), std::end(parts), [&](const char* k) { return p == k; }))
            fail(Exit::usage, "--only %s: prefill, extract, decode, batch, train, recompute or start was expected",
                 p.c_str());
    const Kernels& each_timed = timed_kernels(o.model.session);     // no device: said before a model is made for it
    std::unique_ptr<RandomModel> random;
    if (o.model.session.model.empty()) {
        random = std::make_unique<RandomModel>();
        o.model.session.model = random->folder;
        if (o.types.empty()) o.types = {"bf16", "q8_0", "q4_1"};
    }
    if (o.types.empty()) o.types = {"stored"};
    if (o.by_kernel) o.model.session.kernels = &each_timed;
    Json rows = Json::array();
    auto report = [&](const Measured& m) {
        if (o.json) rows.push_back(row(m));
        else print(m);
    };
    std::string kernels, precision;
    for (size_t i = 0; i < o.types.size(); i++) {
        const std::string& type = o.types[i];
        bool stored = type == "stored";
        o.model.session.quiet = i > 0 || o.json;
        o.model.session.pack = stored;
        auto s = o.model.open();
        if (!stored) requantise(*s, type_named(type));
        kernels = s->k.name, precision = s->operand == Type::f32 ? "f32" : "bf16";
        Amounts a = amounts_for(*s);
        a.reps = o.reps;
        auto part = [&](const char* name, auto measure) {
            if (wanted(name)) report(attempt(*s, name, type, measure));
        };
        part("prefill", [&] { return measure_prefill(*s, type, a); });
        if (i == 0) part("extract", [&] { return measure_extract(*s, type, a); });
        part("decode", [&] { return measure_decode(*s, type, a, 1); });
        part("batch", [&] { return measure_decode(*s, type, a, a.batch); });
        if (i > 0) continue;                            // the way back differs little by type
        part("train", [&] { return measure_training(*s, type, a, false); });
        part("recompute", [&] { return measure_training(*s, type, a, true); });
        part("start", [&] { return measure_start(*s, o.model.session, a); });
    }
    if (!o.json) return;
    Json out = build_description();
    out["model"] = random ? Json("random, SmolLM2-135M's sizes") : Json(o.model.session.model);
    out["kernels"] = kernels, out["precision"] = precision, out["threads"] = threads(), out["rows"] = rows;
    printf("%s\n", dump(out).c_str());
}
