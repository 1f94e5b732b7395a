#include "gguf_names.h"
#include <cstring>

namespace {

struct Key { const char* config; const char* gguf; bool whole; bool needed = false; };      // whole: an integer

constexpr Key keys[] = {{"num_hidden_layers", "block_count", true, true},
                        {"hidden_size", "embedding_length", true, true},
                        {"intermediate_size", "feed_forward_length", true},
                        {"num_attention_heads", "attention.head_count", true, true},
                        {"num_key_value_heads", "attention.head_count_kv", true},
                        {"head_dim", "attention.key_length", true},
                        {"max_position_embeddings", "context_length", true, true},
                        {"sliding_window", "attention.sliding_window", true},
                        {"vocab_size", "vocab_size", true},
                        {"full_attention_interval", "full_attention_interval", true},
                        {"linear_conv_kernel_dim", "ssm.conv_kernel", true},
                        {"linear_key_head_dim", "ssm.state_size", true},
                        {"linear_num_key_heads", "ssm.group_count", true},
                        {"linear_num_value_heads", "ssm.time_step_rank", true},
                        {"rms_norm_eps", "attention.layer_norm_rms_epsilon", false, true},
                        {"rope_theta", "rope.freq_base", false},
                        {"rope_local_base_freq", "rope.local.freq_base", false},
                        {"final_logit_softcapping", "final_logit_softcapping", false},
                        {"num_kv_shared_layers", "attention.shared_kv_layers", true},
                        {"hidden_size_per_layer_input", "embedding_length_per_layer_input", true}};

constexpr std::pair<const char*, const char*> names[] = {{"input_layernorm", "attn_norm"},
                                                         {"self_attn.q_proj", "attn_q"},
                                                         {"self_attn.k_proj", "attn_k"},
                                                         {"self_attn.v_proj", "attn_v"},
                                                         {"self_attn.o_proj", "attn_output"},
                                                         {"self_attn.q_norm", "attn_q_norm"},
                                                         {"self_attn.k_norm", "attn_k_norm"},
                                                         {"post_attention_layernorm", "ffn_norm"},
                                                         {"mlp.gate_proj", "ffn_gate"},
                                                         {"mlp.up_proj", "ffn_up"},
                                                         {"mlp.down_proj", "ffn_down"},
                                                         {"post_feedforward_layernorm", "post_ffw_norm"},
                                                         {"per_layer_input_gate", "inp_gate"},
                                                         {"per_layer_projection", "proj"},
                                                         {"post_per_layer_input_norm", "post_norm"},
                                                         {"layer_scalar", "layer_output_scale"},
                                                         {"linear_attn.in_proj_qkv", "attn_qkv"},
                                                         {"linear_attn.in_proj_z", "attn_gate"},
                                                         {"linear_attn.in_proj_b", "ssm_beta"},
                                                         {"linear_attn.in_proj_a", "ssm_alpha"},
                                                         {"linear_attn.conv1d", "ssm_conv1d"},
                                                         {"linear_attn.norm", "ssm_norm"},
                                                         {"linear_attn.out_proj", "ssm_out"}};

constexpr std::pair<const char*, const char*> whole[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.embed_tokens_per_layer", "per_layer_token_embd"},
    {"model.per_layer_model_projection", "per_layer_model_proj"},
    {"model.per_layer_projection_norm", "per_layer_proj_norm"}};

// Numbers that a file gives layer by layer: one for all (head_count_kv), twice as much in the layers that share keys
// and values (feed_forward_length), or a kind for each (sliding_window_pattern).
void read_lists(const Gguf& g, const std::string& prefix, Json& c) {
    size_t layers = size_t(get_int(c, "num_hidden_layers", g.path(), 1, 1024));
    size_t own = layers - size_t(get_int(c, "num_kv_shared_layers", g.path(), 0, int64_t(layers), 0));
    auto wrong = [&](const std::string& key) {
        fail(Exit::bad_input, "%s: %s is no list that is known here; expected %zu numbers, the same for all layers, or "
             "twice as much for those that share keys", g.path().c_str(), key.c_str(), layers);
    };
    for (auto [to, name] : {std::pair{"num_key_value_heads", "attention.head_count_kv"},
                            {"intermediate_size", "feed_forward_length"}}) {
        std::string key = prefix + name;
        if (!g.is_array(key)) continue;
        std::vector<int64_t> all = g.integers(key);
        if (all.size() != layers || all[0] < 1 || all[0] > 1 << 24) wrong(key);
        int64_t later = all.back() == 2 * all[0] && own < layers ? 2 : 1;
        for (size_t l = 0; l < layers; l++)
            if (all[l] != all[0] * (l < own ? 1 : later)) wrong(key);
        c[to] = all[0];
        if (later == 2) c["use_double_wide_mlp"] = true;
    }
    std::string key = prefix + "attention.sliding_window_pattern";
    if (!g.is_array(key)) return;
    std::vector<bool> sliding = g.booleans(key);
    if (sliding.size() != layers) wrong(key);
    for (bool s : sliding) c["layer_types"].push_back(s ? "sliding_attention" : "full_attention");
}

// The share of the pairs of a wide head that turn: rope_freqs divides their frequencies by 1, and those of the others
// by something so large that they stay.
double turning_share(const Gguf& g) {
    const Stored* t = g.find("rope_freqs.weight");
    if (!t) return 1;
    if (t->type != Type::f32 || t->shape.size() != 1)
        fail(Exit::bad_input, "%s: rope_freqs.weight is not a list of F32", g.path().c_str());
    size_t n = size_t(t->shape[0]), turning = 0;
    std::vector<float> by(n);
    memcpy(by.data(), t->data, n * 4);
    while (turning < n && by[turning] == 1) turning++;
    for (size_t i = turning; i < n; i++)
        if (!(by[i] >= 1e20f))
            fail(Exit::bad_input, "%s: rope_freqs.weight divides frequency %zu by %g; only 1, then 1e30, is known",
                 g.path().c_str(), i, double(by[i]));
    return double(turning) / double(n);
}

}  // namespace

Json config_of_gguf(const Gguf& g, const Architecture& a) {
    Json c = {{"model_type", a.model_types[0]}};
    for (auto& [key, value] : a.gguf_defaults.items()) c[key] = value;
    for (const Key& k : keys) {
        std::string key = a.gguf + "." + k.gguf;
        if (g.has(key) ? g.is_array(key) : !k.needed) continue;
        if (k.whole) c[k.config] = g.integer(key, 0, 1 << 24);
        else c[k.config] = g.number(key);
    }
    if (std::string key = a.gguf + ".nextn_predict_layers"; g.has(key) && c.contains("num_hidden_layers"))
        c["num_hidden_layers"] = c["num_hidden_layers"].get<int64_t>() - g.integer(key, 0, 1024);
    read_lists(g, a.gguf + ".", c);
    double turning = turning_share(g);
    if (g.has(a.gguf + ".attention.key_length_swa")) {      // heads are wider where a layer sees everything
        c["global_head_dim"] = c["head_dim"];
        c["head_dim"] = g.integer(a.gguf + ".attention.key_length_swa", 1, 1 << 14);
        c["rope_parameters"] = {
            {"full_attention",
             {{"rope_type", "proportional"},
              {"rope_theta", g.number(a.gguf + ".rope.freq_base")},
              {"partial_rotary_factor", turning}}},
            {"sliding_attention", {{"rope_theta", g.number(a.gguf + ".rope.freq_base_swa")}}}};
    } else if (turning != 1) {
        fail(Exit::bad_input, "%s: rope_freqs.weight turns only a share of each head, which %s does not",
             g.path().c_str(), a.gguf.c_str());
    }
    if (g.has(a.gguf + ".attention.key_length")) c["query_pre_attn_scalar"] = c["head_dim"];
    if (std::string key = a.gguf + ".ssm.inner_size"; g.has(key) && c.value("linear_num_value_heads", 0) > 0) {
        c["linear_value_head_dim"] = g.integer(key, 1, 1 << 24) / c["linear_num_value_heads"].get<int64_t>();
        c["linear_value_heads_tiled"] = c["linear_num_value_heads"] != c["linear_num_key_heads"];
        if (std::string turned = a.gguf + ".rope.dimension_count"; g.has(turned) && c.value("head_dim", 0) > 0)
            c["partial_rotary_factor"] = double(g.integer(turned, 1, 1 << 14)) / double(c["head_dim"].get<int64_t>());
    }
    if (!c.contains("head_dim") && c.contains("hidden_size") && c.contains("num_attention_heads") &&
        c["num_attention_heads"] != 0)
        c["head_dim"] = c["hidden_size"].get<int64_t>() / c["num_attention_heads"].get<int64_t>();
    const Stored* table = g.find("token_embd.weight");
    if (table && table->shape.size() == 2) c["vocab_size"] = table->shape[0]; // rows beyond the vocabulary may be cut
    if (g.has("tokenizer.ggml.eos_token_id"))
        c["eos_token_id"] = g.integer("tokenizer.ggml.eos_token_id", 0, (1 << 21) - 1);
    if (g.has("tokenizer.ggml.padding_token_id"))
        c["pad_token_id"] = g.integer("tokenizer.ggml.padding_token_id", 0, (1 << 21) - 1);
    if (g.has(a.gguf + ".rope.scaling.type") && g.string(a.gguf + ".rope.scaling.type") != "none")
        c["rope_scaling"] = {{"rope_type", std::string(g.string(a.gguf + ".rope.scaling.type"))},
                             {"factor", g.number(a.gguf + ".rope.scaling.factor")}};
    return c;
}

std::string gguf_name(const std::string& name, const Architecture& a) {
    std::string stem = name.substr(0, name.rfind(".weight"));
    for (const auto& [ours, theirs] : whole)
        if (stem == ours) return theirs + std::string(".weight");
    if (!name.starts_with("model.layers.")) return name;
    size_t number = 13, part = name.find('.', number) + 1;
    std::string layer = name.substr(number, part - 1 - number), inner = stem.substr(part);
    if (inner == "linear_attn.A_log") return "blk." + layer + ".ssm_a";
    if (inner == "linear_attn.dt_bias") return "blk." + layer + ".ssm_dt.bias";
    for (const auto& [ours, theirs] : a.gguf_names)
        if (inner == ours) return "blk." + layer + "." + theirs + ".weight";
    for (const auto& [ours, theirs] : names)
        if (inner == ours) return "blk." + layer + "." + theirs + ".weight";
    return name;
}
