// config.cpp - any bytes as a config.json: refused, or the sizes of a model within the limits.
#include "../engine/json.h"
#include "../models/model.h"
#include "fuzz.h"

std::vector<std::string> seeds() {
    return {R"({"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"vocab_size":300,
"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000,
"tie_word_embeddings":true,"hidden_act":"silu","eos_token_id":[1,2],"rope_scaling":{"rope_type":"linear","factor":2}})",
            R"({"model_type":"qwen3","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"vocab_size":300,
"num_attention_heads":4,"head_dim":16,"max_position_embeddings":256,"rms_norm_eps":1e-6,"use_sliding_window":false,
"rope_parameters":{"rope_type":"default","rope_theta":1000000.0},"attention_bias":false,"pad_token_id":7})",
            R"({"model_type":"gemma3_text","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,
"vocab_size":300,"num_attention_heads":4,"num_key_value_heads":1,"max_position_embeddings":256,"rms_norm_eps":1e-6,
"rope_theta":1e6,"layer_types":["sliding_attention","full_attention"],"sliding_window":64,"query_pre_attn_scalar":256,
"final_logit_softcapping":30.0,"hidden_activation":"gelu_pytorch_tanh","_sliding_window_pattern":6})"};
}

namespace {

struct Largest : Visit {
    uint64_t numbers = 0;
    void matrix(const std::string& name, Weight&, int out, int in) override {
        promise(!name.empty() && out > 0 && in > 0);
        numbers += uint64_t(out) * uint64_t(in);
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string& name, Tensor&, int n, float) override { promise(!name.empty() && n > 0); }
};

}  // namespace

void run(std::string_view input) {
    static const std::string who = "input";
    const Json config = parse_json(input, who);
    const std::string kind = get_string(config, "model_type", who, "llama");
    for (const Architecture& a : architectures()) {
        if (a.model_types[0] != kind) continue;
        const auto model = a.make(config, who);
        promise(model->layers >= 1 && model->layers <= 1024 && int(model->blocks.size()) == model->layers);
        promise(model->vocabulary >= 1 && model->vocabulary <= 1 << 21 && model->context >= 1);
        Largest all;
        if (model->layers <= 8) model->weights(all);
    }
}
