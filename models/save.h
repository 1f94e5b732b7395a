// save.h - a model as a Hugging Face directory.
#pragma once
#include <string>
#include "session.h"

// Weights as they are in memory, in the type that they were read in (f32 and blocks: f32), with config.json and the
// tokenizer's files carried along; atomic file by file, config.json last.
void write_model(const std::string& folder, Session&);

// The same with every matrix merged with the adapters that ride on it: W + scale B A, rounded once.
void write_merged(const std::string& folder, Session&);
