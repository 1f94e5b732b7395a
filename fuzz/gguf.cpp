// gguf.cpp - any bytes as a GGUF file: refused, or keys that every getter answers or refuses, and tensors that lie
// inside.
#include <filesystem>
#include "../engine/gguf.h"
#include "fuzz.h"

std::vector<std::string> seeds() {
    std::string name = (std::filesystem::temp_directory_path() / "dd-fuzz-XXXXXX").string();
    promise(mkdtemp(name.data()));
    const std::string path = name + "/seed.gguf";
    const std::string blocks(2 * 34, 'q');
    const float numbers[6] = {1, 2, 3, 4, 5, 6};
    std::vector<std::string> all;
    const auto take = [&](GgufWriter& w) {
        w.write(path);
        all.push_back(read_file(path));
    };
    GgufWriter w;
    take(w);
    w.add("general.architecture", "llama");
    w.add("general.alignment", uint32_t(32));
    w.add("f", 1e-5f);
    w.add("b", true);
    w.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "bc"});
    w.add("i", std::vector<int32_t>{1, -2});
    w.add("s", std::vector<float>{0.5f});
    w.add("bs", std::vector<bool>{true, false, true});
    take(w);
    w.add("blk.0.q", Type::q8_0, {1, 64}, blocks.data(), blocks.size());
    w.add("n", Type::f32, {2, 3}, numbers, sizeof numbers);
    w.add("e", Type::f32, {0, 2, 1}, numbers, 0);
    take(w);
    promise(remove(path.c_str()) == 0 && std::filesystem::remove(name));
    return all;
}

namespace {

template <class Get> void answers(Get get) {
    try {
        get();
    } catch (const Error& e) {
        promise(e.code == Exit::bad_input);
    }
}

// An error costs microseconds, so the getters that must say no are asked about the first few keys only.
void ask_all(const Gguf& file) {
    int asked = 0;
    for (const std::string& key : file.keys()) {
        promise(file.has(key) && is_name(key));
        if (asked++ == 3) break;
        answers([&] { file.integer(key, -1000, 1000); });
        answers([&] { file.number(key); });
        answers([&] { file.boolean(key); });
        answers([&] { file.string(key); });
        answers([&] { file.strings(key); });
        answers([&] { file.integers(key); });
        answers([&] { file.floats(key); });
        answers([&] { file.booleans(key); });
    }
}

}  // namespace

void run(std::string_view input) {
    static const std::string who = "input";
    const auto file = parse_gguf(input, who);
    for (const Stored& t : file->tensors()) {
        promise(t.data >= input.data() && t.bytes <= size_t(input.data() + input.size() - t.data));
        promise(file->find(t.name) == &t && t.shape.size() <= 4);
    }
    ask_all(*file);
}
