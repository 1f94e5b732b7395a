// init.h - a new model from sizes.
#pragma once
#include <cstdint>
#include <string>
#include "../engine/json.h"

// The sizes of a new model: of a file, or of a preset. Exit::usage for neither and for both.
struct NewModel { Json config; std::string who; };
NewModel new_model(const std::string& config_json, const std::string& preset);

// Writes a Hugging Face directory with random weights: matrices normal(0, initializer_range), norms one. `tokenizer`: a
// folder whose tokenizer files are carried along; empty: a tokenizer of single bytes is written, if the vocabulary has
// room for it. type: "f32", "f16" or "bf16".
void init_model(NewModel sizes, const std::string& out, uint64_t seed, const std::string& type,
                const std::string& tokenizer);
inline void init_model(const std::string& config_json, const std::string& out, uint64_t seed, const std::string& type,
                       const std::string& tokenizer) {
    init_model(new_model(config_json, ""), out, seed, type, tokenizer);
}
