// eval.cpp - the verbs data and eval, as a user drives them, on a tiny random model.
#include <fstream>
#include <sstream>
#include "../engine/file.h"
#include "support.h"

namespace {

struct Ran {
    int code;
    std::string out, err;
};

// One command line of the real binary; its folder is `in`.
Ran dd(const TempFolder& in, const std::string& arguments) {
    std::string command = "cd '" + in.path + "' && DD_THREADS=2 '" + DD_BINARY + "' " + arguments + " >out 2>err";
    int status = system(command.c_str());
    return {WEXITSTATUS(status), read_file(in / "out"), read_file(in / "err")};
}

constexpr const char* sizes =
    R"({"model_type":"llama","hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,
    "num_key_value_heads":2,"vocab_size":300,"max_position_embeddings":2048,"rms_norm_eps":1e-5,"rope_theta":10000,
    "tie_word_embeddings":true,"initializer_range":0.3})";

// A random model, and an adapter on it that two steps have moved.
class Eval : public testing::Test {
protected:
    void SetUp() override {
        write_file(folder / "sizes.json", sizes);
        ASSERT_EQ(dd(folder, "init --config-json sizes.json --out model --type f32").code, 0);
        ASSERT_EQ(dd(folder, "data gym --level 1 --rows 12 --out rows.jsonl").code, 0);
        Ran r = dd(folder, "train --model model --chat-format chatml --train-file rows.jsonl --out run --steps 2 "
                           "--lr 0.05 --warmup 0 --lora-rank 4");
        ASSERT_EQ(r.code, 0) << r.err;
    }
    std::string gym(const std::string& more) {
        return "eval --task gym --model model --adapter run/adapter --chat-format chatml --level 1 --rows 12 "
               "--max-tokens 24 " + more;
    }
    std::string text(const std::string& name) { return read_file(folder / name); }
    TempFolder folder;
};

TEST_F(Eval, ScoresDoNotMoveWithTheNumberOfSlots) {
    ASSERT_EQ(dd(folder, gym("--out many --slots 32")).code, 0);
    ASSERT_EQ(dd(folder, gym("--out one --slots 1 --threads 1")).code, 0);
    ASSERT_EQ(dd(folder, gym("--out three --slots 3")).code, 0);
    for (const char* arm : {"base", "adapter"})
        for (const char* other : {"one", "three"}) {
            std::string name = std::string("/items-") + arm + ".jsonl";
            EXPECT_EQ(text("many" + name), text(other + name)) << arm << " " << other;
        }
    EXPECT_NE(text("many/items-base.jsonl"), text("many/items-adapter.jsonl"));
    Json report = read_json_file(folder / "many/report.json");
    EXPECT_FALSE(report["comparisons"].empty());
    EXPECT_EQ(report, read_json_file(folder / "one/report.json"));
}

TEST_F(Eval, ResumeAnswersOnlyWhatIsLeftAndEndsTheSame) {
    ASSERT_EQ(dd(folder, gym("--out whole")).code, 0);
    ASSERT_EQ(dd(folder, gym("--out cut")).code, 0);
    // As if killed in the second arm: a few answers, the last line torn, nothing judged.
    std::istringstream lines(text("whole/answers-adapter.jsonl"));
    std::string some, line;
    for (int i = 0; i < 5; i++) std::getline(lines, line), some += line + "\n";
    write_file(folder / "cut/answers-adapter.jsonl", some + "{\"item\": 7, \"ans");
    for (const char* name : {"cut/items-adapter.jsonl", "cut/report.json", "cut/report.txt"})
        std::filesystem::remove(folder / name);
    Ran r = dd(folder, gym("--out cut --resume"));
    ASSERT_EQ(r.code, 0) << r.err;
    EXPECT_NE(r.err.find("adapter: 5 of 12 answers are there already"), std::string::npos) << r.err;
    for (const char* name : {"/items-base.jsonl", "/items-adapter.jsonl", "/report.json"})
        EXPECT_EQ(text("whole" + std::string(name)), text("cut" + std::string(name))) << name;
    Ran other = dd(folder, gym("--out cut --resume --seed 9"));
    EXPECT_EQ(other.code, 2);
    EXPECT_NE(other.err.find("--seed"), std::string::npos) << other.err;
}

TEST_F(Eval, LossIsWhatScoreSaysPairedByRow) {
    ASSERT_EQ(dd(folder, "eval --task loss --model model --adapter run/adapter --chat-format chatml --data rows.jsonl "
                         "--out loss").code, 0);
    Json report = read_json_file(folder / "loss/report.json");
    for (auto [arm, flags] : {std::pair{0, ""}, {1, "--adapter run/adapter"}}) {
        Ran r = dd(folder, "score --model model --chat-format chatml --json --input rows.jsonl " + std::string(flags));
        std::istringstream lines(r.out);
        std::string line, last;
        double rows = 0;
        int n = 0;
        while (std::getline(lines, line)) {
            Json o = parse_json(line, "line");
            if (o.contains("nll")) rows += o["nll"].get<double>() / o["tokens"].get<double>(), n++;
            last = line;
        }
        Json summary = parse_json(last, "line")["summary"];
        EXPECT_NEAR(report["arms"][arm]["nll_per_token"].get<double>(), summary["nll_per_token"].get<double>(), 1e-9);
        EXPECT_NEAR(report["arms"][arm]["mean_over_rows"].get<double>(), rows / n, 1e-9);
    }
    const Json& d = report["difference"];
    EXPECT_NEAR(d["mean"].get<double>(), d["after"].get<double>() - d["before"].get<double>(), 1e-12);
    EXPECT_LT(d["mean"].get<double>(), 0);                      // it was trained on these rows
    EXPECT_LE(d["interval_95"][0].get<double>(), d["mean"].get<double>());
    EXPECT_GE(d["interval_95"][1].get<double>(), d["mean"].get<double>());
}

TEST_F(Eval, AgainstItselfNothingChanges) {
    ASSERT_EQ(dd(folder, gym("--out same --against run/adapter")).code, 0);
    for (const Json& c : read_json_file(folder / "same/report.json")["comparisons"]) {
        EXPECT_EQ(c["difference"].get<double>(), 0) << c.dump();
        EXPECT_EQ(c["p"].get<double>(), 1) << c.dump();
    }
    ASSERT_EQ(dd(folder, gym("--out alone --alone")).code, 0);
    EXPECT_FALSE(exists(folder / "alone/items-base.jsonl"));
    EXPECT_EQ(text("alone/items-adapter.jsonl"), text("same/items-adapter.jsonl"));
}

TEST_F(Eval, WhatCannotBeJudgedIsSaidBeforeAnythingIsWritten) {
    std::pair<std::string, std::pair<int, std::string>> bad[] = {
        {gym("--out x --family nothing"), {2, "there are verify, unsure and revise"}},
        {gym("--out x --level 7"), {2, "they run from 1 to 4"}},
        {"eval --task gym --model model --out x", {3, "--chat-format"}},
        {"eval --task loss --model model --out x", {2, "--data is missing"}},
        {"eval --task loss --model model --data rows.jsonl --chat-format chatml", {2, "--out is missing"}},
        {"eval --task golf --model model --out x", {2, "did you mean"}},
        {gym("--out run"), {2, "there is something already"}},
        {gym("--out nowhere --resume"), {2, "no judgement"}}};
    for (const auto& [line, want] : bad) {
        Ran r = dd(folder, line);
        EXPECT_EQ(r.code, want.first) << line << "\n" << r.err;
        EXPECT_NE(r.err.find(want.second), std::string::npos) << line << "\n" << r.err;
        EXPECT_FALSE(exists(folder / "x")) << line;
    }
}

TEST_F(Eval, RowsAreTheSameForTheSameSeed) {
    Ran a = dd(folder, "data gym --level 1-2 --rows 24 --seed 5");
    Ran b = dd(folder, "data gym --level 1-2 --rows 24 --seed 5");
    EXPECT_EQ(a.out, b.out);
    EXPECT_NE(a.out, dd(folder, "data gym --level 1-2 --rows 24 --seed 6").out);
    std::istringstream lines(dd(folder, "data gym --rows 6 --preferences").out);
    int n = 0;
    for (std::string line; std::getline(lines, line); n++) {
        Json o = parse_json(line, "line");
        for (const char* key : {"id", "prompt", "chosen", "rejected"}) EXPECT_TRUE(o.contains(key)) << line;
        EXPECT_NE(o["chosen"], o["rejected"]);
    }
    EXPECT_EQ(n, 6);
}

}  // namespace
