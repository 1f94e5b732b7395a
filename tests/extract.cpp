// extract.cpp - activations of many rows: the same whatever the way they come, in memory that does not grow with them.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "../engine/file.h"
#include "../models/spool.h"
#include "../verbs/init.h"
#include "support.h"

namespace {

std::vector<int> row_of(int i) {
    std::vector<int> ids;
    for (int k = 0; k < 3 + i * 7 % 11; k++) ids.push_back((i * 31 + k * k * 5 + 1) % 60);
    return ids;
}

struct Tiny {
    TempFolder folder;
    Tiny() {
        write_file(folder / "tiny.json", R"({"model_type":"llama","hidden_size":8,"intermediate_size":16,
            "num_hidden_layers":1,"num_attention_heads":2,"vocab_size":60,"max_position_embeddings":64,
            "rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true,"initializer_range":0.1})");
        init_model(folder / "tiny.json", folder / "m", 3, "f32", "");
    }
    std::string rows(int n) {
        std::string text;
        for (int i = 0; i < n; i++) text += Json({{"input_ids", row_of(i)}}).dump() + "\n";
        write_file(folder / "rows.jsonl", text);
        return folder / "rows.jsonl";
    }
};

// Runs ./dd extract; the most memory that it had, in bytes.
size_t extract_to(const Tiny& t, const std::string& input, const std::string& out) {
    pid_t child = fork();
    if (child == 0) {
        int in = open((t.folder / "rows.jsonl").c_str(), O_RDONLY);
        dup2(in, 0);
        std::string model = t.folder / "m";
        execl(DD_BINARY, "dd", "extract", "--model", model.c_str(), "--input", input.c_str(), "--points",
              "embed,z.0,logits", "--precision", "f32", "--threads", "1", "--out", out.c_str(), "--quiet", nullptr);
        _exit(99);
    }
    int status = 0;
    rusage use{};
    EXPECT_EQ(wait4(child, &status, 0, &use), child);
    EXPECT_EQ(status, 0);
    return size_t(use.ru_maxrss) << 10;
}

TEST(Spool, GivesBackWhatItWasGiven) {
    TempFolder temp;
    Spool s(temp / "out");
    std::vector<int> ids;
    EXPECT_TRUE(std::filesystem::is_empty(temp.path)) << "it has no name";
    for (int i = 0; i < 100; i++) s.add(row_of(i));
    for (int again : {0, 1}) {
        s.rewind();
        for (int i = 0; i < 100; i++) {
            ASSERT_TRUE(s.next(ids)) << again;
            EXPECT_EQ(ids, row_of(i));
        }
        EXPECT_FALSE(s.next(ids));
    }
    EXPECT_EQ(s.rows, 100);
    EXPECT_EQ(error_of([&] { Spool none(temp / "absent/out"); }), Exit::bad_input);
}

TEST(Extract, IsTheSameHoweverRowsCome) {
    Tiny t;
    constexpr int n = 700;                              // several groups
    std::string file = t.rows(n);
    extract_to(t, file, t.folder / "a.safetensors");
    extract_to(t, "-", t.folder / "b.safetensors");
    auto a = open_safetensors(t.folder / "a.safetensors"), b = open_safetensors(t.folder / "b.safetensors");
    SessionOptions o;
    o.model = t.folder / "m", o.precision = "f32", o.quiet = true;
    Session s(o);
    std::vector<Row> rows;
    std::vector<int64_t> ids, offsets{0};
    for (int i = 0; i < n; i++) {
        rows.push_back({i, row_of(i), {}, 0, false});
        ids.insert(ids.end(), rows.back().ids.begin(), rows.back().ids.end());
        offsets.push_back(int64_t(ids.size()));
    }
    auto same = [&](const std::string& name, const void* data, size_t bytes) {
        for (const auto* f : {&a, &b}) {
            const Stored* stored = (*f)->find(name);
            ASSERT_TRUE(stored) << name;
            ASSERT_EQ(stored->bytes, bytes) << name;
            EXPECT_EQ(memcmp(stored->data, data, bytes), 0) << name;
        }
    };
    same("ids", ids.data(), ids.size() * 8);
    same("offsets", offsets.data(), offsets.size() * 8);
    for (std::string point : {"embed", "z.0", "logits"}) {
        std::vector<float> values;                      // every row alone: numbers do not depend on the group
        for (const Row& r : rows)
            extract(s, {r}, parse_points(*s.model, point), false,
                    [&](size_t, int64_t, const float* data, int64_t count) {
                        values.insert(values.end(), data, data + count * (point == "logits" ? 60 : 8));
                    });
        same(point, values.data(), values.size() * 4);
    }
}

TEST(Extract, ItsMemoryDoesNotGrowWithRows) {
    Tiny t;
    size_t few = extract_to(t, t.rows(2000), t.folder / "few.safetensors");
    size_t many = extract_to(t, t.rows(120000), t.folder / "many.npz");     // nearly a million tokens, 300 MB of output
    EXPECT_LT(many, few + (size_t(6) << 20));
}

}  // namespace
