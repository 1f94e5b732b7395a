// edits.cpp - interventions as a user gives them, on every verb that runs a model and on every architecture: neutral
// ones change no bit of what is written, others change it, and what a model does not have is refused in one line.
#include <filesystem>
#include <set>
#include "../engine/file.h"
#include "tiny.h"

namespace {

using Args = std::vector<std::string>;
namespace fs = std::filesystem;

// Everything but paths and times of the files that a verb leaves behind.
std::string written(const std::string& path) {
    std::string all;
    if (path.ends_with(".safetensors")) {
        auto file = open_safetensors(path);
        for (const Stored& s : file->tensors()) all += s.name + std::string(s.data, s.bytes);
        return all;
    }
    std::string text = read_file(path);
    for (size_t at = 0; at < text.size();) {
        size_t end = std::min(text.find('\n', at), text.size());
        Json line = parse_json(text.substr(at, end - at), path);
        for (const char* timing : {"seconds", "tokens_per_s", "peak_bytes"}) line.erase(timing);
        all += dump(line) + "\n";
        at = end + 1;
    }
    return all;
}

class Edits : public testing::TestWithParam<const char*> {
protected:
    void SetUp() override {
        if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
        SessionOptions o;
        o.model = model, o.precision = "f32", o.quiet = true;
        Session s(o);
        for (int b = 0; b < s.model->layers; b++)
            if (s.model->blocks[b].heads) last = b;         // of Gemma 4 one whose heads are twice as wide
        heads = s.model->blocks[last].heads, size = s.model->blocks[last].head_size;
        dim = s.model->dim, layers = s.model->layers;
        std::string prompts, some;
        for (int i = 0; i < 3; i++) prompts += dump({{"input_ids", {3 + i, 9, 17, 5}}}) + "\n";
        prompt = t.put("prompts.jsonl", prompts);
        for (int i = 0; i < 5; i++) {
            Json ids = Json::array();
            for (int k = 0; k < 7 + i; k++) ids.push_back((i * 31 + k * k * 7 + 3) % 90);
            some += dump({{"input_ids", ids}}) + "\n";
        }
        rows = t.put("rows.jsonl", some);
        std::vector<float> v(size_t(dim), 0.25f);
        v[1] = -1;
        SafetensorsWriter w(t / "v.safetensors", {{"a", Type::f32, {dim}}, {"short", Type::f32, {dim - 1}}}, {});
        w.write(0, 0, v.data(), dim);
        w.write(1, 0, v.data(), dim - 1);
        w.commit();
    }
    std::string head(int h) const { return std::to_string(last) + "." + std::to_string(h); }
    Ran dd(Args args, const Args& edits) const {
        for (const char* a : {"--model", model.c_str(), "--precision", "f32", "--threads", "1", "--quiet"})
            args.push_back(a);
        args.insert(args.end(), edits.begin(), edits.end());
        return run_dd(args);
    }
    // What each verb leaves behind under these edits.
    std::string all_of(const std::string& verb, const Args& edits) {
        std::string out = t / ("out" + std::to_string(runs++));
        Args args = verb == "generate" ? Args{"--input", prompt, "--max-tokens", "6", "--json", "--ignore-eos"}
                    : verb == "score"  ? Args{"--input", rows, "--json"}
                    : verb == "extract"
                        ? Args{"--input", rows, "--out", out + ".safetensors", "--points",
                               "z.*,resid_post.*,final,logits"}
                    : verb == "eval" ? Args{"--task", "loss", "--data", rows, "--alone", "--out", out}
                                     : Args{"--train-file", rows, "--out", out, "--steps", "2", "--batch-size", "2"};
        args.insert(args.begin(), verb);
        Ran r = dd(args, edits);
        EXPECT_EQ(r.code, 0) << r.err;
        if (r.code) return "";
        if (verb == "extract") return written(out + ".safetensors");
        if (verb == "train") return written(out + "/log.jsonl") + written(out + "/adapter/adapter_model.safetensors");
        if (verb == "eval")
            for (const fs::path& f : fs::directory_iterator(out))
                if (f.filename().string().starts_with("items-")) return written(f);
        return r.out.substr(0, r.out.find("\"seconds\""));
    }

    const std::string model = here(std::string("goldens/") + GetParam());
    TempFolder t;
    std::string rows, prompt;
    int last = 0, heads = 0, size = 0, dim = 0, layers = 0, runs = 0;
};

TEST_P(Edits, OnEveryVerb) {
    const std::string v = std::to_string(layers - 1) + "=" + (t / "v.safetensors") + "#a";
    for (std::string verb : {"generate", "score", "extract", "eval", "train"}) {
        SCOPED_TRACE(verb);
        std::string plain = all_of(verb, {});
        EXPECT_FALSE(plain.empty());
        EXPECT_EQ(all_of(verb, {"--temper", head(0) + "=1," + head(heads - 1) + "=1"}), plain);
        EXPECT_EQ(all_of(verb, {"--steer", v + "*0"}), plain);
        std::set<std::string> different{plain};
        for (Args edits : {Args{"--temper", head(heads - 1) + "=0.25"}, {"--ablate", head(0)}, {"--steer", v + "*0.5"},
                           {"--project-out", v}})
            different.insert(all_of(verb, edits));
        EXPECT_EQ(different.size(), 5u);
    }
}

TEST_P(Edits, WhatIsNotThereIsRefused) {
    const std::string v = (t / "v.safetensors") + "#", n = std::to_string(layers);
    auto refused = [&](const Args& edits, Exit code, const std::string& says) {
        for (std::string verb : {"score", "train"}) {
            Args args{verb, verb == "score" ? "--input" : "--train-file", rows};
            if (verb == "train") args.insert(args.end(), {"--out", t / "no-run", "--steps", "1"});
            Ran r = dd(args, edits);
            EXPECT_EQ(r.code, int(code)) << r.err;
            EXPECT_NE(r.err.find(says), r.err.npos) << r.err;
            EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
        }
    };
    refused({"--temper", n + ".0=0.5"}, Exit::usage, "this model has blocks 0 to " + std::to_string(layers - 1));
    refused({"--ablate", head(heads)}, Exit::usage, "has heads 0 to " + std::to_string(heads - 1));
    refused({"--steer", "0=" + v + "short"}, Exit::usage, std::to_string(dim) + " numbers");
    refused({"--project-out", "0=" + v + "none"}, Exit::bad_input, "no tensor \"none\"");
    refused({"--steer", n + "=" + v + "a"}, Exit::usage, "this model has blocks");
    if (!last) return;
    Ran r = dd({"extract", "--input", rows, "--points", "z." + n, "--out", t / "x.npz"}, {});
    EXPECT_EQ(r.code, int(Exit::usage));
    EXPECT_NE(r.err.find("blocks are 0 to " + std::to_string(layers - 1)), r.err.npos) << r.err;
}

// A head whose recorded mean is put in its place; the others are what they were.
TEST_P(Edits, AblationToAMean) {
    const std::string z = "z." + std::to_string(last), means = t / "means.safetensors";
    std::vector<float> mean(size_t(heads) * size_t(size));
    for (size_t i = 0; i < mean.size(); i++) mean[i] = 0.01f * float(int(i * 7 % 23) - 11);
    SafetensorsWriter w(means, {{z, Type::f32, {int64_t(mean.size())}}}, {});
    w.write(0, 0, mean.data(), int64_t(mean.size()));
    w.commit();
    auto taken = [&](const std::string& name, const Args& edits) {
        Ran r = dd({"extract", "--input", rows, "--out", t / name, "--points", z}, edits);
        EXPECT_EQ(r.code, 0) << r.err;
        auto file = open_safetensors(t / name);
        const Stored* s = file->find(z);
        return std::vector<float>((const float*)s->data, (const float*)(s->data + s->bytes));
    };
    const std::vector<float> plain = taken("plain.safetensors", {});
    std::vector<float> want = plain;
    for (size_t i = 0; i < want.size(); i++)
        if (i % mean.size() / size_t(size) == size_t(heads) - 1) want[i] = mean[i % mean.size()];
    EXPECT_EQ(taken("put.safetensors", {"--ablate", head(heads - 1), "--ablate-to", "mean:" + means}), want);
    EXPECT_NE(want, plain);
    Ran idle = dd({"score", "--input", rows}, {"--ablate-to", "mean:" + means});
    EXPECT_EQ(idle.code, int(Exit::usage));
    EXPECT_NE(idle.err.find("no head is ablated"), idle.err.npos) << idle.err;
}

// What `dd train --train-edits` writes is what --edits takes, whatever the verb.
TEST_P(Edits, ThoseThatWereTrained) {
    for (std::string kind : {"gains", "vector"}) {
        SCOPED_TRACE(kind);
        const std::string run = t / kind;
        Ran r = dd({"train", "--train-edits", kind, "--train-file", rows, "--out", run, "--steps", "4", "--batch-size",
                    "5", "--lr", "0.05"}, {});
        ASSERT_EQ(r.code, 0) << r.err;
        EXPECT_FALSE(exists(run + "/adapter"));
        for (std::string verb : {"generate", "score", "extract", "eval", "train"}) {
            SCOPED_TRACE(verb);
            std::string with = all_of(verb, {"--edits", run + "/edits.json"});
            EXPECT_FALSE(with.empty());
            EXPECT_TRUE(verb == "generate" || with != all_of(verb, {}));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Edits,
                         testing::Values("smollm2", "qwen3", "gemma3", "gemma4", "qwen3_5", "qwen3_5-grouped"),
                         [](const auto& info) {
                             std::string s = info.param;
                             for (char& c : s) if (!isalnum(c)) c = '_';
                             return s;
                         });

}  // namespace
