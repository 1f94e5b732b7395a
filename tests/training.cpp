// training.cpp - objectives against published values, the order of rows, schedules, and that a run taken up again ends
// with the same bytes as one never stopped.
#include <fstream>
#include <set>
#include "../engine/file.h"
#include "../train/run_folder.h"
#include "../verbs/init.h"
#include "support.h"

namespace {

// ---- objectives

// One pair: chosen log-ratio 3 over 40 tokens, rejected -2 over 50, beta 0.1 (TRL's losses, computed from their
// formulas).
TEST(Objective, DpoLossesAreTheirFormulas) {
    double d;
    EXPECT_NEAR(dpo_loss(DpoLoss::sigmoid, 0.1, 0, 5, &d), 0.4740769842, 1e-9);
    EXPECT_NEAR(dpo_loss(DpoLoss::hinge, 0.1, 0, 5, &d), 0.5, 1e-12);
    EXPECT_NEAR(dpo_loss(DpoLoss::ipo, 0.1, 0, 3.0 / 40 + 2.0 / 50, &d), 23.863225, 1e-9);
    EXPECT_EQ(dpo_loss(DpoLoss::sigmoid, 0.1, 0, 0, &d), std::log(2.0));
    EXPECT_EQ(dpo_loss(DpoLoss::sigmoid, 0.1, 0.3, 0, &d), std::log(2.0));
    // robust, eps 0.1: (smoothed loss - what smoothing adds) / (1 - 2 eps), from the same formula
    double s = dpo_loss(DpoLoss::sigmoid, 0.1, 0.1, 5, &d), plus = dpo_loss(DpoLoss::sigmoid, 0.1, 0, 5, &d),
           minus = dpo_loss(DpoLoss::sigmoid, 0.1, 0, -5, &d);
    EXPECT_NEAR(s, 0.9 * plus + 0.1 * minus, 1e-12);
    EXPECT_NEAR((0.9 * plus - 0.1 * minus) / 0.8, 0.4115769842, 1e-9);
}

TEST(Objective, DpoDerivativesAreFiniteDifferences) {
    for (DpoLoss kind : {DpoLoss::sigmoid, DpoLoss::hinge, DpoLoss::ipo})
        for (double smoothing : {0.0, 0.2})
            for (double u : {-7.0, -0.5, 0.3, 4.0, 25.0}) {
                double d, ignored, h = 1e-5;
                dpo_loss(kind, 0.1, smoothing, u, &d);
                double slope = (dpo_loss(kind, 0.1, smoothing, u + h, &ignored) -
                                dpo_loss(kind, 0.1, smoothing, u - h, &ignored)) /
                               (2 * h);
                EXPECT_NEAR(d, slope, 1e-6) << int(kind) << " " << u;
            }
}

Example pair_of(int prompt, int chosen, int rejected) {
    Example e;
    for (int n : {chosen, rejected}) {
        Sequence q{std::vector<int>(prompt + n, 1), std::vector<int>(prompt + n, 1)};
        std::fill_n(q.labels.begin(), prompt, -100);
        e.sequences.push_back(q);
    }
    return e;
}

TEST(Objective, DpoOfTheReferenceItselfIsLnTwo) {
    Example e = pair_of(3, 2, 4);
    std::vector<float> logp{-1, -2, -3, -0.5, -0.25, -4}, d(6);
    e.reference[0] = -3, e.reference[1] = -7.75;
    std::vector<Example*> all{&e};
    std::map<std::string, double> metrics;
    EXPECT_EQ(dpo(DpoLoss::sigmoid, 0.1, 0)->loss(all, logp, {6, 1}, d, metrics), std::log(2.0));
    for (int i = 0; i < 6; i++) EXPECT_FLOAT_EQ(d[i], i < 2 ? -0.05f : 0.05f);
    EXPECT_EQ(metrics["rewards_margin"], 0);
    EXPECT_EQ(metrics["logps_rejected"], -7.75);
}

TEST(Objective, SftDividesByTheTargetsOfTheStep) {
    std::vector<float> logp{-1, -2, -3}, d(3);
    std::map<std::string, double> metrics;
    EXPECT_DOUBLE_EQ(sft()->loss({}, logp, {12, 2}, d, metrics), 0.5);
    for (float x : d) EXPECT_FLOAT_EQ(x, -1.0f / 12);
}

// ---- schedule, order, rows

TEST(Schedule, IsThatOfTransformers) {
    OptimizerOptions o;
    o.lr = 1, o.warmup = 4, o.schedule = "linear";
    const double linear[] = {0, 0.25, 0.5, 0.75, 1, 5.0 / 6, 4.0 / 6, 3.0 / 6, 2.0 / 6, 1.0 / 6};
    for (int s = 1; s <= 10; s++) EXPECT_NEAR(learning_rate(o, s, 10), linear[s - 1], 1e-12);
    o.schedule = "cosine", o.warmup = 0.2;
    for (int s = 1; s <= 10; s++)
        EXPECT_NEAR(learning_rate(o, s, 10), s <= 2 ? (s - 1) / 2.0 : 0.5 * (1 + std::cos(M_PI * (s - 3) / 8.0)),
                    1e-12);
    o.schedule = "constant", o.warmup = 0;
    EXPECT_EQ(learning_rate(o, 7, 10), 1);
}

TEST(Order, EveryEpochIsAPermutationOfItsOwn) {
    Order order(97, true, 5), again(97, true, 5), other(97, true, 6), plain(97, false, 5);
    std::vector<size_t> first, second;
    for (uint64_t i = 0; i < 194; i++) {
        (i < 97 ? first : second).push_back(order.at(i));
        EXPECT_EQ(plain.at(i), i % 97);
    }
    EXPECT_EQ(std::set<size_t>(first.begin(), first.end()).size(), 97u);
    EXPECT_EQ(std::set<size_t>(second.begin(), second.end()).size(), 97u);
    EXPECT_NE(first, second);
    EXPECT_EQ(again.at(150), order.at(150));        // asked out of order
    EXPECT_EQ(again.at(3), first[3]);
    int same = 0;
    for (uint64_t i = 0; i < 97; i++) same += other.at(i) == first[i];
    EXPECT_LT(same, 20);
}

RowReader id_reader(int vocabulary = 50) {
    RowReader r;
    r.vocabulary = vocabulary;
    return r;
}

TEST(Rows, TooLongIsAnErrorOrCounted) {
    TempFolder t;
    write_file(t / "rows.jsonl",
               "{\"input_ids\": [1,2,3]}\n\n{\"input_ids\": [1,2,3,4,5,6]}\n{\"input_ids\": [1,2,3,4,5], \"labels\": "
               "[-100,-100,-100,-100,5]}\n");
    std::string text;
    EXPECT_EQ(error_of([&] { read_sft(t / "rows.jsonl", id_reader(), {4, false}); }, &text), Exit::bad_input);
    EXPECT_NE(text.find("rows.jsonl:3"), std::string::npos) << text;
    EXPECT_NE(text.find("--truncate"), std::string::npos) << text;
    Dataset d = read_sft(t / "rows.jsonl", id_reader(), {4, true});
    EXPECT_EQ(d.examples.size(), 2u);
    EXPECT_EQ(d.truncated, 2u);
    EXPECT_EQ(d.without_targets, 1u);               // the last row's only target was cut off
    EXPECT_EQ(d.targets(), 2u + 3u);
}

TEST(Rows, BadLinesNameFileAndLine) {
    TempFolder t;
    const std::pair<const char*, const char*> bad[] = {{"{\"input_ids\": [1,2,50]}", "50"},
                                                       {"{\"input_ids\": [1,-1]}", "-1"},
                                                       {"{\"input_ids\": [1,2.5]}", "2.5"},
                                                       {"{\"input_ids\": \"1\"}", "list"},
                                                       {"{\"input_ids\": []}", "no tokens"},
                                                       {"{\"input_ids\": [1,2], \"labels\": [1]}", "labels"},
                                                       {"{\"input_ids\": [1], \"labels\": [-5]}", "-5"},
                                                       {"{\"foo\": 1}", "none of"},
                                                       {"[1,2]", "object"},
                                                       {"{\"input_ids\": [1,2]", "rows.jsonl:2"},
                                                       {"{\"text\": \"hello\"}", "tokenizer"},
                                                       {"{\"messages\": []}", "chat"},
                                                       {"{\"input_ids\": [1], \"input_ids\": [2]}", "twice"},
                                                       {"\x01", "rows.jsonl:2"},
                                                       {"{\"text\": 5}", "string"},
                                                       {"{\"input_ids\": [99999999999999999999]}", "rows.jsonl:2"}};
    for (const auto& [line, expected] : bad) {
        write_file(t / "rows.jsonl", std::string("{\"input_ids\": [1,2]}\n") + line + "\n");
        std::string text;
        EXPECT_EQ(error_of([&] { read_sft(t / "rows.jsonl", id_reader(), {}); }, &text), Exit::bad_input) << line;
        EXPECT_NE(text.find("rows.jsonl:2"), std::string::npos) << text;
        EXPECT_NE(text.find(expected), std::string::npos) << line << " -> " << text;
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    }
    write_file(t / "empty.jsonl", "\n\n");
    EXPECT_EQ(error_of([&] { read_sft(t / "empty.jsonl", id_reader(), {}); }), Exit::bad_input);
    EXPECT_EQ(error_of([&] { read_sft(t / "absent.jsonl", id_reader(), {}); }), Exit::bad_input);
    for (const char* pair : {"{\"prompt_ids\": [1], \"chosen_ids\": [2], \"rejected_ids\": [2]}",
                             "{\"prompt_ids\": [1], \"chosen_ids\": [], \"rejected_ids\": [2]}",
                             "{\"prompt_ids\": [1], \"chosen_ids\": [3]}",
                             "{\"prompt_ids\": [], \"chosen_ids\": [3], \"rejected_ids\": [2]}"}) {
        write_file(t / "pairs.jsonl", pair);
        EXPECT_EQ(error_of([&] { read_preferences(t / "pairs.jsonl", id_reader(), {}); }), Exit::bad_input) << pair;
    }
}

// ---- runs

constexpr const char* tiny =
    R"({"model_type":"llama","hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,
    "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":300,"max_position_embeddings":256,"rms_norm_eps":1e-5,
    "rope_theta":10000,"tie_word_embeddings":true,"initializer_range":0.1})";

struct TinyModel {
    TempFolder folder;
    TinyModel() {
        write_file(folder / "tiny.json", tiny);
        init_model(folder / "tiny.json", folder / "model", 3, "f32", "");
        std::string rows, pairs;
        for (int i = 0; i < 23; i++) {
            Json ids = Json::array(), other = Json::array();
            for (int k = 0; k < 6 + i * 7 % 19; k++)
                ids.push_back((i * 31 + k * k * 7 + 3) % 300), other.push_back((i * 17 + k * 5 + 1) % 300);
            rows += Json({{"input_ids", ids}}).dump() + "\n";
            pairs += Json({{"prompt_ids", {1, 2, i}}, {"chosen_ids", ids}, {"rejected_ids", other}}).dump() + "\n";
        }
        write_file(folder / "rows.jsonl", rows);
        write_file(folder / "pairs.jsonl", pairs);
    }
    std::string model() const { return folder / "model"; }
};

TinyModel& the_model() {
    static TinyModel m;
    return m;
}

SessionOptions options(bool full) {
    SessionOptions o;
    o.model = the_model().model(), o.quiet = true, o.pack = !full;
    return o;
}

TrainOptions run_options(bool full) {
    TrainOptions t;
    t.full = full, t.batch_size = 3, t.grad_accum = 2, t.steps = 9;         // two epochs and more
    t.lora.rank = 4, t.lora.targets = {"all"}, t.lora.dropout = 0.1;
    t.optimizer.lr = 3e-3;
    return t;
}

struct TinyRun {
    std::unique_ptr<Session> session;
    std::unique_ptr<Trainer> trainer;
    TinyRun(bool full, bool preferences) {
        session = std::make_unique<Session>(options(full));
        RowReader reader = session->reader();
        TrainOptions t = run_options(full);
        t.precompute_ref = full;
        trainer =
            std::make_unique<Trainer>(*session, t, preferences ? dpo(DpoLoss::sigmoid, 0.1, 0) : sft(),
                                      preferences ? read_preferences(the_model().folder / "pairs.jsonl", reader, {})
                                                  : read_sft(the_model().folder / "rows.jsonl", reader, {}),
                                      std::nullopt);
    }
};

std::string result_of(const std::string& run, bool full) {
    return read_file(run + (full ? "/model/model.safetensors" : "/adapter/adapter_model.safetensors"));
}

TEST(Resume, EndsWithTheSameBytes) {
    for (bool full : {false, true})
        for (bool preferences : {false, true}) {
            TempFolder t;
            std::vector<double> losses;
            {
                TinyRun run(full, preferences);
                RunFolder folder(t / "straight", false);
                for (int s = 1; s <= 9; s++) losses.push_back(run.trainer->step(s).loss);
                folder.write_result(*run.trainer, *run.session);
            }
            for (int stop : {1, 4}) {
                std::string path = t / ("stopped-" + std::to_string(stop));
                {
                    TinyRun run(full, preferences);
                    RunFolder folder(path, false);
                    folder.write_description({{"flags", Json::object()}});
                    for (int s = 1; s <= stop; s++) run.trainer->step(s);
                    folder.save(*run.trainer, stop, 2);
                    run.trainer->step(stop + 1);                // lost
                }
                TinyRun run(full, preferences);
                RunFolder folder(path, true);
                ASSERT_EQ(folder.resume(*run.trainer), stop);
                for (int s = stop + 1; s <= 9; s++) EXPECT_EQ(run.trainer->step(s).loss, losses[s - 1]) << "step " << s;
                folder.write_result(*run.trainer, *run.session);
                EXPECT_EQ(result_of(path, full), result_of(t / "straight", full))
                    << "full " << full << ", preferences " << preferences << ", stopped after " << stop;
            }
        }
}

TEST(Resume, PassesOverDamagedCheckpoints) {
    TempFolder t;
    TinyRun run(false, false);
    RunFolder folder(t / "run", false);
    folder.write_description({{"flags", Json::object()}});
    for (int s = 1; s <= 3; s++) {
        run.trainer->step(s);
        folder.save(*run.trainer, s, 2);
    }
    EXPECT_FALSE(exists(t / "run/checkpoints/step-1"));             // keep 2
    std::string newest = t / "run/checkpoints/step-3";
    EXPECT_EQ(damage(newest), "");
    std::vector<std::string> files{"MANIFEST.json", "state.json", "state.safetensors", "adapter/adapter_config.json",
                                   "adapter/adapter_model.safetensors"};
    for (const std::string& name : files) {
        std::string path = newest + "/" + name, whole = read_file(path);
        for (size_t at : {size_t(0), whole.size() / 2, whole.size() - 1}) {
            std::string flipped = whole;
            flipped[at] = char(flipped[at] ^ 4);
            write_file(path, flipped);
            bool harmless = name == "MANIFEST.json" && damage(newest).empty();      // white space or the step's copy
            TinyRun again(false, false);
            RunFolder resumed(t / "run", true);
            if (!harmless) {
                EXPECT_EQ(resumed.resume(*again.trainer), 2) << name << " byte " << at;
            }
        }
        write_file(path, whole.substr(0, whole.size() / 2));
        EXPECT_NE(damage(newest), "") << name;
        std::filesystem::remove(path);
        EXPECT_NE(damage(newest), "") << name;
        write_file(path, whole);
    }
    EXPECT_EQ(damage(newest), "");
}

TEST(RunFolder, RefusesWhatIsThere) {
    TempFolder t;
    make_folders(t / "there");
    write_file(t / "there/file", "x");
    std::string text;
    EXPECT_EQ(error_of([&] { RunFolder(t / "there", false); }, &text), Exit::usage);
    EXPECT_NE(text.find("--resume"), std::string::npos) << text;
    EXPECT_EQ(error_of([&] { RunFolder(t / "absent", true); }), Exit::usage);
    EXPECT_EQ(error_of([&] { RunFolder("/proc/nowhere/run", false); }, &text), Exit::bad_input);
    EXPECT_NE(text.find("/proc/nowhere"), std::string::npos) << text;
}

TEST(Training, OverfitsOneRow) {
    TempFolder t;
    write_file(t / "row.jsonl", "{\"input_ids\": [5, 9, 2, 77, 31, 200, 4, 18, 9, 3]}\n");
    Session s(options(true));
    TrainOptions o;
    o.full = true, o.steps = 120, o.batch_size = 1;
    o.optimizer.lr = 1e-2, o.optimizer.warmup = 0, o.optimizer.schedule = "constant";
    Trainer trainer(s, o, sft(), read_sft(t / "row.jsonl", s.reader(), {}), std::nullopt);
    double loss = 1;
    for (int i = 1; i <= o.steps; i++) loss = trainer.step(i).loss;
    EXPECT_LT(loss, 1e-3);
}

TEST(Training, LearnsPreferences) {
    Session s(options(false));
    TrainOptions o = run_options(false);
    o.steps = 60, o.batch_size = 4, o.grad_accum = 1, o.optimizer.lr = 1e-2, o.lora.dropout = 0;
    Dataset data = read_preferences(the_model().folder / "pairs.jsonl", s.reader(), {});
    data.examples.resize(4);
    Trainer trainer(s, o, dpo(DpoLoss::sigmoid, 0.5, 0), data, std::nullopt);
    StepLog first = trainer.step(1), last;
    EXPECT_EQ(first.loss, std::log(2.0));               // the reference is the start
    EXPECT_EQ(first.metrics["rewards_margin"], 0);
    for (int i = 2; i <= o.steps; i++) last = trainer.step(i);
    EXPECT_EQ(last.metrics["rewards_accuracy"], 1);
    EXPECT_LT(last.loss, 0.2);
}

TEST(Training, StopsOnWhatIsNotFinite) {
    Session s(options(false));
    TrainOptions o = run_options(false);
    Trainer trainer(s, o, sft(), read_sft(the_model().folder / "rows.jsonl", s.reader(), {}), std::nullopt);
    trainer.step(1);
    for (Parameter& p : trainer.parameters())
        if (p.name == "model.layers.1.mlp.down_proj.lora_B.weight") p.w->f()[5] = NAN;
    trainer.weights_changed();
    std::string text;
    EXPECT_EQ(error_of([&] { trainer.step(2); }, &text), Exit::numerics);
    EXPECT_NE(text.find("mlp_out.1"), std::string::npos) << text;
}

// The plan is what the run takes: within 10 % of what is really used (and never less).
TEST(Training, MemoryPlanIsWhatIsUsed) {
    for (bool recompute : {false, true}) {
        Session s(options(false));
        TrainOptions o = run_options(false);
        o.recompute = recompute;
        Trainer trainer(s, o, sft(), read_sft(the_model().folder / "rows.jsonl", s.reader(), {}), std::nullopt);
        MemoryPlan plan = trainer.plan();
        EXPECT_GT(plan.activations, 0u);
        for (int i = 1; i <= 4; i++) trainer.step(i);       // an arena that overflowed would have said so
    }
}

}  // namespace
