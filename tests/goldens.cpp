// goldens.cpp - tiny models of each architecture against an independent implementation (transformers, in float32):
// logits, hidden states, every weight's gradient, adapters, interventions, greedy text, two training runs.
#include "../engine/file.h"
#include "../train/objective.h"
#include "../train/trainer.h"
#include "support.h"

namespace {

// max |a - b| / max |b| of a golden; reading it in float64 moves it by 2e-5 at most.
constexpr double forward_bound = 5e-5;
// Gemma 4's scores are not scaled, so that rounding grows in its softmax: the reference's own float64 is 5e-4 away.
double gradient_bound(const Session& s) { return s.model->architecture == "gemma4" ? 5e-4 : 2e-4; }

// The furthest that any kernel path of a processor was from the reference, for `make closeness`: by model and by what.
struct Closeness : testing::Environment {
    std::map<std::string, std::map<std::string, double>> furthest;
    void TearDown() override {
        if (!getenv("DD_CLOSENESS")) return;
        const char* columns[] = {"activations", "weights' gradients", "adapter's gradients", "sft", "dpo"};
        printf("%-19s", "model");
        for (const char* c : columns) printf(" %19s", c);
        for (const auto& [model, of] : furthest) {
            printf("\n%-19s", model.c_str());
            for (const char* c : columns) printf(" %19.1e", of.count(c) ? of.at(c) : NAN);
        }
        printf("\n");
    }
};
Closeness& closeness = *(Closeness*)testing::AddGlobalTestEnvironment(new Closeness);

struct Golden {
    std::string folder, name;
    std::unique_ptr<Safetensors> reference;
    Json info;

    explicit Golden(const std::string& name) : folder(here("goldens/" + name)), name(name) {
        reference = open_safetensors(folder + "/reference.safetensors");
        info = read_json_file(folder + "/reference.json");
    }
    std::vector<float> numbers(const std::string& name) const {
        const Stored* s = reference->find(name);
        if (!s || s->type != Type::f32) throw std::runtime_error("no golden " + name);
        return {(const float*)s->data, (const float*)(s->data + s->bytes)};
    }
    std::vector<int> ids(const std::string& name) const {
        const Stored* s = reference->find(name);
        if (!s || s->type != Type::i32) throw std::runtime_error("no golden " + name);
        return {(const int*)s->data, (const int*)(s->data + s->bytes)};
    }
    // `far` as it is, and noted.
    double noted(const Kernels* k, const char* what, double far) const {
        double& worst = closeness.furthest[name][what];
        if (k->memory->host) worst = std::max(worst, far);
        return far;
    }
    std::vector<Row> rows() const {
        std::vector<Row> out;
        for (const char* key : {"ids.a", "ids.b"}) out.push_back({key, ids(key), ids(key), 0, false});
        return out;
    }
};

SessionOptions options(const std::string& folder, const Kernels* k, const char* precision = "f32") {
    SessionOptions o;
    o.model = folder, o.precision = precision, o.quiet = true, o.kernels = k;
    return o;
}

// Activations of both rows at some points: name -> numbers of row a, then of row b.
std::map<std::string, std::vector<float>> taps_of(Session& s, const std::vector<Row>& rows, const std::string& points) {
    std::map<std::string, std::vector<float>> out;
    std::vector<Tap> taps = parse_points(*s.model, points);
    extract(s, rows, taps, false, [&](size_t t, int64_t, const float* data, int64_t n) {
        std::vector<float>& v = out[taps[t].name];
        v.insert(v.end(), data, data + n * taps[t].width);
    });
    return out;
}

class Goldens : public testing::TestWithParam<std::tuple<const char*, const Kernels*>> {
protected:
    Golden g{std::get<0>(GetParam())};
    const Kernels* k = std::get<1>(GetParam());
    const cuda_cpu::DeviceOnly strict;

    // Compares the beginning of `ours` (row a comes first) with a golden.
    void near(const std::vector<float>& ours, const std::string& golden, double bound = forward_bound) {
        std::vector<float> want = g.numbers(golden);
        ASSERT_GE(ours.size(), want.size()) << golden;
        EXPECT_LE(g.noted(k, "activations", far(ours.data(), want.data(), want.size())), bound) << golden;
    }
};

TEST_P(Goldens, EveryHiddenState) {
    Session s(options(g.folder, k));
    auto ours = taps_of(s, g.rows(), "embed,resid_post.*,z.*,final,logits");
    near(ours["logits"], "logits.a");
    near(ours["embed"], "hidden.a.0");
    near(ours["final"], "final.a");
    for (int l = 0; l < s.model->layers; l++) {
        if (l + 1 < s.model->layers) near(ours["resid_post." + std::to_string(l)], "hidden.a." + std::to_string(l + 1));
        if (g.reference->find("z.a." + std::to_string(l)))
            near(ours["z." + std::to_string(l)], "z.a." + std::to_string(l));
    }
    size_t a = g.ids("ids.a").size() * s.model->vocabulary;
    near({ours["logits"].begin() + long(a), ours["logits"].end()}, "logits.b");
}

TEST_P(Goldens, HubSpellingOfConfig) {
    TempFolder hub;
    write_file(hub / "config.json", read_file(g.folder + "/hub/config.json"));
    write_file(hub / "model.safetensors", read_file(g.folder + "/model.safetensors"));
    Session s(options(hub.path, k));
    near(taps_of(s, g.rows(), "logits")["logits"], "logits.a");
}

TEST_P(Goldens, AdapterAndInterventions) {
    SessionOptions with = options(g.folder, k);
    with.adapters = {g.folder + "/adapter"};
    Session adapted(with);
    near(taps_of(adapted, g.rows(), "logits")["logits"], "lora.logits.a");

    Session s(options(g.folder, k));
    auto factors = [&](const Json& edits, bool zero) {
        s.edits.clear();
        std::map<int, std::vector<float>> of;               // by layer
        for (const Json& e : edits) {
            std::vector<float>& v = of[e[0].get<int>()];
            v.resize(size_t(s.model->blocks[e[0]].heads), 1.0f);
            v[e[1].get<size_t>()] = zero ? 0 : e[2].get<float>();
        }
        for (auto& [layer, v] : of)
            s.edits.push_back({Point::z, layer, Edit::scale_heads, s.weights.copy(v, 1, int(v.size()))});
    };
    factors(g.info["temper"], false);
    near(taps_of(s, g.rows(), "logits")["logits"], "temper.logits.a");
    factors(g.info["ablate"], true);
    near(taps_of(s, g.rows(), "logits")["logits"], "ablate.logits.a");
    std::vector<float> vector = g.numbers("steer.vector");
    s.edits = {{Point::resid_post, g.info["steer_block"], Edit::add, s.weights.copy(vector, 1, int(vector.size()))}};
    near(taps_of(s, g.rows(), "logits")["logits"], "steer.logits.a");
}

TEST_P(Goldens, ScoreAndGreedyText) {
    Session s(options(g.folder, k));
    double nll = 0;
    score(s, {g.rows()[0]}, [&](size_t, const std::vector<float>& logp) {
        for (float p : logp) nll -= p / double(logp.size());
    });
    EXPECT_NEAR(nll, g.info["loss.a"].get<double>(), forward_bound * nll);
    GenerateOptions o;
    o.max_tokens = 24, o.ignore_eos = true;
    o.on_done = [&](size_t, const Answer& a) { EXPECT_EQ(a.ids, g.ids("greedy")); };
    EXPECT_EQ(generate(s, {{g.ids("prompt"), 0}}, o).new_tokens, 24u);
}

// The loss of row a walked back to every weight that the golden names.
TEST_P(Goldens, EveryWeightGradient) {
    SessionOptions o = options(g.folder, k);
    o.pack = false;
    Session s(o);
    Sequence q{g.ids("ids.a"), g.ids("ids.a")};
    TrainOptions t;
    t.full = true, t.steps = 1, t.batch_size = 1, t.shuffle = false;
    t.optimizer.lr = 0, t.optimizer.warmup = 0, t.optimizer.max_grad_norm = 0, t.optimizer.schedule = "constant";
    for (bool recompute : {false, true}) {
        t.recompute = recompute;
        SessionOptions again = o;
        Session fresh(again);
        Trainer trainer(fresh, t, sft(), Dataset{{Example{{q}, 0, 0}}, "golden", "sft"}, {});
        trainer.step(1);
        size_t compared = 0;
        for (Parameter& p : trainer.parameters()) {
            std::vector<float> want = g.numbers("grad." + p.name);
            ASSERT_EQ(want.size(), p.w->count()) << p.name;
            std::vector<float> got = get(trainer.memory(), Optimizer::gradient(p));
            const double off = g.noted(k, "weights' gradients", far(got.data(), want.data(), want.size()));
            EXPECT_LE(off, gradient_bound(fresh)) << p.name;
            compared++;
        }
        size_t all = 0;
        for (const Stored& t : g.reference->tensors()) all += t.name.starts_with("grad.");
        EXPECT_EQ(compared, all);
    }
}

TEST_P(Goldens, EveryAdapterGradient) {
    Session s(options(g.folder, k));
    Sequence q{g.ids("ids.a"), g.ids("ids.a")};
    TrainOptions t;
    t.adapter_init = g.folder + "/adapter", t.steps = 1, t.batch_size = 1, t.shuffle = false;
    t.optimizer.lr = 0, t.optimizer.warmup = 0, t.optimizer.max_grad_norm = 0, t.optimizer.schedule = "constant";
    Trainer trainer(s, t, sft(), Dataset{{Example{{q}, 0, 0}}, "golden", "sft"}, {});
    StepLog log = trainer.step(1);
    EXPECT_NEAR(log.loss, g.info["lora.loss.a"].get<double>(), 1e-5 * log.loss);
    size_t all = 0;
    for (const Stored& t : g.reference->tensors()) all += t.name.starts_with("lora.grad.");
    EXPECT_EQ(trainer.parameters().size(), all);
    for (Parameter& p : trainer.parameters()) {
        std::vector<float> want = g.numbers("lora.grad.base_model.model." + p.name);
        ASSERT_EQ(want.size(), p.w->count()) << p.name;
        std::vector<float> got = get(trainer.memory(), Optimizer::gradient(p));
        const double off = g.noted(k, "adapter's gradients", far(got.data(), want.data(), want.size()));
        EXPECT_LE(off, gradient_bound(s)) << p.name;
    }
}

// Six steps of AdamW: every loss and gradient norm, and where the adapter went.
void trajectory(const Golden& g, const Kernels* k, const std::string& method) {
    Session s(options(g.folder, k));
    TrainOptions t;
    t.adapter_init = g.folder + "/adapter", t.batch_size = 2, t.shuffle = false;
    t.optimizer.lr = 1e-3, t.optimizer.warmup = 0, t.optimizer.weight_decay = 0.01, t.optimizer.schedule = "constant";
    const Json& want = g.info[method];
    t.steps = int(want.size());
    RowReader reader = s.reader();
    std::string file = g.folder + "/" + method + ".jsonl";
    bool preferences = method == "dpo";
    // What the reference's own float64 is away: Gemma 4's scores are not scaled, so that rounding grows in its softmax;
    // Qwen3.5's gated norm magnifies it where q.k is near zero.
    const std::string& kind = s.model->architecture;
    double norm_bound = kind == "gemma4" ? 1e-3 : kind == "qwen3_5" ? 1e-2 : 1e-4;
    double loss_bound = k->memory->host ? 1e-5 : 2e-5;      // a device's sums have other orders than the reference's
    Trainer trainer(s, t, preferences ? dpo(DpoLoss::sigmoid, 0.1, 0) : sft(),
                    preferences ? read_preferences(file, reader, {}) : read_sft(file, reader, {}), {});
    for (int i = 0; i < t.steps; i++) {
        StepLog log = trainer.step(i + 1);
        EXPECT_NEAR(log.loss, want[i]["loss"].get<double>(), loss_bound * std::fabs(log.loss)) << "step " << i;
        EXPECT_NEAR(log.grad_norm, want[i]["grad_norm"].get<double>(), norm_bound * log.grad_norm) << "step " << i;
    }
    auto before = open_safetensors(g.folder + "/adapter/adapter_model.safetensors");
    auto after = open_safetensors(g.folder + "/adapter_after_" + method + "/adapter_model.safetensors");
    double wrong = 0, moved = 0;
    for (Parameter& p : trainer.parameters()) {
        const Stored *from = before->find("base_model.model." + p.name),
                     *to = after->find("base_model.model." + p.name);
        ASSERT_TRUE(from && to);
        std::vector<float> now = get(trainer.memory(), *p.w);
        for (size_t i = 0; i < now.size(); i++) {
            wrong += std::pow(now[i] - ((const float*)to->data)[i], 2);
            moved += std::pow(((const float*)from->data)[i] - ((const float*)to->data)[i], 2);
        }
    }
    EXPECT_LE(g.noted(k, method.c_str(), std::sqrt(wrong / moved)), 5e-3);
}

TEST_P(Goldens, SupervisedTrajectory) { trajectory(g, k, "sft"); }
TEST_P(Goldens, PreferenceTrajectory) { trajectory(g, k, "dpo"); }

std::string label(const testing::TestParamInfo<Goldens::ParamType>& info) {
    std::string s = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param)->name;
    for (char& c : s) if (!isalnum(c)) c = '_';
    return s;
}
INSTANTIATE_TEST_SUITE_P(Models, Goldens,
                         testing::Combine(testing::Values("smollm2", "smollm2-mha-untied", "qwen3", "gemma3", "gemma4",
                                                          "qwen3_5", "qwen3_5-grouped"),
                                          testing::ValuesIn(paths())),
                         label);
INSTANTIATE_TEST_SUITE_P(Cuda, Goldens,
                         testing::Combine(testing::Values("qwen3", "qwen3_5"), testing::Values(&cuda_kernels(true))),
                         label);
INSTANTIATE_TEST_SUITE_P(LongCuda, Goldens,
                         testing::Combine(testing::Values("smollm2", "smollm2-mha-untied", "gemma3", "gemma4",
                                                          "qwen3_5-grouped"),
                                          testing::Values(&cuda_kernels(true))),
                         label);

}  // namespace
