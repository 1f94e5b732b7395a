// edits.h - interventions that are trained while the model is frozen: a factor for every head, or a steering vector.
#pragma once
#include <string>
#include <vector>
#include "../models/session.h"
#include "optimizer.h"

// Appends them to the session's edits, neutral to begin with, and gives what is to be trained of them: "gains", the
// heads' factors at z ("z.3": 1 x heads), of these blocks, or of all that have heads; "vector", what is added at
// resid_post ("resid_post.12": 1 x hidden), of these blocks, or of the one in the middle. Exit::usage for a block that
// the model does not have. The session's edits must stay where they are from here on.
std::vector<Parameter> create_edits(Session&, const std::string& kind, const std::vector<int>& blocks, Arena&);

// FOLDER/edits.json, with the vectors in FOLDER/edits.safetensors: what --edits reads back.
void write_edits(const std::string& folder, const std::vector<Parameter>&, const Memory&);
