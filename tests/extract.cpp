// extract.cpp - activations of many rows: the same whatever the way they come, in memory that does not grow with them.
#include "../engine/file.h"
#include "../models/spool.h"
#include "../verbs/init.h"
#include "tiny.h"

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
    How how;
    if (input == "-") how.input = read_file(t.folder / "rows.jsonl");
    Ran r = run_dd({"extract", "--model", t.folder / "m", "--input", input, "--points", "embed,z.0,logits",
                    "--precision", "f32", "--threads", "1", "--out", out, "--quiet"}, how);
    EXPECT_EQ(r.code, 0) << r.err;
    return r.peak;
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
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
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
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    Tiny t;
    size_t few = extract_to(t, t.rows(2000), t.folder / "few.safetensors");
    size_t many = extract_to(t, t.rows(120000), t.folder / "many.npz");     // nearly a million tokens, 300 MB of output
    EXPECT_GT(few, size_t(1) << 20);
    EXPECT_LT(many, few + (size_t(6) << 20));
}

// `logits` is what the head makes of `final`, to the bit: the reference's product (kernels/cpu/ref.cpp) of the same
// precision on the numbers that the file holds, then the softcap where config.json has one. With bf16 operands these
// numbers are bf16 numbers, so that nothing is rounded on the way.
TEST(Extract, LogitsAreTheProductOfFinal) {
    if (!have_dd()) GTEST_SKIP() << "needs the program: make dd";
    const TempFolder temp;
    std::string text;
    for (int i = 0; i < 9; i++) {                       // more rows than go through the product at a time
        Json ids = Json::array();
        for (int k = 0; k < 35 - i; k++) ids.push_back((i * 31 + k * k * 7 + 3) % 90);
        text += dump({{"input_ids", ids}}) + "\n";
    }
    const std::string rows = temp.put("rows.jsonl", text);
    int capped = 0;
    for (const char* name :
         {"smollm2", "smollm2-mha-untied", "qwen3", "gemma3", "gemma4", "qwen3_5", "qwen3_5-grouped"})
        for (const char* precision : {"f32", "bf16"})
            for (const char* tokens : {"all", "last"})
                for (bool adapted : {false, true}) {
                    const std::string model = here(std::string("goldens/") + name), out = temp / "out.safetensors";
                    SCOPED_TRACE(std::string(name) + " " + precision + " " + tokens);
                    std::vector<std::string> args = {"extract",     "--model",     model,     "--input",  rows,
                                                     "--points",    "final,logits", "--out",   out,        "--tokens",
                                                     tokens,        "--precision", precision, "--quiet"};
                    SessionOptions o;
                    o.model = model, o.precision = precision, o.quiet = true, o.kernels = &cpu("scalar");
                    Session s(o);
                    int b = s.model->layers - 1;        // a block with heads, to be changed
                    while (!s.model->blocks[b].heads) b--;
                    if (adapted)
                        args.insert(args.end(), {"--adapter", model + "/adapter", "--temper",
                                                 std::to_string(b) + ".0=0.5"});
                    const Ran r = run_dd(args);
                    ASSERT_EQ(r.code, 0) << r.err;
                    const auto file = open_safetensors(out);
                    const Stored *h = file->find("final"), *z = file->find("logits");
                    ASSERT_TRUE(h && z);
                    const int n = int(h->shape[0]), dim = s.model->dim, vocabulary = s.model->vocabulary;
                    ASSERT_EQ(n, tokens == std::string("last") ? 9 : 279);
                    Arena mem(size_t(64) << 20);
                    Tensor final{(void*)h->data, n, dim}, x = mem.make(n, dim, s.operand), back = mem.make(n, dim);
                    s.k.copy(x, final), s.k.copy(back, x);
                    EXPECT_EQ(memcmp(back.data, final.data, final.bytes()), 0) << "final is not in the operands' type";
                    Tensor want = mem.make(n, vocabulary);
                    Product product{want, &s.model->head().w->m, {}, nullptr};
                    s.k.matmul(&product, 1, x);
                    const float cap = s.checkpoint.config.value("final_logit_softcapping", Json()).is_number()
                                          ? s.checkpoint.config["final_logit_softcapping"].get<float>() : 0;
                    if (cap > 0) s.k.softcap(want, cap), capped++;
                    ASSERT_EQ(z->bytes, want.bytes());
                    EXPECT_EQ(memcmp(z->data, want.data, want.bytes()), 0);
                    if (s.operand != Type::f32) continue;
                    std::vector<float> plain;           // and the reference's product is E h
                    const Stored* e = s.checkpoint.find(s.model->head().w->name);
                    for (int i = 0; i < n; i++)
                        for (int v = 0; v < vocabulary; v++) {
                            double sum = 0;
                            for (int k = 0; k < dim; k++)
                                sum += double(((const float*)e->data)[v * dim + k]) * final.slice(i, 1).f()[k];
                            plain.push_back(float(cap > 0 ? cap * std::tanh(sum / cap) : sum));
                        }
                    EXPECT_LE(far(want.f(), plain.data(), plain.size()), 2e-6);
                }
    EXPECT_EQ(capped, 8) << "Gemma 4 has a softcap";
}

}  // namespace
