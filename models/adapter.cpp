#include "adapter.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../engine/split.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"

namespace {

struct EachMatrix : Visit {
    std::vector<Weight*> all;
    std::set<std::string> spares;           // what an adapter made elsewhere may hold to no effect
    void matrix(const std::string&, Weight& w, int, int) override { all.push_back(&w); }
    void table(const std::string&, Weight&, int, int) override {}
    void vector(const std::string&, Tensor&, int, float) override {}
    void spare(const std::string& name) override { spares.insert(name.substr(0, name.rfind(".weight"))); }
};

std::vector<Weight*> matrices(Model& model) {
    EachMatrix each;
    model.weights(each);
    return each.all;
}

std::string module_of(const Weight& w) { return w.name.substr(0, w.name.rfind(".weight")); }
std::string suffix_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

// "…model.layers.0.x" of any wrapper -> "model.layers.0.x"; empty: not a LoRA tensor's name.
std::string module_of_key(const std::string& key, char* half, std::string* prefix) {
    const std::string start = "base_model.model.", a = ".lora_A.weight", b = ".lora_B.weight";
    if (!key.starts_with(start) || !(key.ends_with(a) || key.ends_with(b))) return "";
    *half = key.ends_with(a) ? 'A' : 'B';
    std::string module = key.substr(start.size(), key.size() - start.size() - a.size());
    for (const char* wrapper : {"model.language_model.", "language_model.model."})
        if (module.starts_with(wrapper)) {
            *prefix = wrapper;
            return "model." + module.substr(strlen(wrapper));
        }
    return module;
}

double pattern_value(const auto& pattern, const std::string& module, double otherwise) {
    for (const auto& [name, value] : pattern)
        if (module == name || module.ends_with("." + name)) return value;
    return otherwise;
}

}  // namespace

double LoraConfig::scale(const std::string& module) const {
    double r = pattern_value(rank_pattern, module, rank), a = pattern_value(alpha_pattern, module, alpha);
    return rslora ? a / std::sqrt(r) : a / r;
}

LoraConfig read_adapter_config(const std::string& folder) {
    std::string who = folder + "/adapter_config.json";
    if (!exists(who))
        fail(Exit::bad_input, "%s: no adapter_config.json here; a PEFT adapter directory was expected", folder.c_str());
    Json c = read_json_file(who);
    LoraConfig l;
    std::string type = get_string(c, "peft_type", who);
    if (type != "LORA") fail(Exit::bad_input, "%s: peft_type \"%s\"; only LORA is known", who.c_str(), type.c_str());
    for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"})
        if (get_bool(c, key, who, false))
            fail(Exit::bad_input, "%s: %s is true, which is not known here", who.c_str(), key);
    if (get_string(c, "bias", who, "none") != "none")
        fail(Exit::bad_input, "%s: bias is not \"none\", which is not known here", who.c_str());
    if (const Json* m = find(c, "modules_to_save"); m && !m->empty())
        fail(Exit::bad_input, "%s: modules_to_save is set; only adapters made of lora_A and lora_B are known",
             who.c_str());
    l.rank = int(get_int(c, "r", who, 1, 1 << 16, 8));
    l.alpha = get_number(c, "lora_alpha", who, 8);
    l.dropout = get_number(c, "lora_dropout", who, 0);
    l.rslora = get_bool(c, "use_rslora", who, false);
    l.base = get_string(c, "base_model_name_or_path", who, "");
    if (const Json* t = find(c, "target_modules"))
        for (const Json& s : t->is_array() ? *t : Json::array({*t}))
            if (s.is_string()) l.targets.push_back(s.get<std::string>());
    if (const Json* p = find(c, "rank_pattern"))
        for (auto& [k, v] : p->items()) l.rank_pattern[k] = int(get_int(*p, k.c_str(), who, 1, 1 << 16));
    if (const Json* p = find(c, "alpha_pattern"))
        for (auto& [k, v] : p->items()) l.alpha_pattern[k] = get_number(*p, k.c_str(), who);
    return l;
}

size_t Adapters::add(Model& model, const std::string& path_and_scale) {
    std::string path = path_and_scale;
    double weight = 1;
    if (size_t colon = path.rfind(':'); colon != std::string::npos && !is_folder(path)) {
        char* end;
        weight = strtod(path.c_str() + colon + 1, &end);
        if (*end || end == path.c_str() + colon + 1 || !std::isfinite(weight))
            fail(Exit::usage, "--adapter %s: DIR or DIR:SCALE was expected", path.c_str());
        path.resize(colon);
    }
    config_ = read_adapter_config(path);
    auto file = open_safetensors(path + "/adapter_model.safetensors");

    std::map<std::string, Weight*> by_module;
    EachMatrix each;
    model.weights(each);
    for (Weight* w : each.all) by_module[module_of(*w)] = w;
    std::map<std::string, std::array<const Stored*, 2>> halves;
    size_t matched = 0, spare = 0;
    std::string stranger;
    for (const Stored& s : file->tensors()) {
        char half = 'A';
        std::string module = module_of_key(s.name, &half, &config_.prefix);
        if (each.spares.count(module)) {
            spare++;
            continue;
        }
        if (!by_module.count(module)) {
            if (stranger.empty()) stranger = s.name;
            continue;
        }
        halves[module][half == 'B'] = &s;
        matched++;
    }
    size_t all = file->tensors().size() - spare;
    ignored_ += spare;
    if (matched != all || all == 0)
        fail(Exit::bad_input,
             "%s: %zu of %zu tensors match this model; the first that does not is \"%s\" (expected "
             "\"base_model.model.%s.lora_A.weight\")",
             path.c_str(), matched, all, stranger.c_str(), by_module.empty() ? "" : by_module.begin()->first.c_str());
    for (auto& [module, pair] : halves) {
        const Weight& w = *by_module[module];
        if (!pair[0] || !pair[1])
            fail(Exit::bad_input, "%s: %s has lora_%s but no lora_%s", path.c_str(), module.c_str(),
                 pair[0] ? "A" : "B", pair[0] ? "B" : "A");
        int64_t rank = pair[0]->shape.size() == 2 ? pair[0]->shape[0] : 0;
        if (rank < 1 || rank > 1 << 16 || pair[0]->shape != std::vector<int64_t>{rank, w.m.in} ||
            pair[1]->shape != std::vector<int64_t>{w.m.out, rank})
            fail(Exit::bad_input, "%s: %s: lora_A and lora_B must be [rank, %d] and [%d, rank]", path.c_str(),
                 module.c_str(), w.m.in, w.m.out);
        auto read = [&](const Stored& s, int rows, int cols) {
            if (s.type > Type::bf16)
                fail(Exit::bad_input, "%s: %s has type %s; F32, F16 or BF16 was expected", path.c_str(), s.name.c_str(),
                     s.dtype.c_str());
            Tensor t = mem_.make(rows, cols);
            dequantize(s.type, s.data, t.f(), t.count());
            for (size_t i = 0; i < t.count(); i++)
                if (!std::isfinite(t.f()[i]))
                    fail(Exit::bad_input, "%s: %s holds a value that is not finite (number %zu)", path.c_str(),
                         s.name.c_str(), i);
            return t;
        };
        Tensor a = read(*pair[0], int(rank), w.m.in), b = read(*pair[1], w.m.out, int(rank));
        parts_[module].push_back({a, b, weight * config_.scale(module)});
    }
    return matched;
}

void Adapters::create(Model& model, LoraConfig& config, uint64_t seed) {
    std::set<std::string> hit;
    std::vector<bool> used(config.targets.size());
    for (Weight* w : matrices(model)) {
        std::string module = module_of(*w);
        bool wanted = false;
        for (size_t i = 0; i < config.targets.size(); i++) {
            const std::string& t = config.targets[i];
            bool fits = t == "all" || t == "all-linear" ? w != model.head().w : suffix_of(module) == t;
            if (!fits && t.find_first_of(".*|()[]^$+?\\") != std::string::npos)
                fits = matches_whole(t, module, "--lora-targets");
            if (fits) wanted = used[i] = true;
        }
        if (!wanted) continue;
        hit.insert(suffix_of(module));
        Tensor a = mem_.make(config.rank, w->m.in), b = mem_.make(w->m.out, config.rank);
        Random random(seed, parts_.size(), 0x4c6f5241);                 // "LoRA"
        float bound = 1 / std::sqrt(float(w->m.in));                    // sqrt(6 / ((1 + 5) in))
        for (size_t i = 0; i < a.count(); i++) a.f()[i] = bound * (2 * random.uniform() - 1);
        std::fill_n(b.f(), b.count(), 0.0f);
        parts_[module].push_back({a, b, config.scale(module)});
    }
    for (size_t i = 0; i < used.size(); i++)
        if (!used[i])
            fail(Exit::usage,
                 "--lora-targets %s: no matrix of this model is called so; \"all\" takes every one but the head",
                 config.targets[i].c_str());
    config.targets.assign(hit.begin(), hit.end());
    config_ = config;
}

void Adapters::attach(Model& model, const Kernels& k, Type operand) {
    if (entries_.empty())
        for (Weight* w : matrices(model)) {
            auto found = parts_.find(module_of(*w));
            if (found == parts_.end()) continue;
            std::vector<Part>& parts = found->second;
            Entry& e = entries_.emplace_back(Entry{found->first, w, {}});
            e.lora.site = entries_.size();
            e.lora.dropout = float(config_.dropout);
            if (parts.size() == 1) {
                e.lora.a = parts[0].a, e.lora.b = parts[0].b, e.lora.scale = float(parts[0].scale);
            } else {                                                    // ranks side by side, scales inside b
                int rank = 0;
                for (const Part& p : parts) rank += p.a.rows;
                Tensor a = e.lora.a = mem_.make(rank, w->m.in), b = e.lora.b = mem_.make(w->m.out, rank);
                int at = 0;
                for (const Part& p : parts) {
                    std::copy_n(p.a.f(), p.a.count(), a.f() + size_t(at) * a.cols);
                    for (int o = 0; o < b.rows; o++)
                        for (int r = 0; r < p.b.cols; r++)
                            b.f()[size_t(o) * rank + at + r] = float(p.scale) * p.b.f()[size_t(o) * p.b.cols + r];
                    at += p.a.rows;
                }
            }
        }
    for (Entry& e : entries_) {
        pack(k, e.lora, operand, mem_);
        e.weight->lora = &e.lora;
    }
}

void Adapters::detach(Model& model) {
    for (Weight* w : matrices(model)) w->lora = nullptr;
}

void Adapters::repack(const Kernels& k, Type operand) {
    for (Entry& e : entries_) pack(k, e.lora, operand, mem_);
}

void write_adapter(const std::string& folder, std::deque<Adapters::Entry>& entries, const LoraConfig& config) {
    make_folders(folder);
    struct Half { std::string name; Tensor t; };
    std::vector<Half> halves;
    for (Adapters::Entry& e : entries) {
        std::string module = e.module.starts_with("model.") ? config.prefix + e.module.substr(6) : e.module;
        halves.push_back({"base_model.model." + module + ".lora_A.weight", e.lora.a});
        halves.push_back({"base_model.model." + module + ".lora_B.weight", e.lora.b});
    }
    std::sort(halves.begin(), halves.end(), [](const Half& a, const Half& b) { return a.name < b.name; });
    std::vector<SafetensorsWriter::Item> items;
    for (const Half& h : halves) items.push_back({h.name, Type::f32, {h.t.rows, h.t.cols}});
    SafetensorsWriter file(folder + "/adapter_model.safetensors", items, {{"format", "pt"}});
    for (size_t i = 0; i < halves.size(); i++) file.write(i, 0, halves[i].t.data, halves[i].t.rows);
    file.commit();

    Json alphas = Json::object(), ranks = Json::object();
    for (auto& [k, v] : config.alpha_pattern) alphas[k] = v;
    for (auto& [k, v] : config.rank_pattern) ranks[k] = v;
    Json alpha = config.alpha == std::floor(config.alpha) ? Json(int64_t(config.alpha)) : Json(config.alpha);
    Json c = {{"alpha_pattern", alphas},
              {"auto_mapping", nullptr},
              {"base_model_name_or_path", config.base},
              {"bias", "none"},
              {"exclude_modules", nullptr},
              {"fan_in_fan_out", false},
              {"inference_mode", true},
              {"init_lora_weights", true},
              {"layers_pattern", nullptr},
              {"layers_to_transform", nullptr},
              {"lora_alpha", alpha},
              {"lora_dropout", config.dropout},
              {"modules_to_save", nullptr},
              {"peft_type", "LORA"},
              {"r", config.rank},
              {"rank_pattern", ranks},
              {"revision", nullptr},
              {"target_modules", config.targets},
              {"task_type", "CAUSAL_LM"},
              {"use_dora", false},
              {"use_rslora", config.rslora}};
    write_file(folder + "/adapter_config.json", c.dump(2) + "\n");
}
