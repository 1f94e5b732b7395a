#include "model.h"
#include "../engine/reader.h"

static std::vector<Architecture>& all() {
    static std::vector<Architecture> list;
    return list;
}
const std::vector<Architecture>& architectures() { return all(); }
Register::Register(Architecture a) { all().push_back(std::move(a)); }

std::string blocks_with_heads(const Model& m) {
    std::string list;
    for (int l = 0; l < m.layers; l++)
        if (m.blocks[l].heads) list += (list.empty() ? "" : ", ") + std::to_string(l);
    return list;
}

Sizes::Sizes(const Json& c, const std::string& who, bool tied_by_default, int head_by_default) {
    layers = int(get_int(c, "num_hidden_layers", who, 1, 1024));
    dim = int(get_int(c, "hidden_size", who, 2, 1 << 20));
    hidden = int(get_int(c, "intermediate_size", who, 2, 1 << 20));
    heads = int(get_int(c, "num_attention_heads", who, 1, 1024));
    kv_heads = int(get_int(c, "num_key_value_heads", who, 1, 1024, heads));
    head = int(get_int(c, "head_dim", who, 2, 1 << 14, head_by_default ? head_by_default : dim / heads));
    vocabulary = int(get_int(c, "vocab_size", who, 1, 1 << 21));
    context = int(get_int(c, "max_position_embeddings", who, 1, 1 << 24));
    pad = int(get_int(c, "pad_token_id", who, -1, vocabulary, -1));
    eps = float(get_number(c, "rms_norm_eps", who, 0, 1));
    tied = get_bool(c, "tie_word_embeddings", who, tied_by_default);
    if (heads % kv_heads)
        fail(Exit::bad_input, "%s: num_attention_heads %d is not a multiple of num_key_value_heads %d", who.c_str(),
             heads, kv_heads);
    if (dim % 2 || hidden % 2 || head % 2)
        fail(Exit::bad_input, "%s: hidden_size %d, intermediate_size %d and head size %d must be even", who.c_str(),
             dim, hidden, head);
    refuse(c, who, {"attention_bias", "mlp_bias"});
}

Rope read_rope(const Json& config, const std::string& who, const char* kind, Rope otherwise) {
    Rope rope{0, 1, otherwise.partial, otherwise.narrow};
    const Json* p = find(config, "rope_parameters");
    if (p && kind) p = find(*p, kind);
    const Json* scaling = find(config, "rope_scaling");
    if (scaling) p = scaling;                               // an old rope_scaling replaces rope_parameters
    bool local = kind && std::string(kind) == "sliding_attention";
    if (local && scaling) p = nullptr;                      // .. and has never touched sliding layers
    const char* old = local ? "rope_local_base_freq" : "rope_theta";
    if (p) rope.theta = get_number(*p, "rope_theta", who, 0, 1e18, 0);
    if (!rope.theta) rope.theta = get_number(config, old, who, 0, 1e18, 0);
    if (!rope.theta) rope.theta = otherwise.theta > 0 ? otherwise.theta : local ? 1e4 : 0;
    rope.partial = get_number(config, "partial_rotary_factor", who, rope.partial);
    if (!(rope.theta > 0))
        fail(Exit::bad_input, "%s: no rope_theta, neither in rope_parameters nor at the top", who.c_str());
    if (p) {
        std::string type = get_string(*p, "rope_type", who, get_string(*p, "type", who, "default"));
        if (type == "linear") rope.factor = get_number(*p, "factor", who, 1e-6, 1e6);
        else if (type == "proportional") rope.factor = get_number(*p, "factor", who, 1e-6, 1e6, 1);
        else if (type != "default")
            fail(Exit::bad_input, "%s: rope type %s is not known; known: default, linear, proportional", who.c_str(),
                 shown(type, 40).c_str());
        rope.partial = get_number(*p, "partial_rotary_factor", who, rope.narrow ? rope.partial : 1);
        if (rope.partial != 1 && (type == "proportional") == rope.narrow)
            fail(Exit::bad_input, "%s: partial_rotary_factor %g with rope type \"%s\" is not known", who.c_str(),
                 rope.partial, type.c_str());
    }
    if (!(rope.partial > 0 && rope.partial <= 1 && rope.factor > 0))
        fail(Exit::bad_input, "%s: partial_rotary_factor %g, factor %g; above 0, and at most 1 the first, expected",
             who.c_str(), rope.partial, rope.factor);
    return rope;
}

std::vector<float> frequencies(const Rope& rope, int pairs) {
    std::vector<float> freq(pairs);
    rope_frequencies(freq.data(), pairs, rope.theta, rope.factor, rope.partial);
    return freq;
}

void refuse(const Json& config, const std::string& who, std::initializer_list<const char*> features) {
    for (const char* f : features)
        if (const Json* v = find(config, f); v && *v != false)
            fail(Exit::bad_input, "%s: %s is %s, which is not known here; expected false", who.c_str(), f,
                 dump(*v).c_str());
}

std::vector<bool> sliding_layers(const Json& config, const std::string& who, int layers, bool last_sees_all) {
    int period = int(get_int(config, "sliding_window_pattern", who, 1, 1024,
                             get_int(config, "_sliding_window_pattern", who, 1, 1024, 6)));
    std::vector<std::string> kinds = layer_types(config, who, layers, "full_attention", "sliding_attention");
    std::vector<bool> sliding;
    for (int l = 0; l < layers; l++)
        sliding.push_back(kinds.empty() ? (l + 1) % period != 0 : kinds[l] == "sliding_attention");
    if (last_sees_all) sliding.back() = false;
    return sliding;
}

int head_dim_of_kind(const Json& config, const std::string& who, const std::vector<bool>& sliding, bool kind,
                     const char* key, int otherwise) {
    auto size = [&](const Json& from, const std::string& where, const char* name, int or_else) {
        int64_t n = get_int(from, name, where, 2, 1 << 14, or_else);
        if (n % 2) fail(Exit::bad_input, "%s: %s %lld must be even", where.c_str(), name, (long long)n);
        return int(n);
    };
    const Json* each = find(config, "per_layer_config");
    if (!each) return size(config, who, key, otherwise);
    int plain = size(config, who, "head_dim", otherwise), found = 0;
    std::vector<int> of_layer(sliding.size(), plain);
    for (const auto& [name, one] : each->items()) {         // "04" and "4" are layer 4
        char* end;
        long l = strtol(name.c_str(), &end, 10);
        if (end == name.c_str() || *end || l < 0 || l >= long(sliding.size()))
            fail(Exit::bad_input, "%s: per_layer_config has \"%s\"; layers 0 to %zu were expected", who.c_str(),
                 name.c_str(), sliding.size() - 1);
        of_layer[size_t(l)] = size(one, who + ": per_layer_config." + name, "head_dim", plain);
    }
    for (size_t l = 0; l < sliding.size(); l++) {
        if (sliding[l] != kind) continue;
        if (found && of_layer[l] != found)
            fail(Exit::bad_input, "%s: layer %zu has heads of %d, others of its kind of %d; one size was expected",
                 who.c_str(), l, of_layer[l], found);
        found = of_layer[l];
    }
    return found ? found : plain;
}

void refuse_variants(const Json& config, const std::string& who, const char* activation) {
    for (const char* key : {"hidden_act", "hidden_activation"})
        if (const std::string found = get_string(config, key, who, activation); found != activation)
            fail(Exit::bad_input, "%s: %s is %s; only %s is known for this architecture", who.c_str(), key,
                 shown(found, 40).c_str(), activation);
    const Json* p = find(config, "rope_parameters");
    for (const Json* at : {&config, p})
        if (at && at->is_object() && get_number(*at, "partial_rotary_factor", who, 1) != 1)
            fail(Exit::bad_input, "%s: partial_rotary_factor is not 1; only whole heads are rotated here", who.c_str());
}

std::vector<std::string> layer_types(const Json& config, const std::string& who, int layers, const std::string& one,
                                     const std::string& other) {
    const Json* list = find(config, "layer_types");
    if (!list) return {};
    if (!list->is_array() || int(list->size()) != layers)
        fail(Exit::bad_input, "%s: layer_types must be a list of %d names", who.c_str(), layers);
    std::vector<std::string> kinds;
    for (const Json& kind : *list) {
        if (kind != one && kind != other)
            fail(Exit::bad_input, "%s: layer_types[%zu] is %s; %s or %s was expected", who.c_str(), kinds.size(),
                 dump(kind).c_str(), one.c_str(), other.c_str());
        kinds.push_back(kind.get<std::string>());
    }
    return kinds;
}
