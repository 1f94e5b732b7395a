// presets.cpp - the published sizes: every preset is a model that is known here, with as many parameters as published.
#include "../models/checkpoint.h"
#include "../models/presets.h"
#include "support.h"

namespace {

TEST(Presets, HaveTheirPublishedParameters) {
    for (const Preset& preset : presets()) {
        Json config = preset_config(preset.name);
        const Architecture* found = nullptr;
        for (const Architecture& a : architectures())
            for (const std::string& type : a.model_types)
                if (config["model_type"] == type) found = &a;
        ASSERT_TRUE(found) << preset.name;
        size_t n = parameter_count(*found->make(config, preset.name));
        EXPECT_EQ(n, preset.parameters ? preset.parameters : n) << preset.name;
    }
}

// A safetensors file of these tensors in bf16, each name in the order that its publisher's writer gives them.
struct FileSize : Visit {
    std::map<std::string, std::vector<int>> all;
    void matrix(const std::string& name, Weight& w, int out, int in) override {
        all[name] = {out, in};
        w.m.out = out, w.m.in = in;
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string& name, Tensor&, int n, float) override { all[name] = {n}; }
    size_t bytes() const {
        std::string header = R"({"__metadata__":{"format":"pt"})";
        size_t at = 0;
        for (const auto& [name, shape] : all) {
            size_t n = 2;
            for (int d : shape) n *= size_t(d);
            header += ",\"" + name + "\":{\"dtype\":\"BF16\",\"shape\":" + dump(Json(shape)) + ",\"data_offsets\":[" +
                      std::to_string(at) + "," + std::to_string(at + n) + "]}";
            at += n;
        }
        return 8 + (header.size() + 1 + 7) / 8 * 8 + at;
    }
};

// The files on the hub, to the byte: every name, shape and type in them is what we think.
TEST(Presets, HaveTheirPublishedFileSizes) {
    for (auto [name, bytes] : {std::pair{"smollm2-135m", 269060552u}, {"smollm2-360m", 723674912u},
                               {"smollm2-1.7b", 3422777952u}, {"qwen3-0.6b", 1503300328u}}) {
        Json config = preset_config(name);
        for (const Architecture& a : architectures()) {
            if (config["model_type"] != a.model_types[0]) continue;
            auto model = a.make(config, name);
            FileSize file;
            model->weights(file);
            if (std::string(name) == "qwen3-0.6b")              // the head is stored, and is the table
                file.all["lm_head.weight"] = {model->vocabulary, model->dim};
            EXPECT_EQ(file.bytes(), bytes) << name;
        }
    }
}

// Gemma 4 E2B: what is computed with, without the table that is gathered, is the 2.3 billion of its name.
TEST(Presets, WhatE2bComputesWith) {
    struct Tables : Visit {
        size_t n = 0;
        void matrix(const std::string&, Weight&, int, int) override {}
        void table(const std::string&, Weight&, int rows, int cols) override { n += size_t(rows) * cols; }
        void vector(const std::string&, Tensor&, int, float) override {}
    } tables;
    for (const Architecture& a : architectures()) {
        if (a.gguf != "gemma4") continue;
        auto model = a.make(preset_config("gemma4-e2b"), "e2b");
        model->weights(tables);
        EXPECT_EQ(tables.n, 2348810240u);
        EXPECT_EQ(parameter_count(*model) - tables.n + 18880512, 2298639651u);  // "effective", with the dead keys
        EXPECT_EQ(model->blocks[14].head_size, 512);
        EXPECT_EQ(model->blocks[13].window, 512);
    }
    EXPECT_GT(tables.n, 0u);
}

TEST(Presets, AWrongNameListsThem) {
    std::string text;
    EXPECT_EQ(error_of([] { preset_config("gemma4"); }, &text), Exit::usage);
    EXPECT_NE(text.find("smollm2-135m, "), std::string::npos);
    EXPECT_NE(text.find("gemma4-e2b"), std::string::npos);
}

}  // namespace
