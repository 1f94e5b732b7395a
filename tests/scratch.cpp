// scratch.cpp - every architecture from nothing, by the program itself: what it learns of a small text in sixty steps,
// step by step against a curve that was written down once.
#include <cmath>
#include <sstream>
#include "../engine/file.h"
#include "../kernels/random.h"
#include "../models/presets.h"
#include "tiny.h"

namespace {

// Sentences of a small grammar: much to learn beside the letters' shares.
std::string sentences(int rows) {
    const char* who[] = {"the old clerk", "a tired nurse", "my younger brother", "the second engineer", "nobody"};
    const char* did[] = {"counted", "repaired", "forgot", "weighed", "sold", "painted"};
    const char* what[] = {"seven lamps", "the blue bicycle", "a letter from home", "three clocks", "the winter coat"};
    const char* when[] = {"before noon", "after the rain", "on Monday", "while it snowed"};
    Random random(17);
    auto of = [&](auto& list) { return std::string(list[random.below(uint32_t(std::size(list)))]); };
    std::string text;
    for (int i = 0; i < rows; i++) {
        std::string first = of(who) + " " + of(did) + " " + of(what) + " " + of(when), then = of(who) + " " + of(did);
        text += dump(Json{{"text", first + ", and " + then + " " + of(what) + "."}}) + "\n";
    }
    return text;
}

// Of a token that is known only by its share, in nats.
double unigram_entropy(const std::string& rows) {
    std::map<char, double> counts;
    double n = 0, entropy = 0;
    std::istringstream lines(rows);
    for (std::string line; std::getline(lines, line);)
        for (char c : parse_json(line, "row")["text"].get<std::string>()) counts[c]++, n++;
    for (auto [c, count] : counts) entropy -= count / n * std::log(count / n);
    return entropy;
}

class Scratch : public testing::TestWithParam<std::tuple<const char*, const Kernels*>> {};

TEST_P(Scratch, LearnsAsItDidBefore) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    const auto& [preset, kernels] = GetParam();
    TempFolder t;
    const std::string rows = sentences(240);
    How how;
    how.environment = {std::string("DD_ISA=") + kernels->name}, how.seconds = 900;
    Ran r = run_dd({"train", "--init", "random", "--preset", preset, "--full", "--train-file",
                    t.put("rows.jsonl", rows), "--out", t / "run", "--steps", "60", "--batch-size", "8", "--lr", "6e-3",
                    "--warmup", "6", "--seed", "1", "--precision", "f32", "--quiet"}, how);
    ASSERT_EQ(r.code, 0) << r.err;
    std::vector<double> losses;
    std::istringstream log(read_file(t / "run/log.jsonl"));
    for (std::string line; std::getline(log, line);) losses.push_back(parse_json(line, "log")["loss"]);
    ASSERT_EQ(losses.size(), 60u);

    double start = std::log(259.0), end = 0;
    for (size_t i = 50; i < 60; i++) end += losses[i] / 10;
    EXPECT_NEAR(losses[0], start, 1) << "a new model knows nothing";
    EXPECT_LT(end, unigram_entropy(rows) - 0.3);

    const Json before = read_json_file(here("data/scratch.json"));
    ASSERT_TRUE(before.contains(preset)) << "tests/data/scratch.json lacks " << preset << ": " << Json(losses);
    for (size_t i = 0; i < 60; i++)
        ASSERT_NEAR(losses[i], before[preset][i].get<double>(), 1e-3) << "step " << i + 1 << " of " << Json(losses);
}

std::string label(const testing::TestParamInfo<Scratch::ParamType>& info) {
    std::string s = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param)->name;
    for (char& c : s) if (!isalnum(c)) c = '_';
    return s;
}
std::vector<const Kernels*> fast_paths() {
    std::vector<const Kernels*> all = paths();
    all.erase(all.begin());
    return all;
}
// The curve was written down once; every instruction set, whatever the order of its sums, is on it. The reference takes
// a minute or two for each.
const auto presets = testing::Values("tiny-smollm2", "tiny-qwen3", "tiny-qwen3.5", "tiny-gemma3", "tiny-gemma4");
INSTANTIATE_TEST_SUITE_P(Architectures, Scratch, testing::Combine(presets, testing::ValuesIn(fast_paths())), label);
INSTANTIATE_TEST_SUITE_P(LongArchitectures, Scratch, testing::Combine(presets, testing::Values(&cpu("scalar"))), label);

}  // namespace
