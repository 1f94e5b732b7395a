// device.cpp - whole runs through the CUDA kernels, executed on the CPU: interventions trained and activations taken as
// the CPU does it; and a device that is full, or lost in the middle.
#include "../engine/file.h"
#include "../train/run_folder.h"
#include "../verbs/common.h"
#include "rows.h"
#include "tiny.h"

namespace {

SessionOptions options(const std::string& folder, const Kernels& k) {
    SessionOptions o;
    o.model = folder, o.precision = "f32", o.quiet = true, o.kernels = &k;
    return o;
}
std::string golden(const char* name) { return here(std::string("goldens/") + name); }

TrainOptions training(int steps) {
    TrainOptions t;
    t.steps = steps, t.batch_size = 2, t.lora.rank = 2, t.lora.targets = {"all"};
    t.optimizer.lr = 0.03, t.optimizer.warmup = 0, t.optimizer.schedule = "constant", t.optimizer.weight_decay = 0.1;
    return t;
}

class OnDevice : public testing::TestWithParam<const char*> {
    const cuda_cpu::DeviceOnly strict_;
};

TEST_P(OnDevice, EditsAreTrainedAsOnTheCpu) {
    for (const char* kind : {"gains", "vector"}) {
        SCOPED_TRACE(kind);
        struct { std::vector<double> losses, norms; std::vector<float> trained; std::string file; } ran[2];
        const TempFolder t;
        for (const int device : {0, 1}) {
            Session s(options(golden(GetParam()), device ? cuda_kernels() : cpu()));
            TrainOptions o = training(4);
            o.train_edits = kind;
            Trainer trainer(s, o, sft(), rows_of(s, 3), {});
            for (int i = 1; i <= o.steps; i++) {
                const StepLog log = trainer.step(i);
                ran[device].losses.push_back(log.loss), ran[device].norms.push_back(log.grad_norm);
            }
            for (const Parameter& p : trainer.parameters())
                for (const float v : get(trainer.memory(), *p.w)) ran[device].trained.push_back(v);
            RunFolder folder(t / std::to_string(device), false);
            folder.write_result(trainer, s);
        }
        EXPECT_LT(ran[0].losses.back(), ran[0].losses.front()) << "nothing was learnt";
        for (size_t i = 0; i < ran[0].losses.size(); i++) {
            EXPECT_NEAR(ran[1].losses[i], ran[0].losses[i], 1e-4 * ran[0].losses[i]) << i;
            EXPECT_NEAR(ran[1].norms[i], ran[0].norms[i], 2e-3 * ran[0].norms[i]) << i;
        }
        ASSERT_EQ(ran[0].trained.size(), ran[1].trained.size());
        EXPECT_LT(far(ran[1].trained.data(), ran[0].trained.data(), ran[0].trained.size()), 5e-3);
        // What the device has written is read back, and changes what it should.
        std::vector<float> logits[3];
        for (const int which : {0, 1, 2}) {
            ModelFlags f;
            f.session = options(golden(GetParam()), cuda_kernels());
            if (which < 2) f.edits = t / std::to_string(which) + "/edits.json";
            const auto s = f.open();
            extract(*s, {{0, {5, 9, 2, 7}, {}, 0, false}}, parse_points(*s->model, "logits"), false,
                    [&](size_t, int64_t, const float* data, int64_t n) {
                        logits[which].insert(logits[which].end(), data, data + n * s->model->vocabulary);
                    });
        }
        const size_t n = logits[0].size();
        EXPECT_LT(far(logits[1].data(), logits[0].data(), n), 5e-3);
        EXPECT_GT(far(logits[2].data(), logits[0].data(), n), 1e-2);
    }
}

TEST_P(OnDevice, EveryActivationIsTakenAsOnTheCpu) {
    for (const bool last : {false, true}) {
        std::map<std::string, std::vector<float>> ran[2];
        for (const int device : {0, 1}) {
            Session s(options(golden(GetParam()), device ? cuda_kernels() : cpu()));
            std::vector<Row> rows;
            for (const Example& e : rows_of(s, 5).examples)
                rows.push_back({e.id, e.sequences[0].ids, e.sequences[0].ids, 0, false});
            const std::vector<Tap> taps = parse_points(
                *s.model, "embed,resid_pre.*,q.*,z.*,attn_out.*,mlp_out.*,resid_post.*,final,logits");
            extract(s, rows, taps, last, [&](size_t t, int64_t, const float* data, int64_t n) {
                std::vector<float>& v = ran[device][taps[t].name];
                v.insert(v.end(), data, data + n * taps[t].width);
            });
        }
        ASSERT_EQ(ran[0].size(), ran[1].size());
        for (const auto& [name, values] : ran[0]) {
            ASSERT_EQ(values.size(), ran[1][name].size()) << name;
            EXPECT_LT(far(ran[1][name].data(), values.data(), values.size()), 2e-4) << name << ", last: " << last;
        }
    }
}

std::string label(const testing::TestParamInfo<const char*>& info) {
    std::string s = info.param;
    for (char& c : s) if (!isalnum(c)) c = '_';
    return s;
}
INSTANTIATE_TEST_SUITE_P(Cuda, OnDevice, testing::Values("smollm2", "qwen3_5"), label);
INSTANTIATE_TEST_SUITE_P(LongCuda, OnDevice,
                         testing::Values("smollm2-mha-untied", "qwen3", "gemma3", "gemma4", "qwen3_5-grouped"), label);

// ---- a device that fails

struct Faulty {
    ~Faulty() { cuda_cpu::faults = {}; }
    const cuda_cpu::DeviceOnly strict;
};
void one_line(const std::string& text) { EXPECT_EQ(text.find('\n'), text.npos) << text; }

TEST(Device, ThatIsFullIsSaidBeforeTheFirstStep) {
    const Faulty restore;
    std::string text;
    // Not even the weights.
    cuda_cpu::faults.memory = size_t(1) << 20;
    EXPECT_EQ(error_of([] { Session s(options(tiny_model(), cuda_kernels())); }, &text), Exit::no_resource);
    EXPECT_NE(text.find(" are needed, 0.00 GB are free; lower the batch"), text.npos) << text;
    one_line(text);
    // The weights, but not a step: known from the plan, and nothing was trained or taken.
    cuda_cpu::faults = {};
    Session s(options(tiny_model(), cuda_kernels()));
    Trainer trainer(s, training(2), sft(), rows_of(s, 3), {});
    const size_t before = cuda_cpu::faults.memory - s.k.memory->available();
    cuda_cpu::faults.memory = before + (size_t(1) << 20);
    EXPECT_EQ(error_of([&] { trainer.step(1); }, &text), Exit::no_resource);
    EXPECT_NE(text.find("not enough memory: this run (weights "), text.npos) << text;
    EXPECT_NE(text.find("--recompute, a smaller --batch-size or --max-length would make it fit"), text.npos) << text;
    one_line(text);
    EXPECT_EQ(cuda_cpu::faults.memory - s.k.memory->available(), before);
    // The weights, but not the cache.
    GenerateOptions g;
    EXPECT_EQ(error_of([&] { generate(s, {{{1, 2, 3}, 0}}, g); }, &text), Exit::no_resource);
    EXPECT_NE(text.find("a smaller --max-tokens would make it fit"), text.npos) << text;
    one_line(text);
    // Somebody else takes what there was, after the plan.
    cuda_cpu::faults = {};
    trainer.allocate();
    cuda_cpu::faults.memory = cuda_cpu::faults.memory - s.k.memory->available();
    EXPECT_EQ(error_of([&] { trainer.step(1); }, &text), Exit::no_resource);
    EXPECT_NE(text.find("device memory: "), text.npos) << text;
    one_line(text);
    // There is room again: nothing is broken.
    cuda_cpu::faults = {};
    EXPECT_GT(trainer.step(1).loss, 0);
}

// What would go well here and nowhere else.
TEST(Device, RefusesWhatAGpuCannotDo) {
    const Faulty restore;
    const Kernels& k = cuda_kernels();
    const auto said = [](const std::function<void()>& f) -> std::string {
        try {
            f();
        } catch (const cuda_cpu::LaunchError& e) {
            return e.what();
        }
        return "";
    };
    Arena mem(size_t(1) << 20, *k.memory);
    std::vector<float> here(64, 1.0f);
    const Tensor there = mem.make(1, 64), also = mem.make(1, 64);
    EXPECT_EQ(said([&] { k.memory->upload(there.data, here.data(), 256), k.copy(also, there); }), "");
    for (const bool to : {false, true}) {
        const std::string text = said([&] {
            if (to) k.copy({here.data(), 1, 64}, there);
            else k.copy(there, {here.data(), 1, 64});
        });
        EXPECT_NE(text.find(" is given an address of the process") != text.npos, cuda_cpu::sanitized) << text;
    }
    k.memory->upload(there.data, here.data(), 256);
    EXPECT_NE(said([&] { k.columns(mem.make(1, 0), there, 0); }).find("a grid of 1 by 0 by 1 blocks"),
              std::string::npos);
    EXPECT_NE(said([&] { k.memory->upload(here.data(), here.data(), 256); }), "");
    EXPECT_NE(said([&] { k.memory->download(also.data, there.data, 256); }), "");
    k.recorder->begin();
    EXPECT_EQ(said([&] { k.memory->upload(there.data, here.data(), 256); }), "copied while a walk is recorded");
    EXPECT_EQ(said([&] { k.memory->download(here.data(), there.data, 256); }), "copied while a walk is recorded");
    k.recorder->drop(k.recorder->end());
    EXPECT_EQ(get(*k.memory, also), here);
}

// Three steps, the state saved after each; the device stops answering after `operations` launches and copies of what
// comes behind step 1.
struct Outcome { Exit code; std::string text, result; int newest; };
Outcome train_until_lost(const std::string& out, bool resume, int64_t operations) {
    const Faulty restore;
    Outcome o{};
    o.code = error_of([&] {
        Session s(options(tiny_model(), cuda_kernels()));
        Trainer trainer(s, training(3), sft(), rows_of(s, 3), {});
        RunFolder folder(out, resume);
        int first = 0;
        if (resume) first = folder.resume(trainer);
        else folder.write_description({{"flags", Json::object()}});
        for (int i = first + 1; i <= 3; i++) {
            trainer.step(i);
            folder.save(trainer, i, 4);
            if (i == 1) cuda_cpu::faults.operations = operations;
        }
        folder.write_result(trainer, s);
    }, &o.text);
    o.newest = newest_checkpoint(out);
    if (o.code == Exit::ok) o.result = read_file(out + "/adapter/adapter_model.safetensors");
    return o;
}

TEST(Device, ThatIsLostLeavesTheLastCheckpoint) {
    const TempFolder t;
    const Outcome whole = train_until_lost(t / "whole", false, -1);
    ASSERT_EQ(whole.code, Exit::ok) << whole.text;
    std::map<int, int> left;                    // newest checkpoint: times
    int runs = 0;
    for (int64_t operations = 0;; operations += operations / 3 + 1, runs++) {
        const std::string run = t / std::to_string(operations);
        const Outcome lost = train_until_lost(run, false, operations);
        if (lost.code == Exit::ok) break;       // that many are not needed
        EXPECT_EQ(lost.code, Exit::failed);
        EXPECT_EQ(lost.text, "cuda: launch: unspecified launch failure; the device may be lost: start again, the last "
                             "checkpoint stands");
        EXPECT_GE(lost.newest, 1);
        for (int step = 1; step <= lost.newest; step++)
            EXPECT_EQ(damage(run + "/checkpoints/step-" + std::to_string(step)), "") << operations;
        EXPECT_FALSE(exists(run + "/adapter")) << "half a result";
        left[lost.newest]++;
        if (runs % 4) continue;
        const Outcome again = train_until_lost(run, true, -1);
        EXPECT_EQ(again.code, Exit::ok) << again.text;
        EXPECT_EQ(again.result, whole.result) << operations;
    }
    EXPECT_GE(left[1], 3);
    EXPECT_GE(left[2], 2);
}

TEST(Device, ThatIsLostEndsGenerationAndScoring) {
    const Faulty restore;
    Session s(options(tiny_model(), cuda_kernels()));
    for (const int64_t operations : {0, 40, 300}) {
        std::string text;
        GenerateOptions g;
        g.max_tokens = 40, g.ignore_eos = true;
        cuda_cpu::faults.operations = operations;
        EXPECT_EQ(error_of([&] { generate(s, {{{1, 2, 3}, 0}, {{4, 5}, 1}}, g); }, &text), Exit::failed);
        one_line(text);
        cuda_cpu::faults.operations = operations / 10;
        EXPECT_EQ(error_of([&] {
            score(s, {{0, {1, 2, 3}, {1, 2, 3}, 0, false}}, [](size_t, const std::vector<float>&) {});
        }, &text), Exit::failed);
        one_line(text);
        cuda_cpu::faults = {};
    }
}

}  // namespace
