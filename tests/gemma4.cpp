// gemma4.cpp - what only Gemma 4 has: files of every spelling, and what must be refused; tables that are gathered and
// never read whole; layers that share keys and values.
#include <fstream>
#include "../engine/file.h"
#include "../engine/gguf.h"
#include "../models/save.h"
#include "../train/trainer.h"
#include "../verbs/init.h"
#include "support.h"

namespace {

const std::string golden = here("goldens/gemma4");

// ---- files

struct Item { std::string name; std::vector<int64_t> shape; std::vector<float> values; };

std::vector<Item> items_of(const std::string& path) {
    auto file = open_safetensors(path);
    std::vector<Item> all;
    for (const Stored& s : file->tensors())
        all.push_back({s.name, s.shape, {(const float*)s.data, (const float*)(s.data + s.bytes)}});
    return all;
}

void write_items(const std::string& path, const std::vector<Item>& all) {
    std::vector<SafetensorsWriter::Item> items;
    for (const Item& i : all) items.push_back({i.name, Type::f32, i.shape});
    SafetensorsWriter w(path, items, {});
    for (size_t i = 0; i < all.size(); i++) w.write(i, 0, all[i].values.data(), all[i].shape[0]);
    w.commit();
}

Item filled(const std::string& name, std::vector<int64_t> shape) {
    size_t n = 1;
    for (int64_t d : shape) n *= size_t(d);
    return {name, shape, std::vector<float>(n, 7.5f)};
}

SessionOptions options(const std::string& folder) {
    SessionOptions o;
    o.model = folder, o.precision = "f32", o.quiet = true;
    return o;
}

// Log-probabilities of a fixed row, by which two readings of one model are compared.
std::vector<float> scores_of(const SessionOptions& o) {
    Session s(o);
    Row row{"r", {2, 9, 77, 150, 31, 0, 8, 64, 64, 5, 101, 12, 3}, {}, 0, false};
    row.labels = row.ids;
    std::vector<float> out;
    score(s, {row}, [&](size_t, const std::vector<float>& logp) { out = logp; });
    return out;
}

// A copy of the golden with its config and tensors changed.
struct Changed {
    TempFolder folder;
    Json config = read_json_file(golden + "/config.json");
    std::vector<Item> items = items_of(golden + "/model.safetensors");
    const std::string& write() {
        write_file(folder / "config.json", config.dump());
        write_items(folder / "model.safetensors", items);
        return folder.path;
    }
    std::string refused() {
        std::string text;
        write();
        EXPECT_EQ(error_of([&] { Session s(options(folder.path)); }, &text), Exit::bad_input);
        EXPECT_EQ(text.find('\n'), text.npos);
        return text;
    }
};

TEST(Gemma4, MultimodalCheckpointsAreTheSameModel) {
    std::vector<float> want = scores_of(options(golden));
    for (const char* prefix : {"model.language_model.", "language_model.model."}) {
        Changed c;
        c.config = read_json_file(golden + "/hub/config.json");
        for (Item& i : c.items) i.name = prefix + i.name.substr(6);
        // Keys and values of layers that look at another's: in the first files, and never used.
        for (int l = 5; l < 10; l++) {
            std::string at = prefix + ("layers." + std::to_string(l)) + ".self_attn.";
            int64_t head = l == 9 ? 32 : 16;
            c.items.push_back(filled(at + "k_proj.weight", {head, 40}));
            c.items.push_back(filled(at + "v_proj.weight", {head, 40}));
            c.items.push_back(filled(at + "k_norm.weight", {head}));
        }
        c.items.push_back(filled("model.vision_tower.encoder.layers.0.self_attn.q_proj.linear.weight", {4, 4}));
        c.items.push_back(filled("model.vision_tower.encoder.layers.0.self_attn.q_proj.input_max", {1}));
        c.items.push_back(filled("model.audio_tower.output_proj.weight", {4, 4}));
        c.items.push_back(filled("model.embed_vision.embedding_projection.weight", {40, 4}));
        EXPECT_EQ(scores_of(options(c.write())), want) << prefix;
        Checkpoint from(c.folder.path);
        EXPECT_EQ(from.unused({}).other_parts,
                  (std::map<std::string, int>{{"vision_tower", 2}, {"audio_tower", 1}, {"embed_vision", 1}}));
        EXPECT_EQ(parameter_count(*load_model(from, *std::make_unique<Arena>(1 << 20))), 199986u);

        // An adapter trained on it carries its names, and is read back by them; dead updates are left out.
        Session s(options(c.folder.path));
        TrainOptions t;
        t.steps = 1, t.lora.rank = 2, t.lora.targets = {"all"};
        t.optimizer.lr = 0.01, t.optimizer.warmup = 0, t.optimizer.schedule = "constant";
        std::vector<int> ids{2, 9, 77, 150, 31};
        Trainer trainer(s, t, sft(), Dataset{{Example{{{ids, ids}}, 0, 0}}, "row", "sft"}, {});
        trainer.step(1);
        EXPECT_EQ(trainer.adapters().entries().size(), 5u * 9 + 5 * 7 + 1);     // PEFT's all-linear: no table, no head
        trainer.adapters().write(c.folder / "adapter");
        std::vector<Item> halves = items_of(c.folder / "adapter/adapter_model.safetensors");
        EXPECT_EQ(halves[0].name, std::string("base_model.model.") + prefix + "layers.0.mlp.down_proj.lora_A.weight");
        halves.push_back(filled(std::string("base_model.model.") + prefix +
                                "layers.7.self_attn.v_proj.lora_A.weight", {2, 40}));
        write_items(c.folder / "adapter/adapter_model.safetensors", halves);
        SessionOptions with = options(c.folder.path);
        with.adapters = {c.folder / "adapter"};
        std::vector<float> adapted = scores_of(with);
        EXPECT_NE(adapted, want);
        with.model = golden;                    // text only, the same adapter
        EXPECT_EQ(scores_of(with), adapted);
        EXPECT_NE(Session(with).header().find("162 of 163 adapter tensors"), std::string::npos);

        c.items.push_back(filled("model.surprise.weight", {4, 4}));
        EXPECT_NE(c.refused().find("model.surprise.weight"), std::string::npos);
    }
}

TEST(Gemma4, EverySpellingOfHeadSizes) {
    std::vector<float> want = scores_of(options(golden));
    Changed c;
    c.config["per_layer_config"] = {{"04", {{"head_dim", 32}}}, {"09", {{"head_dim", 32}}}};
    c.config["global_head_dim"] = 64;       // per_layer_config wins
    EXPECT_EQ(scores_of(options(c.write())), want);
    c.config.erase("per_layer_config");
    EXPECT_NE(c.refused().find("[256,40]"), std::string::npos);
    c.config["global_head_dim"] = 32;
    c.config.erase("rope_parameters");      // the defaults are what it says
    c.config["layer_types"][9] = "sliding_attention";       // the last layer sees everything all the same
    EXPECT_EQ(scores_of(options(c.write())), want);
    c.config.erase("global_head_dim");
    EXPECT_NE(c.refused().find("[2048,40]"), std::string::npos);
}

TEST(Gemma4, RefusesWhatContradictsItself) {
    auto refused = [](const std::function<void(Changed&)>& change) {
        Changed c;
        change(c);
        return c.refused();
    };
    auto expect = [](const std::string& text, const std::string& part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    // No donor: all layers with keys of their own are sliding, and later ones see everything.
    expect(refused([](Changed& c) { c.config["num_kv_shared_layers"] = 6; }), "layer 4 shares keys");
    expect(refused([](Changed& c) { c.config["num_kv_shared_layers"] = 10; }), "num_kv_shared_layers");
    expect(refused([](Changed& c) { c.config["num_kv_shared_layers"] = 4; }), "layers.5.mlp.gate_proj.weight' has");
    expect(refused([](Changed& c) { c.config["use_double_wide_mlp"] = false; }), "[112,40]");
    expect(refused([](Changed& c) { c.config["hidden_size_per_layer_input"] = 16; }), "[151,80]");
    expect(refused([](Changed& c) { c.config["vocab_size_per_layer_input"] = 140; }), "vocab_size_per_layer_input");
    expect(refused([](Changed& c) { c.config["vocab_size"] = 152; }), "vocab_size_per_layer_input");
    expect(refused([](Changed& c) { c.config["layer_types"][2] = "full_attention"; }), "one size");
    expect(refused([](Changed& c) { c.config["layer_types"][2] = "chunked_attention"; }), "chunked_attention");
    expect(refused([](Changed& c) { c.config["layer_types"].erase(9); }), "layer_types must be a list of 10");
    expect(refused([](Changed& c) { c.config["per_layer_config"]["4"]["head_dim"] = 31; }), "must be even");
    expect(refused([](Changed& c) { c.config["per_layer_config"]["4"]["head_dim"] = 34; }), "one size");
    expect(refused([](Changed& c) { c.config["per_layer_config"]["10"]["head_dim"] = 32; }), "\"10\"");
    expect(refused([](Changed& c) { c.config["attention_k_eq_v"] = true; }), "attention_k_eq_v is true");
    expect(refused([](Changed& c) { c.config["enable_moe_block"] = true; }), "enable_moe_block is true");
    expect(refused([](Changed& c) { c.config["use_bidirectional_attention"] = "vision"; }), "\"vision\"");
    expect(refused([](Changed& c) {
               c.config["rope_parameters"]["full_attention"]["partial_rotary_factor"] = 1.5;
           }), "partial_rotary_factor");
    expect(refused([](Changed& c) { c.config["rope_parameters"]["full_attention"]["rope_type"] = "yarn"; }), "yarn");
    expect(refused([](Changed& c) {
               std::erase_if(c.items, [](const Item& i) { return i.name == "model.layers.3.layer_scalar"; });
           }), "1 of 160 tensors are missing, the first model.layers.3.layer_scalar");
}

// Its lists by layer, and the tensor that says what of a head turns: battery.cpp writes good ones, here bad ones.
TEST(Gemma4, GgufRefusesWhatContradictsItself) {
    TempFolder temp;
    auto refused = [&](const std::function<void(GgufWriter&)>& add, std::vector<float> by) {
        GgufWriter w;
        w.add("general.architecture", "gemma4");
        for (auto [key, n] : {std::pair{"block_count", 4}, {"embedding_length", 8}, {"attention.head_count", 2},
                              {"context_length", 64}, {"attention.key_length", 8}, {"attention.key_length_swa", 4},
                              {"embedding_length_per_layer_input", 4}, {"attention.shared_kv_layers", 2},
                              {"vocab_size", 16}})
            w.add(std::string("gemma4.") + key, uint32_t(n));
        for (auto [key, x] : {std::pair{"attention.layer_norm_rms_epsilon", 1e-6f}, {"rope.freq_base", 1e6f},
                              {"rope.freq_base_swa", 1e4f}})
            w.add(std::string("gemma4.") + key, x);
        add(w);
        w.add("rope_freqs.weight", Type::f32, {int64_t(by.size())}, by.data(), by.size() * 4);
        w.write(temp / "m.gguf");
        std::string text;
        EXPECT_EQ(error_of([&] { Session s(options(temp / "m.gguf")); }, &text), Exit::bad_input);
        return text;
    };
    auto expect = [](const std::string& text, const std::string& part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    std::vector<float> good{1, 1e30f, 1e30f, 1e30f};
    auto lengths = [](std::vector<int32_t> n, std::vector<bool> sliding = {true, false, true, false}) {
        return [n, sliding](GgufWriter& w) {
            w.add("gemma4.attention.sliding_window_pattern", sliding);
            w.add("gemma4.feed_forward_length", n);
            w.add("gemma4.attention.head_count_kv", std::vector<int32_t>{1, 1, 1, 1});
        };
    };
    expect(refused(lengths({6, 6, 12, 12}), good), "tensors are missing");      // all is well but for these
    expect(refused(lengths({6, 6, 6, 6}), good), "tensors are missing");
    expect(refused(lengths({6, 12, 12, 12}), good), "feed_forward_length is no list that is known");
    expect(refused(lengths({6, 6, 18, 18}), good), "feed_forward_length is no list that is known");
    expect(refused(lengths({6, 6, 12}), good), "expected 4 numbers");
    expect(refused(lengths({-6, -6, -12, -12}), good), "feed_forward_length is no list that is known");
    expect(refused(lengths({6, 6, 12, 12}), {1, 2, 1e30f, 1e30f}), "divides frequency 1 by 2");
    expect(refused(lengths({6, 6, 12, 12}), {1e30f, 1, 1, 1}), "divides frequency 1 by 1");
    expect(refused(lengths({6, 6, 12, 12}, {true, false, true}), good), "sliding_window_pattern");
    expect(refused(lengths({6, 6, 12, 12}, {true, true, false, false}), good), "layer 2 shares keys");
}

// ---- the tables

// Bytes of a mapped file that this process has touched.
size_t touched(const std::string& path) {
    std::ifstream maps("/proc/self/smaps");
    size_t bytes = 0;
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.find('-') < line.find(' ')) inside = line.ends_with(path);
        if (inside && line.starts_with("Rss:")) bytes += strtoull(line.c_str() + 4, nullptr, 10) << 10;
    }
    return bytes;
}

TEST(Gemma4, ItsTableIsGatheredAndNeverReadWhole) {
    TempFolder temp;
    Json config = {{"model_type", "gemma4_text"}, {"hidden_size", 16}, {"intermediate_size", 16},
                   {"num_hidden_layers", 5}, {"num_attention_heads", 2}, {"num_key_value_heads", 1},
                   {"head_dim", 8}, {"global_head_dim", 16}, {"num_kv_shared_layers", 0}, {"vocab_size", 16384},
                   {"hidden_size_per_layer_input", 1024}, {"max_position_embeddings", 64}, {"rms_norm_eps", 1e-6}};
    write_file(temp / "config.json", config.dump());
    init_model(temp / "config.json", temp / "m", 1, "bf16", "");
    constexpr size_t table = size_t(16384) * 5 * 1024 * 2, fault = 1 << 21;     // most that a row's page brings along
    Session s(options(temp / "m"));
    std::string file = temp / "m/model.safetensors";
    size_t loaded = touched(file);
    EXPECT_LE(loaded, table / 16);
    EXPECT_LE(s.weights.used, size_t(8) << 20);         // 160 MB stored, of which the table is all but 3
    EXPECT_LE(packed_bytes(*s.model, s.k, s.operand), size_t(8) << 20);
    GenerateOptions o;
    o.max_tokens = 20, o.ignore_eos = true;
    int answers = 0;
    o.on_done = [&](size_t, const Answer&) { answers++; };
    generate(s, {{{5, 16000, 900, 12345, 77}, 0}}, o);
    EXPECT_EQ(answers, 1);
    EXPECT_GT(touched(file), loaded);                   // the test sees what it looks for
    EXPECT_LE(touched(file), loaded + 26 * fault);
    EXPECT_LT(touched(file), table / 2);
}

// ---- the cache

size_t cache_bytes(Session& s, int room, int chunk) {
    Arena counting(size_t(1) << 40, true), states(size_t(1) << 40, true);
    Cache cache(states, 1, room, chunk);
    Batch b;
    int id = 0;
    b.add(&id, 1, 0, 0);
    Pass p{nothing, counting, b.rows(), s.operand};
    p.cache = &cache;
    s.model->forward(p);
    return states.peak;
}

TEST(Gemma4, TheCacheHoldsSharedKeysOnceAndARingOfAWindow) {
    Session s(options(golden));
    // f32: layer 4 alone sees everything and owns keys: 16 positions of 32 numbers, keys and values.
    size_t wide = 2 * 16 * 32 * 4, narrow = 2 * 16 * 16 * 4;
    EXPECT_EQ(cache_bytes(s, 4096, 16) - cache_bytes(s, 2048, 16), 2048 / 16 * wide);
    // Layers 0 to 3: a window of 8 and chunks of 16 lie in 23 positions, which touch 3 panels at most.
    EXPECT_EQ(cache_bytes(s, 4096, 16), 4096 / 16 * wide + 4 * 3 * narrow);
    EXPECT_EQ(cache_bytes(s, 4096, 1), 4096 / 16 * wide + 4 * 2 * narrow);
    EXPECT_EQ(cache_bytes(s, 16, 16), wide + 4 * narrow);

    Session three(options(here("goldens/gemma3")));         // 7 layers of head size 16, the sixth sees everything
    int heads = three.model->blocks[0].kv_heads, window = three.model->blocks[0].window;
    size_t panel = size_t(2) * 16 * three.model->blocks[0].head_size * 4 * heads, full = 0;
    for (const Model::Block& b : three.model->blocks) full += b.window == 0;
    EXPECT_EQ(cache_bytes(three, 4096, 4), 256 * full * panel +
              (three.model->blocks.size() - full) * ((window - 1 + 4 + 14) / 16 + 1) * panel);
}

TEST(Gemma4, ARingRefusesMoreThanItsChunk) {
    Session s(options(golden));
    Arena scratch(1 << 26), states(1 << 26);
    Cache cache(states, 1, 200, 4);
    std::vector<int> ids(5, 3);
    Batch b;
    b.add(ids.data(), 5, 0, 0);
    Pass p = s.pass(scratch, b);
    p.cache = &cache;
    EXPECT_EQ(error_of([&] { s.model->forward(p); }), Exit::failed);
}

}  // namespace
