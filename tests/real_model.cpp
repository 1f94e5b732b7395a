// real_model.cpp - SmolLM2-135M-Instruct in Q4_1, as the demo fetches it, against an independent implementation in
// float32: text of the prompts, greedy ids, log-probabilities, hidden states. Skipped where the model is not:
// `make demo` puts it into models-cache/, DD_REAL_MODEL=path names another place.
#include "../engine/file.h"
#include "support.h"

namespace {

std::string real_model() {
    if (const char* path = getenv("DD_REAL_MODEL")) return path;
    return here("../models-cache/SmolLM2-135M-Instruct.Q4_1.gguf");
}

class RealModel : public testing::Test {
protected:
    void SetUp() override {
        if (!exists(real_model())) GTEST_SKIP() << real_model() << " is not there (make demo fetches it)";
        reference = read_json_file(here("data/smollm2-135m-q4_1.json"));
        ASSERT_EQ(sha256_of_file(real_model()), reference["sha256"].get<std::string>());
        SessionOptions o;
        o.model = real_model(), o.precision = "f32", o.quiet = true;
        session = std::make_unique<Session>(o);
    }
    // The norm and the first eight numbers of the last token's state at five depths.
    void expect_states(const std::vector<int>& ids, const Json& hidden) {
        std::pair<const char*, const char*> names[] = {{"embedding", "embed"},          {"block_1", "resid_post.0"},
                                                       {"block_15", "resid_post.14"},   {"block_30", "resid_post.29"},
                                                       {"final_norm", "final"}};
        for (auto [theirs, ours] : names) {
            std::vector<float> state;
            extract(*session, {{0, ids, ids, 0, false}}, parse_points(*session->model, ours), true,
                    [&](size_t, int64_t, const float* data, int64_t) { state.assign(data, data + 576); });
            ASSERT_EQ(state.size(), 576u);
            double norm = 0, want = hidden[theirs]["norm"];
            for (float v : state) norm += double(v) * v;
            EXPECT_NEAR(std::sqrt(norm), want, 2e-4 * want) << theirs;
            for (size_t i = 0; i < 8; i++)
                EXPECT_NEAR(state[i], hidden[theirs]["first8"][i].get<double>(), 2e-4 * want) << theirs << " " << i;
        }
    }
    Json reference;
    std::unique_ptr<Session> session;
};

TEST_F(RealModel, LogProbabilitiesWithinAThousandth) {
    std::vector<Row> rows;
    for (const Json& t : reference["texts"]) {
        std::vector<int> ids = t["ids"];
        EXPECT_EQ(session->need_tokenizer().encode(t["text"].get<std::string>()), ids);
        rows.push_back({rows.size(), ids, ids, 0, false});
    }
    double worst = 0;
    size_t seen = 0;
    score(*session, rows, [&](size_t r, const std::vector<float>& logp) {
        const Json& want = reference["texts"][r]["logprobs"];
        ASSERT_EQ(logp.size(), want.size());
        for (size_t i = 0; i < logp.size(); i++, seen++) {
            ASSERT_TRUE(std::isfinite(logp[i]));
            worst = std::max(worst, std::fabs(double(logp[i]) - want[i].get<double>()));
        }
    });
    EXPECT_GT(seen, 300u);
    EXPECT_LE(worst, 1e-3);
    RecordProperty("worst", std::to_string(worst));
}

TEST_F(RealModel, StatesAtFiveDepths) {
    for (const char* list : {"texts", "prompts"})
        for (const Json& t : reference[list]) expect_states(t["ids"], t["hidden"]);
}

TEST_F(RealModel, GreedyTextWhereTheMarginDecides) {
    RowReader reader = session->reader();
    reader.to_continue = true;
    for (const Json& p : reference["prompts"]) {
        std::vector<int> ids = reader.row({{"messages", p["messages"]}}, "prompt").ids, want = p["continuation_ids"];
        EXPECT_EQ(ids, p["ids"].get<std::vector<int>>());
        // Where rounding could turn the choice, the walk goes on from the reference's token.
        size_t at = 0, turned = 0;
        while (at < want.size()) {
            GenerateOptions g;
            g.max_tokens = int(want.size() - at);
            Answer answer;
            g.on_done = [&](size_t, const Answer& a) { answer = a; };
            generate(*session, {{ids, 0}}, g);
            size_t same = 0;
            while (same < answer.ids.size() && answer.ids[same] == want[at + same]) same++;
            if (at + same < want.size()) {
                ASSERT_LE(p["margins"][at + same].get<double>(), 1e-2) << "token " << at + same;
                turned++, same++;
            }
            ids.insert(ids.end(), want.begin() + long(at), want.begin() + long(at + same));
            at += same;
        }
        EXPECT_LE(turned, 1u);
    }
}

}  // namespace
