// train_edits.cpp - interventions that are trained while the model is frozen: their gradients against differences of
// the loss, the file that --edits reads back, runs that are interrupted, recomputed, or about preferences.
#include "../engine/file.h"
#include "../train/edits.h"
#include "../train/run_folder.h"
#include "../verbs/common.h"
#include "rows.h"
#include "support.h"

namespace {

constexpr const char* models[] = {"smollm2", "qwen3", "gemma3", "gemma4", "qwen3_5", "qwen3_5-grouped"};

SessionOptions options(const std::string& model) {
    SessionOptions o;
    o.model = here("goldens/" + model), o.precision = "f32", o.quiet = true;
    return o;
}

TrainOptions edits(const std::string& kind) {
    TrainOptions t;
    t.train_edits = kind, t.steps = 6, t.batch_size = 2;
    t.optimizer.lr = 0.03, t.optimizer.warmup = 0, t.optimizer.schedule = "constant", t.optimizer.weight_decay = 0.1;
    return t;
}

double nll(Session& s, const Dataset& d) {
    std::vector<Row> rows;
    for (const Example& e : d.examples) rows.push_back({e.id, e.sequences[0].ids, e.sequences[0].ids, 0, false});
    double sum = 0;
    size_t n = 0;
    score(s, rows, [&](size_t, const std::vector<float>& logp) {
        for (float p : logp) sum -= p, n++;
    });
    return sum / double(n);
}

TEST(TrainEdits, GradientsAreDifferencesOfTheLoss) {
    for (const char* model : models)
        for (const char* kind : {"gains", "vector"}) {
            SCOPED_TRACE(std::string(model) + " " + kind);
            Session s(options(model));
            Dataset data = rows_of(s, 2);
            TrainOptions t = edits(kind);
            t.steps = 1, t.optimizer.lr = 0;
            Trainer trainer(s, t, sft(), data, {});
            EXPECT_NEAR(trainer.step(1).loss, nll(s, data), 1e-6);
            size_t expected = 0;
            for (const Model::Block& b : s.model->blocks) expected += size_t(b.heads);
            EXPECT_EQ(trainer.trained_numbers(), std::string(kind) == "gains" ? expected : size_t(s.model->dim));
            std::vector<float> ours, theirs;
            for (Parameter& p : trainer.parameters())
                for (int i = 0; i < p.w->cols; i += p.w->cols > 12 ? 5 : 1) {
                    float was = p.w->f()[i];
                    constexpr float h = 0.016f;                 // the loss is f32: two steps, to the fourth order
                    auto at = [&](float step) {
                        p.w->f()[i] = was + step;
                        return nll(s, data);
                    };
                    double near = at(h) - at(-h), wide = at(2 * h) - at(-2 * h);
                    theirs.push_back(float((8 * near - wide) / (12 * double(h))));
                    p.w->f()[i] = was;
                    ours.push_back(Optimizer::gradient(p).f()[i]);
                }
            // Gemma 4 does not scale its scores: rounding grows in its softmax.
            EXPECT_LE(far(ours.data(), theirs.data(), ours.size()), s.model->architecture == "gemma4" ? 1.5e-2 : 1e-3);
        }
}

TEST(TrainEdits, AreReadBackFromTheirFile) {
    for (const char* model : models)
        for (const char* kind : {"gains", "vector"}) {
            SCOPED_TRACE(std::string(model) + " " + kind);
            TempFolder temp;
            Session s(options(model));
            Dataset data = rows_of(s, 2);
            double before = nll(s, data);
            TrainOptions t = edits(kind);
            t.edit_blocks = {0, 2};
            if (std::string(kind) == "gains" && !s.model->blocks[0].heads) t.edit_blocks = {3};
            {
                Trainer trainer(s, t, sft(), data, {});
                double loss = 0;
                for (int i = 1; i <= t.steps; i++) loss = trainer.step(i).loss;
                EXPECT_LT(loss, before);
                RunFolder folder(temp / "run", false);
                folder.write_result(trainer, s);
                double after = nll(s, data);
                EXPECT_LT(after, before - 1e-3);
                ModelFlags f;
                f.session = options(model), f.edits = temp / "run/edits.json";
                EXPECT_EQ(nll(*f.open(), data), after);
            }
            EXPECT_EQ(nll(s, data), before) << "the model itself has not changed";
            EXPECT_FALSE(exists(temp / "run/adapter"));
        }
}

TEST(TrainEdits, RecomputationAndAFixedEditBesideThem) {
    Session s(options("gemma4"));
    std::vector<float> vector(size_t(s.model->dim), 0.05f), factors(size_t(s.model->blocks[4].heads), 0.5f);
    std::vector<std::vector<float>> results;
    s.edits = {{Point::resid_post, 3, Edit::add, Tensor{vector.data(), 1, s.model->dim}},
               {Point::z, 4, Edit::scale_heads, Tensor{factors.data(), 1, int(factors.size())}}};
    for (bool recompute : {false, true}) {
        TrainOptions t = edits("gains");
        t.recompute = recompute;
        Trainer trainer(s, t, sft(), rows_of(s, 4), {});
        for (int i = 1; i <= 3; i++) trainer.step(i);
        std::vector<float>& all = results.emplace_back();
        for (Parameter& p : trainer.parameters()) all.insert(all.end(), p.w->f(), p.w->f() + p.w->cols);
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(s.edits.size(), 2u);
    EXPECT_EQ(vector[0], 0.05f);
    EXPECT_EQ(factors[0], 0.5f);
}

TEST(TrainEdits, PreferencesBeginAtTheReference) {
    Session s(options("qwen3"));
    Dataset d{{}, "pairs", "dpo"};
    for (int i = 0; i < 4; i++) {
        Example e;
        e.id = i;
        for (int side : {0, 1}) {
            Sequence q;
            for (int k = 0; k < 12; k++) q.ids.push_back((k < 5 ? k : k * (3 + side) + i) % s.model->vocabulary);
            q.labels = q.ids;
            std::fill_n(q.labels.begin(), 5, -100);
            e.sequences.push_back(q);
        }
        d.examples.push_back(e);
    }
    TrainOptions t = edits("gains");
    t.steps = 12;
    Trainer trainer(s, t, dpo(DpoLoss::sigmoid, 0.5, 0), d, {});
    EXPECT_EQ(trainer.reference(), "the model with the trained edits off");
    EXPECT_DOUBLE_EQ(trainer.step(1).loss, std::log(2.0));
    double loss = 0;
    for (int i = 2; i <= t.steps; i++) loss = trainer.step(i).loss;
    EXPECT_LT(loss, 0.65);
}

TEST(TrainEdits, AnInterruptedRunEndsWithTheSameBytes) {
    TempFolder temp;
    auto run = [&](const std::string& name, int stop, bool resume) {
        Session s(options("gemma4"));
        Trainer trainer(s, edits("vector"), sft(), rows_of(s, 5), {});
        RunFolder folder(temp / name, resume);
        int first = 0;
        if (resume) first = folder.resume(trainer);
        else folder.write_description({{"flags", Json::object()}});
        for (int i = first + 1; i <= stop; i++) trainer.step(i);
        if (stop == 6) folder.write_result(trainer, s);
        else folder.save(trainer, stop, 2);
    };
    run("straight", 6, false);
    run("stopped", 2, false);
    run("stopped", 6, true);
    for (std::string file : {"/edits.json", "/edits.safetensors"})
        EXPECT_EQ(read_file(temp / ("stopped" + file)), read_file(temp / ("straight" + file)));
}

TEST(TrainEdits, RefusesBlocksThatAreNotThere) {
    Session s(options("smollm2"));
    for (std::vector<int> blocks : {std::vector<int>{3}, {-1}, {0, 0}}) {
        TrainOptions t = edits("gains");
        t.edit_blocks = blocks;
        EXPECT_EQ(error_of([&] { Trainer trainer(s, t, sft(), rows_of(s, 2), {}); }), Exit::usage);
    }
    Session linear(options("qwen3_5"));
    TrainOptions t = edits("gains");
    t.edit_blocks = {1};
    std::string text;
    EXPECT_EQ(error_of([&] { Trainer trainer(linear, t, sft(), rows_of(linear, 2), {}); }, &text), Exit::usage);
    EXPECT_NE(text.find("is linear attention; blocks with heads are 3"), text.npos) << text;
    EXPECT_TRUE(linear.edits.empty());
}

}  // namespace
