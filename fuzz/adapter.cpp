// adapter.cpp - any bytes as a PEFT adapter for a small model: an adapter_config.json, a NUL, a safetensors file. It is
// refused, or laid over the model.
#include "../engine/safetensors.h"
#include "../models/adapter.h"
#include "fuzz.h"

namespace {

// Gives the model's matrices the names and sizes that loading gives them.
struct Name : Visit {
    void matrix(const std::string& name, Weight& w, int out, int in) override { w.name = name, w.m.out = out,
        w.m.in = in; }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string&, Tensor&, int, float) override {}
};

Model& small_model() {
    static const std::unique_ptr<Model> model = [] {
        const Json config = parse_json(R"({"model_type":"llama","hidden_size":4,"intermediate_size":6,
            "num_hidden_layers":1,"vocab_size":5,"num_attention_heads":2,"num_key_value_heads":1,"rope_theta":10000,
            "max_position_embeddings":16,"rms_norm_eps":1e-5,"tie_word_embeddings":true})", "model");
        for (const Architecture& a : architectures())
            if (a.gguf == "llama") return a.make(config, "model");
        abort();
    }();
    return *model;
}

std::string tensors(const std::vector<std::pair<std::string, std::pair<int, int>>>& list) {
    std::string header = "{";
    int end = 0;
    for (const auto& [name, shape] : list) {
        const int begin = end;
        end += 4 * shape.first * shape.second;
        header += format("%s\"base_model.model.model.layers.0.%s.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d],"
                         "\"data_offsets\":[%d,%d]}", begin ? "," : "", name.c_str(), shape.first, shape.second, begin,
                             end);
    }
    header += "}";
    const uint64_t length = header.size();
    return std::string((const char*)&length, 8) + header + std::string(size_t(end), '\0');
}

}  // namespace

std::vector<std::string> seeds() {
    const std::string zero(1, '\0');
    return {R"({"peft_type":"LORA","r":2,"lora_alpha":4})" + zero +
                tensors({{"self_attn.q_proj.lora_A", {2, 4}}, {"self_attn.q_proj.lora_B", {4, 2}}}),
            R"({"peft_type":"LORA","r":1,"lora_alpha":2.5,"lora_dropout":0.1,"use_rslora":true,"bias":"none",
"target_modules":["q_proj","up_proj"],"rank_pattern":{"up_proj":3},"alpha_pattern":{"mlp.up_proj":9},
"use_dora":false,"fan_in_fan_out":false,"modules_to_save":null})" + zero +
                tensors({{"mlp.up_proj.lora_A", {3, 4}}, {"mlp.up_proj.lora_B", {6, 3}},
                         {"self_attn.q_proj.lora_A", {1, 4}}, {"self_attn.q_proj.lora_B", {4, 1}}})};
}

void run(std::string_view input) {
    static const std::string who = "input";
    static const bool named = [] {
        Name name;
        small_model().weights(name);
        return true;
    }();
    promise(named);
    const size_t cut = std::min(input.find('\0'), input.size());
    const LoraConfig config = parse_adapter_config(parse_json(input.substr(0, cut), who), who);
    const auto file = parse_safetensors(input.substr(std::min(cut + 1, input.size())), who);
    static Arena memory(size_t(64) << 20);
    memory.rewind(0);
    Adapters adapters(memory);
    const size_t applied = adapters.add(small_model(), config, *file, who, 1);
    promise(applied == file->tensors().size() && applied % 2 == 0);
}
