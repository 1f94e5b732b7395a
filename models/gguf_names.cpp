#include "gguf_names.h"

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
                        {"rms_norm_eps", "attention.layer_norm_rms_epsilon", false, true},
                        {"rope_theta", "rope.freq_base", false},
                        {"rope_local_base_freq", "rope.local.freq_base", false},
                        {"final_logit_softcapping", "final_logit_softcapping", false}};

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
                                                         {"post_feedforward_layernorm", "post_ffw_norm"}};

}  // namespace

Json config_of_gguf(const Gguf& g, const Architecture& a) {
    Json c = {{"model_type", a.model_types[0]}};
    for (auto& [key, value] : a.gguf_defaults.items()) c[key] = value;
    for (const Key& k : keys) {
        std::string key = a.gguf + "." + k.gguf;
        if (!g.has(key) && !k.needed) continue;
        if (k.whole) c[k.config] = g.integer(key, 0, 1 << 24);
        else c[k.config] = g.number(key);
    }
    if (g.has(a.gguf + ".attention.key_length")) c["query_pre_attn_scalar"] = c["head_dim"];
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
    if (name == "model.embed_tokens.weight") return "token_embd.weight";
    if (name == "model.norm.weight") return "output_norm.weight";
    if (name == "lm_head.weight") return "output.weight";
    if (!name.starts_with("model.layers.")) return name;
    size_t number = 13, part = name.find('.', number) + 1, end = name.rfind('.');
    std::string layer = name.substr(number, part - 1 - number), inner = name.substr(part, end - part);
    for (const auto& [ours, theirs] : a.gguf_names)
        if (inner == ours) return "blk." + layer + "." + theirs + name.substr(end);
    for (const auto& [ours, theirs] : names)
        if (inner == ours) return "blk." + layer + "." + theirs + name.substr(end);
    return name;
}
