// dd.cpp - the table of verbs.
#include "verbs/verbs.h"

const std::vector<Verb>& verbs() {
    static const std::vector<Verb> table = {
        {"train", "fine-tuning: LoRA or every weight, supervised or by preferences", "dd train --model M --train-file rows.jsonl --out run", verb::train_flags, verb::train},
        {"generate", "text from prompts", "dd generate --model M --prompt \"What is the capital of Norway?\"", verb::generate_flags, verb::generate},
        {"score", "log-probabilities of given text", "dd score --model M --input rows.jsonl", verb::score_flags, verb::score},
        {"extract", "activations at named points", "dd extract --model M --input rows.jsonl --points 'resid_post.*,final' --out h.safetensors", verb::extract_flags, verb::extract},
        {"init", "a random model of given sizes", "dd init --config-json config.json --out DIR", verb::init_flags, verb::init},
    };
    return table;
}

int main(int argc, char** argv) { return run_command_line(argc, argv, verbs()); }
