// tokenizer.cpp - ids and texts, against Hugging Face's tokenizers library: the models' own tokenizers cut down to what
// the texts need (make_mini_tokenizers.py), read from tokenizer.json and from GGUF, and small random ones.
#include "../engine/tokenizer.h"
#include <chrono>
#include <random>
#include <thread>
#include "../engine/chat.h"
#include "../engine/gguf.h"
#include "../engine/json.h"
#include "files.h"

namespace {

const char* const families[] = {"smollm2", "qwen3", "gemma3"};

std::vector<Json> rows(const std::string& name) {
    std::vector<Json> all;
    std::ifstream file(data_file(name));
    for (std::string line; std::getline(file, line);) all.push_back(parse_json(line, name));
    EXPECT_FALSE(all.empty()) << name;
    return all;
}

std::unique_ptr<Tokenizer> mini(const std::string& family) {
    return read_tokenizer(data_file(family + ".tokenizer.json"));
}

using Ids = std::vector<int>;

std::string streamed(const Tokenizer& t, const Ids& ids, bool plain = false) {
    StreamDecoder decoder(t, plain);
    std::string text;
    for (const int id : ids) text += decoder.push(id);
    return text + decoder.finish();
}

// The tokenizer as llama.cpp's converter would write it: a list of tokens, padded, and merges or scores.
std::string write_gguf(const TempFolder& folder, const std::string& family, bool spaces_written_back) {
    const Json j = read_json_file(data_file(family + ".tokenizer.json"));
    const bool scores = family == "gemma3";
    size_t size = 0;
    for (const auto& [text, id] : j["model"]["vocab"].items()) size = std::max(size, id.get<size_t>() + 1);
    for (const Json& a : j["added_tokens"]) size = std::max(size, a["id"].get<size_t>() + 1);
    std::vector<std::string> tokens(size + 3);
    std::vector<int32_t> types(tokens.size(), 5);
    std::vector<float> score(tokens.size(), -10000);
    for (size_t i = 0; i < tokens.size(); i++) tokens[i] = "[PAD" + std::to_string(i) + "]";
    for (const auto& [text, id] : j["model"]["vocab"].items()) {
        const size_t i = id;
        tokens[i] = text, types[i] = scores && text.starts_with("<0x") ? 6 : 1, score[i] = -float(i);
    }
    for (const Json& a : j["added_tokens"]) {
        const size_t i = a["id"];
        std::string text = a["content"];
        const bool special = a["special"];
        for (size_t at; spaces_written_back && !special && (at = text.find("▁")) != text.npos;)
            text.replace(at, 3, " ");
        tokens[i] = text, types[i] = special ? 3 : 4, score[i] = -1000;
    }
    GgufWriter w;
    w.add("tokenizer.ggml.model", scores ? "llama" : "gpt2");
    w.add("tokenizer.ggml.pre", family == "smollm2" ? "smollm" : scores ? "default" : "qwen2");
    w.add("tokenizer.ggml.tokens", tokens);
    w.add("tokenizer.ggml.token_type", types);
    w.add("tokenizer.ggml.bos_token_id", uint32_t(scores ? 2 : 1));
    w.add("tokenizer.ggml.eos_token_id", uint32_t(scores ? 1 : 2));
    w.add("tokenizer.ggml.add_bos_token", scores);
    if (scores) {
        w.add("tokenizer.ggml.scores", score);
        w.add("tokenizer.ggml.add_space_prefix", false);
        w.add("tokenizer.ggml.unknown_token_id", uint32_t(3));
    } else {
        std::vector<std::string> merges;
        for (const Json& m : j["model"]["merges"])
            merges.push_back(m.is_string() ? std::string(m) : std::string(m[0]) + " " + std::string(m[1]));
        w.add("tokenizer.ggml.merges", merges);
    }
    const std::string path = folder / (family + ".gguf");
    w.write(path);
    return path;
}

void expect_golden(const Tokenizer& t, const std::string& family) {
    for (const Json& r : rows(family + ".tokens.jsonl")) {
        const std::string text = r["text"], decoded = r.value("decoded", text);
        const std::string plain = r.value("decoded_plain", decoded);
        const Ids ids = r["ids"];
        SCOPED_TRACE(family + " " + dump(r).substr(0, 200));
        EXPECT_EQ(t.encode(text, r["special"], false), ids);
        EXPECT_EQ(t.decode(ids), decoded);
        EXPECT_EQ(t.decode(ids, true), plain);
        EXPECT_EQ(streamed(t, ids), decoded);
        EXPECT_EQ(streamed(t, ids, true), plain);
    }
}

TEST(Tokenizer, GivesTheIdsAndTextsOfTheReference) {
    for (const char* family : families) expect_golden(*mini(family), family);
}

TEST(Tokenizer, FromGgufGivesTheSame) {
    const TempFolder folder;
    for (const char* family : families)
        for (const bool spaces_written_back : {false, true}) {
            const auto file = open_gguf(write_gguf(folder, family, spaces_written_back));
            const auto t = read_tokenizer(*file);
            expect_golden(*t, family);
            EXPECT_EQ(t->bos(), family == std::string("gemma3") ? 2 : -1);
            EXPECT_EQ(t->eos(), family == std::string("gemma3") ? 1 : 2);
            EXPECT_EQ(t->decode(Ids{t->size() + 1}), "") << "padding is no text";
        }
}

// Gemma 4's vocabulary and merges are Gemma 3's; its added tokens are others, and its files do not ask for the BOS that
// it needs.
std::unique_ptr<Tokenizer> gemma4() {
    Json j = read_json_file(data_file("gemma3.tokenizer.json"));
    const std::pair<int, const char*> added[] = {
        {0, "<pad>"}, {1, "<eos>"}, {2, "<bos>"}, {3, "<unk>"}, {4, "<mask>"}, {46, "<|tool>"}, {47, "<tool|>"},
        {48, "<|tool_call>"}, {49, "<tool_call|>"}, {50, "<|tool_response>"}, {51, "<tool_response|>"},
        {52, "<|\"|>"}, {98, "<|think|>"}, {100, "<|channel>"}, {101, "<channel|>"}, {105, "<|turn>"},
        {106, "<turn|>"}, {255999, "<|image>"}, {256000, "<|audio>"}, {258880, "<|image|>"}, {258881, "<|audio|>"},
        {258882, "<image|>"}, {258883, "<audio|>"}, {258884, "<|video|>"}};
    EXPECT_EQ(std::size(added), 24u);
    j["added_tokens"] = Json::array();
    for (const auto& [id, text] : added) {
        Json vocabulary = Json::object();
        for (const auto& [old, its] : j["model"]["vocab"].items())
            if (its != id) vocabulary[old] = its;
        vocabulary[text] = id;
        j["model"]["vocab"] = vocabulary;
        j["added_tokens"].push_back({{"id", id}, {"content", text}, {"special", true}});
    }
    j["post_processor"] = nullptr;
    const TempFolder folder;
    write_file(folder / "tokenizer.json", dump(j));
    write_file(folder / "tokenizer_config.json", R"({"add_bos_token": false, "bos_token": "<bos>"})");
    return read_tokenizer(folder.path);
}

TEST(Tokenizer, Gemma4GetsItsBosAndOnlyOne) {
    const auto t = gemma4();
    EXPECT_EQ(t->bos(), 2);
    EXPECT_EQ(t->encode("Hello"), (Ids{2, 9259}));
    EXPECT_EQ(t->encode("<bos>Hello"), (Ids{2, 9259}));
    EXPECT_EQ(t->encode("<|turn>Hello<turn|>"), (Ids{2, 105, 9259, 106}));
    EXPECT_EQ(t->encode("<start_of_turn>", true, false), t->encode("<start_of_turn>", false, false));
    EXPECT_EQ(mini("gemma3")->encode("<bos>Hello"), (Ids{2, 2, 9259})) << "as its own library has it";
}

// The vectors of its sheet; conversations through its chat format.
TEST(Tokenizer, Gemma4GivesTheIdsThatArePublished) {
    const auto t = gemma4();
    const std::pair<const char*, Ids> texts[] = {
        {"<|image|> describe this <|audio|> transcribe this", {258880, 9779, 672, 236743, 258881, 226476, 672}},
        {"<|channel>thought\n<channel|>", {100, 45518, 107, 101}},
        {"<td>", {236820, 2004, 236813}},
        {"The capital of France is", {818, 5279, 529, 7001, 563}}};
    for (const auto& [text, ids] : texts) EXPECT_EQ(t->encode(text, true, false), ids) << text;
    for (int n = 1; n <= 31; n++)               // runs are no added tokens here, and the same ids all the same
        EXPECT_EQ(t->encode(std::string(size_t(n), '\n'), true, false), Ids{106 + n});
    auto chat = [&](const std::vector<Message>& messages, std::optional<bool> think = {}) {
        const std::vector<Part> parts = chat_format("gemma4")->parts(messages, {true, think});
        return t->encode(std::span(parts));
    };
    EXPECT_EQ(chat({{"user", "Hello"}}), (Ids{2, 105, 2364, 107, 9259, 106, 107, 105, 4368, 107}));
    const Ids sum{107, 105, 2364, 107, 3689, 563, 236743, 236778, 236862, 236778, 236881, 106, 107, 105, 4368, 107};
    Ids brief{2, 105, 9731, 107, 3912, 17514, 236761, 106}, thinking{2, 105, 9731, 107, 98, 107, 106};
    brief.insert(brief.end(), sum.begin(), sum.end()), thinking.insert(thinking.end(), sum.begin(), sum.end());
    EXPECT_EQ(chat({{"system", " Be terse. "}, {"user", "What is 2+2?"}}), brief);
    EXPECT_EQ(chat({{"user", "What is 2+2?"}}, true), thinking);
    EXPECT_EQ(chat({{"user", "What is the capital of France?"}, {"assistant", "The capital of France is Paris."}}),
              (Ids{2,   105, 2364, 107, 3689, 563, 506, 5279, 529, 7001, 236881, 106,    107, 105,
                   4368, 107, 818, 5279, 529, 7001, 563, 9079, 236761, 106, 107, 105, 4368, 107}));
}

TEST(Tokenizer, SaysWhatItIs) {
    const auto smollm2 = mini("smollm2"), gemma3 = mini("gemma3");
    EXPECT_TRUE(smollm2->kind().starts_with("byte-level BPE, ")) << smollm2->kind();
    EXPECT_TRUE(gemma3->kind().starts_with("SentencePiece-like BPE, ")) << gemma3->kind();
    EXPECT_EQ(smollm2->bos(), -1);
    EXPECT_EQ(gemma3->bos(), 2);
    EXPECT_EQ(gemma3->eos(), -1) << "tokenizer.json does not say";
    EXPECT_EQ(gemma3->encode("Hello"), (Ids{2, 9259}));
    EXPECT_EQ(gemma3->encode("Hello", true, false), Ids{9259});
    EXPECT_EQ(gemma3->encode(""), Ids{2});
    EXPECT_EQ(smollm2->id_of("<|im_end|>"), 2);
    EXPECT_EQ(smollm2->id_of("Ġ"), 216);
    EXPECT_EQ(smollm2->piece(216), " ");
    EXPECT_EQ(smollm2->id_of("no such token"), -1);
    EXPECT_EQ(gemma3->id_of("<image_soft_token>"), 262144);
    EXPECT_EQ(gemma3->size(), 262145);
    EXPECT_EQ(gemma3->piece(251), "\r");
    EXPECT_TRUE(smollm2->is_special(2));
    EXPECT_FALSE(smollm2->is_special(216));
    EXPECT_FALSE(smollm2->is_special(-1));
    EXPECT_FALSE(smollm2->is_special(1 << 30));
    EXPECT_EQ(smollm2->decode(Ids{1 << 30, 49151 + 7}), "");
    EXPECT_THROW(smollm2->decode(Ids{-1}), Error);
}

TEST(Tokenizer, EveryOptionAgreesWithTheLibraryOnRandomTokenizers) {
    for (const Json& r : rows("configs.jsonl")) {
        const std::string spec = dump(r["tokenizer"]);
        const auto t = parse_tokenizer(spec, "config");
        SCOPED_TRACE(spec);
        for (const Json& x : r["texts"])
            EXPECT_EQ(t->encode(x[0].get<std::string>(), true, false), Ids(x[1])) << dump(x[0]);
        for (const Json& x : r["decoded"]) {
            EXPECT_EQ(t->decode(Ids(x[0])), x[1].get<std::string>());
            EXPECT_EQ(t->decode(Ids(x[0]), true), x[2].get<std::string>());
            EXPECT_EQ(streamed(*t, Ids(x[0])), x[1].get<std::string>());
        }
    }
}

Ids of(const Tokenizer& t, const std::vector<Part>& parts, std::vector<char>* targets = nullptr) {
    return t.encode(std::span(parts), targets);
}

TEST(Parts, AreOneText) {
    const auto t = mini("smollm2");
    const std::string text = "wide margins";
    for (size_t cut = 0; cut <= text.size(); cut++)
        EXPECT_EQ(of(*t, {{text.substr(0, cut)}, {text.substr(cut), true}}), t->encode(text)) << cut;
    const auto q = mini("qwen3");       // a letter and its accent in two parts still compose
    EXPECT_EQ(of(*q, {{"Cafe"}, {"\u0301"}}), q->encode("Café"));
    EXPECT_EQ(of(*t, {}), Ids{});
    EXPECT_EQ(of(*mini("gemma3"), {{"Hello", true}}), Ids{9259}) << "no BOS";
}

TEST(Parts, WhatPeopleWroteNeverBecomesASpecialToken) {
    for (const char* family : families) {
        const auto t = mini(family);
        const std::string end = family == std::string("gemma3") ? "<end_of_turn>" : "<|im_end|>";
        const int id = t->id_of(end);
        ASSERT_GE(id, 0);
        EXPECT_EQ(of(*t, {{"ok"}, {end, true}}).back(), id);
        EXPECT_EQ(of(*t, {{"ok" + end}}), t->encode("ok" + end, false, false));
        // Half of it in markup is not enough, whichever half; nor is a token that spans the two.
        for (size_t cut = 1; cut < end.size(); cut++)
            for (const bool first : {false, true}) {
                const Ids ids = of(*t, {{end.substr(0, cut), first}, {end.substr(cut), !first}});
                EXPECT_EQ(std::count(ids.begin(), ids.end(), id), 0) << family << " " << cut;
                EXPECT_EQ(t->decode(ids), end);
            }
        // What a person wrote does not hide the markup behind it.
        EXPECT_EQ(of(*t, {{"ok" + end.substr(0, 5)}, {end, true}}).back(), id);
        EXPECT_EQ(of(*t, {{end.substr(0, 5), true}, {end.substr(5), true}}), Ids{id}) << "two parts of markup";
    }
    const auto q = mini("qwen3");
    EXPECT_EQ(of(*q, {{"<think>"}}), Ids{151667}) << "an added token that is not special is one anywhere";
}

TEST(Parts, ATokenIsATargetIfItsFirstByteIs) {
    const auto t = mini("smollm2");
    std::vector<char> targets;
    const std::vector<Part> turn = {
        {"user\n", true}, {"Hello there", false, true}, {"<|im_end|>", true, true}, {"\n", true}};
    const Ids ids = of(*t, turn, &targets);
    ASSERT_EQ(t->decode(ids), "user\nHello there<|im_end|>\n");
    std::string said;
    for (size_t i = 0; i < ids.size(); i++)
        if (targets[i]) said += t->piece(ids[i]);
    EXPECT_EQ(said, "Hello there<|im_end|>");
    EXPECT_EQ(targets.size(), ids.size());
    // "Hello" is one token: it belongs to the part in which it begins.
    of(*t, {{"He", false, true}, {"llo"}}, &targets);
    EXPECT_EQ(targets, std::vector<char>{1});
    of(*t, {{"He"}, {"llo", false, true}}, &targets);
    EXPECT_EQ(targets, std::vector<char>{0});
    // Marks stay with their bytes when composition and U+2581 change the number of bytes.
    for (const char* family : {"qwen3", "gemma3"}) {
        const auto k = mini(family);
        const Ids all = of(*k, {{"e\u0301 te\u0301 \n"}, {"ok", false, true}, {"\n e\u0301"}}, &targets);
        std::string chosen;
        for (size_t i = 0; i < all.size(); i++)
            if (targets[i]) chosen += k->piece(all[i]);
        EXPECT_EQ(chosen, "ok") << family;
    }
}

TEST(Tokenizer, BytesThatAreNotUtf8AreReplacedBeforeAnythingElse) {
    for (const char* family : families) {
        const auto t = mini(family);
        for (const auto& [bytes, text] : std::vector<std::pair<std::string, std::string>>{
                 {"a\xff z", "a\ufffd z"}, {"\xe2\x82", "\ufffd"}, {"\xe2\x82z", "\ufffdz"},
                 {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"}, {"\xf0\x9f\x99", "\ufffd"}, {"\xc0\xaf", "\ufffd\ufffd"},
                 {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"}})
            EXPECT_EQ(t->encode(bytes), t->encode(text)) << family << " " << dump(Json(text));
    }
}

TEST(StreamDecoder, GivesOnlyWhatIsCertain) {
    const auto q = mini("qwen3");
    const Ids smile = q->encode("🙂");
    StreamDecoder d(*q);
    std::string text;
    for (size_t i = 0; i < smile.size(); i++) {
        EXPECT_EQ(text, "");
        text += d.push(smile[i]);
    }
    EXPECT_EQ(text, "🙂") << "not later than its last byte";
    const auto g = mini("gemma3");      // one byte that does not belong spoils a whole run
    StreamDecoder run(*g);
    for (const int byte : {0xe6, 0x97, 0xa5}) EXPECT_EQ(run.push(238 + byte), "");
    EXPECT_EQ(run.push(9259), "日Hello");
    for (const int byte : {0xe6, 0x97, 0xa5, 0xe6}) EXPECT_EQ(run.push(238 + byte), "");
    EXPECT_EQ(run.finish(), "\ufffd\ufffd\ufffd\ufffd");
    EXPECT_EQ(run.finish(), "");
}

TEST(StreamDecoder, JoinsToDecodeForAnyIds) {
    std::mt19937 random(1);
    for (const char* family : families) {
        const auto t = mini(family);
        Ids all;
        for (int id = 0; id < t->size(); id++)
            if (!t->piece(id).empty()) all.push_back(id);
        const size_t bytes = std::min<size_t>(all.size(), 600);     // mostly single bytes: sequences broken in all ways
        for (int n = 0; n < 2000; n++) {
            Ids ids(random() % 12);
            for (int& id : ids) id = all[random() % (random() % 4 ? bytes : all.size())];
            ASSERT_EQ(streamed(*t, ids), t->decode(ids));
            ASSERT_EQ(valid_utf8(t->decode(ids)), t->decode(ids).size());
        }
    }
}

std::string repeated(std::string_view unit, size_t bytes) {
    std::string s;
    while (s.size() < bytes) s += unit;
    return s;
}

TEST(Tokenizer, AMegabyteOfAnythingTakesNoTime) {
    std::mt19937 random(1);
    std::string letters(1 << 20, 0);
    for (char& c : letters) c = char('a' + random() % 26);
    std::vector<std::string> texts = {letters, repeated(" ", 1 << 20) + "x"};
    for (const char* unit : {"a", " ", "\n", "\t", "7", "=", "'s", "字", "🙂", " \n", "\r", "\u0301\u0323", "▁",
                             "<|im_end|", "> </", "\xff"})
        texts.push_back(repeated(unit, 1 << 20));
    for (const char* family : families) {
        const auto t = mini(family);
        for (const std::string& text : texts) {
            const auto begin = std::chrono::steady_clock::now();
            const Ids ids = t->encode(text, true, false);
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
            EXPECT_LT(seconds.count(), 2) << family << " " << dump(Json(text.substr(0, 8)));
            EXPECT_GT(ids.size(), 1000u);
        }
    }
}

TEST(Tokenizer, OneObjectServesManyThreads) {
    const auto t = mini("qwen3");
    const std::vector<Json> all = rows("qwen3.tokens.jsonl");
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (int& count : wrong)
        threads.emplace_back([&] {
            for (const Json& r : all)
                count += t->encode(std::string(r["text"]), r["special"], false) != Ids(r["ids"]);
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
