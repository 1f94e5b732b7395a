// bad_input.cpp - what is wrong with a model, an adapter, a row or an intervention, by the program itself: one line,
// exit 2 or 3, nothing on standard output, nothing left behind, and before the weights of the model take any memory.
#include <filesystem>
#include "../engine/file.h"
#include "../verbs/init.h"
#include "tiny.h"

namespace {

using Args = std::vector<std::string>;
namespace fs = std::filesystem;

constexpr int dim = 256, rows_of_embedding = 60000;
constexpr size_t weights = size_t(rows_of_embedding) * dim * 4;         // of the embedding alone, ready for products

// A model of 16 million weights, made once.
const std::string& large_model() {
    static TempFolder all;
    static std::string folder;
    if (folder.empty()) {
        Json c = tiny_config("llama");
        c["hidden_size"] = dim, c["head_dim"] = dim / 4, c["vocab_size"] = rows_of_embedding;
        init_model(all.put("large.json", dump(c)), all / "m", 3, "bf16", "");
        folder = all / "m";
    }
    return folder;
}

class BadInput : public testing::Test {
protected:
    void SetUp() override {
        if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
        rows = t.put("rows.jsonl", "{\"input_ids\":[1,2,3,4]}\n");
        pairs = t.put("pairs.jsonl", "{\"prompt_ids\":[1,2],\"chosen_ids\":[3],\"rejected_ids\":[4]}\n");
        write_tensors("v.safetensors", {{"good", dim, 0.5f}, {"short", dim - 1, 0.5f}, {"nan", dim, NAN},
                                        {"zero", dim, 0}, {"z.1", dim / 2, 0.5f}});
        write_adapter("good", 0.5f);
        write_adapter("nan", NAN);
    }

    struct Numbers { std::string name; int64_t n; float value; };
    void write_tensors(const std::string& name, const std::vector<Numbers>& all) {
        std::vector<SafetensorsWriter::Item> items;
        for (const Numbers& n : all) items.push_back({n.name, Type::f32, {n.n}});
        SafetensorsWriter w(t / name, items, {});
        for (size_t i = 0; i < all.size(); i++)
            w.write(i, 0, std::vector<float>(size_t(all[i].n), all[i].value).data(), all[i].n);
        w.commit();
    }
    void write_adapter(const std::string& name, float last) {
        make_folders(t / name);
        write_file((t / name) + "/adapter_config.json", R"({"peft_type":"LORA","r":2,"lora_alpha":4,
            "target_modules":["layers.1.self_attn.q_proj"]})");
        const std::string start = "base_model.model.model.layers.1.self_attn.q_proj.lora_";
        SafetensorsWriter w((t / name) + "/adapter_model.safetensors", {{start + "A.weight", Type::f32, {2, dim}},
                                                                       {start + "B.weight", Type::f32, {dim, 2}}}, {});
        std::vector<float> v(2 * dim, 0.5f);
        w.write(0, 0, v.data(), 2);
        v.back() = last;
        w.write(1, 0, v.data(), dim);
        w.commit();
    }
    // The large model with its configuration, or its tokenizer, changed.
    std::string changed(const std::string& name, const std::function<void(const std::string&, Json&)>& change) {
        const std::string folder = t / name;
        fs::create_directory(folder);
        for (const char* f : {"model.safetensors", "tokenizer.json"})
            fs::create_symlink(large_model() + "/" + f, folder + "/" + f);
        Json c = read_json_file(large_model() + "/config.json");
        change(folder, c);
        write_file(folder + "/config.json", c.dump());
        return folder;
    }

    Args on(const std::string& verb, const std::string& model) const {
        Args a = {verb, "--model", model, "--quiet", "--precision", "f32", "--threads", "1"};
        if (verb == "train") a.insert(a.end(), {"--train-file", rows, "--steps", "1", "--out", t / "out"});
        else if (verb == "extract") a.insert(a.end(), {"--input", rows, "--out", t / "out.npz"});
        else if (verb == "eval") a.insert(a.end(), {"--task", "loss", "--data", rows, "--out", t / "out"});
        else if (verb == "merge") a.insert(a.end(), {"--out", t / "out"});
        else if (verb == "score" || verb == "generate") a.insert(a.end(), {"--input", rows});
        return a;
    }
    void refused(Args args, const Args& more, Exit code, const std::string& says) const {
        args.insert(args.end(), more.begin(), more.end());
        std::string all;
        for (const std::string& a : args) all += a + " ";
        SCOPED_TRACE(all);
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, int(code)) << r.err;
        EXPECT_NE(r.err.find(says), r.err.npos) << r.err;
        EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
        EXPECT_EQ(r.out, "");
        EXPECT_LT(r.peak, weights / 2);
        EXPECT_FALSE(exists(t / "out") || exists(t / "out.npz"));
    }
    const std::string model = have_dd() ? large_model() : "";
    TempFolder t;
    std::string rows, pairs;
};

// The others cannot pass by looking at the wrong number.
TEST_F(BadInput, AGoodRunTakesTheMemory) {
    for (const char* verb : {"score", "generate", "extract", "train"}) {
        Args args = on(verb, model);
        args.insert(args.end(), {"--adapter", t / "good"});
        if (args[0] == "train") args[args.size() - 2] = "--adapter-init";
        if (args[0] == "generate") args.insert(args.end(), {"--max-tokens", "1"});
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        EXPECT_GT(r.peak, weights) << verb;
        fs::remove_all(t / "out");
    }
}

TEST_F(BadInput, AHeadALayerOrAPointThatIsNotThere) {
    const std::string v = (t / "v.safetensors") + "#good";
    auto edits = [&](const char* text) { return Args{"--edits", t.put("edits.json", text)}; };
    for (const char* verb : {"generate", "score", "extract", "eval", "train"}) {
        const Args a = on(verb, model);
        refused(a, {"--temper", "2.0=0.5"}, Exit::usage, "this model has blocks 0 to 1");
        refused(a, {"--ablate", "1.4"}, Exit::usage, "block 1 has heads 0 to 3");
        refused(a, {"--steer", "2=" + v}, Exit::usage, "this model has blocks 0 to 1");
        refused(a, {"--project-out", "-1=" + v}, Exit::usage, "this model has blocks 0 to 1");
        refused(a, edits(R"({"edits":[{"point":"z","block":0,"head":4,"scale":1}]})"), Exit::usage, "heads 0 to 3");
        refused(a, edits(R"({"edits":[{"point":"attn","block":0,"head":1,"scale":1}]})"), Exit::usage, "known are ");
    }
    for (const char* points : {"z.2", "resid_post.-1", "mlp_out.1.0", "q.x"})
        refused(on("extract", model), {"--points", points}, Exit::usage, "blocks are 0 to 1");
    for (const char* points : {"attn", "z", "final.0", "", "resid_post.*,v.0"})
        refused(on("extract", model), {"--points", points}, Exit::usage, "there are embed, resid_pre.B");
    for (const char* kind : {"gains", "vector"})
        refused(on("train", model), {"--train-edits", kind, "--edit-blocks", "2"}, Exit::usage, "blocks 0 to 1");
    const std::string qwen = here("goldens/qwen3_5"), gemma = here("goldens/gemma4");
    refused(on("score", qwen), {"--ablate", "0.0"}, Exit::usage, "is linear attention and has no heads");
    refused(on("extract", qwen), {"--points", "q.1"}, Exit::usage, "block 1 is linear attention");
    refused(on("train", qwen), {"--train-edits", "gains", "--edit-blocks", "0"}, Exit::usage, "linear attention");
    refused(on("score", gemma), {"--ablate", "9.9"}, Exit::usage, "block 9 has heads 0 to ");
}

TEST_F(BadInput, AVectorOfAnotherWidth) {
    const std::string v = (t / "v.safetensors") + "#";
    for (const char* verb : {"generate", "score", "extract", "eval", "train"}) {
        const Args a = on(verb, model);
        for (const char* flag : {"--steer", "--project-out"}) {
            refused(a, {flag, "0=" + v + "short"}, Exit::usage, "256 numbers of F32, F16 or BF16 were expected");
            refused(a, {flag, "0=" + v + "nan"}, Exit::bad_input, "number 0 of the vector is not finite");
        }
        refused(a, {"--project-out", "0=" + v + "zero"}, Exit::usage, "it has no direction");
        refused(a, {"--ablate", "1.0", "--ablate-to", "mean:" + (t / "v.safetensors")}, Exit::usage, "256 numbers");
    }
}

TEST_F(BadInput, NumbersOfAnAdapterThatAreNone) {
    const char* says = "layers.1.self_attn.q_proj.lora_B.weight' holds a value that is not finite (number 511)";
    for (const char* verb : {"generate", "score", "extract", "eval", "merge", "info"})
        refused(on(verb, model), {"--adapter", t / "nan"}, Exit::bad_input, says);
    refused(on("eval", model), {"--adapter", t / "good", "--against", t / "nan"}, Exit::bad_input, says);
    refused(on("train", model), {"--adapter-init", t / "nan"}, Exit::bad_input, says);
    refused(on("train", model), {"--method", "dpo", "--train-file", pairs, "--ref-adapter", t / "nan"}, Exit::bad_input,
            says);
}

TEST_F(BadInput, AConfigurationAgainstItsTensors) {
    struct { const char *key, *value, *says; } wrong[] = {
        {"vocab_size", "60001", "embed_tokens.weight' has shape [60000,256], the configuration says [60001,256]"},
        {"hidden_size", "512", "has shape [60000,256], the configuration says [60000,512]"},
        {"intermediate_size", "64", "gate_proj.weight' has shape [48,256], the configuration says [64,256]"},
        {"num_attention_heads", "8", "q_proj.weight' has shape [256,256], the configuration says [512,256]"},
        {"num_key_value_heads", "4", "k_proj.weight' has shape [128,256], the configuration says [256,256]"},
        {"head_dim", "32", "q_proj.weight' has shape [256,256], the configuration says [128,256]"},
        {"num_hidden_layers", "3", "tensors are missing, the first model.layers.2."},
        {"num_hidden_layers", "1", "tensors belong to no part of a llama model, the first 'model.layers.1."},
        {"tie_word_embeddings", "false", "1 of 21 tensors are missing, the first lm_head.weight"},
        {"model_type", "\"qwen3\"", "tensors are missing, the first model.layers.0.self_attn.q_norm.weight"}};
    for (const auto& [key, value, says] : wrong) {
        const std::string m = changed(format("%s=%s", key, value), [&](const std::string&, Json& c) {
            c[key] = parse_json(value, key);
        });
        for (const char* verb : {"info", "generate", "score", "train"}) refused(on(verb, m), {}, Exit::bad_input, says);
    }
}

// A tokenizer of another model; and an id of its own, added beyond the embedding, that is wrong where it is used only.
TEST_F(BadInput, AVocabularyThatIsLargerThanTheEmbedding) {
    const Json good = read_json_file(large_model() + "/tokenizer.json");
    auto with = [&](const std::string& name, const std::function<void(Json&)>& change) {
        return changed(name, [&](const std::string& folder, Json&) {
            Json tokenizer = good;
            change(tokenizer);
            fs::remove(folder + "/tokenizer.json");
            write_file(folder + "/tokenizer.json", tokenizer.dump());
        });
    };
    const std::string other = with("other", [](Json& j) { j["model"]["vocab"]["beyond"] = rows_of_embedding; });
    for (const char* verb : {"info", "generate", "score", "extract", "eval", "train"})
        refused(on(verb, other), {}, Exit::bad_input, "its tokenizer has 60001 pieces, the embedding 60000 rows");
    const std::string added = with("added", [](Json& j) {
        j["added_tokens"].push_back({{"id", rows_of_embedding}, {"content", "<image>"}, {"special", true},
                                     {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                                     {"normalized", false}});
    });
    Args score = on("score", added), generate = on("generate", added);
    EXPECT_EQ(run_dd(score).code, 0);
    score.back() = t.put("image.jsonl", "{\"text\":\"ab\"}\n{\"text\":\"a<image>b\"}\n");
    const char* says = "token id 60000, but the model has 60000 embeddings";
    refused(score, {}, Exit::bad_input, "image.jsonl:2: " + std::string(says));
    generate.resize(generate.size() - 2);
    refused(generate, {"--raw", "--prompt", "<image>"}, Exit::bad_input, says);
}

TEST_F(BadInput, PreferencesBetweenNothing) {
    const std::string row = "{\"prompt_ids\":[1,2],\"chosen_ids\":[3,5],\"rejected_ids\":[4,5]}\n";
    struct { std::string line; Args more; const char* says; } wrong[] = {
        {"{\"prompt_ids\":[1,2],\"chosen_ids\":[3],\"rejected_ids\":[3]}", {}, ":2: chosen and rejected are equal"},
        {"{\"prompt_ids\":[1,2],\"chosen_ids\":[],\"rejected_ids\":[3]}", {}, ":2: an answer is empty"},
        {"{\"prompt_ids\":[1,2,3,4,5],\"chosen_ids\":[3],\"rejected_ids\":[4]}", {"--max-length", "5"},
         ":2: 6 tokens, --max-length is 5"},
        {"{\"prompt_ids\":[1,2,3,4,5],\"chosen_ids\":[3],\"rejected_ids\":[4]}", {"--max-length", "5", "--truncate"},
         ":2: --truncate leaves nothing of an answer after a prompt of 5 tokens"},
        {"{\"prompt_ids\":[1,2,3],\"chosen_ids\":[3,7,8],\"rejected_ids\":[3,7,9]}",
         {"--max-length", "5", "--truncate"}, ":2: --truncate makes chosen and rejected equal"}};
    for (const auto& [line, more, says] : wrong)
        for (const char* file : {"--train-file", "--valid-file"}) {
            Args args = more;
            args.insert(args.end(), {"--method", "dpo", "--train-file", pairs, file, t.put("p.jsonl", row + line)});
            refused(on("train", model), args, Exit::bad_input, says);
        }
}

// Gemma 4: later layers see with keys of the last of their kind that has its own; there must be one.
TEST_F(BadInput, ADonorLayerThatIsNotThere) {
    for (const auto& [shared, says] : std::vector<std::pair<int, const char*>>{
             {6, "layer 4 shares keys, but no layer below 4 is full"},
             {10, "num_kv_shared_layers"},
             {-1, "num_kv_shared_layers"}}) {
        const std::string folder = t / std::to_string(shared);
        fs::create_directory(folder);
        fs::create_symlink(here("goldens/gemma4/model.safetensors"), folder + "/model.safetensors");
        Json c = read_json_file(here("goldens/gemma4/config.json"));
        c["num_kv_shared_layers"] = shared;
        write_file(folder + "/config.json", c.dump());
        for (const char* verb : {"info", "generate", "score", "extract", "train"})
            refused(on(verb, folder), {}, Exit::bad_input, says);
    }
}

}  // namespace
