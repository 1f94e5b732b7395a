// info - what a model is; env - what this program and this machine are.
#include <sys/utsname.h>
#include <fstream>
#include <map>
#include "../kernels/devices.h"
#include "../kernels/parallel.h"
#include "../kernels/probe.h"
#include "../train/ranks.h"
#include "../train/run_folder.h"
#include "common.h"
#include "verbs.h"

namespace {

struct {
    ModelFlags model;
    bool json = false;
} o;
bool env_json = false;

// Bytes of cache for one sequence of `room` positions.
size_t cache_bytes(Session& s, int room) {
    Arena counting(size_t(1) << 42, true), states(size_t(1) << 42, true);
    Cache cache(states, 1, room, s.k.tokens_a_pass);
    Batch b;
    int id = 0;
    b.add(&id, 1, 0, 0);
    Pass p{nothing, counting, b.rows(), s.operand};
    p.cache = &cache;
    s.model->forward(p);
    return states.peak;
}

std::string list_of(const auto& counts) {
    std::string out;
    for (const auto& [name, n] : counts) out += (out.empty() ? "" : ", ") + format("%s x %zu", name.c_str(), size_t(n));
    return out;
}

}  // namespace

void verb::info_flags(Flags& f) {
    o.model.declare(f);
    f.add("json", &o.json, "", "one JSON object");
}

void verb::info(const Flags&) {
    o.model.session.quiet = true;
    o.model.session.pack = false;               // what it would take is known without doing it
    auto s = o.model.open();
    const Model& m = *s->model;
    std::map<std::string, int> types, heads;
    size_t stored = 0;
    for (const Stored& t : s->checkpoint.tensors()) types[t.dtype]++, stored += t.bytes;
    for (const Model::Block& b : m.blocks)
        heads[!b.heads ? b.kind
                       : format("%d/%d heads of %d%s", b.heads, b.kv_heads, b.head_size,
                                b.window ? format(", window %d", b.window).c_str() : "")]++;
    size_t long_room = std::max<size_t>(4096, 2 * size_t(s->k.tokens_a_pass)),      // longer than any ring
           per_token = (cache_bytes(*s, int(2 * long_room)) - cache_bytes(*s, int(long_room))) / long_room,
           per_sequence = cache_bytes(*s, int(long_room)) - per_token * long_room;
    size_t packed = packed_bytes(*s->model, s->k, s->operand);
    size_t parameters = parameter_count(*s->model);
    std::map<std::string, int> others = s->checkpoint.unused({}).other_parts;
    Json stops = Json::array();
    for (int id : s->stops()) stops.push_back({{"id", id}, {"token", s->tokenizer() ? s->tokenizer()->piece(id) : ""}});
    const ChatFormat* chat = s->tokenizer() ? s->chat() : nullptr;
    Json head = {{"rows", s->model->head().w->m.out},
                 {"tied", s->model->head().w->name != "lm_head.weight"}};
    Json out = {{"model", o.model.session.model},
                {"format", s->checkpoint.is_gguf() ? "GGUF" : "safetensors"},
                {"architecture", m.architecture},
                {"parameters", parameters},
                {"layers", m.layers},
                {"hidden_size", m.dim},
                {"vocabulary", m.vocabulary},
                {"context", m.context},
                {"attention", list_of(heads)},
                {"head", head},
                {"tensors", s->checkpoint.tensors().size()},
                {"types", types},
                {"other_parts", others},
                {"bytes",
                 {{"stored", stored},
                  {"packed", packed},
                  {"cache_per_token", per_token},
                  {"cache_per_sequence", per_sequence},
                  {"cache_4096_tokens", cache_bytes(*s, 4096)}}},
                {"tokenizer", s->tokenizer() ? Json(s->tokenizer()->kind()) : Json(nullptr)},
                {"chat_format", chat ? Json(chat->name) : Json(nullptr)},
                {"stops", stops}};
    if (o.json) return put(dump(out) + "\n");
    std::string ends;
    for (const Json& stop : stops)
        ends += format(" %s %d  ", stop["token"].get<std::string>().c_str(), stop["id"].get<int>());
    put(format("%s: %s, %s\n", o.model.session.model.c_str(), m.architecture.c_str(),
               s->checkpoint.is_gguf() ? "GGUF" : "safetensors"));
    put(format("  parameters   %zu\n", parameters));
    put(format("  sizes        %d layers, hidden %d, vocabulary %d, context %d\n", m.layers, m.dim, m.vocabulary,
               m.context));
    put(format("  attention    %s\n", list_of(heads).c_str()));
    put(format("  tensors      %zu: %s; of other parts, left alone: %s\n", s->checkpoint.tensors().size(),
               list_of(types).c_str(), others.empty() ? "none" : list_of(others).c_str()));
    put(format("  memory       %.1f MB stored, %.1f MB packed (%s, %s), cache %.1f KB a token, %.1f KB a sequence\n",
               double(stored) * 1e-6, double(packed) * 1e-6, s->k.name, s->operand == Type::f32 ? "f32" : "bf16",
               double(per_token) * 1e-3, double(per_sequence) * 1e-3));
    put(format("  tokenizer    %s\n", s->tokenizer() ? s->tokenizer()->kind().c_str() : "none"));
    put(format("  chat format  %s\n", chat ? chat->name : "none known"));
    put("  stops        " + ends + "\n");
}

void verb::env_flags(Flags& f) { f.add("json", &env_json, "", "one JSON object"); }

void verb::env(const Flags&) {
    utsname u{};
    uname(&u);
    Json out = build_description();
    out["system"] = std::string(u.sysname) + " " + u.release + " " + u.machine;
    out["instruction_sets"] = probe::instruction_sets();
    out["memory_available_bytes"] = available_memory();
    const Devices gpus = cuda_devices();
    out["devices"] = Json::array({"cpu"});
    out["gpus"] = Json::array();
    for (size_t i = 0; i < gpus.all.size(); i++) {
        const Device& d = gpus.all[i];
        if (d.unfit.empty()) out["devices"].push_back(format("cuda:%zu", i));
        out["gpus"].push_back({{"name", d.name},
                               {"memory_bytes", d.memory},
                               {"compute_capability", format("%d.%d", d.major, d.minor)},
                               {"unfit", d.unfit}});
    }
    out["no_gpus"] = gpus.why;
    out["cuda_of_driver"] = gpus.driver;
    out["mpi"] = mpi_library();
    out["nlohmann_json"] = json_library();
    if (env_json) printf("%s\n", dump(out).c_str());
    else
        for (auto& [key, value] : out.items())
            printf("%-22s %s\n", key.c_str(),
                   value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
}
