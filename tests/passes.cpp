// passes.cpp - how many tokens go in a pass is a device's matter (Kernels::tokens_a_pass): no number depends on it, and
// where they do not fit into its memory they are fewer.
#include <map>
#include "tiny.h"

namespace {

Kernels with(const Kernels& k, int tokens) {
    Kernels of = k;
    of.tokens_a_pass = tokens;
    return of;
}
std::unique_ptr<Session> session_on(const Kernels& k, const char* architecture = "llama") {
    SessionOptions o;
    o.model = tiny_model(architecture), o.quiet = true, o.precision = "bf16", o.kernels = &k;
    return std::make_unique<Session>(o);
}
std::vector<int> some_ids(int n, int seed) {
    std::vector<int> ids;
    for (int i = 0; i < n; i++) ids.push_back((i * i * 7 + i * 31 + seed * 17) % 250);
    return ids;
}
std::vector<Request> prompts(const std::vector<int>& lengths) {
    std::vector<Request> all;
    for (size_t i = 0; i < lengths.size(); i++) all.push_back({some_ids(lengths[i], int(i)), i});
    return all;
}

struct Generated {
    std::map<size_t, std::vector<int>> ids;
    std::map<size_t, std::vector<float>> logprobs;
    size_t prompt_passes = 0;
};
Generated generated(Session& s, const std::vector<Request>& requests, int slots, int tokens) {
    Generated out;
    GenerateOptions g;
    g.max_tokens = tokens, g.slots = slots, g.ignore_eos = true, g.sampling.temperature = 1;
    g.on_done = [&](size_t r, const Answer& a) { out.ids[r] = a.ids, out.logprobs[r] = a.logprobs; };
    out.prompt_passes = generate(s, requests, g).prompt_passes;
    return out;
}

// A window of 64 as well: its ring is as long as the longest part of a prompt that a pass may bring.
TEST(Passes, TheirLengthIsInNoNumber) {
    const cuda_cpu::DeviceOnly strict;
    const std::vector<Request> all = prompts({150, 1, 40, 7, 90});
    for (const Kernels* k : {&cpu(), &cuda_kernels(true)})
        for (const char* architecture : {"llama", "gemma3"}) {
            const Kernels longest = with(*k, 8192);
            const Generated whole = generated(*session_on(longest, architecture), all, 5, 4);
            EXPECT_EQ(whole.prompt_passes, 1u);
            for (const auto& [tokens, passes] : std::map<int, size_t>{{33, 9}, {128, 3}}) {
                const Kernels some = with(*k, tokens);
                const Generated cut = generated(*session_on(some, architecture), all, 5, 4);
                EXPECT_EQ(cut.prompt_passes, passes) << k->name << ", " << tokens;
                EXPECT_EQ(cut.ids, whole.ids) << k->name << ", " << architecture << ", " << tokens;
                EXPECT_EQ(cut.logprobs, whole.logprobs) << k->name << ", " << architecture << ", " << tokens;
            }
        }
}

TEST(Passes, TheirLengthIsInNoScoreAndNoActivation) {
    const cuda_cpu::DeviceOnly strict;
    std::vector<Row> rows;
    for (int i = 0; i < 14; i++) rows.push_back({i, some_ids(160 + i, i), some_ids(160 + i, i), 0, true});
    for (const Kernels* k : {&cpu(), &cuda_kernels(true)}) {
        std::map<int, std::vector<float>> scores, activations;
        for (const int tokens : {512, 8192}) {
            const Kernels some = with(*k, tokens);
            const auto s = session_on(some);
            score(*s, rows, [&](size_t, const std::vector<float>& logp) {
                scores[tokens].insert(scores[tokens].end(), logp.begin(), logp.end());
            });
            int batches = 0;
            extract(*s, rows, parse_points(*s->model, "resid_post.1"), false,
                    [&](size_t, int64_t, const float* data, int64_t n) {
                        activations[tokens].insert(activations[tokens].end(), data, data + n * s->model->dim);
                        batches++;
                    });
            EXPECT_EQ(batches, tokens == 512 ? 5 : 1);
        }
        EXPECT_EQ(scores[512], scores[8192]) << k->name;
        EXPECT_EQ(activations[512], activations[8192]) << k->name;
        EXPECT_EQ(scores[512].size(), activations[512].size() / 32 - rows.size());
    }
}

// Kernels that do nothing, on a device that has less and less memory: shorter passes, down to an error; and what was
// planned is enough.
TEST(Passes, AreAsLongAsMemoryAllows) {
    struct Restore {
        ~Restore() { cuda_cpu::faults = {}; }
    } restore;
    Kernels idle = with(nothing, 16384);
    idle.memory = cuda_kernels().memory;
    const auto s = session_on(idle);
    const std::vector<Request> all = prompts(std::vector<int>(100, 200));
    const auto used = [&] { return cuda_cpu::faults.memory - idle.memory->available(); };
    const size_t before = used();
    const auto with_memory = [&](size_t megabytes) { cuda_cpu::faults.memory = before + (megabytes << 20); };
    std::string text;
    std::vector<size_t> passes;
    for (size_t memory = 128; memory >= 6; memory -= 1) {
        with_memory(memory);
        size_t n = 0;
        ASSERT_EQ(error_of([&] { n = generated(*s, all, 100, 2).prompt_passes; }, &text), Exit::ok) << text;
        if (passes.empty() || passes.back() != n) passes.push_back(n);
        EXPECT_EQ(used(), before);
    }
    EXPECT_EQ(passes, (std::vector<size_t>{2, 3, 5, 10, 20, 40}));
    with_memory(1);
    EXPECT_EQ(error_of([&] { generated(*s, all, 100, 2); }, &text), Exit::no_resource);
    EXPECT_NE(text.find("keys and values of 202 tokens need "), text.npos) << text;

    // Activations that are taken, and scores: likewise.
    std::vector<Row> rows;
    for (const Request& r : all) rows.push_back({0, r.prompt, r.prompt, 0, true});
    std::vector<int> groups;
    for (size_t memory = 256; memory >= 16; memory -= 4) {
        with_memory(memory);
        int n = 0;
        ASSERT_EQ(error_of([&] {
            extract(*s, rows, parse_points(*s->model, "resid_post.*,mlp_out.*"), false,
                    [&](size_t t, int64_t, const float*, int64_t) { n += t == 0; });
        }, &text), Exit::ok) << text;
        if (groups.empty() || groups.back() != n) groups.push_back(n);
        const auto scores = [&] { score(*s, rows, [](size_t, const std::vector<float>&) {}); };
        ASSERT_EQ(error_of(scores, &text), Exit::ok) << text;
    }
    EXPECT_EQ(groups, (std::vector<int>{2, 3, 5}));
}

}  // namespace
