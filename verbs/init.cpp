#include "init.h"
#include "../engine/file.h"
#include "../engine/safetensors.h"
#include "../kernels/parallel.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"
#include "../models/checkpoint.h"
#include "../models/presets.h"
#include "common.h"
#include "verbs.h"

namespace {

struct Planned { std::string name; int rows, cols; bool vector; float offset; std::vector<int64_t> shape; };

struct List : Visit {
    std::vector<Planned> all;
    void matrix(const std::string& name, Weight&, int out, int in) override {
        all.push_back({name, out, in, false, 0, {out, in}});
    }
    void table(const std::string& name, Weight&, int rows, int cols) override {
        all.push_back({name, rows, cols, false, 0, {rows, cols}});
    }
    void vector(const std::string& name, Tensor&, int n, float offset) override {
        all.push_back({name, 1, n, true, offset, {n}});
    }
    void filter(const std::string& name, Tensor&, int channels, int taps) override {
        all.push_back({name, channels, taps, false, 0, {channels, 1, taps}});
    }
};

// 256 single bytes and the tokens of a chat, as a tokenizer.json: enough to train a tiny model on any text.
std::string byte_tokenizer(int vocabulary, const std::string& who) {
    const char* special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    if (vocabulary < 259)
        fail(Exit::bad_input, "%s: vocab_size %d; the tokenizer of single bytes needs 259 (or give --tokenizer DIR)",
             who.c_str(), vocabulary);
    Json vocab = Json::object(), added = Json::array();
    for (int i = 0; i < 3; i++) {
        vocab[special[i]] = i;
        added.push_back({{"id", i},
                         {"content", special[i]},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", true}});
    }
    // GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from U+0100 on.
    int extra = 0;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        int c = printable ? b : 256 + extra++;
        std::string utf8 = c < 128 ? std::string(1, char(c)) : std::string{char(0xc0 | c >> 6), char(0x80 | (c & 63))};
        vocab[utf8] = 3 + b;
    }
    Json t = {
        {"version", "1.0"},
        {"truncation", nullptr},
        {"padding", nullptr},
        {"added_tokens", added},
        {"normalizer", nullptr},
        {"pre_tokenizer",
         {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
        {"post_processor", nullptr},
        {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
        {"model",
         {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", vocab},
          {"merges", Json::array()}}}};
    return t.dump(1) + "\n";
}

struct {
    std::string config_json, preset, out, type = "bf16", tokenizer;
    int64_t seed = 1;
} o;

}  // namespace

NewModel new_model(const std::string& config_json, const std::string& preset) {
    if (config_json.empty() == preset.empty())
        fail(Exit::usage, "--config-json FILE or --preset NAME: one of the two is needed, for the new model's sizes");
    if (!preset.empty()) return {preset_config(preset), "preset " + preset};
    return {read_json_file(config_json), config_json};
}

void init_model(NewModel sizes, const std::string& out, uint64_t seed, const std::string& type,
                const std::string& tokenizer) {
    Json &config = sizes.config, text = text_config(config, sizes.who);
    const std::string& who = sizes.who;
    std::string kind = get_string(text, "model_type", who), known;
    const Architecture* a = nullptr;
    for (const Architecture& x : architectures()) {
        known += (known.empty() ? "" : ", ") + x.model_types[0];
        for (const std::string& t : x.model_types)
            if (t == kind) a = &x;
    }
    if (!a)
        fail(Exit::bad_input, "%s: model_type \"%s\" is not known; known: %s", who.c_str(), kind.c_str(),
             known.c_str());
    std::unique_ptr<Model> model = a->make(text, who);
    List list;
    model->weights(list);
    Type to = type == "f32" ? Type::f32 : type == "f16" ? Type::f16 : Type::bf16;
    float range = float(get_number(text, "initializer_range", who, 0.02));

    make_folders(out);
    std::vector<SafetensorsWriter::Item> items;
    for (const Planned& p : list.all) items.push_back({p.name, to, p.shape});
    SafetensorsWriter file(out + "/model.safetensors", items, {{"format", "pt"}});
    constexpr int block = 1024;                 // rows made together
    for (size_t i = 0; i < list.all.size(); i++) {
        const Planned& p = list.all[i];
        for (int first = 0; first < p.rows; first += block) {
            int n = std::min(block, p.rows - first);
            std::vector<char> stored(size_t(n) * row_bytes(to, p.cols));
            parallel(n, [&](int r, int) {
                std::vector<float> row(p.cols, 1 - p.offset);
                Random random(seed, i << 32 | uint32_t(first + r), 0x696e6974);         // "init"
                if (!model->begin(p.name, row.data(), p.cols, random))
                    for (float& v : row)
                        if (!p.vector) v = range * random.normal();
                quantize(to, row.data(), stored.data() + r * row_bytes(to, p.cols), row.size());
            });
            file.write(i, p.vector ? 0 : first, stored.data(), p.vector ? p.cols : n);
        }
    }
    file.commit();
    if (tokenizer.empty()) {
        if (model->vocabulary >= 259)
            write_file(out + "/tokenizer.json", byte_tokenizer(model->vocabulary, who));
    } else {
        for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                 "generation_config.json", "chat_template.jinja"})
            if (exists(tokenizer + "/" + name)) write_file(out + "/" + name, read_file(tokenizer + "/" + name));
    }
    config["torch_dtype"] = to == Type::f32 ? "float32" : to == Type::f16 ? "float16" : "bfloat16";
    config.erase("dtype");
    write_file(out + "/config.json", config.dump(2) + "\n");
}

void verb::init_flags(Flags& f) {
    f.add("config-json", &o.config_json, "FILE", "sizes, as in config.json");
    f.add("preset", &o.preset, "NAME", "instead: a published model's sizes (a wrong name lists them)");
    f.add("out", &o.out, "DIR", "the new Hugging Face directory");
    f.number("seed", &o.seed, "N", 0, 9e18, "of the random weights");
    f.choice("type", &o.type, {"bf16", "f16", "f32"}, "of the stored weights");
    f.add("tokenizer", &o.tokenizer, "DIR", "carry this folder's tokenizer along; default: one of single bytes");
}

void verb::init(const Flags&) {
    if (o.out.empty()) fail(Exit::usage, "--out is missing: the new directory");
    if (exists(o.out + "/config.json"))
        fail(Exit::usage, "--out %s: there is a model already; choose another folder", o.out.c_str());
    init_model(new_model(o.config_json, o.preset), o.out, uint64_t(o.seed), o.type, o.tokenizer);
    fprintf(stderr, "dd: %s: a random model of these sizes\n", o.out.c_str());
}
