// malformed_model.cpp - model folders, GGUF models, adapters, checkpoints and rows that break one rule each; and how
// many malformed files there are in all.
#include "../engine/gguf.h"
#include "../models/adapter.h"
#include "../train/run_folder.h"
#include "tiny.h"

namespace {

// Without the fsync of the house's own writer, which thousands of files would wait for.
void put(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

void open_model(const std::string& path) {
    SessionOptions o;
    o.model = path, o.quiet = true, o.threads = 1;
    Session s(o);
    s.stops();
}

// ---- config.json

struct Change { const char *path, *value, *says; };     // a JSON pointer and what is put there ("-": it is taken away)

std::string changed(Json j, const Change& c) {
    const std::string path = c.path;
    if (std::string(c.value) == "-") {
        at_path(j, path.substr(0, path.rfind('/'))).erase(path.substr(path.rfind('/') + 1));
        return dump(j);
    }
    at_path(j, path) = "HERE";             // put in as text, since the parser would not take all of them
    std::string text = dump(j);
    return text.replace(text.find("\"HERE\""), 6, c.value);
}

void expect_configs_refused(const std::string& architecture, const std::vector<Change>& table) {
    const TempFolder t;
    const std::string folder = copy_of_tiny(t, architecture), file = folder + "/config.json";
    open_model(folder);
    const Json good = read_json_file(file);
    const size_t size = std::filesystem::file_size(folder + "/model.safetensors");
    for (const Change& c : table) {
        SCOPED_TRACE(std::string(c.path) + " " + c.value);
        const std::string text = changed(good, c);
        put(file, text);
        malformed_files()["config.json"]++;
        expect_refused([&] { open_model(folder); }, folder, size, c.says);
    }
}

TEST(MalformedConfig, OfLlama) {
    expect_configs_refused("llama", {
        {"/model_type", "-", "\"model_type\" is missing"},
        {"/model_type", "null", "\"model_type\" is missing"},
        {"/model_type", "5", "expected a string"},
        {"/model_type", R"("gpt_bigcode")", "architecture 'gpt_bigcode' is not known; known: "},
        {"/model_type", R"("Llama")", "architecture 'Llama' is not known"},
        {"/model_type", R"("a\n\u001b[2J")", "architecture 'a\\x0a\\x1b[2J' is not known"},
        {"/text_config", "5", "text_config is not an object"},
        {"/text_config", "[]", "text_config is not an object"},
        {"/text_config", R"("x")", "text_config is not an object"},
        {"/text_config", "{}", "\"num_hidden_layers\" is missing"},
        {"/num_hidden_layers", "-", "\"num_hidden_layers\" is missing"},
        {"/num_hidden_layers", "0", "expected an integer from 1 to 1024"},
        {"/num_hidden_layers", "-1", "expected an integer from 1 to 1024"},
        {"/num_hidden_layers", "1025", "expected an integer from 1 to 1024"},
        {"/num_hidden_layers", "1000000000", "expected an integer from 1 to 1024"},
        {"/num_hidden_layers", "18446744073709551615", "expected an integer"},
        {"/num_hidden_layers", "1e400", "number overflow"},
        {"/num_hidden_layers", "2.0", "'2.0', expected an integer"},
        {"/num_hidden_layers", R"("2")", "expected an integer"},
        {"/num_hidden_layers", "[2]", "expected an integer"},
        {"/num_hidden_layers", "1", "belong to no part of a llama model"},
        {"/num_hidden_layers", "3", "9 of 29 tensors are missing, the first model.layers.2."},
        {"/num_hidden_layers", "1024", "tensors are missing"},
        {"/hidden_size", "-", "\"hidden_size\" is missing"},
        {"/hidden_size", "0", "expected an integer from 2"},
        {"/hidden_size", "1073741824", "expected an integer from 2 to 1048576"},
        {"/hidden_size", "33", "must be even"},
        {"/hidden_size", "64", "has shape [300,32], the configuration says [300,64]"},
        {"/hidden_size", "1048576", "the configuration says [300,1048576]"},
        {"/hidden_size", "true", "expected an integer"},
        {"/intermediate_size", "-", "\"intermediate_size\" is missing"},
        {"/intermediate_size", "2097152", "expected an integer from 2 to 1048576"},
        {"/intermediate_size", "50", "has shape [48,32], the configuration says [50,32]"},
        {"/num_attention_heads", "-", "\"num_attention_heads\" is missing"},
        {"/num_attention_heads", "0", "expected an integer from 1 to 1024"},
        {"/num_attention_heads", "1025", "expected an integer from 1 to 1024"},
        {"/num_attention_heads", "5", "is not a multiple of num_key_value_heads 2"},
        {"/num_attention_heads", "8", "q_proj.weight' has shape [32,32], the configuration says [64,32]"},
        {"/num_key_value_heads", "0", "expected an integer from 1 to 1024"},
        {"/num_key_value_heads", "3", "is not a multiple of num_key_value_heads 3"},
        {"/num_key_value_heads", "8", "num_attention_heads 4 is not a multiple"},
        {"/num_key_value_heads", "4", "k_proj.weight' has shape [16,32], the configuration says [32,32]"},
        {"/head_dim", "0", "expected an integer from 2 to 16384"},
        {"/head_dim", "7", "must be even"},
        {"/head_dim", "16", "q_proj.weight' has shape [32,32], the configuration says [64,32]"},
        {"/head_dim", "16386", "expected an integer from 2 to 16384"},
        {"/vocab_size", "-", "\"vocab_size\" is missing"},
        {"/vocab_size", "0", "expected an integer from 1"},
        {"/vocab_size", "-5", "expected an integer from 1"},
        {"/vocab_size", "2097153", "expected an integer from 1 to 2097152"},
        {"/vocab_size", "400", "has shape [300,32], the configuration says [400,32]"},      // larger than the embedding
        {"/vocab_size", "299", "has shape [300,32], the configuration says [299,32]"},
        {"/max_position_embeddings", "-", "\"max_position_embeddings\" is missing"},
        {"/max_position_embeddings", "0", "expected an integer from 1"},
        {"/max_position_embeddings", "99999999999", "expected an integer from 1 to 16777216"},
        {"/rms_norm_eps", "-", "\"rms_norm_eps\" is missing"},
        {"/rms_norm_eps", "NaN", "not valid JSON"},
        {"/rms_norm_eps", "1e999", "number overflow"},
        {"/rms_norm_eps", "-1e-5", "expected a number from 0 to 1"},
        {"/rms_norm_eps", "1e30", "expected a number from 0 to 1"},
        {"/rms_norm_eps", R"("1e-5")", "expected a number"},
        {"/rope_theta", "-", "no rope_theta"},
        {"/rope_theta", "0", "no rope_theta"},
        {"/rope_theta", "-10000", "expected a number from 0"},
        {"/rope_theta", "1e300", "expected a number from 0 to 1e+18"},
        {"/rope_theta", R"("x")", "expected a number"},
        {"/rope_scaling", R"({"rope_type":"yarn"})", "rope type 'yarn' is not known; known: default, linear"},
        {"/rope_scaling", R"({"type":"ntk"})", "rope type 'ntk' is not known"},
        {"/rope_scaling", R"({"rope_type":5})", "expected a string"},
        {"/rope_scaling", R"({"rope_type":"linear"})", "\"factor\" is missing"},
        {"/rope_scaling", R"({"rope_type":"linear","factor":0})", "expected a number from 1e-06"},
        {"/rope_scaling", R"({"rope_type":"linear","factor":-2})", "expected a number from 1e-06"},
        {"/rope_scaling", R"("linear")", "expected an object"},
        {"/rope_scaling", "[2]", "expected an object"},
        {"/rope_parameters", R"({"rope_type":"llama3","rope_theta":10000})", "rope type 'llama3' is not known"},
        {"/rope_parameters", R"({"rope_theta":1e4,"partial_rotary_factor":0.5})", "partial_rotary_factor is not 1"},
        {"/partial_rotary_factor", "0.25", "partial_rotary_factor is not 1"},
        {"/hidden_act", R"("gelu")", "hidden_act is 'gelu'; only silu is known"},
        {"/hidden_act", "1", "expected a string"},
        {"/attention_bias", "true", "attention_bias is true"},
        {"/mlp_bias", "true", "mlp_bias is true"},
        {"/mlp_bias", "1", "expected false"},
        {"/tie_word_embeddings", R"("yes")", "expected true or false"},
        {"/tie_word_embeddings", "false", "the first lm_head.weight"},
        {"/pad_token_id", "-2", "expected an integer from -1"},
        {"/pad_token_id", "301", "expected an integer from -1 to 300"},
        {"/eos_token_id", R"("</s>")", "eos_token_id '\"</s>\"'; one id or a list of ids was expected"},
        {"/eos_token_id", "-1", "eos_token_id '-1'"},
        {"/eos_token_id", "2097152", "eos_token_id '2097152'"},
        {"/eos_token_id", R"([1,"x"])", "one id or a list of ids"},
        {"/eos_token_id", "{}", "one id or a list of ids"},
    });
}

TEST(MalformedConfig, OfQwen3AndGemma3) {
    expect_configs_refused("qwen3", {
        {"/use_sliding_window", "true", "use_sliding_window is true"},
        {"/use_sliding_window", R"("x")", "expected false"},
        {"/head_dim", "-", "the configuration says [512,32]"},          // 128 where nothing is said
        {"/hidden_act", R"("relu")", "only silu is known"},
    });
    expect_configs_refused("gemma3", {
        {"/layer_types", "5", "layer_types must be a list of 2 names"},
        {"/layer_types", R"(["full_attention"])", "layer_types must be a list of 2 names"},
        {"/layer_types/1", R"("linear_attention")", "full_attention or sliding_attention was expected"},
        {"/layer_types/0", "7", "full_attention or sliding_attention was expected"},
        {"/sliding_window", "0", "expected an integer from 1"},
        {"/sliding_window", R"("64")", "expected an integer"},
        {"/sliding_window_pattern", "0", "expected an integer from 1 to 1024"},
        {"/query_pre_attn_scalar", "0", "expected a number from 1e-06"},
        {"/query_pre_attn_scalar", "-256", "expected a number from 1e-06"},
        {"/final_logit_softcapping", "-30", "expected a number from 0"},
        {"/final_logit_softcapping", R"("30")", "expected a number"},
        {"/attn_logit_softcapping", "50", "attn_logit_softcapping is 50"},
        {"/use_bidirectional_attention", "true", "use_bidirectional_attention is true"},
        {"/hidden_activation", R"("silu")", "only gelu_pytorch_tanh is known"},
        {"/rope_local_base_freq", "-1", "expected a number from 0"},
        {"/rope_scaling", R"({"rope_type":"dynamic","factor":8})", "rope type 'dynamic' is not known"},
    });
}

TEST(MalformedConfig, ThatIsNoObject) {
    const TempFolder t;
    const std::string folder = copy_of_tiny(t), file = folder + "/config.json";
    const std::string good = read_file(file);
    for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
             {"", "unexpected end of input"},
             {"[]", "found array, expected an object"},
             {"5", "found number, expected an object"},
             {"null", "found null, expected an object"},
             {"\"llama\"", "found string, expected an object"},
             {good + "}", "expected end of input"},
             {good + std::string(1, '\0'), "a NUL byte"},
             {"{\"model_type\":\"llama\",\"model_type\":\"qwen3\"}", "'model_type' stands twice"},
             {"{\"a\":" + std::string(100'000, '['), "nested deeper than 64"},
             {"{\"a\":\"\xff\"}", "ill-formed UTF-8"},
             {"GGUF", "not valid JSON"}}) {
        SCOPED_TRACE(shown(text, 60));
        put(file, text);
        malformed_files()["config.json"]++;
        expect_refused([&] { open_model(folder); }, file, 100'000 + text.size(), says);
    }
    for (size_t n = 0; n + 2 < good.size(); n++) {         // the last two bytes are } and a newline
        put(file, good.substr(0, n));
        expect_refused([&] { open_model(folder); }, file, 1 << 20, "not valid JSON");
    }
    std::filesystem::remove(file);
    expect_refused([&] { open_model(folder); }, folder, 0, "no config.json in this folder");
    make_folders(file);
    expect_refused([&] { open_model(folder); }, file, 0, "it is a folder, a file is expected");
}

// ---- the other files of a model

TEST(MalformedModel, FilesThatAreMissingOrWrong) {
    const TempFolder t;
    expect_refused([&] { open_model(t / "none"); }, t / "none", 0, "no such model; expected a Hugging Face directory");
    const std::string folder = copy_of_tiny(t), weights = folder + "/model.safetensors";
    const std::string whole = read_file(weights);
    const auto refused = [&](const std::string& who, const std::string& says) {
        SCOPED_TRACE(says);
        malformed_files()["model"]++;
        expect_refused([&] { open_model(folder); }, who, whole.size(), says);
    };
    for (const char* text : {"[]", "5", "\"x\""}) {
        put(folder + "/generation_config.json", text);
        refused("generation_config.json", "one object was expected");
    }
    put(folder + "/generation_config.json", "{\"eos_token_id\":[2,2.5]}");
    refused("generation_config.json", "eos_token_id '2.5'");
    put(folder + "/generation_config.json", "{");
    refused("generation_config.json", "unexpected end");
    std::filesystem::remove(folder + "/generation_config.json");
    put(weights, "");
    refused(weights, "needs 8 bytes, 0 are left");
    put(weights, whole.substr(0, whole.size() - 1));
    refused(weights, "the file has ");
    std::filesystem::remove(weights);
    put(folder + "/pytorch_model.bin", "PK\3\4");
    refused(folder, "neither model.safetensors nor model.safetensors.index.json is here");
    make_folders(weights);
    refused(weights, "it is a folder");
    std::filesystem::remove(weights);
    put(folder + "/model.safetensors.index.json", R"({"weight_map":{"a":"../x"}})");
    refused("index.json", "is not a plain file name");
    std::filesystem::remove(folder + "/model.safetensors.index.json");
    put(weights, whole);

    // Text needs a tokenizer; ids do not.
    std::filesystem::remove(folder + "/tokenizer.json");
    open_model(folder);
    SessionOptions o;
    o.model = folder, o.quiet = true;
    Session s(o);
    malformed_files()["model"]++;
    expect_refused([&] { s.need_tokenizer(); }, folder, 0, "no tokenizer.json here");
    expect_refused([&] { s.reader().row({{"text", "a"}}, "f:1"); }, "f:1", 0, "the model has no tokenizer");
    EXPECT_EQ(s.reader().row({{"input_ids", {1, 2}}}, "f:1").ids.size(), 2u);
}

// The tensors of the tiny model, one of them changed.
TEST(MalformedModel, TensorsThatContradictTheConfiguration) {
    const TempFolder t;
    const std::string folder = copy_of_tiny(t), weights = folder + "/model.safetensors";
    struct Item { std::string name; Type type; std::vector<int64_t> shape; };
    std::vector<Item> good;
    const auto original = open_safetensors(tiny_model() + "/model.safetensors");
    for (const Stored& s : original->tensors()) good.push_back({s.name, s.type, s.shape});
    const auto refused = [&](const std::function<void(std::vector<Item>&)>& change, const std::string& says) {
        SCOPED_TRACE(says);
        std::vector<Item> items = good;
        change(items);
        std::vector<SafetensorsWriter::Item> list;
        for (const Item& i : items) list.push_back({i.name, i.type, i.shape});
        SafetensorsWriter w(weights, list, {});
        for (size_t i = 0; i < list.size(); i++) {
            int64_t rows = list[i].shape.empty() ? 1 : list[i].shape[0], n = 1;
            for (int64_t d : list[i].shape) n *= d;
            w.write(i, 0, std::string(size_t(n) * 8, '\0').data(), rows);
        }
        w.commit();
        malformed_files()["model"]++;
        expect_refused([&] { open_model(folder); }, folder, std::filesystem::file_size(weights), says);
    };
    const auto find = [](std::vector<Item>& items, const char* end) -> Item& {
        for (Item& i : items)
            if (i.name.ends_with(end)) return i;
        throw std::runtime_error(end);
    };
    const char *q = "1.self_attn.q_proj.weight", *norm = "0.input_layernorm.weight";
    for (Type type : {Type::i32, Type::i64, Type::u8}) {
        refused([&](auto& i) { find(i, q).type = type; }, format("has type %s, which no weight", info(type).name));
        refused([&](auto& i) { find(i, norm).type = type; }, format("has type %s, which no weight", info(type).name));
    }
    refused([&](auto& i) { find(i, q).shape = {32}; }, "has shape [32], the configuration says [32,32]");
    refused([&](auto& i) { find(i, q).shape = {}; }, "has shape [], the configuration");
    refused([&](auto& i) { find(i, q).shape = {32, 32, 1}; }, "has shape [32,32,1]");
    refused([&](auto& i) { find(i, q).shape = {0, 32}; }, "has shape [0,32]");
    refused([&](auto& i) { find(i, q).shape = {16, 64}; }, "has shape [16,64]");
    refused([&](auto& i) { find(i, "gate_proj.weight").shape = {32, 48}; }, "has shape [32,48]");
    refused([&](auto& i) { find(i, norm).shape = {1, 32}; }, "has shape [1,32], the configuration says [32]");
    refused([&](auto& i) { find(i, norm).shape = {31}; }, "has shape [31]");
    refused([&](auto& i) { find(i, "model.norm.weight").name = "norm"; }, "1 of 20 tensors are missing, the first mod");
    refused([&](auto& i) { i.erase(i.begin() + 3); }, "1 of 20 tensors are missing");
    refused([&](auto& i) { i.clear(); }, "20 of 20 tensors are missing");
    refused([&](auto& i) { i.push_back({"model.layers.0.self_attn.q_proj.bias", Type::f32, {32}}); },
            "1 tensors belong to no part of a llama model, the first 'model.layers.0.self_attn.q_proj.bias'");
    refused([&](auto& i) { i.push_back({"model.layers.2.mlp.up_proj.weight", Type::f32, {48, 32}}); }, "belong to no ");
    refused([&](auto& i) { i.push_back({"\x1b[2J\n", Type::f32, {1}}); }, "the first '\\x1b[2J\\x0a'");
}

// ---- GGUF models

TEST(MalformedGgufModel, MetadataThatContradictTheTensors) {
    const TempFolder t;
    const std::string path = t / "m.gguf";
    write_tiny_gguf(path);
    open_model(path);
    const std::string good = read_file(path);
    struct Edit { std::string key; std::string value; std::string says; };
    const auto u32 = [](uint32_t n) { return le(n); };
    const auto f32 = [](float x) { return le(x); };
    const std::vector<Edit> edits = {
        {"llama.block_count", u32(0), "expected an integer from 1 to 1024"},
        {"llama.block_count", u32(1'000'000'000), "expected an integer from 0 to 16777216"},
        {"llama.block_count", u32(16'777'216), "expected an integer from 1 to 1024"},
        {"llama.block_count", u32(513), "tensors are missing"},
        {"llama.block_count", u32(1), "belong to no part"},
        {"llama.embedding_length", u32(0), "expected an integer from 2"},
        {"llama.embedding_length", u32(64), "the configuration says [300,64]"},
        {"llama.embedding_length", u32(UINT32_MAX), "expected an integer from 0 to 16777216"},
        {"llama.feed_forward_length", u32(47), "must be even"},
        {"llama.feed_forward_length", u32(96), "the configuration says [96,32]"},
        {"llama.attention.head_count", u32(0), "expected an integer from 1 to 1024"},
        {"llama.attention.head_count", u32(3), "is not a multiple"},
        {"llama.attention.head_count", u32(16), "the configuration says [128,32]"},
        {"llama.attention.head_count_kv", u32(0), "expected an integer from 1 to 1024"},
        {"llama.attention.head_count_kv", u32(4), "the configuration says [32,32]"},
        {"llama.attention.key_length", u32(0), "expected an integer from 2"},
        {"llama.attention.key_length", u32(64), "the configuration says [256,32]"},
        {"llama.context_length", u32(0), "expected an integer from 1"},
        {"llama.attention.layer_norm_rms_epsilon", f32(NAN), "is nan, expected a finite number"},
        {"llama.attention.layer_norm_rms_epsilon", f32(INFINITY), "is inf, expected a finite number"},
        {"llama.attention.layer_norm_rms_epsilon", f32(-1), "expected a number from 0 to 1"},
        {"llama.rope.freq_base", f32(NAN), "is nan, expected a finite number"},
        {"llama.rope.freq_base", f32(-1), "expected a number from 0"},
        {"llama.rope.freq_base", f32(0), "no rope_theta"},
        {"tokenizer.ggml.eos_token_id", u32(1u << 21), "expected an integer from 0 to 2097151"},
    };
    for (const Edit& e : edits) {
        SCOPED_TRACE(e.key + " " + e.says);
        std::string bytes = good;
        const size_t at = bytes.find(le<uint64_t>(e.key.size()) + e.key);
        ASSERT_NE(at, bytes.npos);
        bytes.replace(at + 8 + e.key.size() + 4, e.value.size(), e.value);
        put(path, bytes);
        malformed_files()["GGUF model"]++;
        expect_refused([&] { open_model(path); }, path, bytes.size(), e.says);
    }
    const auto renamed = [&](const std::string& from, const std::string& to, const std::string& says) {
        SCOPED_TRACE(from + " " + to);
        std::string bytes = good;
        ASSERT_EQ(from.size(), to.size());
        bytes.replace(bytes.find(from), from.size(), to);
        put(path, bytes);
        malformed_files()["GGUF model"]++;
        expect_refused([&] { open_model(path); }, path, bytes.size(), says);
    };
    renamed("general.architecture", "general.Architecture", "the metadata lack 'general.architecture'");
    const std::string value = le<uint64_t>(5);
    renamed(value + "llama", value + "mamba", "architecture 'mamba' is not known; known: ");
    renamed("llama.block_count", "llama.block-count", "the metadata lack 'llama.block_count'");
    renamed("llama.embedding_length", "llama.embedding-length", "the metadata lack 'llama.embedding_length'");
    renamed("llama.context_length", "llama.context-length", "the metadata lack 'llama.context_length'");
    renamed("blk.1.attn_q.weight", "blk.1.attn_Q.weight", "1 of 20 tensors are missing, the first model.layers.1.");
    renamed("token_embd.weight", "token_Embd.weight", "\"vocab_size\" is missing");
}

// ---- adapters

TEST(MalformedAdapter, Configuration) {
    const TempFolder t;
    const std::string folder = t / "adapter", file = folder + "/adapter_config.json";
    write_tiny_adapter(folder);
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true, o.threads = 1, o.adapters = {folder};
    EXPECT_EQ(Session(o).adapter_tensors, 28u);
    const Json good = read_json_file(file);
    for (const Change& c : std::vector<Change>{
             {"/peft_type", "-", "\"peft_type\" is missing"},
             {"/peft_type", R"("IA3")", "peft_type 'IA3'; only LORA is known"},
             {"/peft_type", "1", "expected a string"},
             {"/r", "0", "expected an integer from 1 to 65536"},
             {"/r", "-4", "expected an integer from 1"},
             {"/r", "4.0", "expected an integer"},
             {"/r", "99999999999", "expected an integer from 1 to 65536"},
             {"/r", "8", "with rank 8, [8,"},
             {"/lora_alpha", R"("32")", "expected a number"},
             {"/lora_alpha", "1e300", "expected a number from"},
             {"/lora_dropout", "1", "expected a number from 0 to 0.99"},
             {"/lora_dropout", "-0.1", "expected a number from 0"},
             {"/use_dora", "true", "use_dora is true"},
             {"/use_dora", "1", "expected true or false"},
             {"/fan_in_fan_out", "true", "fan_in_fan_out is true"},
             {"/lora_bias", "true", "lora_bias is true"},
             {"/bias", R"("all")", "bias is not \"none\""},
             {"/modules_to_save", R"(["lm_head"])", "modules_to_save is set"},
             {"/target_modules", R"(["q_proj",5])", "target_modules holds '5'"},
             {"/rank_pattern", "[]", "rank_pattern is not an object"},
             {"/rank_pattern", R"({"q_proj":0})", "expected an integer from 1"},
             {"/rank_pattern", R"({"q_proj":2})", "with rank 2, [2,"},
             {"/rank_pattern", R"({"k.*":2})", "rank_pattern names 'k.*', which is no module of this adapter"},
             {"/rank_pattern", R"({"c_attn":2})", "'c_attn', which is no module"},
             {"/alpha_pattern", R"({"x":2})", "alpha_pattern names 'x'"},
             {"/alpha_pattern", R"({"q_proj":"a"})", "expected a number"},
             {"/alpha_pattern", "5", "alpha_pattern is not an object"},
         }) {
        SCOPED_TRACE(std::string(c.path) + " " + c.value);
        put(file, changed(good, c));
        malformed_files()["adapter"]++;
        expect_refused([&] { Session{o}; }, folder, 1 << 20, c.says);
    }
    for (const auto& [text, says] : std::vector<std::pair<const char*, const char*>>{
             {"", "unexpected end"},
             {"[]", "expected an object with \"peft_type\""},
             {"{}", "\"peft_type\" is missing"}}) {
        put(file, text);
        malformed_files()["adapter"]++;
        expect_refused([&] { Session{o}; }, file, 1 << 20, says);
    }
    std::filesystem::remove(file);
    expect_refused([&] { Session{o}; }, folder, 0, "no adapter_config.json here; a PEFT adapter directory");
}

TEST(MalformedAdapter, Tensors) {
    const TempFolder t;
    const std::string folder = t / "adapter", file = folder + "/adapter_model.safetensors";
    write_tiny_adapter(folder);
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true, o.threads = 1, o.adapters = {folder};
    std::vector<SafetensorsWriter::Item> good;
    const auto original = open_safetensors(file);
    for (const Stored& s : original->tensors()) good.push_back({s.name, s.type, s.shape});
    using Items = std::vector<SafetensorsWriter::Item>;
    const auto refused = [&](const std::function<void(Items&)>& change, const std::string& says, float value = 0.5f) {
        SCOPED_TRACE(says);
        Items items = good;
        change(items);
        SafetensorsWriter w(file, items, {});
        for (size_t i = 0; i < items.size(); i++) {
            size_t n = 1;
            for (int64_t d : items[i].shape) n *= size_t(d);
            w.write(i, 0, std::vector<float>(2 * n + 2, value).data(), items[i].shape.empty() ? 1 : items[i].shape[0]);
        }
        w.commit();
        malformed_files()["adapter"]++;
        expect_refused([&] { Session{o}; }, folder, std::filesystem::file_size(file), says);
    };
    const std::string start = "base_model.model.";
    refused([](Items& i) { i.clear(); }, "holds no tensors");
    refused([&](Items& i) { for (auto& s : i) s.name = "model." + s.name.substr(start.size()); },
            "0 of 28 keys match this model; the first that does not is 'model.model.layers.0.");
    refused([&](Items& i) { for (auto& s : i) s.name = s.name.substr(start.size()); }, "0 of 28 keys match");
    refused([&](Items& i) { for (auto& s : i) s.name = start + s.name.substr(start.size() + 6); },     // peft #1579
            "0 of 28 keys match this model; the first that does not is 'base_model.model.layers.0.");
    refused([](Items& i) { i[5].name += "s"; }, "27 of 28 keys match");
    refused([](Items& i) { i.push_back({"base_model.model.lm_head.modules_to_save.weight", Type::f32, {4}}); },
            "28 of 29 keys match");
    refused([](Items& i) { i.push_back({"base_model.model.model.layers.0.x.lora_magnitude_vector", Type::f32, {48}}); },
            "28 of 29 keys match");
    refused([](Items& i) { i[0].name.replace(i[0].name.find("layers.0"), 8, "layers.7"); }, "27 of 28 keys match");
    // Keys that are missing, of one half, of a whole matrix, of half of a model; shapes that do not fit: counted.
    const std::string first = "28 keys match this model; model.layers.0.mlp.down_proj";
    refused([](Items& i) { i.erase(i.begin()); }, "27 of " + first + " has lora_B but no lora_A");
    refused([](Items& i) { i.erase(i.begin() + 1); }, "27 of " + first + " has lora_A but no lora_B");
    refused([](Items& i) { i.erase(i.begin(), i.begin() + 2); },
            "26 of " + first + " has neither lora_A nor lora_B, although target_modules names it");
    refused([](Items& i) { i.erase(i.begin(), i.begin() + 14); }, "14 of " + first + " has neither");
    refused([](Items& i) { i[0].shape = {3, i[0].shape[1]}; },
            "27 of " + first + ": lora_A is [3,48] and lora_B [32,4]");
    refused([](Items& i) { i[0].shape = {4, 31}; }, "27 of " + first + ": lora_A is [4,31] and lora_B");
    refused([](Items& i) { i[1].shape = {i[1].shape[1], i[1].shape[0]}; },
            "27 of " + first + ": lora_A is [4,48] and lora_B [4,32]; with rank 4, [4,48] and [32,4] were expected");
    refused([](Items& i) { for (auto& s : i) s.shape = {s.shape[1], s.shape[0]}; },
            "0 of " + first + ": lora_A is [48,4]");
    refused([](Items& i) { i[0].shape = {128}; }, "27 of " + first + ": lora_A is [128]");
    refused([](Items& i) { i[0].shape = {4, 32, 1}; }, "lora_A is [4,32,1]");
    refused([](Items& i) { i[0].shape = {}; }, "lora_A is []");
    refused([](Items& i) { i[0].shape = {0, 32}; }, "lora_A is [0,32]");
    refused([](Items& i) { i[2].type = Type::i32; }, "has type I32; F32, F16 or BF16 was expected");
    refused([](Items& i) { i[2].type = Type::u8; }, "has type U8");
    refused([&](Items& i) {
        auto twin = i[0];
        twin.name = start + "model.language_model." + twin.name.substr(start.size() + 6);
        i.push_back(twin);
    }, "are both lora_A of");
    refused([](Items&) {}, "holds a value that is not finite (number 0)", NAN);
    refused([](Items&) {}, "holds a value that is not finite", INFINITY);
    put(file, "");
    expect_refused([&] { Session{o}; }, file, 0, "needs 8 bytes");
    std::filesystem::remove(file);
    expect_refused([&] { Session{o}; }, file, 0, "No such file");
    put(folder + "/adapter_model.bin", "PK");
    expect_refused([&] { Session{o}; }, file, 0, "No such file");
    std::string text;
    o.adapters = {folder + ":x"};
    EXPECT_EQ(error_of([&] { Session{o}; }, &text), Exit::usage);
    for (const char* scale : {":nan", ":inf", ":", ":1e99"}) {
        o.adapters = {folder + scale};
        EXPECT_EQ(error_of([&] { Session{o}; }, &text), Exit::usage) << scale;
        EXPECT_NE(text.find("DIR:SCALE"), text.npos) << text;
    }
}

// ---- rows

TEST(MalformedRows, NameFileAndLine) {
    const TempFolder t;
    const std::string path = t / "rows.jsonl";
    std::map<std::string, std::unique_ptr<Session>> sessions;
    for (const char* architecture : {"llama", "qwen3", "gemma3"}) {
        SessionOptions o;
        o.model = tiny_model(architecture), o.quiet = true;
        o.chat_format = architecture == std::string("llama") ? "smollm2" : architecture;
        sessions[architecture] = std::make_unique<Session>(o);
    }
    const std::string good = "{\"input_ids\":[1,2,3]}\n\n";
    struct Bad { const char* model; std::string line, says; };
    std::string long_row = "{\"input_ids\":[1";
    for (int i = 0; i < 256; i++) long_row += ",1";
    const std::vector<Bad> table = {
        {"llama", "{", "unexpected end of input"},
        {"llama", "{\"text\":\"a\"} x", "expected end of input"},
        {"llama", "{\"text\":\"a\"}{\"text\":\"b\"}", "expected end of input"},
        {"llama", "[]", "one JSON object a line was expected"},
        {"llama", "5", "one JSON object a line was expected"},
        {"llama", "null", "one JSON object a line was expected"},
        {"llama", "text", "not valid JSON"},
        {"llama", "{'text':'a'}", "not valid JSON"},
        {"llama", "{\"text\":\"\xff\"}", "ill-formed UTF-8"},
        {"llama", "{\"text\":\"\\ud800\"}", "surrogate"},
        {"llama", std::string("{\"text\":\"a\0\"}", 13), "a NUL byte"},
        {"llama", "{\"text\":\"a\",\"text\":\"b\"}", "'text' stands twice"},
        {"llama", "{\"a\":" + std::string(1024, '[') + std::string(1024, ']') + "}", "nested deeper than 1024"},
        {"llama", std::string(200'000, '['), "nested deeper than 1024"},
        {"llama", "{}", "none of \"text\", \"messages\", \"prompt\", \"input_ids\" is here"},
        {"llama", "{\"Text\":\"a\"}", "none of \"text\""},
        {"llama", "{\"text\":null}", "none of \"text\""},
        {"llama", "{\"text\":5}", "\"text\" must be a string"},
        {"llama", "{\"text\":[\"a\"]}", "\"text\" must be a string"},
        {"llama", "{\"text\":\"\"}", "no tokens in this row"},
        {"llama", "{\"text\":\"" + std::string(300, 'a') + "\"}", "300 tokens; this model's context leaves room for"},
        {"llama", long_row + "]}", "257 tokens; this model's context leaves room for 256"},
        {"llama", "{\"input_ids\":5}", "\"input_ids\" must be a list of ids"},
        {"llama", "{\"input_ids\":\"1 2\"}", "\"input_ids\" must be a list of ids"},
        {"llama", "{\"input_ids\":{\"0\":1}}", "\"input_ids\" must be a list of ids"},
        {"llama", "{\"input_ids\":[]}", "no tokens in this row"},
        {"llama", "{\"input_ids\":[1,300]}", "\"input_ids\"[1] is '300'; expected an id from 0 to 299"},
        {"llama", "{\"input_ids\":[-1]}", "\"input_ids\"[0] is '-1'"},
        {"llama", "{\"input_ids\":[-100]}", "\"input_ids\"[0] is '-100'"},
        {"llama", "{\"input_ids\":[1.0]}", "is '1.0'"},
        {"llama", "{\"input_ids\":[1e2]}", "is '100.0'"},
        {"llama", "{\"input_ids\":[true]}", "is 'true'"},
        {"llama", "{\"input_ids\":[null]}", "is 'null'"},
        {"llama", "{\"input_ids\":[[1]]}", "is '[1]'"},
        {"llama", "{\"input_ids\":[\"1\"]}", "is '\"1\"'"},
        {"llama", "{\"input_ids\":[4294967297]}", "is '4294967297'"},
        {"llama", "{\"input_ids\":[18446744073709551516]}", "is '18446744073709551516'"},
        {"llama", "{\"input_ids\":[9223372036854775809]}", "is '9223372036854775809'"},
        {"llama", "{\"input_ids\":[1e300]}", "is '1e+300'"},
        {"llama", "{\"input_ids\":[1,2],\"labels\":[1]}", "1 labels for 2 ids"},
        {"llama", "{\"input_ids\":[1,2],\"labels\":[-5,1]}", "\"labels\"[0] is '-5'"},
        {"llama", "{\"input_ids\":[1,2],\"labels\":[18446744073709551516,1]}", "\"labels\"[0] is '184467440737"},
        {"llama", "{\"input_ids\":[1,2],\"labels\":\"x\"}", "\"labels\" must be a list"},
        {"llama", "{\"messages\":\"hi\"}", "\"messages\" is not a list of messages"},
        {"llama", "{\"messages\":{}}", "\"messages\" is not a list of messages"},
        {"llama", "{\"messages\":[\"hi\"]}", "message 0 is not an object with role and content"},
        {"llama", "{\"messages\":[{}]}", "message 0: \"role\" is missing"},
        {"llama", "{\"messages\":[{\"role\":\"user\"}]}", "message 0: \"content\" is missing"},
        {"llama", "{\"messages\":[{\"role\":1,\"content\":\"a\"}]}", "\"role\" is '1', expected a string"},
        {"llama", "{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "\"content\" is '[]', expected a string"},
        {"llama", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"tool_calls\":[1]}]}", "tool_calls, which"},
        {"llama", "{\"prompt\":5,\"completion\":\"a\"}", "is not a list of messages"},
        {"llama", "{\"prompt\":\"a\",\"completion\":5}", "is not a list of messages"},
        {"qwen3", "{\"messages\":[]}", "a conversation without messages"},
        {"qwen3", "{\"messages\":[{\"role\":\"oracle\",\"content\":\"a\"}]}", "message 0 of 1 (role 'oracle')"},
        {"gemma3", "{\"messages\":[]}", "a conversation without messages"},
        {"gemma3", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", "(role 'assistant')"},
        {"gemma3", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}",
         "message 1 of 2"},
    };
    for (const Bad& bad : table) {
        SCOPED_TRACE(shown(bad.line));
        put(path, good + bad.line + "\n" + good);
        malformed_files()["JSONL"]++;
        const RowReader reader = sessions[bad.model]->reader();
        expect_refused([&] { read_rows(path, reader); }, path + ":3", bad.line.size(), bad.says);
    }
    const RowReader reader = sessions["llama"]->reader();
    const std::pair<const char*, const char*> pairs[] = {
        {"{\"prompt\":\"a\"}", "no \"chosen\"; a preference has prompt, chosen and rejected"},
        {"{\"prompt\":\"a\",\"chosen\":\"b\"}", "no \"rejected\""},
        {"{\"chosen\":\"b\",\"rejected\":\"c\"}", "no \"prompt\""},
        {"{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}", "chosen and rejected are equal"},
        {"{\"prompt\":\"a\",\"chosen\":5,\"rejected\":\"b\"}", "is not a list of messages"},
        {"{\"prompt_ids\":[1],\"chosen_ids\":[2]}", "no \"rejected_ids\""},
        {"{\"prompt_ids\":[],\"chosen_ids\":[2],\"rejected_ids\":[3]}", "the prompt is empty"},
        {"{\"prompt_ids\":[1],\"chosen_ids\":[],\"rejected_ids\":[3]}", "an answer is empty"},
        {"{\"prompt_ids\":[1],\"chosen_ids\":[300],\"rejected_ids\":[3]}", "\"chosen_ids\"[0] is '300'"},
    };
    for (const auto& [line, says] : pairs) {
        SCOPED_TRACE(line);
        put(path, std::string("\n") + line);
        malformed_files()["JSONL"]++;
        expect_refused([&] { read_pairs(path, reader); }, path + ":2", 100, says);
    }
    for (const auto& [text, says] : {std::pair{"", "no rows"}, {"\n \n\t\r\n", "no rows"}}) {
        put(path, text);
        malformed_files()["JSONL"]++;
        expect_refused([&] { read_rows(path, reader); }, path, 0, says);
    }
    expect_refused([&] { read_rows(t / "none", reader); }, t / "none", 0, "No such file");
    expect_refused([&] { read_rows(t.path, reader); }, t.path, 0, "it is a folder");
    expect_refused([&] { read_rows("/dev/zero", reader); }, "/dev/zero", 0, "it is not a plain file");
}

TEST(Lines, AreReadWholeWhereverTheyLie) {
    const TempFolder t;
    const std::vector<std::string> lines{
        "", "a", std::string(65535, 'b'), std::string(65536, 'c'), std::string(200'000, 'd'), "e\r"};
    for (const bool ended : {false, true}) {
        std::string text;
        for (const std::string& l : lines) text += l + "\n";
        if (!ended) text.pop_back();
        std::vector<std::string> got;
        read_lines(t.put("f", text), 1 << 20, [&](std::string_view line, int n) {
            got.emplace_back(line);
            EXPECT_EQ(n, int(got.size()));
        });
        EXPECT_EQ(got, lines);
    }
    read_lines(t.put("f", ""), 9, [](std::string_view, int) { FAIL(); });
    expect_refused([&] { read_lines(t.put("f", "a\n" + std::string(300'000, 'x')), 100'000, [](auto, int) {}); },
                   (t / "f") + ":2", 300'000, "a line of more than 100000 bytes");
}

// ---- checkpoints of a run: each is passed over, with the reason

TEST(MalformedCheckpoint, IsPassedOver) {
    const TempFolder t;
    const std::string folder = t / "checkpoints/step-3", file = folder + "/MANIFEST.json";
    make_folders(folder);
    const std::string state = "the state";
    put(folder + "/state.safetensors", state);
    const Json good = {{"format", 1}, {"step", 3}, {"run", ""},
                       {"files", {{"state.safetensors", {{"bytes", state.size()}, {"sha256", sha256(state)}}}}}};
    const std::string whole = good.dump(2) + "\n";
    put(file, whole);
    ASSERT_EQ(damage(folder), "");
    const auto damaged = [&](const std::string& text, const std::string& says) {
        SCOPED_TRACE(says);
        put(file, text);
        malformed_files()["checkpoint"]++;
        const std::string why = damage(folder);
        EXPECT_NE(why, "");
        EXPECT_NE(why.find(says), why.npos) << why;
        EXPECT_LT(why.size(), 400u);
    };
    const auto changed_to = [&](const char* at, const char* value, const char* says) {
        damaged(parse_json(changed(good, {at, value, ""}), "t").dump(2) + "\n", says);
    };
    damaged("", "unexpected end");
    damaged("[]", "expected an object");
    damaged("{}", "\"format\" is missing");
    damaged(whole + "\n", "is not as it was written");
    damaged(whole + "x", "not valid JSON");
    damaged(dump(good), "is not as it was written");
    damaged(std::string(100'000, '['), "nested deeper");
    changed_to("/format", "2", "has a format that this program does not read");
    changed_to("/format", "\"1\"", "expected an integer");
    changed_to("/step", "4", "is of another step");
    changed_to("/step", "-3", "expected an integer");
    changed_to("/files", "{}", "does not list state.safetensors");
    changed_to("/files", "[]", "does not list state.safetensors");
    changed_to("/files", "-", "does not list state.safetensors");
    changed_to("/files/~1etc~1passwd", "{}", "'/etc/passwd' is not of this folder");
    changed_to("/files/..~1..~1run.json", "{}", "is not of this folder");
    changed_to("/files/more", "{}", "'more' is missing");
    changed_to("/files/state.safetensors/bytes", "8", "has another size");
    changed_to("/files/state.safetensors/bytes", "18446744073709551625", "expected an integer");
    changed_to("/files/state.safetensors/bytes", "-", "\"bytes\" is missing");
    changed_to("/files/state.safetensors/sha256", "\"e3b0c44298fc1c149afbf4c8996fb924\"", "has other contents");
    changed_to("/files/state.safetensors/sha256", "5", "expected a string");
    for (size_t i = 0; i < whole.size(); i++)           // every byte of it counts
        for (const int flip : {1, 4, 0x20, 0x80}) {
            std::string text = whole;
            text[i] = char(text[i] ^ flip);
            put(file, text);
            if (damage(folder).empty()) {               // only the hash of run.json, which resuming compares
                const Json j = parse_json(text, "t");
                EXPECT_NE(dump(j), dump(good)) << i << " " << flip;
                EXPECT_TRUE(j.contains("run") == false || j["run"] != "") << i << " " << flip;
            }
        }
    for (size_t n = 0; n < whole.size(); n++) {
        put(file, whole.substr(0, n));
        EXPECT_NE(damage(folder), "") << n;
    }
    put(file, whole);
    std::filesystem::remove(folder + "/state.safetensors");
    damaged(whole, "'state.safetensors' is missing");
    make_folders(folder + "/state.safetensors");
    EXPECT_NE(damage(folder), "");
    std::filesystem::remove(file);
    EXPECT_NE(damage(folder).find("No such file"), std::string::npos);
}

// After a run of all tests: the list is as long as it is said to be.
class Census : public testing::Environment {
    void TearDown() override {
        const auto& unit = *testing::UnitTest::GetInstance();
        if (unit.test_to_run_count() != unit.total_test_count()) return;
        int all = 0;
        std::string text;
        for (const auto& [kind, n] : malformed_files()) {
            text += format("%s%d %s", text.empty() ? "" : ", ", n, kind.c_str());
            all += n;
            EXPECT_GE(n, 10) << kind;
        }
        fprintf(stderr, "malformed files: %d: %s\n", all, text.c_str());
        EXPECT_GE(all, 400);
        EXPECT_GE(malformed_files().size(), 10u);
    }
};
const auto* census = testing::AddGlobalTestEnvironment(new Census);

}  // namespace
