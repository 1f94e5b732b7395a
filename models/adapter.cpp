#include "adapter.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include "../engine/file.h"
#include "../engine/reader.h"
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

bool fits(const std::string& pattern, const std::string& module) {
    return module == pattern || module.ends_with("." + pattern);
}

double pattern_value(const auto& pattern, const std::string& module, double otherwise) {
    for (const auto& [name, value] : pattern)
        if (fits(name, module)) return value;
    return otherwise;
}

constexpr double max_alpha = 1e9;

// What a pattern is for must be there: PEFT's patterns may be regular expressions, and one that is not understood must
void need_match(const std::string& path, const char* which, const std::string& pattern, const auto& modules) {
    for (const auto& [module, halves] : modules)
        if (fits(pattern, module)) return;
    fail(Exit::bad_input,
         "%s/adapter_config.json: %s names %s, which is no module of this adapter (names and their ends are known, "
         "regular expressions are not)",
         path.c_str(), which, shown(pattern).c_str());
}

std::string shape_of(const Stored& s) {
    std::string text;
    for (int64_t d : s.shape) text += (text.empty() ? "[" : ",") + std::to_string(d);
    return text.empty() ? "[]" : text + "]";
}

// What of an update for a matrix (out, in) is not there or does not fit; empty: nothing. Counts the halves that do.
std::string misfit(const std::array<const Stored*, 2>& pair, int out, int in, int rank, size_t& matched) {
    const std::vector<int64_t> want[2] = {{rank, in}, {out, rank}};
    bool fits = true;
    for (int half : {0, 1}) {
        const bool good = pair[half] && pair[half]->shape == want[half];
        matched += good, fits &= good;
    }
    if (fits) return "";
    if (!pair[0] && !pair[1]) return " has neither lora_A nor lora_B, although target_modules names it";
    if (!pair[0] || !pair[1]) return format(" has lora_%c but no lora_%c", pair[0] ? 'A' : 'B', pair[0] ? 'B' : 'A');
    return format(": lora_A is %s and lora_B %s; with rank %d, [%d,%d] and [%d,%d] were expected",
                  shape_of(*pair[0]).c_str(), shape_of(*pair[1]).c_str(), rank, rank, in, out, rank);
}

}  // namespace

bool LoraConfig::names(const std::string& module) const {
    return !partial && std::any_of(targets.begin(), targets.end(), [&](const auto& t) { return fits(t, module); });
}

int LoraConfig::rank_of(const std::string& module) const { return int(pattern_value(rank_pattern, module, rank)); }

double LoraConfig::scale(const std::string& module) const {
    double r = rank_of(module), a = pattern_value(alpha_pattern, module, alpha);
    return rslora ? a / std::sqrt(r) : a / r;
}

LoraConfig read_adapter_config(const std::string& folder) {
    std::string who = folder + "/adapter_config.json";
    if (!exists(who))
        fail(Exit::bad_input, "%s: no adapter_config.json here; a PEFT adapter directory was expected", folder.c_str());
    return parse_adapter_config(read_json_file(who), who);
}

LoraConfig parse_adapter_config(const Json& c, const std::string& who) {
    LoraConfig l;
    std::string type = get_string(c, "peft_type", who);
    if (type != "LORA")
        fail(Exit::bad_input, "%s: peft_type %s; only LORA is known", who.c_str(), shown(type, 40).c_str());
    for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora"})
        if (get_bool(c, key, who, false))
            fail(Exit::bad_input, "%s: %s is true, which is not known here", who.c_str(), key);
    if (get_string(c, "bias", who, "none") != "none")
        fail(Exit::bad_input, "%s: bias is not \"none\", which is not known here", who.c_str());
    if (const Json* m = find(c, "modules_to_save"); m && !m->empty())
        fail(Exit::bad_input, "%s: modules_to_save is set; only adapters made of lora_A and lora_B are known",
             who.c_str());
    l.rank = int(get_int(c, "r", who, 1, 1 << 16, 8));
    l.alpha = get_number(c, "lora_alpha", who, -max_alpha, max_alpha, 8);
    l.dropout = get_number(c, "lora_dropout", who, 0, 0.99, 0);
    l.rslora = get_bool(c, "use_rslora", who, false);
    l.base = get_string(c, "base_model_name_or_path", who, "");
    if (const Json* t = find(c, "target_modules"))
        for (const Json& s : t->is_array() ? *t : Json::array({*t})) {
            if (!s.is_string())
                fail(Exit::bad_input, "%s: target_modules holds %s, a name was expected", who.c_str(),
                     shown(dump(s), 40).c_str());
            l.targets.push_back(s.get<std::string>());
            l.partial |= t->is_string();                    // a regular expression
        }
    for (const char* key : {"layers_to_transform", "exclude_modules"})
        if (const Json* p = find(c, key); p && !(p->is_array() && p->empty())) l.partial = true;
    for (const char* key : {"rank_pattern", "alpha_pattern"})
        if (const Json* p = find(c, key); p && !p->is_object())
            fail(Exit::bad_input, "%s: %s is not an object of modules and numbers", who.c_str(), key);
    if (const Json* p = find(c, "rank_pattern"))
        for (auto& [k, v] : p->items()) l.rank_pattern[k] = int(get_int(*p, k.c_str(), who, 1, 1 << 16));
    if (const Json* p = find(c, "alpha_pattern"))
        for (auto& [k, v] : p->items()) l.alpha_pattern[k] = get_number(*p, k.c_str(), who, -max_alpha, max_alpha);
    return l;
}

std::pair<std::string, double> split_scale(const std::string& text) {
    size_t colon = text.rfind(':');
    if (colon == std::string::npos || is_folder(text)) return {text, 1};
    char* end;
    double scale = strtod(text.c_str() + colon + 1, &end);
    if (*end || end == text.c_str() + colon + 1 || !(std::fabs(scale) <= max_alpha))
        fail(Exit::usage, "--adapter %s: DIR or DIR:SCALE was expected", text.c_str());
    return {text.substr(0, colon), scale};
}

// a and b; in place of several adapters, their joint ones; four packed copies, with ranks padded.
size_t adapter_room(size_t n, int rank) { return n * (16 * size_t(rank) + 32 * (size_t(rank) + 64)); }

size_t adapter_room(const std::string& folder) {
    size_t n = size_t(1) << 20;
    read_adapter_config(folder);                // what is wrong with it is better said first
    const auto file = open_safetensors(folder + "/adapter_model.safetensors");
    for (const Stored& s : file->tensors()) {
        if (s.shape.size() != 2 || s.bytes == 0) continue;          // refused when it is read
        bool a = s.name.ends_with(".lora_A.weight");
        n += adapter_room(size_t(s.shape[a]) + 64, int(std::min<int64_t>(s.shape[!a], 1 << 16)));
    }
    return n;
}

size_t rows_and_columns(Model& model) {
    size_t n = 0;
    for (const Weight* w : matrices(model)) n += size_t(w->m.out) + size_t(w->m.in) + 64;
    return n;
}

size_t Adapters::add(Model& model, const std::string& path_and_scale) {
    const auto [path, scale] = split_scale(path_and_scale);
    const LoraConfig config = read_adapter_config(path);
    return add(model, config, *open_safetensors(path + "/adapter_model.safetensors"), path, scale);
}

size_t Adapters::add(Model& model, const LoraConfig& config, const TensorFile& file, const std::string& path,
                     double weight) {
    config_ = config;
    std::map<std::string, Weight*> by_module;
    EachMatrix each;
    model.weights(each);
    for (Weight* w : each.all) by_module[module_of(*w)] = w;
    std::map<std::string, std::array<const Stored*, 2>> halves;
    size_t spare = 0, strange = 0;
    std::string stranger;
    for (const Stored& s : file.tensors()) {
        char half = 'A';
        std::string module = module_of_key(s.name, &half, &config_.prefix);
        if (each.spares.count(module)) {
            spare++;
            continue;
        }
        if (!by_module.count(module)) {
            if (strange++ == 0) stranger = s.name;
            continue;
        }
        const Stored*& place = halves[module][half == 'B'];
        if (place)
            fail(Exit::bad_input, "%s: %s and %s are both lora_%c of %s", path.c_str(), shown(place->name).c_str(),
                 shown(s.name).c_str(), half, module.c_str());
        place = &s;
    }
    ignored_ += spare;
    if (file.tensors().empty()) fail(Exit::bad_input, "%s: the adapter holds no tensors", path.c_str());
    for (const auto& [pattern, value] : config_.rank_pattern) need_match(path, "rank_pattern", pattern, halves);
    for (const auto& [pattern, value] : config_.alpha_pattern) need_match(path, "alpha_pattern", pattern, halves);
    if (!strange)                           // else the names say what is wrong, not what they leave out
        for (const auto& [module, w] : by_module)
            if (config_.names(module)) halves[module];
    size_t matched = 0, all = strange ? file.tensors().size() - spare : 2 * halves.size();
    std::string wrong;
    for (const auto& [module, pair] : halves) {
        const Weight& w = *by_module[module];
        const int rank = config_.rank_of(module);
        const std::string found = misfit(pair, w.m.out, w.m.in, rank, matched);
        if (wrong.empty() && !found.empty()) wrong = module + found;
    }
    if (strange || all == 0)
        wrong = format("the first that does not is %s (expected names like base_model.model.%s.lora_A.weight)",
                       shown(stranger, 120).c_str(), by_module.begin()->first.c_str());
    if (matched != all || all == 0)
        fail(Exit::bad_input, "%s: %zu of %zu keys match this model; %s", path.c_str(), matched, all, wrong.c_str());
    for (auto& [module, pair] : halves) {
        const Weight& w = *by_module[module];
        const int rank = config_.rank_of(module);
        auto read = [&](const Stored& s, int rows, int cols) {
            if (s.type > Type::bf16)
                fail(Exit::bad_input, "%s: %s has type %s; F32, F16 or BF16 was expected", path.c_str(),
                     shown(s.name, 120).c_str(), s.dtype.c_str());
            std::vector<float> v(size_t(rows) * size_t(cols));
            dequantize(s.type, s.data, v.data(), v.size());
            for (size_t i = 0; i < v.size(); i++)
                if (!std::isfinite(v[i]))
                    fail(Exit::bad_input, "%s: %s holds a value that is not finite (number %zu)", path.c_str(),
                         shown(s.name, 120).c_str(), i);
            return mem_.copy(v, rows, cols);
        };
        Tensor a = read(*pair[0], rank, w.m.in), b = read(*pair[1], w.m.out, rank);
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
            bool named = t == "all" || t == "all-linear" ? w != model.head().w : suffix_of(module) == t;
            if (!named && t.find_first_of(".*|()[]^$+?\\") != std::string::npos)
                named = matches_whole(t, module, "--lora-targets");
            if (named) wanted = used[i] = true;
        }
        if (!wanted) continue;
        hit.insert(suffix_of(module));
        std::vector<float> a(size_t(config.rank) * size_t(w->m.in)), b(size_t(config.rank) * size_t(w->m.out));
        Random random(seed, parts_.size(), 0x4c6f5241);                 // "LoRA"
        float bound = 1 / std::sqrt(float(w->m.in));                    // sqrt(6 / ((1 + 5) in))
        for (float& v : a) v = bound * (2 * random.uniform() - 1);
        parts_[module].push_back({mem_.copy(a, config.rank, w->m.in), mem_.copy(b, w->m.out, config.rank),
                                  config.scale(module)});
    }
    for (size_t i = 0; i < used.size(); i++)
        if (!used[i])
            fail(Exit::usage,
                 "--lora-targets %s: no matrix of this model is called so; \"all\" takes every one but the head",
                 config.targets[i].c_str());
    // A name that stands for more than was meant gives way to the names of those that were.
    config.targets.clear();
    for (const std::string& suffix : hit) {
        std::vector<std::string> meant;
        bool all = true;
        for (Weight* w : matrices(model))
            if (std::string module = module_of(*w); suffix_of(module) != suffix) continue;
            else if (!parts_.count(module)) all = false;
            else meant.push_back(module.starts_with("model.") ? module.substr(6) : module);
        if (all) meant = {suffix};
        config.targets.insert(config.targets.end(), meant.begin(), meant.end());
    }
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
                std::vector<float> a, b(size_t(rank) * size_t(w->m.out));
                size_t at = 0;
                for (const Part& p : parts) {
                    std::vector<float> pa = get(mem_.memory, p.a), pb = get(mem_.memory, p.b);
                    a.insert(a.end(), pa.begin(), pa.end());
                    size_t cols = size_t(p.b.cols);
                    for (size_t i = 0; i < pb.size(); i++) b[i / cols * rank + at + i % cols] = float(p.scale) * pb[i];
                    at += cols;
                }
                e.lora.a = mem_.copy(a, rank, w->m.in), e.lora.b = mem_.copy(b, w->m.out, rank);
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

void Adapters::write(const std::string& folder) {
    const LoraConfig& config = config_;
    struct Half { std::string name; Tensor t; std::vector<float> fetched; const float* numbers; };
    std::vector<Half> halves;
    for (Entry& e : entries_) {
        std::string module = e.module.starts_with("model.") ? config.prefix + e.module.substr(6) : e.module;
        halves.push_back({"base_model.model." + module + ".lora_A.weight", e.lora.a, {}, nullptr});
        halves.push_back({"base_model.model." + module + ".lora_B.weight", e.lora.b, {}, nullptr});
    }
    for (Half& h : halves) h.numbers = get(mem_.memory, h.t, h.fetched);    // a lost device leaves not even a folder
    make_folders(folder);
    std::sort(halves.begin(), halves.end(), [](const Half& a, const Half& b) { return a.name < b.name; });
    std::vector<SafetensorsWriter::Item> items;
    for (const Half& h : halves) items.push_back({h.name, Type::f32, {h.t.rows, h.t.cols}});
    SafetensorsWriter file(folder + "/adapter_model.safetensors", items, {{"format", "pt"}});
    for (size_t i = 0; i < halves.size(); i++) file.write(i, 0, halves[i].numbers, halves[i].t.rows);
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
              {"peft_version", "0+dd"},             // not PEFT's own, but read as a version all the same
              {"r", config.rank},
              {"rank_pattern", ranks},
              {"revision", nullptr},
              {"target_modules", config.targets},
              {"task_type", "CAUSAL_LM"},
              {"use_dora", false},
              {"use_rslora", config.rslora}};
    write_file(folder + "/adapter_config.json", c.dump(2) + "\n");
}
