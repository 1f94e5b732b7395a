#include "model.h"
#include "../engine/reader.h"

static std::vector<Architecture>& all() {
    static std::vector<Architecture> list;
    return list;
}
const std::vector<Architecture>& architectures() { return all(); }
Register::Register(Architecture a) { all().push_back(std::move(a)); }

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
    for (const char* key : {"attention_bias", "mlp_bias"})
        if (get_bool(c, key, who, false))
            fail(Exit::bad_input, "%s: %s is true; only models without biases are known", who.c_str(), key);
}

Rope read_rope(const Json& config, const std::string& who, const char* kind) {
    Rope rope{0, 1};
    const Json* p = find(config, "rope_parameters");
    if (p && kind) p = find(*p, kind);
    const Json* scaling = find(config, "rope_scaling");
    if (scaling) p = scaling;                               // an old rope_scaling replaces rope_parameters
    bool local = kind && std::string(kind) == "sliding_attention";
    if (local && scaling) p = nullptr;                      // .. and has never touched sliding layers
    const char* old = local ? "rope_local_base_freq" : "rope_theta";
    if (p) rope.theta = get_number(*p, "rope_theta", who, 0, 1e18, 0);
    if (!rope.theta) rope.theta = get_number(config, old, who, 0, 1e18, local ? 1e4 : 0);
    if (rope.theta == 0)
        fail(Exit::bad_input, "%s: no rope_theta, neither in rope_parameters nor at the top", who.c_str());
    if (p) {
        std::string type = get_string(*p, "rope_type", who, get_string(*p, "type", who, "default"));
        if (type == "linear") rope.factor = get_number(*p, "factor", who, 1e-6, 1e6);
        else if (type != "default")
            fail(Exit::bad_input, "%s: rope type %s is not known; known: default, linear", who.c_str(),
                 shown(type, 40).c_str());
    }
    return rope;
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
