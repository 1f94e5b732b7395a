// gguf_names.h - GGUF's spelling of what config.json and safetensors say.
#pragma once
#include "../engine/gguf.h"
#include "model.h"

// config.json of a GGUF file: the same keys, from the metadata.
Json config_of_gguf(const Gguf&, const Architecture&);
// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight"
std::string gguf_name(const std::string& name, const Architecture&);
