// mutants.cpp - ten thousand seeded mutants of tiny files of every format. Each must be read, or refused as bad input
// in one line: within a second, and without more memory than twice the file and 64 MiB.
#include <chrono>
#include "../kernels/random.h"
#include "../train/run_folder.h"
#include "tiny.h"

namespace {

// Changes a file as damage and malice do. `head`: the bytes in front in which structure lies; most changes are there.
class Mutator {
public:
    Mutator(std::string bytes, size_t head, uint64_t seed) : s_(std::move(bytes)), head_(head), r_(seed, 7) {}

    std::string mutant() {
        for (uint32_t n = 1 + r_.below(3); n > 0; n--) change();
        return std::move(s_);
    }

private:
    uint32_t below(size_t n) { return r_.below(uint32_t(std::max<size_t>(n, 1))); }
    size_t place() {
        const size_t head = std::min(head_, s_.size());
        return below(r_.below(10) ? head : s_.size());
    }
    // A stretch of at most `most` bytes.
    std::pair<size_t, size_t> stretch(size_t most) {
        const size_t at = place();
        return {at, std::min<size_t>(1 + below(most), s_.size() - std::min(at, s_.size()))};
    }
    void number(size_t bytes) {                 // a little-endian number that is often just wrong
        const uint64_t edges[] = {0, 1, 2, 31, 32, 255, 4096, 65535, INT32_MAX, UINT32_MAX, 1ull << 32, 1ull << 62,
                                  INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 7, s_.size(), s_.size() - 8};
        const uint64_t n = edges[below(std::size(edges))];
        const size_t at = place() & ~size_t(3);
        if (at + bytes <= s_.size()) memcpy(s_.data() + at, &n, bytes);
    }
    void digits() {                             // the number that stands at a place, by another
        size_t at = place();
        while (at < s_.size() && !isdigit(uint8_t(s_[at]))) at++;
        size_t end = at;
        while (end < s_.size() && isdigit(uint8_t(s_[end]))) end++;
        const char* numbers[] = {"0", "1", "-1", "2147483648", "4294967297", "9223372036854775808", "1e9", "1e400",
            "0.5",
                                 "18446744073709551615", "99999999999999999999999", "\"7\"", "null", "[]", "{}",
                                     "true"};
        if (at < end) s_.replace(at, end - at, numbers[below(std::size(numbers))]);
    }
    void swap_words() {                         // two quoted words: fields, names, values
        std::pair<size_t, size_t> words[2];
        for (auto& [at, n] : words) {
            at = s_.find('"', place());
            const size_t end = at == s_.npos ? at : s_.find('"', at + 1);
            if (end == s_.npos) return;
            n = end + 1 - at;
        }
        if (words[0].first > words[1].first) std::swap(words[0], words[1]);
        const auto [a, n] = words[0];
        const auto [b, m] = words[1];
        if (a + n > b) return;
        const std::string first = s_.substr(a, n), second = s_.substr(b, m);
        s_.replace(b, m, first).replace(a, n, second);
    }
    void change() {
        if (s_.empty()) return;
        const size_t at = place();
        switch (r_.below(11)) {
            case 0: s_[at] = char(s_[at] ^ (1 << r_.below(8))); break;
            case 1: s_[at] = char(r_.u32()); break;
            case 2: s_.resize(below(s_.size())); break;
            case 3: s_.insert(at, std::string(1 + r_.below(r_.below(20) ? 8 : 5000), "\0\xff[{\"0 a"[r_.below(8)]));
                break;
            case 4: { auto [b, n] = stretch(40); s_.erase(b, n); break; }
            case 5: { auto [b, n] = stretch(80); s_.insert(at, s_.substr(b, n)); break; }
            case 6: { auto [b, n] = stretch(16); s_.replace(std::min(at, s_.size()), n, s_.substr(b, n)); break; }
            case 7: number(4); break;
            case 8: number(8); break;
            case 9: digits(); break;
            default: swap_words();
        }
    }

    std::string s_;
    size_t head_;
    Random r_;
};

struct Tally { int read = 0, refused = 0; double slowest = 0; };

// `open` with mutants 0 .. n-1 of these bytes put in place by `put`.
Tally try_mutants(const std::string& good, size_t head, int n, const std::function<void(const std::string&)>& put,
                  const std::function<void()>& open, size_t beside = 0) {
    using Clock = std::chrono::steady_clock;
    Tally t;
    for (int i = 0; i < n && !testing::Test::HasFailure(); i++) {
        const std::string bytes = i ? Mutator(good, head, uint64_t(i)).mutant() : good;
        put(bytes);
        SCOPED_TRACE(format("mutant %d", i));
        const auto start = Clock::now();
        try {
            const MemoryLimit limit(2 * (bytes.size() + beside) + (uint64_t(64) << 20));
            open();
            t.read++;
        } catch (const Error& e) {
            EXPECT_TRUE(i > 0 && e.code == Exit::bad_input) << e.what();
            EXPECT_EQ(strchr(e.what(), '\n'), nullptr) << e.what();
            EXPECT_LT(strlen(e.what()), 1000u);
            t.refused++;
        } catch (const std::exception& e) {
            ADD_FAILURE() << e.what();
        }
        t.slowest = std::max(t.slowest, std::chrono::duration<double>(Clock::now() - start).count());
    }
    EXPECT_LT(t.slowest, 1.0);
    EXPECT_GT(t.refused, n / 10);
    EXPECT_GT(t.read, 0);
    return t;
}

void spoil(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
}

// A model from these files, and a pass over a row of ids; what is not a number in it is the run's matter.
void open_and_score(const std::string& path, const std::string& adapter = "") {
    SessionOptions o;
    o.model = path, o.quiet = true, o.threads = 1;
    if (!adapter.empty()) o.adapters = {adapter};
    Session s(o);
    s.stops();
    Row row;
    row.ids = row.labels = {0, 0, 0, 0};
    try {
        score(s, {row}, [](size_t, const std::vector<float>&) {});
    } catch (const Error& e) {
        if (e.code != Exit::numerics) throw;
    }
}

class Mutants : public testing::Test {
protected:
    void SetUp() override { open_and_score(folder); }           // memory that kernels keep is taken now
    const TempFolder t;
    const std::string folder = copy_of_tiny(t);
    std::string good(const std::string& name) const { return read_file(folder + "/" + name); }
    auto put(const std::string& path) const {
        return [path](const std::string& bytes) { spoil(path, bytes); };
    }
};

TEST_F(Mutants, OfSafetensors) {
    try_mutants(good("model.safetensors"), 2100, 2000, put(folder + "/model.safetensors"),
        [&] { open_and_score(folder); });
}

TEST_F(Mutants, OfShardsAndTheirIndex) {
    std::filesystem::rename(folder + "/model.safetensors", folder + "/one.safetensors");
    Json map = Json::object();
    const auto file = open_safetensors(folder + "/one.safetensors");
    for (const Stored& s : file->tensors()) map[s.name] = "one.safetensors";
    const Json index = {{"metadata", {{"total_size", 5}}}, {"weight_map", map}};
    try_mutants(index.dump(1), SIZE_MAX, 500, put(folder + "/model.safetensors.index.json"),
                [&] { open_and_score(folder); }, 100'000);
}

TEST_F(Mutants, OfConfigurations) {
    for (const char* architecture : {"llama", "gemma3"}) {
        const TempFolder other;
        const std::string at = copy_of_tiny(other, architecture);
        try_mutants(read_file(at + "/config.json"), SIZE_MAX, 750, put(at + "/config.json"), [&] { open_and_score(at);
            },
                    100'000);
    }
}

TEST_F(Mutants, OfGguf) {
    const std::string path = t / "m.gguf";
    write_tiny_gguf(path);
    const std::string whole = read_file(path);
    try_mutants(whole, whole.find("blk.1.attn_q") + 1000, 2500, put(path), [&] {
        open_and_score(path);
        const Checkpoint c(path);
        c.tokenizer()->encode("a<|im_end|> b");
    });
}

TEST_F(Mutants, OfTokenizers) {
    for (const std::string& file : {folder + "/tokenizer.json", here("data/gemma3.tokenizer.json")}) {
        // Of the large one mostly what stands around its tables.
        const std::string whole = read_file(file), path = t / "tokenizer.json";
        const bool large = whole.size() > 50'000;
        try_mutants(whole, large ? 3000 : SIZE_MAX, large ? 250 : 1000, put(path), [&] {
            const auto tokenizer = read_tokenizer(path);
            const std::vector<int> ids = tokenizer->encode("It's 12 <|im_end|>\n caf\xc3\xa9 \xff");
            tokenizer->decode(ids);
        });
    }
}

TEST_F(Mutants, OfAdapters) {
    const std::string adapter = t / "adapter";
    write_tiny_adapter(adapter, 2);
    const std::string tensors = adapter + "/adapter_model.safetensors", config = adapter + "/adapter_config.json";
    const std::string whole = read_file(tensors), text = read_file(config);
    try_mutants(whole, 4400, 1000, put(tensors), [&] { open_and_score(folder, adapter); }, 100'000);
    spoil(tensors, whole);
    try_mutants(text, SIZE_MAX, 500, put(config), [&] { open_and_score(folder, adapter); }, 100'000);
}

TEST_F(Mutants, OfRows) {
    SessionOptions o;
    o.model = folder, o.quiet = true, o.chat_format = "qwen3";
    Session s(o);
    const RowReader reader = s.reader();
    const std::string path = t / "rows.jsonl";
    const std::string text =
        tiny_rows(2) + "{\"id\":\"x\",\"text\":\"one \\u00e9\"}\n" +
        R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"<think>a</think>ho"}]})" + "\n" +
        R"({"prompt":"a","completion":"b"})" + "\n" + R"({"input_ids":[1,2,3],"labels":[-100,2,3]})" + "\n";
    try_mutants(text, SIZE_MAX, 1000, put(path), [&] { read_rows(path, reader); });
    try_mutants("{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n", SIZE_MAX, 250, put(path),
                [&] { read_pairs(path, reader); });
}

// Manifests are read with the folder that they describe; a damaged one is passed over.
TEST_F(Mutants, OfCheckpoints) {
    const std::string at = t / "step-3", file = at + "/MANIFEST.json";
    make_folders(at);
    spoil(at + "/state.safetensors", "state");
    const Json manifest = {{"format", 1}, {"step", 3}, {"run", ""},
                           {"files", {{"state.safetensors", {{"bytes", 5}, {"sha256", sha256("state")}}}}}};
    try_mutants(manifest.dump(2) + "\n", SIZE_MAX, 250, put(file), [&] {
        if (const std::string why = damage(at); !why.empty()) fail(Exit::bad_input, "%s", printable(why).c_str());
    });
}

}  // namespace
