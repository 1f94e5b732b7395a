// battery.cpp - what every architecture must hold, on tiny random models: the same numbers whatever the batch, the
// chunks of a prompt, the threads; recomputation, fresh adapters and neutral edits change no bit; every file format
// gives the same model. A new architecture gets all of it by its line in `configs`.
#include <deque>
#include "../engine/file.h"
#include "../engine/gguf.h"
#include "../kernels/parallel.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"
#include "../models/gguf_names.h"
#include "../models/save.h"
#include "../train/objective.h"
#include "../train/trainer.h"
#include "../verbs/init.h"
#include "support.h"

namespace {

// noise: how many times more than others it magnifies rounding (the gated norm of Qwen3.5, where q.k is near zero).
struct Config { const char* name; const char* json; double noise = 1; };

// Sizes are odd on purpose: nothing is a multiple of anything that a kernel likes.
const Config configs[] = {
    {"llama",
     R"({"model_type":"llama","hidden_size":48,"intermediate_size":86,"num_hidden_layers":3,
        "num_attention_heads":6,"num_key_value_heads":2,
        "vocab_size":131,"max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000,
        "tie_word_embeddings":true,"initializer_range":0.3})"},
    {"qwen3",
     R"({"model_type":"qwen3","hidden_size":40,"intermediate_size":72,"num_hidden_layers":3,
        "num_attention_heads":4,"num_key_value_heads":2,
        "head_dim":16,"vocab_size":137,"max_position_embeddings":512,"rms_norm_eps":1e-6,
        "rope_theta":1000000,"tie_word_embeddings":false,"initializer_range":0.3})"},
    {"gemma3",
     R"({"model_type":"gemma3_text","hidden_size":40,"intermediate_size":72,"num_hidden_layers":7,
        "num_attention_heads":4,"num_key_value_heads":1,
        "head_dim":18,"vocab_size":149,"max_position_embeddings":512,"rms_norm_eps":1e-6,
        "rope_theta":1000000,"rope_local_base_freq":10000,
        "sliding_window":21,"sliding_window_pattern":6,"query_pre_attn_scalar":18,
        "final_logit_softcapping":30,"initializer_range":0.3})"},
    {"gemma4",
     R"({"model_type":"gemma4_text","hidden_size":40,"intermediate_size":54,"num_hidden_layers":8,
        "num_attention_heads":4,"num_key_value_heads":1,"head_dim":18,"global_head_dim":26,
        "hidden_size_per_layer_input":10,"num_kv_shared_layers":4,"use_double_wide_mlp":true,
        "layer_types":["sliding_attention","sliding_attention","full_attention","sliding_attention",
                       "full_attention","sliding_attention","sliding_attention","full_attention"],
        "vocab_size":151,"max_position_embeddings":512,"rms_norm_eps":1e-6,"sliding_window":21,
        "pad_token_id":0,"final_logit_softcapping":30,"initializer_range":0.3})"},
    {"qwen3_5",
     R"({"model_type":"qwen3_5_text","hidden_size":40,"intermediate_size":72,"num_hidden_layers":4,
        "num_attention_heads":4,"num_key_value_heads":2,
        "head_dim":16,"vocab_size":139,"max_position_embeddings":512,"rms_norm_eps":1e-6,
        "rope_theta":10000000,"partial_rotary_factor":0.25,"full_attention_interval":2,
        "linear_num_key_heads":2,"linear_num_value_heads":4,"linear_key_head_dim":10,"linear_value_head_dim":18,
        "linear_conv_kernel_dim":4,"tie_word_embeddings":true,"initializer_range":0.3})", 4},
};

const std::string& folder_of(const Config& c) {
    static TempFolder all;
    static std::map<std::string, std::string> made;
    std::string& folder = made[c.name];
    if (folder.empty()) {
        std::string json = all / (std::string(c.name) + ".json");
        write_file(json, c.json);
        init_model(json, all / c.name, 7, "f32", "");
        folder = all / c.name;
    }
    return folder;
}

std::vector<int> some_ids(int n, int vocabulary, int seed) {
    std::vector<int> ids;
    Random random(uint64_t(seed) + 1);
    for (int i = 0; i < n; i++) ids.push_back(int(random.below(uint32_t(vocabulary))));
    return ids;
}

// Logits of sequences, given chunk by chunk to a cache; chunk 0: all at once, without a cache.
std::vector<std::vector<float>> logits_of(Session& s, const std::vector<std::vector<int>>& sequences, int chunk) {
    size_t longest = 0;
    for (const auto& q : sequences) longest = std::max(longest, q.size());
    Arena scratch(size_t(256) << 20, *s.k.memory), states(size_t(256) << 20, *s.k.memory);
    scratch.poison = true;
    Cache cache(states, int(sequences.size()), int(longest), chunk);
    std::vector<float> numbers;
    std::vector<std::vector<float>> out(sequences.size());
    for (size_t at = 0; at < longest; at += chunk ? size_t(chunk) : longest) {
        Batch b;
        std::vector<size_t> who;
        for (size_t q = 0; q < sequences.size(); q++) {
            if (at >= sequences[q].size()) continue;
            size_t n = std::min(chunk ? size_t(chunk) : longest, sequences[q].size() - at);
            b.add(sequences[q].data() + at, int(n), int(at), int(q));
            who.push_back(q);
        }
        scratch.rewind(0);
        Pass p = s.pass(scratch, b);
        if (chunk) p.cache = &cache;
        Tensor z = logits(p, s.model->forward(p), s.model->head());
        const float* all = get(*s.k.memory, z, numbers);
        for (size_t i = 0; i < who.size(); i++)
            out[who[i]].insert(out[who[i]].end(), all + size_t(b.first[i]) * z.cols,
                               all + size_t(b.first[i + 1]) * z.cols);
    }
    return out;
}

void same_bits(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
    ASSERT_EQ(a.size(), b.size()) << what;
    for (float v : a) ASSERT_TRUE(std::isfinite(v)) << what;
    EXPECT_EQ(memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0)
        << what << ", relative difference " << far(a.data(), b.data(), a.size());
}

using Param = std::tuple<const Config*, const Kernels*, const char*>;

class Battery : public testing::TestWithParam<Param> {
protected:
    const Config& config = *std::get<0>(GetParam());
    const char* precision = std::get<2>(GetParam());
    const cuda_cpu::DeviceOnly strict;

    SessionOptions options() {
        SessionOptions o;
        o.model = folder_of(config), o.precision = precision, o.quiet = true, o.kernels = std::get<1>(GetParam());
        return o;
    }
};

TEST_P(Battery, ChunksOfAPromptGiveTheSameBits) {
    Session s(options());
    std::vector<std::vector<int>> q{some_ids(75, s.model->vocabulary, 1)};
    auto whole = logits_of(s, q, 0);
    for (int chunk : {1, 7, 32, 75})
        same_bits(logits_of(s, q, chunk)[0], whole[0], "chunks of " + std::to_string(chunk));
}

TEST_P(Battery, BatchGivesTheSameBits) {
    Session s(options());
    std::vector<std::vector<int>> all;
    for (int i = 0; i < 64; i++) all.push_back(some_ids(1 + i * 11 % 40, s.model->vocabulary, i));
    for (int cached : {0, 5}) {
        auto together = logits_of(s, all, cached);
        for (int i : {0, 3, 17, 63}) same_bits(logits_of(s, {all[i]}, cached)[0], together[i], "alone");
        auto three = logits_of(s, {all[5], all[6], all[7]}, cached);
        for (int i : {0, 1, 2}) same_bits(three[i], together[5 + i], "three together");
    }
}

// A slot that has served another sequence is like a new one.
TEST_P(Battery, ASlotForgets) {
    Session s(options());
    std::vector<int> before = some_ids(53, s.model->vocabulary, 1), ids = some_ids(40, s.model->vocabulary, 2);
    auto fresh = logits_of(s, {ids}, 7);
    Arena scratch(size_t(64) << 20, *s.k.memory), states(size_t(64) << 20, *s.k.memory);
    Cache cache(states, 1, 64);
    std::vector<float> got, numbers;
    auto give = [&](const std::vector<int>& tokens, int chunk, bool keep) {
        for (size_t at = 0; at < tokens.size(); at += size_t(chunk)) {
            Batch b;
            b.add(tokens.data() + at, int(std::min(tokens.size() - at, size_t(chunk))), int(at), 0);
            scratch.rewind(0);
            Pass p = s.pass(scratch, b);
            p.cache = &cache;
            Tensor z = logits(p, s.model->forward(p), s.model->head());
            const float* all = get(*s.k.memory, z, numbers);
            if (keep) got.insert(got.end(), all, all + z.count());
        }
    };
    give(before, 53, false);
    give(ids, 7, true);
    same_bits(got, fresh[0], "a slot used before");
}

TEST_P(Battery, ThreadsGiveTheSameBits) {
    Session s(options());
    std::vector<std::vector<int>> q{some_ids(90, s.model->vocabulary, 1), some_ids(33, s.model->vocabulary, 2)};
    int before = threads();
    set_threads(1);
    auto one = logits_of(s, q, 0), one_cached = logits_of(s, q, 1);
    for (int n : {2, 3}) {
        set_threads(n);
        auto many = logits_of(s, q, 0), many_cached = logits_of(s, q, 1);
        for (int i : {0, 1})
            same_bits(many[i], one[i], "threads"), same_bits(many_cached[i], one_cached[i], "threads, decoding");
    }
    set_threads(before);
}

// Gradients after one step, one parameter after another.
std::vector<float> gradients_of(const SessionOptions& o, TrainOptions t, const Dataset& data, double* loss = nullptr) {
    SessionOptions mine = o;
    mine.pack = !t.full;
    Session s(mine);
    t.optimizer.lr = 0, t.optimizer.warmup = 0, t.optimizer.schedule = "constant", t.steps = 1;
    Trainer trainer(s, t, sft(), data, {});
    StepLog log = trainer.step(1);
    if (loss) *loss = log.loss;
    std::vector<float> all;
    for (Parameter& p : trainer.parameters()) {
        std::vector<float> g = get(trainer.memory(), Optimizer::gradient(p));
        all.insert(all.end(), g.begin(), g.end());
    }
    return all;
}

Dataset some_rows(int rows, int vocabulary) {
    Dataset d{{}, "rows", "sft"};
    for (int i = 0; i < rows; i++) {
        Sequence q{some_ids(5 + i * 7 % 30, vocabulary, 100 + i), {}};
        q.labels = q.ids;
        for (int k = 0; k < i % 4; k++) q.labels[k] = -100;
        d.examples.push_back({{q}, i, i + 1});
    }
    return d;
}

TEST_P(Battery, RecomputationChangesNoBit) {
    for (bool full : {false, true}) {
        TrainOptions t;
        t.full = full, t.batch_size = 4;
        t.lora.rank = 4, t.lora.targets = {"all"};
        Dataset data = some_rows(4, 131);
        std::vector<float> kept = gradients_of(options(), t, data);
        t.recompute = true;
        same_bits(gradients_of(options(), t, data), kept, full ? "every weight" : "adapter");
    }
}

TEST_P(Battery, ThreadsDoNotMoveGradients) {
    TrainOptions t;
    t.batch_size = 4, t.lora.rank = 4, t.lora.targets = {"all"}, t.lora.dropout = 0.2;
    Dataset data = some_rows(4, 131);
    int before = threads();
    set_threads(1);
    std::vector<float> one = gradients_of(options(), t, data);
    set_threads(3);
    same_bits(gradients_of(options(), t, data), one, "three threads");
    set_threads(before);
}

// However a step is cut into passes, loss and gradients are those of all its rows together.
TEST_P(Battery, AccumulationIsOneStep) {
    Dataset data = some_rows(8, 131);
    bool bf16 = std::string(precision) == "bf16";
    std::vector<float> whole;
    double loss = 0;
    for (auto [batch, accumulate] : {std::pair{8, 1}, {4, 2}, {1, 8}}) {
        TrainOptions t;
        t.batch_size = batch, t.grad_accum = accumulate, t.shuffle = false, t.full = true;
        double here = 0;
        std::vector<float> g = gradients_of(options(), t, data, &here);
        if (whole.empty()) whole = g, loss = here;
        EXPECT_NEAR(here, loss, 1e-6 * loss);
        EXPECT_LE(far(g.data(), whole.data(), g.size()), bf16 ? 5e-3 : 2e-6) << batch << " x " << accumulate;
    }
}

// Something in the half of every adapter that begins with zeros.
void fill_up(Session& s, float by) {
    for (Adapters::Entry& e : s.adapters.entries()) {
        std::vector<float> b(e.lora.b.count());
        for (size_t i = 0; i < b.size(); i++) b[i] = by * float(int(i * 37 % 11) - 5);
        s.k.memory->upload(e.lora.b.data, b.data(), e.lora.b.bytes());
    }
    s.adapters.repack(s.k, s.operand);
}

TEST_P(Battery, AFreshAdapterChangesNoBit) {
    Session s(options());
    std::vector<std::vector<int>> q{some_ids(40, s.model->vocabulary, 1)};
    auto base = logits_of(s, q, 0);
    LoraConfig lora;
    lora.rank = 4, lora.targets = {"all"};
    s.adapters.create(*s.model, lora, 1);
    s.adapters.attach(*s.model, s.k, s.operand);
    same_bits(logits_of(s, q, 0)[0], base[0], "B = 0");
    fill_up(s, 0.1f);
    auto changed = logits_of(s, q, 0);
    EXPECT_GT(far(changed[0].data(), base[0].data(), base[0].size()), 1e-3);
    same_bits(logits_of(s, q, 7)[0], changed[0], "an adapter, in chunks");
    s.adapters.detach(*s.model);
    same_bits(logits_of(s, q, 0)[0], base[0], "the adapter off");
}

TEST_P(Battery, NeutralEditsChangeNoBit) {
    Session s(options());
    std::vector<std::vector<int>> q{some_ids(40, s.model->vocabulary, 1)};
    auto base = logits_of(s, q, 0);
    ASSERT_GT(s.model->blocks[1].heads, 0);
    std::vector<float> ones(s.model->blocks[1].heads, 1.0f), vector(s.model->dim, 0.5f);
    s.edits = {{Point::z, 1, Edit::scale_heads, s.weights.copy(ones, 1, int(ones.size()))},
               {Point::resid_post, 0, Edit::add, s.weights.copy(vector, 1, s.model->dim), 0}};
    same_bits(logits_of(s, q, 0)[0], base[0], "factor 1, strength 0");
    ones[0] = 0;
    s.edits[0].v = s.weights.copy(ones, 1, int(ones.size()));
    auto changed = logits_of(s, q, 0);
    EXPECT_GT(far(changed[0].data(), base[0].data(), base[0].size()), 1e-4);
    same_bits(logits_of(s, q, 7)[0], changed[0], "an ablated head, in chunks");
}

// What every block adds is what it says that it adds; each begins where the one before has ended.
TEST_P(Battery, PointsAreWhereTheyAreSaidToBe) {
    Session s(options());
    std::vector<Row> rows{{0, some_ids(40, s.model->vocabulary, 1), {}, 0, false}};
    std::map<std::string, std::vector<float>> at;
    const std::vector<Tap> taps = parse_points(*s.model, "embed,resid_pre.*,q.*,z.*,attn_out.*,mlp_out.*,resid_post.*");
    extract(s, rows, taps, false, [&](size_t t, int64_t, const float* data, int64_t n) {
        at[taps[t].name].insert(at[taps[t].name].end(), data, data + n * taps[t].width);
    });
    size_t with_heads = 0;
    for (int l = 0; l < s.model->layers; l++) {
        auto of = [&](const char* point) { return at.at(std::string(point) + "." + std::to_string(l)); };
        const std::string before = l ? "resid_post." + std::to_string(l - 1) : "embed";
        same_bits(of("resid_pre"), at.at(before), "resid_pre");
        if (const Model::Block& b = s.model->blocks[l]; b.heads) {
            with_heads++;
            for (const char* point : {"q", "z"}) EXPECT_EQ(of(point).size(), size_t(40 * b.heads * b.head_size));
        }
        std::vector<float> sum = of("resid_pre");
        for (const char* added : {"attn_out", "mlp_out"})
            for (size_t i = 0; i < sum.size(); i++) sum[i] += of(added)[i];
        if (s.model->architecture != "gemma4") same_bits(of("resid_post"), sum, "resid_post");
        else EXPECT_GT(far(of("resid_post").data(), sum.data(), sum.size()), 1e-3) << "it adds more, and scales";
    }
    EXPECT_EQ(at.size(), 1 + 4 * size_t(s.model->layers) + 2 * with_heads);
}

// |a - b| / |b|, as vectors.
double relative(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < b.size(); i++) {
        if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
        difference += std::pow(double(a[i]) - b[i], 2), size += std::pow(double(b[i]), 2);
    }
    return std::sqrt(difference / size);
}

// Every merged weight is W + scale B A, rounded once; the merged model's logits are within 1e-5 of the adapter's, as
// vectors. Of each logit alone that cannot be asked: a unit in the last place of every weight moves one by 1.9e-5 of
// the largest in Qwen3.5 and by 2.2e-5 in Gemma 4, and so does the rounding of merged ones (3.3e-5 and 6.4e-6).
TEST_P(Battery, MergedIsUnmerged) {
    if (!std::get<1>(GetParam())->memory->host) GTEST_SKIP() << "merging is the CPU's work";
    TempFolder temp;
    SessionOptions o = options();
    o.precision = "f32";
    Session s(o);
    std::vector<std::vector<int>> q;
    for (int i = 1; i < 8; i++) q.push_back(some_ids(40, s.model->vocabulary, i));
    auto all_of = [&](Session& of) {
        std::vector<float> all;
        for (const std::vector<float>& one : logits_of(of, q, 0)) all.insert(all.end(), one.begin(), one.end());
        return all;
    };
    LoraConfig lora;
    lora.rank = 3, lora.targets = {"all"};
    s.adapters.create(*s.model, lora, 1);
    s.adapters.attach(*s.model, s.k, s.operand);
    fill_up(s, 0.02f);
    s.adapters.write(temp / "adapter");
    const std::vector<float> with = all_of(s);
    write_merged(temp / "merged", s);
    const auto before = open_safetensors(folder_of(config) + "/model.safetensors"),
               after = open_safetensors(temp / "merged/model.safetensors");
    ASSERT_EQ(after->tensors().size(), before->tensors().size());
    std::map<std::string, const Lora*> rides;
    for (const Adapters::Entry& e : s.adapters.entries()) rides[e.module + ".weight"] = &e.lora;
    EXPECT_GE(rides.size(), 3u * 7);
    for (const Stored& was : before->tensors()) {
        const Stored* is = after->find(was.name);
        ASSERT_TRUE(is && is->bytes == was.bytes && is->type == Type::f32) << was.name;
        std::vector<float> want((const float*)was.data, (const float*)(was.data + was.bytes));
        if (const auto found = rides.find(was.name); found != rides.end()) {
            const Lora& l = *found->second;
            for (int i = 0; i < l.b.rows; i++)
                for (int j = 0; j < l.a.cols; j++) {
                    double sum = want[size_t(i) * l.a.cols + j];
                    for (int r = 0; r < l.a.rows; r++)
                        sum += double(l.scale) * l.b.slice(i, 1).f()[r] * l.a.slice(r, 1).f()[j];
                    want[size_t(i) * l.a.cols + j] = float(sum);
                }
            rides.erase(found);
        }
        EXPECT_EQ(memcmp(is->data, want.data(), was.bytes), 0) << was.name;
    }
    EXPECT_TRUE(rides.empty());
    SessionOptions m = o;
    m.model = temp / "merged";
    Session merged(m);
    EXPECT_LE(relative(all_of(merged), with), 1e-5);

    SessionOptions again = o;                       // the same adapter in two halves is the adapter
    again.adapters = {(temp / "adapter") + ":0.25", (temp / "adapter") + ":0.75"};
    Session halves(again);
    EXPECT_LE(relative(all_of(halves), with), 1e-5);
}

// Value heads of a linear attention from groups by key head to turns through the key heads, as llama.cpp has them: rows
// (or columns) of every tensor that has value heads; A_log becomes what it stands for.
void as_llama_cpp(const Json& j, const std::string& name, std::vector<float>& v, int64_t rows) {
    if (name.find("linear_attn.") == std::string::npos || name.ends_with("norm.weight")) return;
    if (name.ends_with("A_log")) for (float& x : v) x = -std::exp(x);
    int64_t keys = j["linear_num_key_heads"], values = j["linear_num_value_heads"], size = j["linear_value_head_dim"];
    int64_t cols = int64_t(v.size()) / rows, skip = 0, by = values == rows ? 1 : size;
    if (name.find("qkv") != std::string::npos || name.find("conv1d") != std::string::npos)
        skip = 2 * keys * j["linear_key_head_dim"].get<int64_t>();
    std::vector<float> old = v;
    for (int64_t h = 0; h < values; h++) {
        int64_t to = h % (values / keys) * keys + h / (values / keys);
        if (name.find("out_proj") != std::string::npos)
            for (int64_t r = 0; r < rows; r++)
                std::copy_n(&old[size_t(r * cols + h * size)], size, &v[size_t(r * cols + to * size)]);
        else
            std::copy_n(&old[size_t((skip + h * by) * cols)], by * cols, &v[size_t((skip + to * by) * cols)]);
    }
}

// What only Gemma 4 says, as its converter says it.
void add_gemma4(GgufWriter& w, const Json& j, std::vector<float>& divisors) {
    int layers = j["num_hidden_layers"], shared = j["num_kv_shared_layers"], hidden = j["intermediate_size"];
    std::vector<int32_t> lengths;
    std::vector<bool> sliding;
    for (int l = 0; l < layers; l++) {
        lengths.push_back(l < layers - shared ? hidden : 2 * hidden);
        sliding.push_back(j["layer_types"][l] == "sliding_attention");
    }
    w.add("gemma4.feed_forward_length", lengths);
    w.add("gemma4.attention.sliding_window_pattern", sliding);
    w.add("gemma4.attention.shared_kv_layers", uint32_t(shared));
    w.add("gemma4.attention.key_length", j["global_head_dim"].get<uint32_t>());
    w.add("gemma4.attention.key_length_swa", j["head_dim"].get<uint32_t>());
    w.add("gemma4.embedding_length_per_layer_input", j["hidden_size_per_layer_input"].get<uint32_t>());
    w.add("gemma4.rope.freq_base", 1e6f);
    w.add("gemma4.rope.freq_base_swa", 1e4f);
    w.add("tokenizer.ggml.padding_token_id", uint32_t(0));
    int pairs = j["global_head_dim"].get<int>() / 2;
    divisors.assign(pairs, 1e30f);
    std::fill_n(divisors.begin(), pairs / 4, 1.0f);
    w.add("rope_freqs.weight", Type::f32, {pairs}, divisors.data(), divisors.size() * 4);
}

// The model written as GGUF, matrices in one type: in F32 the same numbers as from safetensors.
void write_gguf(const Config& c, const std::string& path, Type type, bool predicts = false) {
    Checkpoint from(folder_of(c));
    const Architecture& a = *from.architecture;
    const Json& j = from.config;
    GgufWriter w;
    std::string p = a.gguf + ".";
    w.add("general.architecture", a.gguf);
    w.add(p + "block_count", j["num_hidden_layers"].get<uint32_t>() + predicts);
    if (predicts) w.add(p + "nextn_predict_layers", 1u);
    w.add(p + "embedding_length", j["hidden_size"].get<uint32_t>());
    if (!j.contains("num_kv_shared_layers"))
        w.add(p + "feed_forward_length", j["intermediate_size"].get<uint32_t>());
    w.add(p + "attention.head_count", j["num_attention_heads"].get<uint32_t>());
    w.add(p + "attention.head_count_kv", j["num_key_value_heads"].get<uint32_t>());
    w.add(p + "context_length", j["max_position_embeddings"].get<uint32_t>());
    w.add(p + "attention.layer_norm_rms_epsilon", j["rms_norm_eps"].get<float>());
    std::vector<float> divisors;
    if (a.gguf == "gemma4") add_gemma4(w, j, divisors);
    else w.add(p + "rope.freq_base", j["rope_theta"].get<float>());
    if (j.contains("head_dim") && a.gguf != "gemma4")
        w.add(p + "attention.key_length", j["head_dim"].get<uint32_t>());
    if (j.contains("sliding_window")) w.add(p + "attention.sliding_window", j["sliding_window"].get<uint32_t>());
    if (j.contains("final_logit_softcapping"))
        w.add(p + "final_logit_softcapping", j["final_logit_softcapping"].get<float>());
    if (j.contains("linear_num_key_heads")) {
        uint32_t values = j["linear_num_value_heads"], size = j["linear_value_head_dim"];
        w.add(p + "full_attention_interval", j["full_attention_interval"].get<uint32_t>());
        double turning = j["head_dim"].get<double>() * j["partial_rotary_factor"].get<double>();
        w.add(p + "rope.dimension_count", uint32_t(turning));
        w.add(p + "ssm.conv_kernel", j["linear_conv_kernel_dim"].get<uint32_t>());
        w.add(p + "ssm.state_size", j["linear_key_head_dim"].get<uint32_t>());
        w.add(p + "ssm.group_count", j["linear_num_key_heads"].get<uint32_t>());
        w.add(p + "ssm.time_step_rank", values);
        w.add(p + "ssm.inner_size", values * size);
    }
    std::deque<std::vector<char>> kept;             // the writer does not copy
    for (Stored s : from.tensors()) {
        std::vector<float> v((const float*)s.data, (const float*)(s.data + s.bytes));
        std::string name = gguf_name(s.name, a);
        as_llama_cpp(j, s.name, v, s.shape[0]);
        if (s.shape.size() == 3) s.shape = {s.shape[0], s.shape[2]};
        if (s.shape.size() == 1) {
            bool plain = s.name.find("linear_attn.") != std::string::npos;
            if (a.gguf_gains_whole && !plain) for (float& x : v) x += 1;
            kept.emplace_back((char*)v.data(), (char*)(v.data() + v.size()));
            w.add(name, Type::f32, s.shape, kept.back().data(), kept.back().size());
            continue;
        }
        bool turned = a.gguf_turns_pairs && (name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight"));
        int64_t cols = s.shape[1], d = j.contains("head_dim")
                                           ? j["head_dim"].get<int64_t>()
                                           : j["hidden_size"].get<int64_t>() / j["num_attention_heads"].get<int64_t>();
        if (turned) {
            std::vector<float> rows = v;
            for (int64_t r = 0; r < s.shape[0]; r++) {
                int64_t head = r / d * d, i = r % d % (d / 2), half = r % d / (d / 2);
                std::copy_n(rows.data() + r * cols, cols, v.data() + (head + 2 * i + half) * cols);
            }
        }
        Type to = cols % info(type).block || name.ends_with("conv1d.weight") ? Type::f32 : type;
        std::vector<char>& bytes = kept.emplace_back(size_t(s.shape[0]) * row_bytes(to, size_t(cols)));
        quantize(to, v.data(), bytes.data(), v.size());
        w.add(name, to, s.shape, bytes.data(), bytes.size());
    }
    std::vector<float> zeros(64);
    std::string next = "blk." + std::to_string(j["num_hidden_layers"].get<int>());
    if (predicts)
        for (const char* name : {".attn_norm.weight", ".nextn.eh_proj.weight"})
            w.add(next + name, Type::f32, {64}, zeros.data(), 256);
    w.write(path);
}

TEST_P(Battery, GgufIsTheSameModel) {
    TempFolder temp;
    write_gguf(config, temp / "m.gguf", Type::f32);
    SessionOptions o = options();
    Session s(o);
    o.model = temp / "m.gguf";
    Session g(o);
    EXPECT_EQ(g.tokenizer(), nullptr);              // rows of ids need none
    std::string text;
    EXPECT_EQ(error_of([&] { g.need_tokenizer(); }, &text), Exit::bad_input);
    EXPECT_NE(text.find("m.gguf: no tokenizer.ggml.tokens here; text needs one"), text.npos) << text;
    std::vector<std::vector<int>> q{some_ids(40, s.model->vocabulary, 1)};
    auto a = logits_of(s, q, 0), b = logits_of(g, q, 0);
    EXPECT_LE(far(b[0].data(), a[0].data(), a[0].size()), std::string(precision) == "f32" ? config.noise * 1e-6 : 1e-2);
}

// llama.cpp counts a head that predicts further tokens as one block more: seen, counted, left alone.
TEST(Gguf, PredictionHeadsAreLeftAlone) {
    const Config& c = configs[std::size(configs) - 1];
    ASSERT_STREQ(c.name, "qwen3_5");
    TempFolder temp;
    write_gguf(c, temp / "plain.gguf", Type::f32);
    write_gguf(c, temp / "predicts.gguf", Type::f32, true);
    Checkpoint plain(temp / "plain.gguf"), predicts(temp / "predicts.gguf");
    EXPECT_EQ(predicts.config, plain.config);
    EXPECT_TRUE(plain.unused({}).other_parts.empty());
    EXPECT_EQ(predicts.unused({}).other_parts, (std::map<std::string, int>{{"blk.4", 2}}));
    Arena mem(size_t(64) << 20);
    EXPECT_EQ(load_model(predicts, mem)->layers, 4);
}

// Linear attention on weights in blocks: the model of the numbers that the blocks hold, and the same bits however a
// prompt is cut.
TEST(Gguf, LinearAttentionOnQuantisedWeights) {
    const Config c{"qwen3_5_wide",
                   R"({"model_type":"qwen3_5_text","hidden_size":64,"intermediate_size":96,"num_hidden_layers":4,
        "num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"vocab_size":139,"max_position_embeddings":512,
        "rms_norm_eps":1e-6,"rope_theta":10000000,"partial_rotary_factor":0.25,"full_attention_interval":4,
        "linear_num_key_heads":2,"linear_num_value_heads":2,"linear_key_head_dim":16,"linear_value_head_dim":48,
        "linear_conv_kernel_dim":4,"tie_word_embeddings":true,"initializer_range":0.1})"};
    for (Type type : {Type::q8_0, Type::q4_0}) {
        TempFolder temp;
        write_gguf(c, temp / "m.gguf", type);
        auto from = open_safetensors(folder_of(c) + "/model.safetensors");
        std::vector<SafetensorsWriter::Item> items;
        for (const Stored& s : from->tensors()) items.push_back({s.name, Type::f32, s.shape});
        make_folders(temp / "rounded");
        write_file(temp / "rounded/config.json", c.json);
        SafetensorsWriter w(temp / "rounded/model.safetensors", items, {});
        for (size_t i = 0; i < items.size(); i++) {
            const Stored& s = from->tensors()[i];
            std::vector<float> v((const float*)s.data, (const float*)(s.data + s.bytes));
            if (items[i].shape.size() == 2) {
                std::vector<char> blocks(row_bytes(type, v.size()));
                quantize(type, v.data(), blocks.data(), v.size());
                dequantize(type, blocks.data(), v.data(), v.size());
            }
            w.write(i, 0, v.data(), items[i].shape[0]);
        }
        w.commit();
        SessionOptions o;
        o.quiet = true, o.precision = "f32", o.model = temp / "rounded";
        Session rounded(o);
        o.model = temp / "m.gguf";
        Session blocks(o);
        std::vector<std::vector<int>> q{some_ids(40, rounded.model->vocabulary, 1)};
        auto a = logits_of(rounded, q, 0), b = logits_of(blocks, q, 0);
        EXPECT_LE(far(b[0].data(), a[0].data(), a[0].size()), 2e-5) << info(type).name;
        o.precision = "bf16";
        Session short_(o);
        auto whole = logits_of(short_, q, 0);
        for (int chunk : {1, 7}) same_bits(logits_of(short_, q, chunk)[0], whole[0], "chunks");
    }
}

std::string label(const testing::TestParamInfo<Param>& info) {
    std::string s = std::string(std::get<0>(info.param)->name) + "_" + std::get<1>(info.param)->name + "_" +
                    std::get<2>(info.param);
    for (char& c : s) if (!isalnum(c)) c = '_';
    return s;
}
std::vector<const Config*> each_config() {
    std::vector<const Config*> all;
    for (const Config& c : configs) all.push_back(&c);
    return all;
}
INSTANTIATE_TEST_SUITE_P(Models, Battery,
                         testing::Combine(testing::ValuesIn(each_config()), testing::ValuesIn(paths()),
                                          testing::Values("f32", "bf16")),
                         label);
INSTANTIATE_TEST_SUITE_P(Cuda, Battery, testing::Values(Param{&configs[0], &cuda_kernels(true), "bf16"}), label);
INSTANTIATE_TEST_SUITE_P(LongCuda, Battery,
                         testing::Combine(testing::ValuesIn(each_config()), testing::Values(&cuda_kernels(true)),
                                          testing::Values("f32", "bf16")),
                         label);

}  // namespace
