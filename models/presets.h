// presets.h - the published sizes of the models that this program is for.
#pragma once
#include <cstddef>
#include <string>
#include <vector>
#include "../engine/json.h"

struct Preset {
    const char* name;           // "qwen3-0.6b"
    size_t parameters;          // of the text model, each weight once; as published, or from the published tensor list
                                // (0: nobody has published it)
    const char* config;         // config.json's text: what decides shapes and numbers
};
const std::vector<Preset>& presets();
// Its configuration. Exit::usage naming those that exist.
Json preset_config(const std::string& name);
