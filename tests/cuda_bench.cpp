// cuda_bench.cpp - what a session does on a device, walked through the CUDA kernels: recorded walks, and what dd bench
// runs (probes, rows, weights in another type).
#include "../engine/file.h"
#include "../kernels/timed.h"
#include "../verbs/init.h"
#include "../verbs/measure.h"
#include "cuda.h"

namespace {

constexpr const char* small = R"({"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,
    "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":131,"max_position_embeddings":512,
    "rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true,"initializer_range":0.1})";

struct Small : testing::Test {
    TempFolder temp;
    SessionOptions options;
    const cuda_cpu::DeviceOnly strict;
    Small() {
        write_file(temp / "sizes.json", small);
        init_model(temp / "sizes.json", temp / "m", 3, "bf16", "");
        options.model = temp / "m", options.quiet = true, options.kernels = &cuda_kernels();
    }
    Amounts few() const {
        Amounts a;
        a.prompt = 20, a.alone = 3, a.together = 2, a.batch = 9, a.rows = 2, a.length = 12, a.reps = 2;
        return a;
    }
};

TEST(CudaLimits, EachIsReadOnTheDevice) {
    const Limits& l = *cuda_kernels().limits;
    for (probe::Limit p : {l.bf16, l.f32, l.bandwidth}) {
        EXPECT_FALSE(p->host) << p->name;
        EXPECT_EQ(p->bytes, p == l.bandwidth) << p->name;
        double first = p->read(), again = p->read();
        EXPECT_TRUE(std::isfinite(first) && first > 0 && again > 0) << p->name << ": " << first << ", " << again;
    }
    EXPECT_EQ(std::string(l.bf16->name).find("a square product by "), 0u) << l.bf16->name;
}

// A decoding step that is recorded and replayed gives the bits of one that is walked, in one order and otherwise, also
// where a library multiplies.
using CudaGraph = Small;
TEST_F(CudaGraph, AReplayedStepIsAWalkedOne) {
    for (const Kernels* k : {&cuda_kernels(true), &cuda_kernels(), &library_kernels()})
        for (int sequences : {1, 3, 12}) {
            Kernels walked = *k;
            walked.recorder = nullptr;
            auto answers = [&](const Kernels& kernels) {
                options.kernels = &kernels, options.precision = "bf16";
                Session s(options);
                std::vector<Request> requests(static_cast<size_t>(sequences));
                for (int i = 0; i < sequences; i++)
                    for (int j = 0; j < 3 + i % 4; j++) requests[size_t(i)].prompt.push_back((i * 31 + j * 17) % 131);
                std::vector<std::vector<float>> all(requests.size());
                GenerateOptions g;
                g.max_tokens = 6, g.slots = sequences, g.ignore_eos = true;
                if (sequences == 3) g.sampling.temperature = 1, g.sampling.repeat_penalty = 1.3;
                g.on_done = [&](size_t i, const Answer& a) {
                    all[i] = a.logprobs;
                    all[i].insert(all[i].end(), a.ids.begin(), a.ids.end());
                };
                generate(s, requests, g);
                return all;
            };
            ASSERT_NE(k->recorder, nullptr);
            auto recorded = answers(*k);
            EXPECT_EQ(recorded, answers(walked)) << k->name << ", " << sequences << " sequences";
            EXPECT_EQ(recorded[0].size(), 12u);
        }
}

// Every row has its work counted and its limit read where it ran.
using CudaBench = Small;
TEST_F(CudaBench, RowsAreSharesOfTheDevice) {
    Session s(options);
    Amounts a = few();
    EXPECT_EQ(amounts_for(s).prompt, 2048);
    for (const Measured& m : {measure_prefill(s, "bf16", a), measure_decode(s, "bf16", a, 1),
                              measure_decode(s, "bf16", a, 9), measure_training(s, "bf16", a, false)}) {
        EXPECT_GT(m.t.accepted, 0) << m.part;
        EXPECT_GT(m.t.seconds, 0) << m.part;
        EXPECT_GT(m.t.limit, 0) << m.part;
        EXPECT_GT(m.counted, 0) << m.part;
        EXPECT_EQ(m.limit, m.part == "decode" ? s.k.limits->bandwidth : s.k.limits->bf16) << m.part;
        EXPECT_EQ(m.resident, 0u) << m.part;
    }
    EXPECT_TRUE(s.adapters.empty());
}

// Weights turned into blocks on a device are those that the host makes of them.
TEST_F(CudaBench, WeightsInAnotherType) {
    auto logp = [&](const Kernels& k, const char* precision, Type to) {
        SessionOptions o = options;
        o.kernels = &k, o.precision = precision, o.pack = false;
        Session s(o);
        requantise(s, to);
        Row row;
        for (int i = 0; i < 24; i++) row.ids.push_back(i * 37 % 131);
        row.labels = row.ids;
        std::vector<float> all;
        score(s, {row}, [&](size_t, const std::vector<float>& p) { all = p; });
        return all;
    };
    for (Type to : {Type::q8_0, Type::q4_1}) {
        auto device = logp(cuda_kernels(), "f32", to), host = logp(reference, "f32", to);
        ASSERT_EQ(device.size(), 23u);
        EXPECT_LE(far(device.data(), host.data(), host.size()), 1e-4) << info(to).name;
    }
}

TEST_F(CudaBench, KernelsAreTimedOneByOne) {
    options.kernels = &timed(cuda_kernels());
    Session s(options);
    Measured m = measure_prefill(s, "bf16", few());
    double sum = 0;
    for (const KernelTime& k : m.kernels) sum += k.seconds;
    EXPECT_GT(m.kernels.size(), 8u);
    EXPECT_GT(sum, 0);
    EXPECT_EQ(s.k.limits, cuda_kernels().limits);
}

}  // namespace
