// qwen3_5.cpp - Qwen3.5 as the hub and transformers store it: both spellings of config.json, every prefix, what belongs
// to other parts, GGUF of llama.cpp; the numbers of the published model; what its blocks without heads answer.
#include "../engine/chat.h"
#include "../engine/file.h"
#include "../engine/split.h"
#include "../verbs/common.h"
#include "support.h"

namespace {

const std::string golden = here("goldens/qwen3_5-grouped");

SessionOptions options(const std::string& folder) {
    SessionOptions o;
    o.model = folder, o.precision = "f32", o.quiet = true;
    return o;
}

std::vector<float> numbers(const Stored& s) { return {(const float*)s.data, (const float*)(s.data + s.bytes)}; }

std::vector<float> logits_of(Session& s) {
    auto reference = open_safetensors(golden + "/reference.safetensors");
    const Stored* ids = reference->find("ids.a");
    std::vector<int> row((const int*)ids->data, (const int*)(ids->data + ids->bytes));
    std::vector<float> out;
    extract(s, {{"a", row, row, 0, false}}, parse_points(*s.model, "logits"), false,
            [&](size_t, int64_t, const float* data, int64_t n) {
                out.insert(out.end(), data, data + n * s.model->vocabulary);
            });
    return out;
}
double far_from_golden(Session& s) {
    auto reference = open_safetensors(golden + "/reference.safetensors");
    std::vector<float> ours = logits_of(s), want = numbers(*reference->find("logits.a"));
    return ours.size() == want.size() ? far(ours.data(), want.data(), want.size()) : INFINITY;
}

struct Extra { std::string name; std::vector<int64_t> shape; };

// The golden once more with other names in front, other tensors beside, and what `change` makes of a shape.
void write_like(const std::string& folder, const std::string& config, const std::string& prefix,
                const std::vector<Extra>& extra = {}, const std::function<bool(Extra&)>& change = {}) {
    make_folders(folder);
    write_file(folder + "/config.json", read_file(golden + "/" + config));
    auto from = open_safetensors(golden + "/model.safetensors");
    std::vector<SafetensorsWriter::Item> items;
    std::vector<const Stored*> sources;
    for (const Stored& s : from->tensors()) {
        Extra t{prefix + s.name.substr(strlen("model.")), s.shape};
        if (change && !change(t)) continue;
        items.push_back({t.name, Type::f32, t.shape});
        sources.push_back(&s);
    }
    for (const Extra& e : extra) items.push_back({e.name, Type::f32, e.shape});
    SafetensorsWriter w(folder + "/model.safetensors", items, {{"format", "pt"}});
    std::vector<float> zeros(4096);
    for (size_t i = 0; i < items.size(); i++)
        w.write(i, 0, i < sources.size() ? (const void*)sources[i]->data : zeros.data(), items[i].shape[0]);
    w.commit();
}

const std::vector<Extra> other_parts = {{"model.visual.patch_embed.proj.weight", {3, 4}},
                                        {"model.visual.blocks.0.attn.qkv.bias", {5}},
                                        {"mtp.layers.0.self_attn.q_proj.weight", {2, 2}}};

TEST(Qwen3_5, EveryLayoutIsTheSameModel) {
    for (const char* config : {"config.json", "hub/config.json"})
        for (const char* prefix : {"model.", "model.language_model."}) {
            TempFolder t;
            write_like(t / "m", config, prefix, other_parts);
            Session s(options(t / "m"));
            EXPECT_LE(far_from_golden(s), 5e-5) << config << ", " << prefix;
            auto parts = s.checkpoint.unused({}).other_parts;
            EXPECT_EQ(parts, (std::map<std::string, int>{{"visual", 2}, {"mtp", 1}}));
        }
}

TEST(Qwen3_5, AFilterMayBeSqueezed) {
    TempFolder t;
    write_like(t / "m", "config.json", "model.", {}, [](Extra& e) {
        if (e.shape.size() == 3) e.shape = {e.shape[0], e.shape[2]};
        return true;
    });
    Session s(options(t / "m"));
    EXPECT_LE(far_from_golden(s), 5e-5);
}

std::string refusal(const std::function<void(const std::string&)>& make) {
    TempFolder t;
    std::string text;
    make(t / "m");
    EXPECT_EQ(error_of([&] { Session s(options(t / "m")); }, &text), Exit::bad_input);
    return text;
}
void expect_part(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(Qwen3_5, WrongFilesAreRefusedByName) {
    expect_part(refusal([](const std::string& m) {
                    write_like(m, "config.json", "model.", {}, [](Extra& e) {
                        if (e.shape.size() == 3) e.shape = {e.shape[0], e.shape[2], 1};
                        return true;
                    });
                }),
                "conv1d.weight' has shape [80,4,1], the configuration says [80,4]");
    expect_part(refusal([](const std::string& m) {
                    write_like(m, "config.json", "model.", {},
                               [](Extra& e) { return e.name != "model.layers.1.linear_attn.A_log"; });
                }),
                "1 of 55 tensors are missing, the first model.layers.1.linear_attn.A_log");
    expect_part(refusal([](const std::string& m) {
                    write_like(m, "config.json", "model.", {{"model.layers.3.linear_attn.dt_bias", {4}}});
                }),
                "1 tensors belong to no part of a qwen3_5 model, the first 'model.layers.3.linear_attn.dt_bias'");
    auto with = [](const char* key, Json value) {
        return [=](const std::string& m) {
            write_like(m, "config.json", "model.");
            Json c = read_json_file(m + "/config.json");
            c[key] = value;
            write_file(m + "/config.json", c.dump());
        };
    };
    expect_part(refusal(with("linear_num_key_heads", 3)), "4 value heads of 12 for 3 key heads");
    expect_part(refusal(with("linear_conv_kernel_dim", 1)), "linear_conv_kernel_dim");
    expect_part(refusal(with("layer_types", Json::array({"full_attention"}))), "layer_types must be a list of 4 names");
    Json kinds = Json::array({"linear_attention", "linear_attention", "mamba", "full_attention"});
    expect_part(refusal(with("layer_types", kinds)),
                "layer_types[2] is \"mamba\"; linear_attention or full_attention was expected");
    kinds[2] = "full_attention";
    expect_part(refusal(with("layer_types", kinds)), "tensors are missing");
    expect_part(refusal(with("rope_parameters", {{"rope_theta", 1e4}, {"partial_rotary_factor", 1.5}})),
                "partial_rotary_factor 1.5");
}

// Adapters by the names of the class that they were trained on.
TEST(Qwen3_5, AdaptersOfBothClasses) {
    TempFolder t;
    std::filesystem::copy(golden + "/adapter", t / "text");
    auto from = open_safetensors(golden + "/adapter/adapter_model.safetensors");
    std::vector<SafetensorsWriter::Item> items;
    const std::string start = "base_model.model.model.";
    for (const Stored& s : from->tensors())
        items.push_back({start + "language_model." + s.name.substr(start.size()), Type::f32, s.shape});
    make_folders(t / "whole");
    write_file(t / "whole/adapter_config.json", read_file(golden + "/adapter/adapter_config.json"));
    SafetensorsWriter w(t / "whole/adapter_model.safetensors", items, {});
    for (size_t i = 0; i < items.size(); i++) w.write(i, 0, from->tensors()[i].data, items[i].shape[0]);
    w.commit();
    std::vector<float> want = numbers(*open_safetensors(golden + "/reference.safetensors")->find("lora.logits.a"));
    for (const char* name : {"text", "whole"}) {
        SessionOptions o = options(golden);
        o.adapters = {t / name};
        Session s(o);
        EXPECT_EQ(s.adapter_tensors, items.size());
        EXPECT_LE(far(logits_of(s).data(), want.data(), want.size()), 5e-5) << name;
    }
}

TEST(Qwen3_5, BlocksWithoutHeadsSaySo) {
    Session s(options(golden));
    std::string text;
    EXPECT_EQ(error_of([&] { parse_points(*s.model, "z.1"); }, &text), Exit::usage);
    expect_part(text, "block 1 is linear attention; blocks with heads are 3");
    EXPECT_EQ(parse_points(*s.model, "z.*").size(), 1u);
    EXPECT_EQ(parse_points(*s.model, "z.*")[0].name, "z.3");
    EXPECT_EQ(parse_points(*s.model, "attn_out.*").size(), 4u);
    EXPECT_EQ(parse_points(*s.model, "final,attn_out.*,attn_out.1,final").size(), 5u) << "each point once";
    ModelFlags flags;
    flags.temper = "1.0=0.5";
    EXPECT_EQ(error_of([&] { read_edits(flags, s); }, &text), Exit::usage);
    expect_part(text, "block 1 is linear attention and has no heads at z; blocks with heads are 3");
    flags.temper = "3.4=0.5";
    EXPECT_EQ(error_of([&] { read_edits(flags, s); }, &text), Exit::usage);
    expect_part(text, "block 3 has heads 0 to 3");
    flags.temper = "3.3=0.5";
    EXPECT_EQ(read_edits(flags, s).size(), 1u);
}

// Qwen/Qwen3.5-0.8B: config.json as the hub has it, of the text part.
const char* published = R"({"model_type":"qwen3_5_text","hidden_size":1024,"num_hidden_layers":24,
    "intermediate_size":3584,"vocab_size":248320,"rms_norm_eps":1e-6,"tie_word_embeddings":true,
    "max_position_embeddings":262144,"full_attention_interval":4,"num_attention_heads":8,"num_key_value_heads":2,
    "head_dim":256,"attn_output_gate":true,"rope_parameters":{"rope_type":"default","rope_theta":10000000,
    "partial_rotary_factor":0.25,"mrope_section":[11,11,10],"mrope_interleaved":true},"linear_num_key_heads":16,
    "linear_num_value_heads":16,"linear_key_head_dim":128,"linear_value_head_dim":128,"linear_conv_kernel_dim":4})";

std::unique_ptr<Model> published_model() {
    for (const Architecture& a : architectures())
        if (a.gguf == "qwen35") return a.make(parse_json(published, "published"), "published");
    return nullptr;
}

struct Names : Visit {
    std::map<std::string, std::vector<int>> all;
    void matrix(const std::string& name, Weight& w, int out, int in) override {
        all[name] = {out, in};
        w.m.out = out, w.m.in = in, w.m.w = {nullptr, out, in, Type::bf16};
    }
    void table(const std::string& name, Weight& w, int rows, int cols) override { matrix(name, w, rows, cols); }
    void vector(const std::string& name, Tensor& w, int n, float) override {
        all[name] = {n};
        w = {nullptr, 1, n};
    }
    void filter(const std::string& name, Tensor& w, int channels, int taps) override {
        all[name] = {channels, taps};
        w = {nullptr, 1, channels * taps};
    }
};

TEST(Qwen3_5, ThePublishedSizes) {
    auto m = published_model();
    EXPECT_EQ(parameter_count(*m), 752'393'024u);
    Names names;
    m->weights(names);
    EXPECT_EQ(names.all.size(), 320u);
    EXPECT_EQ(names.all["model.layers.0.linear_attn.in_proj_qkv.weight"], (std::vector{6144, 1024}));
    EXPECT_EQ(names.all["model.layers.0.linear_attn.conv1d.weight"], (std::vector{6144, 4}));
    EXPECT_EQ(names.all["model.layers.22.linear_attn.A_log"], (std::vector{16}));
    EXPECT_EQ(names.all["model.layers.3.self_attn.q_proj.weight"], (std::vector{4096, 1024}));
    EXPECT_FALSE(names.all.count("lm_head.weight"));

    // What a cache holds: keys and values of the six full layers in bf16; of the others three rows of the convolution,
    // the state in f32, and the sixteen rows of the open chunk.
    auto cache_bytes = [&](int room) {
        Arena states(size_t(1) << 42, true), scratch(size_t(1) << 42, true);
        Cache cache(states, 1, room);
        Batch b;
        int id = 0;
        b.add(&id, 1, 0, 0);
        Pass p{nothing, scratch, b.rows(), Type::bf16};
        p.cache = &cache;
        m->forward(p);
        return states.peak;
    };
    EXPECT_EQ((cache_bytes(8192) - cache_bytes(4096)) / 4096, 12'288u);
    EXPECT_EQ(cache_bytes(4096) - 4096 * size_t(12'288), 18 * size_t(3 * 6144 * 2 + 16 * (128 * 128 + 16 * 257) * 4));
}

// Marks join the letters that they stand on, numbers go digit by digit. How many pieces: the sheet's vectors of ids.
TEST(Qwen3_5, TheSplitPattern) {
    Splitter split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+)"
                   R"([\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)", Splitter::isolated, false, "test");
    using Pieces = std::vector<std::string_view>;
    for (const auto& [text, want] : std::vector<std::pair<std::string_view, Pieces>>{
             {"Hello, we can use", {"Hello", ",", " we", " can", " use"}},
             {"Hello world! 123", {"Hello", " world", "!", " ", "1", "2", "3"}},
             {"  multiple   spaces", {" ", " multiple", "  ", " spaces"}},
             {"user\nHello", {"user", "\n", "Hello"}},
             {"\n\n", {"\n\n"}},
             {"क्ष", {"क्ष"}}}) {
        Pieces pieces;
        split.split(text, pieces);
        EXPECT_EQ(pieces, want) << text;
    }
}

}  // namespace
