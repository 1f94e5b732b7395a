// tokenizer.cpp - any bytes as a tokenizer.json or as a GGUF file: refused, or a tokenizer whose promises hold.
#include "../engine/tokenizer.h"
#include <algorithm>
#include <filesystem>
#include <sstream>
#include <unistd.h>
#include "../engine/gguf.h"
#include "../engine/json.h"
#include "fuzz.h"

// The tests' random tokenizers, which use every option, and one GGUF file of each kind.
std::vector<std::string> seeds() {
    std::vector<std::string> all;
    const auto here = std::filesystem::path(__FILE__).parent_path();
    std::istringstream configs(read_file((here / "../tests/data/configs.jsonl").string()));
    for (std::string line; std::getline(configs, line);) all.push_back(dump(parse_json(line, "configs")["tokenizer"]));
    const std::string path = (std::filesystem::temp_directory_path() / format("dd-fuzz-%d", int(getpid()))).string();
    for (const bool scores : {false, true}) {
        GgufWriter w;
        w.add("tokenizer.ggml.model", scores ? "llama" : "gpt2");
        w.add("tokenizer.ggml.pre", "smollm");
        w.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "<s>", "  ", "<0x0A>"});
        w.add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 3, 4, 6});
        w.add("tokenizer.ggml.add_space_prefix", false);
        w.add("tokenizer.ggml.bos_token_id", uint32_t(3));
        if (scores) w.add("tokenizer.ggml.scores", std::vector<float>{-1, -2, -3, 0, 0, 0});
        else w.add("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
        w.write(path);
        all.push_back(read_file(path));
    }
    std::filesystem::remove(path);
    return all;
}

void run(std::string_view input) {
    static const std::string who = "input";
    std::unique_ptr<Gguf> file;
    std::unique_ptr<Tokenizer> t;
    if (input.starts_with("GGUF")) file = parse_gguf(input, who), t = read_tokenizer(*file);
    else t = parse_tokenizer(input, who);
    promise(t->bos() < t->size() && t->eos() < t->size() && !t->kind().empty());
    for (const char* text : {"", "abc ab\n\n  a<s>  b", "Cafe\u0301 12 \u2581\u2581 it's <unk> - b1",
                             "\xff\xe2\x82 b c \xf0\x9f\x99\x82", "aaaaaaaaaaaaaaaaaaaab"}) {
        const std::vector<Part> parts = {{text, true}, {text, false, true}};
        std::vector<char> targets;
        std::vector<int> ids = t->encode(std::span(parts), &targets);
        promise(targets.size() == ids.size());
        const std::vector<int> plain = t->encode(text, false, true);
        ids.insert(ids.end(), plain.begin(), plain.end());
        promise(std::all_of(ids.begin(), ids.end(), [&](int id) { return id >= 0 && id < t->size(); }));
        ids.push_back(t->size());
        StreamDecoder stream(*t);
        std::string joined;
        for (const int id : ids) joined += stream.push(id);
        joined += stream.finish();
        promise(joined == t->decode(ids) && valid_utf8(joined) == joined.size());
    }
    for (int id = -1; id < std::min(t->size(), 100); id++) {
        t->piece(id);
        t->is_special(id);
    }
}
