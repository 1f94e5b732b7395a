// dd.cpp - the table of verbs.
#include "verbs/verbs.h"

int main(int argc, char** argv) {
    const std::vector<Verb> table = {
        {"train", "fine-tuning: LoRA or every weight, supervised or by preferences",
         "dd train --model M --train-file rows.jsonl --out run", verb::train_flags, verb::train},
        {"eval", "judge a model, with and without an adapter, paired by item",
         "dd eval --task gym --model M --adapter run/adapter --out judged", verb::eval_flags, verb::eval},
        {"generate", "text from prompts; alone on a terminal, a chat",
         "dd generate --model M --prompt \"What is the capital of Norway?\"", verb::generate_flags, verb::generate},
        {"score", "log-probabilities of given text", "dd score --model M --input rows.jsonl", verb::score_flags,
         verb::score},
        {"extract", "activations at named points, streamed to disk",
         "dd extract --model M --input rows.jsonl --points 'resid_post.*,final' --out h.safetensors",
         verb::extract_flags, verb::extract},
        {"data", "write generated training rows",
         "dd data gym --family verify,unsure,revise --level 1 --rows 600 --out rows.jsonl", verb::data_flags,
         verb::data},
        {"merge", "base and adapters as one new model", "dd merge --model M --adapter run/adapter --out merged",
         verb::merge_flags, verb::merge},
        {"init", "a random model of given sizes", "dd init --config-json config.json --out tiny", verb::init_flags,
         verb::init},
        {"info", "what a model is: sizes, types, memory, chat format", "dd info --model M", verb::info_flags,
         verb::info},
        {"tokenize", "ids and pieces of texts", "dd tokenize --model M --prompt \"Hello world\"", verb::tokenize_flags,
         verb::tokenize},
        {"render", "conversations as text, no model needed", "dd render --chat-format qwen3 --input chats.jsonl",
         verb::render_flags, verb::render},
        {"bench", "speed and memory, as shares of what this machine can do", "dd bench --model M", verb::bench_flags,
         verb::bench},
        {"env", "this program and this machine, to paste into an issue", "dd env", verb::env_flags, verb::env},
        {"completion", "for bash, zsh and fish", "dd completion bash > /etc/bash_completion.d/dd",
         verb::completion_flags, verb::completion},
    };
    return run_command_line(argc, argv, table);
}
