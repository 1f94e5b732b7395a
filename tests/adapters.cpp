// adapters.cpp - adapters that travel: scales and ranks of their own, several at once, on some blocks only, on a model
// inside a wrapper of several modalities.
#include "../models/save.h"
#include "tiny.h"

namespace {

const std::string start = "base_model.model.";

struct Update { std::string module; int rank; };

// Numbers that are short in binary, so that sums of their products are exact in f32.
float number(size_t i, size_t k) { return float(int((i * 7 + k * 5) % 9) - 4) / 64; }

// An adapter for the tiny model, with this configuration, on these modules.
void write_adapter(const std::string& folder, const Json& config, const std::vector<Update>& updates, size_t seed) {
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true, o.threads = 1;
    Session s(o);
    struct Shapes : Visit {
        std::map<std::string, std::array<int, 2>> of;
        void matrix(const std::string& name, Weight&, int out, int in) override { of[name] = {out, in}; }
        void table(const std::string&, Weight&, int, int) override {}
        void vector(const std::string&, Tensor&, int, float) override {}
    } shapes;
    s.model->weights(shapes);
    make_folders(folder);
    Json c = config;
    c["peft_type"] = "LORA";
    write_file(folder + "/adapter_config.json", c.dump());
    std::vector<SafetensorsWriter::Item> items;
    for (const Update& u : updates) {
        const auto [out, in] = shapes.of.at(u.module + ".weight");
        items.push_back({start + u.module + ".lora_A.weight", Type::f32, {u.rank, in}});
        items.push_back({start + u.module + ".lora_B.weight", Type::f32, {out, u.rank}});
    }
    SafetensorsWriter w(folder + "/adapter_model.safetensors", items, {});
    for (size_t i = 0; i < items.size(); i++) {
        std::vector<float> v(size_t(items[i].shape[0] * items[i].shape[1]));
        for (size_t k = 0; k < v.size(); k++) v[k] = number(i + seed, k);
        w.write(i, 0, v.data(), items[i].shape[0]);
    }
    w.commit();
}

std::map<std::string, double> scales_of(const std::string& adapter) {
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true, o.threads = 1, o.adapters = {adapter};
    Session s(o);
    std::map<std::string, double> all;
    for (const Adapters::Entry& e : s.adapters.entries()) all[e.module] = e.lora.scale;
    return all;
}

TEST(Adapter, ScalesAndRanksByModule) {
    const TempFolder t;
    const std::string q0 = "model.layers.0.self_attn.q_proj", q1 = "model.layers.1.self_attn.q_proj",
                      up = "model.layers.0.mlp.up_proj";
    Json c = {{"r", 4}, {"lora_alpha", 12}, {"target_modules", {"q_proj", "layers.0.mlp.up_proj"}},
              {"rank_pattern", {{"layers.1.self_attn.q_proj", 2}, {"up_proj", 8}}},
              {"alpha_pattern", {{q0, 5}, {"up_proj", 6}}}};
    const std::vector<Update> updates = {{q0, 4}, {q1, 2}, {up, 8}};
    write_adapter(t / "plain", c, updates, 0);
    EXPECT_EQ(scales_of(t / "plain"), (std::map<std::string, double>{{q0, 5.0 / 4}, {q1, 12.0 / 2}, {up, 6.0 / 8}}));
    EXPECT_EQ(scales_of((t / "plain") + ":-2"),
              (std::map<std::string, double>{{q0, -2.5}, {q1, -12.0}, {up, -1.5}}));
    c["use_rslora"] = true;
    write_adapter(t / "rs", c, updates, 0);
    EXPECT_EQ(scales_of(t / "rs"), (std::map<std::string, double>{
        {q0, 2.5}, {q1, float(12 / std::sqrt(2.0))}, {up, float(6 / std::sqrt(8.0))}}));
}

// dd merge: W + s1 B1 A1 + s2 B2 A2, each with its own scale, ranks and modules.
TEST(Adapter, SeveralWithScalesMerge) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    const TempFolder t;
    const std::string q = "model.layers.0.self_attn.q_proj", k = "model.layers.0.self_attn.k_proj";
    const Json one = Json::array({"layers.0.self_attn.q_proj"}), two = {"q_proj", "k_proj"};
    write_adapter(t / "a", {{"r", 4}, {"lora_alpha", 8}, {"target_modules", one}}, {{q, 4}}, 1);
    write_adapter(t / "b", {{"r", 2}, {"lora_alpha", 2}, {"layers_to_transform", Json::array({0})},
                            {"target_modules", two}}, {{q, 2}, {k, 2}}, 2);
    const Ran r = run_dd({"merge", "--model", tiny_model(), "--adapter", (t / "a") + ":0.5", "--adapter",
                          (t / "b") + ":-3", "--out", t / "merged"});
    ASSERT_EQ(r.code, 0) << r.err;
    EXPECT_NE(r.err.find("6 adapter tensors merged"), r.err.npos) << r.err;
    const auto before = open_safetensors(tiny_model() + "/model.safetensors"),
               after = open_safetensors(t / "merged/model.safetensors");
    std::map<std::string, std::vector<std::pair<std::string, double>>> rides = {
        {q, {{t / "a", 0.5 * 2}, {t / "b", -3.0}}}, {k, {{t / "b", -3.0}}}};
    for (const Stored& was : before->tensors()) {
        const Stored* is = after->find(was.name);
        ASSERT_TRUE(is) << was.name;
        std::vector<float> want((const float*)was.data, (const float*)(was.data + was.bytes));
        for (const auto& [folder, scale] : rides[was.name.substr(0, was.name.rfind(".weight"))]) {
            const auto file = open_safetensors(folder + "/adapter_model.safetensors");
            const std::string module = start + was.name.substr(0, was.name.rfind(".weight"));
            const Stored *a = file->find(module + ".lora_A.weight"), *b = file->find(module + ".lora_B.weight");
            const int64_t rank = a->shape[0], in = a->shape[1];
            for (size_t i = 0; i < want.size(); i++)
                for (int64_t j = 0; j < rank; j++)
                    want[i] += float(scale) * ((const float*)b->data)[int64_t(i) / in * rank + j] *
                               ((const float*)a->data)[j * in + int64_t(i) % in];
        }
        EXPECT_LE(far((const float*)is->data, want.data(), want.size()), 1e-6) << was.name;
    }
}

// What is trained on some modules of a kind says which, so that nobody takes the others' absence for damage.
TEST(Adapter, OnSomeBlocksOnly) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    const TempFolder t;
    const std::string rows = t.put("rows.jsonl", tiny_rows(4));
    auto targets_of = [&](const std::string& name, const std::string& targets) {
        const std::string adapter = (t / name) + "/adapter";
        const Ran r = run_dd({"train", "--model", tiny_model(), "--train-file", rows, "--steps", "1", "--lora-rank",
                              "2", "--lora-targets", targets, "--out", t / name});
        EXPECT_EQ(r.code, 0) << r.err;
        EXPECT_EQ(run_dd({"score", "--model", tiny_model(), "--input", rows, "--adapter", adapter}).code, 0);
        return read_json_file((t / name) + "/adapter/adapter_config.json")["target_modules"];
    };
    EXPECT_EQ(targets_of("every", "q_proj,v_proj"), Json({"q_proj", "v_proj"}));
    EXPECT_EQ(targets_of("some", ".*1\\.self_attn\\.(q|v)_proj"),
              Json({"layers.1.self_attn.q_proj", "layers.1.self_attn.v_proj"}));
    EXPECT_EQ(targets_of("mixed", "up_proj,.*0\\.mlp\\.gate_proj"), Json({"layers.0.mlp.gate_proj", "up_proj"}));
    EXPECT_TRUE(read_json_file((t / "every") + "/adapter/adapter_config.json")["peft_version"].is_string());
    // Others' files say it otherwise.
    const std::string q = "model.layers.1.self_attn.q_proj";
    for (const Json& c : {Json{{"target_modules", ".*1.self_attn.q_proj"}},
                          Json{{"target_modules", {"q_proj"}}, {"layers_to_transform", {1}}},
                          Json{{"target_modules", {"q_proj"}}, {"exclude_modules", {"layers.0.self_attn.q_proj"}}}}) {
        const std::string folder = t / std::to_string(std::hash<std::string>()(c.dump()));
        Json config = c;
        config["r"] = 2, config["lora_alpha"] = 2;
        write_adapter(folder, config, {{q, 2}}, 0);
        EXPECT_EQ(scales_of(folder).size(), 1u) << c;
    }
}

// Gemma 3 inside a wrapper, by either of its names, with a tower that is counted and left alone; adapters of both
// kinds.
TEST(Adapter, OfAModelInAWrapper) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    const TempFolder t;
    const std::string golden = here("goldens/gemma3");
    const auto from = open_safetensors(golden + "/model.safetensors"),
               update = open_safetensors(golden + "/adapter/adapter_model.safetensors");
    auto copy = [](const std::string& path, const Safetensors& from,
                   const std::function<std::string(std::string)>& rename,
                   const std::vector<SafetensorsWriter::Item>& more) {
        std::vector<SafetensorsWriter::Item> items;
        for (const Stored& s : from.tensors()) items.push_back({rename(s.name), s.type, s.shape});
        items.insert(items.end(), more.begin(), more.end());
        SafetensorsWriter w(path, items, {});
        const std::vector<float> zeros(64);
        for (size_t i = 0; i < items.size(); i++)
            w.write(i, 0, i < from.tensors().size() ? (const void*)from.tensors()[i].data : zeros.data(),
                    items[i].shape[0]);
        w.commit();
    };
    const std::string rows = t.put("rows.jsonl", "{\"input_ids\":[2,9,77,31,8,64,5]}\n");
    auto scores = [&](const std::string& model, const std::string& adapter) {
        std::vector<std::string> args = {"score", "--model", model, "--input", rows, "--json", "--precision", "f32"};
        if (!adapter.empty()) args.insert(args.end(), {"--adapter", adapter});
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        return r.out.substr(0, r.out.find('\n'));
    };
    const std::string plain = scores(golden, ""), adapted = scores(golden, golden + "/adapter");
    EXPECT_NE(plain, adapted);
    for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
        SCOPED_TRACE(prefix);
        const std::string m = t / prefix, model = prefix[0] == 'm' ? "model." : "";
        const std::string tower = model + "vision_tower.", projector = model + "multi_modal_projector.";
        make_folders(m);
        write_file(m + "/config.json", Json({{"model_type", "gemma3"}, {"vision_config", {{"hidden_size", 8}}},
                                             {"text_config", read_json_file(golden + "/config.json")}}).dump());
        copy(m + "/model.safetensors", *from, [&](const std::string& n) { return prefix + n.substr(6); },
             {{tower + "encoder.layers.0.mlp.fc1.weight", Type::f32, {4, 4}},
              {tower + "post_layernorm.bias", Type::f32, {4}},
              {projector + "mm_soft_emb_norm.weight", Type::f32, {8}}});
        EXPECT_EQ(scores(m, ""), plain);
        const Ran info = run_dd({"info", "--model", m});
        EXPECT_NE(info.out.find("of other parts, left alone: multi_modal_projector x 1, vision_tower x 2"),
                  info.out.npos) << info.out;
        make_folders(m + "/adapter");
        write_file(m + "/adapter/adapter_config.json", read_file(golden + "/adapter/adapter_config.json"));
        copy(m + "/adapter/adapter_model.safetensors", *update,
             [&](const std::string& n) { return start + prefix + n.substr(start.size() + 6); }, {});
        for (const std::string& either : {m, golden})
            for (const std::string& adapter : {m + "/adapter", golden + "/adapter"})
                EXPECT_EQ(scores(either, adapter), adapted);
        // What is trained on it carries its names.
        const std::string run = t / ("run" + prefix);
        const Ran r = run_dd({"train", "--model", m, "--train-file", rows, "--steps", "1", "--out", run});
        ASSERT_EQ(r.code, 0) << r.err;
        const auto trained = open_safetensors(run + "/adapter/adapter_model.safetensors");
        for (const Stored& s : trained->tensors()) EXPECT_TRUE(s.name.starts_with(start + prefix)) << s.name;
    }
}

}  // namespace
