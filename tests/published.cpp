// published.cpp - the numbers that are published of the models, wherever they can be checked without their weights:
// parameters part by part, tensors, files and their indices to the byte, what a cache takes, which layers see what,
// frequencies. (Ids of texts: tokenizer.cpp; renderings: chat.cpp; parameters and files of every preset: presets.cpp.)
#include "../models/checkpoint.h"
#include "../models/presets.h"
#include "support.h"

namespace {

constexpr const char *sliding = "sliding", *whole = "whole";

// A model of these sizes, without numbers: what its tensors are, and how they are stored.
struct Described : Visit {
    struct Item { std::vector<int64_t> shape; bool f32 = false; };
    std::map<std::string, Item> all;
    std::unique_ptr<Model> model;

    explicit Described(const std::string& preset) {
        const Json config = preset_config(preset);
        for (const Architecture& a : architectures())
            for (const std::string& type : a.model_types)
                if (config["model_type"] == type) model = a.make(config, preset);
        model->weights(*this);
    }
    void matrix(const std::string& name, Weight& w, int out, int in) override {
        all[name] = {{out, in}};
        w.m.out = out, w.m.in = in, w.m.w = {nullptr, out, in, Type::bf16};
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string& name, Tensor& w, int n, float) override {
        all[name] = {{n}, name.ends_with("A_log") || name.ends_with("linear_attn.norm.weight")};
        w = {nullptr, 1, n};
    }
    void filter(const std::string& name, Tensor& w, int channels, int taps) override {
        all[name] = {{channels, 1, taps}};
        w = {nullptr, 1, channels * taps};
    }
    void spare(const std::string& name) override { spares.push_back(name); }
    std::vector<std::string> spares;

    static size_t count(const Item& i) {
        size_t n = 1;
        for (int64_t d : i.shape) n *= size_t(d);
        return n;
    }
    size_t numbers(const std::string& start = "") const {
        size_t n = 0;
        for (const auto& [name, item] : all)
            if (name.starts_with(start)) n += count(item);
        return n;
    }
    size_t layer(int l) const { return numbers("model.layers." + std::to_string(l) + "."); }
    // A layer of each kind that there is, by its numbers: how often.
    std::map<size_t, int> layers() const {
        std::map<size_t, int> n;
        for (int l = 0; l < model->layers; l++) n[layer(l)]++;
        return n;
    }
    // As safetensors store it: what takes more bytes a number first, then by name.
    size_t file_bytes(const char* metadata) const {
        std::string header = std::string("{") + metadata;
        size_t at = 0;
        for (bool f32 : {true, false})
            for (const auto& [name, item] : all) {
                if (item.f32 != f32) continue;
                const size_t end = at + count(item) * (f32 ? 4 : 2);
                header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + (f32 ? "F32" : "BF16") +
                          "\",\"shape\":" + dump(Json(item.shape)) + ",\"data_offsets\":[" + std::to_string(at) + "," +
                          std::to_string(end) + "]}";
                at = end;
            }
        return 8 + (header.size() + 1 + 7) / 8 * 8 + at;
    }
    size_t data_bytes() const {
        size_t n = 0;
        for (const auto& [name, item] : all) n += count(item) * (item.f32 ? 4 : 2);
        return n;
    }
    // The index beside shards, as transformers writes it.
    std::string index(const std::function<const char*(const std::string&)>& shard) const {
        Json map = Json::object();
        for (const auto& [name, item] : all) map[name] = shard(name);
        return Json({{"metadata", {{"total_size", data_bytes()}}}, {"weight_map", map}}).dump(2);
    }
    // Of one sequence with room for so many positions, which come a token at a time; operands in bf16.
    size_t cache_bytes(int room) const {
        Arena states(size_t(1) << 42, true), scratch(size_t(1) << 42, true);
        Cache cache(states, 1, room, 1);
        Batch b;
        int id = 0;
        b.add(&id, 1, 0, 0);
        Pass p{nothing, scratch, b.rows(), Type::bf16};
        p.cache = &cache;
        model->forward(p);
        return states.peak;
    }
    size_t cache_per_token() const { return (cache_bytes(8192) - cache_bytes(4096)) / 4096; }
    std::vector<int> blocks_that_see(const char* what) const {
        std::vector<int> list;
        for (int l = 0; l < model->layers; l++)
            if ((model->blocks[l].window > 0) == (what == sliding)) list.push_back(l);
        return list;
    }
};
constexpr const char* pt = R"("__metadata__":{"format":"pt"})";

TEST(Published, SmolLM2) {
    struct { const char* name; size_t embedding, layer; int layers; size_t norm, total, tensors, cache; } sheet[] = {
        {"smollm2-135m", 28'311'552, 3'540'096, 30, 576, 134'515'008, 272, 11'520},
        {"smollm2-360m", 47'185'920, 9'832'320, 32, 960, 361'821'120, 290, 20'480},
        {"smollm2-1.7b", 100'663'296, 67'112'960, 24, 2048, 1'711'376'384, 218, 98'304}};
    for (const auto& s : sheet) {
        SCOPED_TRACE(s.name);
        const Described d(s.name);
        EXPECT_EQ(d.numbers("model.embed_tokens."), s.embedding);
        EXPECT_EQ(d.layers(), (std::map<size_t, int>{{s.layer, s.layers}}));
        EXPECT_EQ(d.numbers("model.layers."), s.layer * size_t(s.layers));
        EXPECT_EQ(d.numbers("model.norm."), s.norm);
        EXPECT_EQ(d.numbers(), s.total);
        EXPECT_EQ(d.all.size(), s.tensors);
        EXPECT_FALSE(d.all.count("lm_head.weight"));
        EXPECT_EQ(d.cache_per_token(), s.cache * 2);
    }
    // Of the GGUF file of the 135M: its vectors stay F32, the table and 210 matrices do not.
    const Described d("smollm2-135m");
    int vectors = 0;
    for (const auto& [name, item] : d.all) vectors += item.shape.size() == 1;
    EXPECT_EQ(vectors, 61);
    EXPECT_EQ(d.all.size() - size_t(vectors), 211u);
}

TEST(Published, Qwen3) {
    struct { const char* name; size_t embedding, layer, total, stored, without; } sheet[] = {
        {"qwen3-0.6b", 155'582'464, 15'730'944, 596'049'920, 751'632'384, 440'467'456},
        {"qwen3-1.7b", 311'164'928, 50'336'000, 1'720'574'976, 2'031'739'904, 1'409'410'048}};
    for (const auto& s : sheet) {
        SCOPED_TRACE(s.name);
        Described d(s.name);
        EXPECT_EQ(d.numbers("model.embed_tokens."), s.embedding);
        EXPECT_EQ(d.layers(), (std::map<size_t, int>{{s.layer, 28}}));
        EXPECT_EQ(d.numbers(), s.total);
        EXPECT_EQ(d.numbers() - d.numbers("model.embed_tokens."), s.without);
        EXPECT_EQ(d.all.size(), 310u);
        EXPECT_EQ(d.cache_per_token(), 57'344u * 2);
        int vectors = 0;
        for (const auto& [name, item] : d.all) vectors += item.shape.size() == 1;
        EXPECT_EQ(vectors, 113);
        const size_t first_shard = d.file_bytes(pt);
        d.all["lm_head.weight"] = d.all["model.embed_tokens.weight"];       // stored, and the same numbers
        EXPECT_EQ(d.all.size(), 311u);
        EXPECT_EQ(d.numbers(), s.stored);
        if (s.name == std::string("qwen3-0.6b")) {
            EXPECT_EQ(d.file_bytes(pt), 1'503'300'328u);
            EXPECT_EQ(d.file_bytes(pt) - d.data_bytes(), 8u + 35'552);
            continue;
        }
        EXPECT_EQ(first_shard, 3'441'185'608u);
        EXPECT_EQ(d.data_bytes(), 4'063'479'808u);
        const std::string index = d.index([](const std::string& name) {
            return name == "lm_head.weight" ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors";
        });
        EXPECT_EQ(index.size() + 1, 25'605u);
    }
}

// The whole checkpoint: the text, a block that predicts further, a vision tower, by the names and shapes of the sheet.
TEST(Published, Qwen3_5) {
    Described d("qwen3.5-0.8b");
    EXPECT_EQ(d.layers(), (std::map<size_t, int>{{21'555'360, 18}, {18'352'640, 6}}));
    for (int l = 0; l < 24; l++) EXPECT_EQ(d.layer(l), l % 4 == 3 ? 18'352'640u : 21'555'360u) << l;
    EXPECT_EQ(d.numbers("model.layers.0.linear_attn."), 10'543'264u);
    EXPECT_EQ(d.numbers("model.layers.3.self_attn."), 7'340'544u);
    EXPECT_EQ(d.numbers("model.layers.3.mlp."), 11'010'048u);
    EXPECT_EQ(d.numbers("model.embed_tokens."), 254'279'680u);
    EXPECT_EQ(d.numbers(), 752'393'024u);
    EXPECT_EQ(d.all.size(), 320u);
    EXPECT_EQ(d.cache_per_token(), 12'288u);
    int f32_of_gguf = 0;
    for (const auto& [name, item] : d.all) f32_of_gguf += item.shape.size() != 2;
    EXPECT_EQ(f32_of_gguf, 133);

    std::map<std::string, Described::Item> text, rest;
    for (const auto& [name, item] : d.all) text["model.language_model." + name.substr(6)] = item;
    const int64_t dim = 1024;
    for (const auto& [name, item] : d.all)                      // shaped like a block that sees everything
        if (name.starts_with("model.layers.3.")) rest["mtp.layers.0." + name.substr(15)] = item;
    rest["mtp.fc.weight"] = {{dim, 2 * dim}};
    for (const char* norm : {"norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"})
        rest[std::string("mtp.") + norm + ".weight"] = {{dim}};
    d.all = rest;
    EXPECT_EQ(d.all.size(), 15u);
    EXPECT_EQ(d.numbers(), 20'452'864u);
    std::map<std::string, Described::Item> vision;
    auto part = [&](const std::string& name, std::vector<int64_t> shape) {
        vision["model.visual." + name + ".weight"] = {shape};
        vision["model.visual." + name + ".bias"] = {{shape[0]}};
    };
    for (int b = 0; b < 12; b++) {
        const std::string at = "blocks." + std::to_string(b) + ".";
        part(at + "norm1", {768}), part(at + "norm2", {768});
        part(at + "attn.qkv", {2304, 768}), part(at + "attn.proj", {768, 768});
        part(at + "mlp.linear_fc1", {3072, 768}), part(at + "mlp.linear_fc2", {768, 3072});
    }
    part("patch_embed.proj", {768, 3, 2, 16, 16}), part("merger.norm", {768});
    part("merger.linear_fc1", {3072, 3072}), part("merger.linear_fc2", {1024, 3072});
    vision["model.visual.pos_embed.weight"] = {{2304, 768}};
    d.all = vision;
    EXPECT_EQ(d.all.size(), 153u);
    EXPECT_EQ(d.numbers(), 100'592'896u);
    d.all.merge(rest), d.all.merge(text);
    EXPECT_EQ(d.all.size(), 488u);
    EXPECT_EQ(d.numbers(), 873'438'784u);
    EXPECT_EQ(d.file_bytes(""), 1'746'942'600u);
    EXPECT_EQ(d.index([](const std::string&) { return "model.safetensors-00001-of-00001.safetensors"; }).size(),
              50'900u);
}

TEST(Published, Gemma3) {
    struct { const char* name; size_t embedding, layer, total, without, tensors, bytes, token, rings;
             std::vector<int> globals; } sheet[] = {
        {"gemma3-270m", 167'772'160, 5'573'632, 268'098'176, 100'326'016, 236, 536'196'352, 3072, 7'864'320,
         {5, 11, 17}},
        {"gemma3-1b", 301'989'888, 26'842'112, 999'885'952, 697'896'064, 340, 1'999'771'904, 4096, 11'534'336,
         {5, 11, 17, 23}}};
    for (const auto& s : sheet) {
        SCOPED_TRACE(s.name);
        const Described d(s.name);
        EXPECT_EQ(d.numbers("model.embed_tokens."), s.embedding);
        EXPECT_EQ(d.layers(), (std::map<size_t, int>{{s.layer, d.model->layers}}));
        EXPECT_EQ(d.numbers(), s.total);
        EXPECT_EQ(d.numbers() - d.numbers("model.embed_tokens."), s.without);
        EXPECT_EQ(d.all.size(), s.tensors);
        EXPECT_EQ(d.data_bytes(), s.bytes);
        EXPECT_EQ(d.blocks_that_see(whole), s.globals);
        EXPECT_EQ(d.cache_per_token(), s.token);
        // Rings of 512 positions; ours lie in panels of 16, one of which is open.
        EXPECT_EQ((d.cache_bytes(4096) - 4096 * s.token) / (512 + 16) * 512, s.rings);
        for (const Model::Block& b : d.model->blocks) {
            EXPECT_EQ((std::array{b.heads, b.kv_heads, b.head_size}), (std::array{4, 1, 256}));
            EXPECT_TRUE(b.window == 0 || b.window == 512);
        }
    }
}

TEST(Published, Gemma4) {
    const Described d("gemma4-e2b");
    const std::vector<int> globals{4, 9, 14, 19, 24, 29, 34};
    EXPECT_EQ(d.blocks_that_see(whole), globals);
    EXPECT_EQ(d.numbers("model.embed_tokens."), 402'653'184u);
    EXPECT_EQ(d.numbers("model.embed_tokens_per_layer."), 2'348'810'240u);
    EXPECT_EQ(d.numbers("model.per_layer_model_projection."), 13'762'560u);
    EXPECT_EQ(d.layers(),
              (std::map<size_t, int>{{36'184'065, 12}, {43'262'465, 3}, {63'708'929, 16}, {70'000'641, 4}}));
    size_t dead = 0;                    // keys and values of layers that look at others'
    for (int l = 0; l < 35; l++) {
        const bool wide = (l + 1) % 5 == 0, shares = l >= 15;
        EXPECT_EQ(d.model->blocks[l].head_size, wide ? 512 : 256) << l;
        EXPECT_EQ(d.model->blocks[l].window, wide ? 0 : 512) << l;
        const std::string at = "model.layers." + std::to_string(l) + ".";
        EXPECT_EQ(d.all.at(at + "mlp.up_proj.weight").shape[0], shares ? 12288 : 6144) << l;
        EXPECT_EQ(d.all.count(at + "self_attn.k_proj.weight"), size_t(!shares)) << l;
        if (shares) dead += 2 * size_t(wide ? 512 : 256) * 1536 + size_t(wide ? 512 : 256);
    }
    EXPECT_EQ(dead, 18'880'512u);
    EXPECT_EQ(d.spares.size(), 60u);
    EXPECT_EQ(d.all.size(), 540u);
    EXPECT_EQ(d.all.size() + d.spares.size(), 600u);
    EXPECT_EQ(d.numbers(), 4'628'569'379u);
    const size_t stored = d.numbers() + dead, table = d.numbers("model.embed_tokens_per_layer.");
    EXPECT_EQ(stored, 4'647'449'891u);
    EXPECT_EQ(stored - table, 2'298'639'651u);
    EXPECT_EQ(d.numbers() - table - d.numbers("model.embed_tokens."), 1'877'105'955u);
    EXPECT_EQ(2 * table, 4'697'620'480u);
    EXPECT_EQ(2 * (stored - table), 4'597'279'302u);
    // All parts of the file: text, vision, audio, and what leads from these into the text.
    EXPECT_EQ(stored + 167'365'056 + 304'825'088 + 1536 * 768 + 1536 * 1536, 5'123'178'979u);
    EXPECT_EQ(8 + 263'952 + 2 * 5'123'178'979, 10'246'621'918);

    EXPECT_EQ(d.cache_per_token(), 6144u);
    EXPECT_EQ(d.cache_per_token() * 131'072, 805'306'368u);
    EXPECT_EQ((d.cache_bytes(4096) - 4096 * 6144) / (512 + 16), 12'288u);       // of a position in the rings
    EXPECT_EQ(size_t(12'288) * 512, 6'291'456u);
}

// Of a head of 512 a quarter of the pairs turns, by the frequencies of the whole.
TEST(Published, Frequencies) {
    std::vector<float> f(256);
    rope_frequencies(f.data(), 256, 1e6, 1, 0.25);
    EXPECT_EQ(f[0], 1);
    EXPECT_NEAR(f[1], 0.94746353, 3e-8);
    EXPECT_NEAR(f[2], 0.89768713, 3e-8);
    EXPECT_NEAR(f[63], 0.03337625, 3e-8);
    for (int j = 64; j < 256; j++) EXPECT_EQ(f[j], 0);
    // Each family as it is published: theta and pairs.
    for (auto [pairs, theta] : {std::pair{32, 1e5}, {32, 1.3e5}, {64, 1e6}, {32, 1e7}, {128, 1e4}, {128, 1e6}}) {
        rope_frequencies(f.data(), pairs, theta);
        for (int j = 0; j < pairs; j++)
            EXPECT_FLOAT_EQ(f[j], float(std::exp(-std::log(theta) * 2 * j / (2 * pairs)))) << theta << " " << j;
    }
}

// What a preset says is what its sheet says, where no size of a tensor would tell.
TEST(Published, WhatNoTensorTells) {
    struct { const char *preset, *key; Json value; } sheet[] = {
        {"smollm2-135m", "rope_theta", 100000}, {"smollm2-360m", "rope_theta", 100000},
        {"smollm2-1.7b", "rope_theta", 130000}, {"smollm2-135m", "rms_norm_eps", 1e-5},
        {"smollm2-360m", "rms_norm_eps", 1e-5}, {"smollm2-1.7b", "rms_norm_eps", 1e-5},
        {"smollm2-1.7b", "num_key_value_heads", 32}, {"smollm2-135m", "max_position_embeddings", 8192},
        {"smollm2-135m", "initializer_range", 0.041666666666666664}, {"qwen3-0.6b", "rope_theta", 1000000},
        {"qwen3-1.7b", "rope_theta", 1000000}, {"qwen3-0.6b", "rms_norm_eps", 1e-6},
        {"qwen3-0.6b", "max_position_embeddings", 40960}, {"qwen3-1.7b", "max_position_embeddings", 40960},
        {"qwen3.5-0.8b", "max_position_embeddings", 262144}, {"qwen3.5-0.8b", "eos_token_id", 248044},
        {"gemma3-270m", "query_pre_attn_scalar", 256}, {"gemma3-1b", "query_pre_attn_scalar", 256},
        {"gemma3-270m", "rope_local_base_freq", 10000.0}, {"gemma3-1b", "rope_theta", 1000000},
        {"gemma3-270m", "max_position_embeddings", 32768}, {"gemma4-e2b", "final_logit_softcapping", 30.0},
        {"gemma4-e2b", "max_position_embeddings", 131072}, {"gemma4-e2b", "num_kv_shared_layers", 20},
        {"gemma4-e2b", "hidden_size_per_layer_input", 256}};
    for (const auto& [preset, key, value] : sheet)
        EXPECT_EQ(preset_config(preset).at(key), value) << preset << " " << key;
    const Json rope = preset_config("qwen3.5-0.8b")["rope_parameters"];
    const Json both = preset_config("gemma4-e2b")["rope_parameters"];
    EXPECT_EQ(rope["rope_theta"], 10000000);
    EXPECT_EQ(rope["partial_rotary_factor"], 0.25);
    EXPECT_EQ(both["full_attention"]["partial_rotary_factor"], 0.25);
    EXPECT_EQ(both["full_attention"]["rope_theta"], 1000000.0);
    EXPECT_EQ(both["sliding_attention"]["rope_theta"], 10000.0);
}

}  // namespace
