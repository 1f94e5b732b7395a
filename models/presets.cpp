// presets.cpp - config.json of each model as its publisher has it, without the keys that nothing here reads; and tiny
// ones.
#include "presets.h"

const std::vector<Preset>& presets() {
    static const std::vector<Preset> all = {
        {"smollm2-135m", 134515008, R"({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
            "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100000, "rope_scaling": null,
            "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": true,
            "initializer_range": 0.041666666666666664, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})"},
        {"smollm2-360m", 361821120, R"({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 960,
            "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "intermediate_size": 2560,
            "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100000, "rope_scaling": null,
            "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": true, "initializer_range": 0.02,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})"},
        {"smollm2-1.7b", 1711376384, R"({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
            "num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 8192,
            "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 130000, "rope_scaling": null,
            "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": true, "initializer_range": 0.02,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})"},
        {"qwen3-0.6b", 596049920, R"({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024,
            "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000,
            "rope_scaling": null, "rms_norm_eps": 1e-06, "hidden_act": "silu", "attention_bias": false,
            "tie_word_embeddings": true, "use_sliding_window": false, "initializer_range": 0.02,
            "bos_token_id": 151643, "eos_token_id": 151645})"},
        {"qwen3-1.7b", 1720574976, R"({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 2048,
            "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000,
            "rope_scaling": null, "rms_norm_eps": 1e-06, "hidden_act": "silu", "attention_bias": false,
            "tie_word_embeddings": true, "use_sliding_window": false, "initializer_range": 0.02,
            "bos_token_id": 151643, "eos_token_id": 151645})"},
        {"qwen3.5-0.8b", 752393024, R"({
            "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "hidden_size": 1024,
            "num_hidden_layers": 24, "intermediate_size": 3584, "vocab_size": 248320, "hidden_act": "silu",
            "rms_norm_eps": 1e-06, "tie_word_embeddings": true, "max_position_embeddings": 262144,
            "full_attention_interval": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
            "attn_output_gate": true, "attention_bias": false,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25,
                                "mrope_section": [11, 11, 10], "mrope_interleaved": true},
            "linear_num_key_heads": 16, "linear_num_value_heads": 16, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "mamba_ssm_dtype": "float32",
            "initializer_range": 0.02, "eos_token_id": 248044})"},
        {"gemma3-270m", 268098176, R"({
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 640,
            "num_hidden_layers": 18, "intermediate_size": 2048, "num_attention_heads": 4, "num_key_value_heads": 1,
            "head_dim": 256, "query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh",
            "vocab_size": 262144, "rms_norm_eps": 1e-06, "max_position_embeddings": 32768, "sliding_window": 512,
            "sliding_window_pattern": 6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
            "rope_scaling": null, "attn_logit_softcapping": null, "final_logit_softcapping": null,
            "attention_bias": false, "use_bidirectional_attention": false, "initializer_range": 0.02,
            "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, 106]})"},
        {"gemma3-1b", 999885952, R"({
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 1152,
            "num_hidden_layers": 26, "intermediate_size": 6912, "num_attention_heads": 4, "num_key_value_heads": 1,
            "head_dim": 256, "query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh",
            "vocab_size": 262144, "rms_norm_eps": 1e-06, "max_position_embeddings": 32768, "sliding_window": 512,
            "sliding_window_pattern": 6, "rope_theta": 1000000, "rope_local_base_freq": 10000,
            "rope_scaling": null, "attn_logit_softcapping": null, "final_logit_softcapping": null,
            "attention_bias": false, "initializer_range": 0.02, "bos_token_id": 2, "pad_token_id": 0,
            "eos_token_id": [1, 106]})"},
        {"gemma4-e2b", 4628569379, R"({
            "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "hidden_size": 1536,
            "num_hidden_layers": 35, "intermediate_size": 6144, "use_double_wide_mlp": true,
            "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512,
            "num_kv_shared_layers": 20, "sliding_window": 512, "hidden_size_per_layer_input": 256,
            "vocab_size": 262144, "vocab_size_per_layer_input": 262144,
            "layer_types": [
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
                "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                                   "partial_rotary_factor": 0.25}},
            "hidden_activation": "gelu_pytorch_tanh", "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-06,
            "max_position_embeddings": 131072, "attention_bias": false, "attention_k_eq_v": false,
            "enable_moe_block": false, "use_bidirectional_attention": null, "tie_word_embeddings": true,
            "initializer_range": 0.02, "bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0})"},
        // Of every architecture one that learns in seconds, for the tokenizer of single bytes.
        {"tiny-smollm2", 0, R"({
            "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 160, "vocab_size": 259, "max_position_embeddings": 512,
            "rope_theta": 10000, "rms_norm_eps": 1e-05, "tie_word_embeddings": true, "initializer_range": 0.05})"},
        {"tiny-qwen3", 0, R"({
            "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 160, "vocab_size": 259,
            "max_position_embeddings": 512, "rope_theta": 10000, "rms_norm_eps": 1e-06, "tie_word_embeddings": true,
            "initializer_range": 0.05})"},
        {"tiny-qwen3.5", 0, R"({
            "model_type": "qwen3_5_text", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 160, "vocab_size": 259,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-06, "tie_word_embeddings": true,
            "full_attention_interval": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.25},
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
            "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4, "initializer_range": 0.05})"},
        {"tiny-gemma3", 0, R"({
            "model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 24, "query_pre_attn_scalar": 24, "intermediate_size": 160,
            "vocab_size": 259, "max_position_embeddings": 512, "sliding_window": 32, "sliding_window_pattern": 6,
            "rope_theta": 10000, "rope_local_base_freq": 1000, "rms_norm_eps": 1e-06, "initializer_range": 0.05})"},
        {"tiny-gemma4", 0, R"({
            "model_type": "gemma4_text", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32, "intermediate_size": 160,
            "use_double_wide_mlp": true, "num_kv_shared_layers": 3, "hidden_size_per_layer_input": 16,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention",
                            "sliding_attention", "sliding_attention", "full_attention"],
            "vocab_size": 259, "max_position_embeddings": 512, "sliding_window": 32, "rms_norm_eps": 1e-06,
            "final_logit_softcapping": 30.0, "pad_token_id": 0, "initializer_range": 0.05})"}};
    return all;
}

Json preset_config(const std::string& name) {
    std::string known;
    for (const Preset& p : presets()) {
        if (name == p.name) return parse_json(p.config, "preset " + name);
        known += (known.empty() ? "" : ", ") + std::string(p.name);
    }
    fail(Exit::usage, "--preset %s: there are %s", name.c_str(), known.c_str());
}
