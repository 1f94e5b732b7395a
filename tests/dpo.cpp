// dpo.cpp - preferences and answers as a user drives them: which reference, where the loss begins, when an answer ends,
// whether a model thinks.
#include <cmath>
#include <filesystem>
#include <sstream>
#include "tiny.h"

namespace {

using Args = std::vector<std::string>;

class Dpo : public testing::Test {
protected:
    void SetUp() override {
        if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
        std::string text;
        for (int i = 0; i < 6; i++) {
            Json p = Json::array(), a = Json::array(), b = Json::array();
            for (int k = 0; k < 5 + i; k++) p.push_back((i * 13 + k * k * 3 + 1) % 200);
            for (int k = 0; k < 3 + i % 3; k++) {
                a.push_back((i * 7 + k * 11) % 200);
                b.push_back((i + k * 5 + 90) % 200);
            }
            text += dump({{"prompt_ids", p}, {"chosen_ids", a}, {"rejected_ids", b}}) + "\n";
        }
        pairs = t.put("pairs.jsonl", text);
        write_tiny_adapter(t / "adapter");
    }
    struct Run { std::string err; Json description; std::vector<Json> log; };
    Run train(const Args& more) {
        const std::string out = t / ("run" + std::to_string(runs++));
        Args args = {"train", "--method", "dpo", "--model", tiny_model(), "--train-file", pairs, "--steps", "3",
                     "--batch-size", "3", "--out", out};
        args.insert(args.end(), more.begin(), more.end());
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        Run run{r.err, read_json_file(out + "/run.json"), {}};
        std::istringstream lines(read_file(out + "/log.jsonl"));
        for (std::string line; std::getline(lines, line);) {
            run.log.push_back(parse_json(line, "log"));
            for (const char* timing : {"seconds", "tokens_per_s", "peak_bytes"}) run.log.back().erase(timing);
        }
        EXPECT_EQ(run.log.size(), 3u);
        return run;
    }
    TempFolder t;
    std::string pairs;
    int runs = 0;
};

// The log says which reference it is; the loss begins at exactly ln 2 where the start is the reference.
TEST_F(Dpo, BeginsAtItsReferenceAndSaysWhich) {
    const std::string adapter = t / "adapter", off = "the model with the adapter off", its = "the adapter " + adapter;
    struct { Args flags; std::string reference; bool same; } table[] = {
        {{}, off, true},
        {{"--adapter-init", adapter}, off, false},
        {{"--ref-adapter", adapter}, its, false},
        {{"--adapter-init", adapter, "--ref-adapter", adapter}, its, true},
        {{"--full", "--precompute-ref"}, "the model before training", true}};
    for (const auto& [flags, reference, same] : table) {
        SCOPED_TRACE(reference + (same ? ", the start" : ""));
        const Run plain = train(flags);
        EXPECT_EQ(plain.description["reference"], reference);
        EXPECT_NE(plain.err.find("dd: reference: " + reference), std::string::npos) << plain.err;
        const Json& first = plain.log[0];
        if (same) EXPECT_EQ(first["loss"].get<double>(), std::log(2.0));
        else EXPECT_NE(first["loss"].get<double>(), std::log(2.0));
        for (const char* reward : {"rewards_chosen", "rewards_rejected", "rewards_margin"})
            EXPECT_EQ(first[reward] == 0, same) << reward << first;
        const double right = first["rewards_accuracy"];
        EXPECT_TRUE(same ? right == 0 : right >= 0 && right <= 1) << first;
        EXPECT_LT(first["logps_chosen"], 0);
        EXPECT_LT(first["logps_rejected"], 0);
        EXPECT_NE(plain.log[2]["rewards_margin"], 0);
        if (flags.size() && flags[0] == "--full") continue;
        Args once = flags;                              // the same numbers, computed once
        once.push_back("--precompute-ref");
        const Run precomputed = train(once);
        EXPECT_NE(precomputed.err.find(reference + ", computed once before the first step"), std::string::npos);
        EXPECT_EQ(precomputed.log, plain.log);
    }
}

TEST_F(Dpo, EveryLossBeginsWhereItsFormulaSays) {
    for (const auto& [flags, loss] : std::vector<std::pair<Args, double>>{
             {{"--dpo-loss", "ipo"}, 25}, {{"--dpo-loss", "ipo", "--beta", "0.25"}, 4}, {{"--dpo-loss", "hinge"}, 1},
             {{"--label-smoothing", "0.3"}, std::log(2.0)}})
        EXPECT_DOUBLE_EQ(train(flags).log[0]["loss"].get<double>(), loss) << flags[1];
}

// Ids that generation_config.json lists end an answer, whichever of them comes; it goes before config.json.
TEST(Answers, EndAtTheIdsOfGenerationConfig) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    const TempFolder t;
    const std::string m = copy_of_tiny(t);
    auto answer = [&](const Args& more) {
        Args args = {"generate", "--model", m, "--input", t.put("p.jsonl", "{\"input_ids\":[7,8,9]}\n"), "--json",
                     "--max-tokens", "6", "--precision", "f32"};
        args.insert(args.end(), more.begin(), more.end());
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        return parse_json(r.out, "answer");
    };
    const std::vector<int> all = answer({"--ignore-eos"})["ids"];
    ASSERT_EQ(all.size(), 6u);
    write_file(m + "/generation_config.json", dump({{"eos_token_id", {250, all[2], 251}}}));
    Json config = read_json_file(m + "/config.json");
    config["eos_token_id"] = all[0];
    write_file(m + "/config.json", config.dump());
    const size_t first = size_t(std::find(all.begin(), all.end(), all[2]) - all.begin());
    const Json a = answer({});
    EXPECT_EQ(a["stop"], "eos");
    EXPECT_EQ(a["ids"], Json(std::vector<int>(all.begin(), all.begin() + long(first) + 1)));
    std::filesystem::remove(m + "/generation_config.json");
    EXPECT_EQ(answer({})["ids"], Json({all[0]})) << "without it, config.json's";
    EXPECT_EQ(answer({"--ignore-eos"})["ids"], Json(all));
}

TEST(Answers, ThinkWhereTheFamilyCan) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    SessionOptions o;
    o.model = tiny_model(), o.quiet = true;
    Session s(o);
    auto prompt = [&](const char* format, const Args& more) {
        Args args = {"generate", "--model", tiny_model(), "--prompt", "Hi", "--chat-format", format, "--json",
                     "--max-tokens", "1"};
        args.insert(args.end(), more.begin(), more.end());
        const Ran r = run_dd(args);
        EXPECT_EQ(r.code, 0) << r.err;
        return s.need_tokenizer().decode(parse_json(r.out, "answer")["prompt_ids"].get<std::vector<int>>());
    };
    const std::string asked = "assistant\n", empty = "<think>\n\n</think>\n\n";
    auto ends = [](const std::string& text, const std::string& end) { return text.ends_with(end) ? end : text; };
    EXPECT_EQ(ends(prompt("qwen3", {}), asked), asked);
    EXPECT_EQ(ends(prompt("qwen3", {"--think"}), asked), asked);
    EXPECT_EQ(ends(prompt("qwen3", {"--no-think"}), asked + empty), asked + empty);
    EXPECT_EQ(ends(prompt("qwen3_5", {}), asked + empty), asked + empty);
    EXPECT_EQ(ends(prompt("qwen3_5", {"--no-think"}), asked + empty), asked + empty);
    EXPECT_EQ(ends(prompt("qwen3_5", {"--think"}), asked + "<think>\n"), asked + "<think>\n");
    EXPECT_EQ(prompt("gemma4", {"--think"}).find("<|think|>") != std::string::npos, true);
    EXPECT_EQ(prompt("gemma4", {"--no-think"}), prompt("gemma4", {}));
    EXPECT_EQ(prompt("gemma3", {"--think"}), prompt("gemma3", {})) << "a family that does not think";
}

}  // namespace
