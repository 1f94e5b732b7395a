// tokenizer_files.cpp - what tokenizer.json, tokenizer_config.json and GGUF may say about a tokenizer, and what not.
#include <random>
#include <ranges>
#include "../engine/gguf.h"
#include "../engine/json.h"
#include "../engine/tokenizer.h"
#include "files.h"

namespace {

using Ids = std::vector<int>;

// A small file that is right; the tests change it.
Json small() {
    return parse_json(R"({"version":"1.0","truncation":null,"padding":null,
        "added_tokens":[{"id":6,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,
                         "special":true}],
        "normalizer":null,
        "pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Isolated","invert":false},
        "post_processor":null,"decoder":{"type":"Fuse"},
        "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
                 "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
                 "vocab":{"a":0,"b":1,"ab":2,"c":3,"abc":4," ":5},"merges":[["a","b"],["ab","c"]]}})", "small");
}

Ids encoded(const Json& j, std::string_view text) { return parse_tokenizer(dump(j), "t.json")->encode(text); }

TEST(TokenizerJson, TheSmallOneWorks) {
    EXPECT_EQ(encoded(small(), "abc ab"), (Ids{4, 5, 2}));
    EXPECT_EQ(encoded(small(), "a<s>b"), (Ids{0, 6, 1}));
    EXPECT_EQ(parse_tokenizer(dump(small()), "t")->decode(Ids{4, 5, 6}), "abc <s>");
}

TEST(TokenizerJson, MembersMayComeInAnyOrderAndMergesInTheOlderForm) {
    Json j = small(), turned = Json::object(), model = Json::object();
    j["model"]["merges"] = {"a b", "ab c"};
    for (const auto& [key, value] : std::views::reverse(j["model"].items())) model[key] = value;
    j["model"] = model;
    for (const auto& [key, value] : std::views::reverse(j.items())) turned[key] = value;
    EXPECT_EQ(encoded(turned, "abc<s>"), (Ids{4, 6}));
    const std::string bom = "\xef\xbb\xbf" + dump(j);
    EXPECT_EQ(parse_tokenizer(bom, "t")->encode("abc"), Ids{4});
}

TEST(TokenizerJson, SymbolsThatTheVocabularyLacksAreDroppedBeforeMerging) {
    EXPECT_EQ(encoded(small(), "aéb"), Ids{2});
    Json j = small();
    j["model"]["vocab"]["?"] = 7;
    j["model"]["unk_token"] = "?";
    EXPECT_EQ(encoded(j, "aééb"), (Ids{0, 7, 7, 1}));
    j["model"]["fuse_unk"] = true;
    EXPECT_EQ(encoded(j, "aééb"), (Ids{0, 7, 1}));
}

TEST(TokenizerJson, TheFirstMergeInTheListWinsNotTheFirstInTheText) {
    Json j = small();
    j["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}, {"c", 3}, {"bc", 4}, {"aa", 7}};
    j["model"]["merges"] = {"b c", "a b", "a a"};
    EXPECT_EQ(encoded(j, "abc"), (Ids{0, 4}));
    EXPECT_EQ(encoded(j, "abab"), (Ids{2, 2}));
    EXPECT_EQ(encoded(j, "aaaaa"), (Ids{7, 7, 0})) << "of equal ones the leftmost";
    EXPECT_EQ(encoded(j, "aab"), (Ids{0, 2}));
    j["model"]["merges"] = {"a b", "b c", "a b"};        // a pair twice: the last place counts
    EXPECT_EQ(encoded(j, "abc"), (Ids{0, 4}));
}

TEST(TokenizerJson, TextIsCutAtSpacesOnlyWhereNoMergeCrosses) {
    // The library's answers; x is no token. Cut before U+2581, "a▁" could not be made, and b alone would be lost.
    Json j = small();
    j["pre_tokenizer"] = nullptr;
    j["model"]["vocab"] = {{"a", 0}, {"▁", 1}, {"a▁", 2}, {"b", 3}, {"▁b", 4}, {"?", 5}};
    j["model"]["merges"] = {"a ▁", "▁ b"};
    EXPECT_EQ(encoded(j, "a▁b"), (Ids{2, 3}));
    EXPECT_EQ(encoded(j, "ax▁b"), (Ids{2, 3})) << "x is dropped, and its neighbours meet";
    EXPECT_EQ(encoded(j, "b▁b▁▁b"), (Ids{3, 4, 1, 4}));
    j["model"]["unk_token"] = "?";
    EXPECT_EQ(encoded(j, "ax▁b"), (Ids{0, 5, 4}));
}

TEST(TokenizerJson, AWholeWordMayBeATokenWithoutMerges) {
    Json j = small();
    j["model"]["vocab"]["cab"] = 7;
    EXPECT_EQ(encoded(j, "cab"), (Ids{3, 2}));
    j["model"]["ignore_merges"] = true;
    EXPECT_EQ(encoded(j, "cab abc"), (Ids{7, 5, 4}));
}

TEST(TokenizerJson, DigitsStandAloneOrTogether) {
    Json j = small();
    j["model"]["vocab"] = {{"1", 0}, {"2", 1}, {"12", 2}, {"a", 3}, {"a1", 4}};
    j["model"]["merges"] = {"1 2", "a 1"};
    j["pre_tokenizer"] = {{"type", "Digits"}, {"individual_digits", false}};
    EXPECT_EQ(encoded(j, "a12a1"), (Ids{3, 2, 3, 0}));
    j["pre_tokenizer"]["individual_digits"] = true;
    EXPECT_EQ(encoded(j, "a12a1"), (Ids{3, 0, 1, 3, 0}));
}

TEST(TokenizerJson, TargetsChangeInsideAWord) {
    const auto t = parse_tokenizer(dump(small()), "t");
    const std::vector<Part> parts = {{"ab"}, {"ab", false, true}, {"c"}, {"c", false, true}};
    std::vector<char> targets;
    EXPECT_EQ(t->encode(std::span(parts), &targets), (Ids{2, 4, 3}));
    EXPECT_EQ(targets, (std::vector<char>{0, 1, 1}));
}

TEST(TokenizerJson, BosComesFromTheTemplate) {
    Json j = small();
    j["post_processor"] = parse_json(R"({"type":"TemplateProcessing",
        "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],
        "special_tokens":{"<s>":{"id":"<s>","ids":[6],"tokens":["<s>"]}}})", "t");
    EXPECT_EQ(encoded(j, "abc"), (Ids{6, 4}));
    j["post_processor"] = {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, j["post_processor"]}}};
    EXPECT_EQ(encoded(j, "abc"), (Ids{6, 4}));
}

struct Bad { const char *path, *value, *says; };

TEST(TokenizerJson, RefusesByNameWhatIsNotBuiltOrNotRight) {
    const Bad table[] = {
        {"/model/type", R"("Unigram")", "type 'Unigram'"},
        {"/model/type", R"("WordPiece")", "type 'WordPiece'"},
        {"/model/dropout", "0.1", "dropout"},
        {"/model/unk_token", R"("?")", "unk_token '?' is not in the vocabulary"},
        {"/model/continuing_subword_prefix", R"("##")", "continuing_subword_prefix"},
        {"/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix"},
        {"/model/novelty", "1", "novelty"},
        {"/model/byte_fallback", "true", "ByteFallback"},
        {"/model/vocab", "{}", "no vocabulary"},
        {"/model/vocab", R"([["a",0.5]])", "no vocabulary"},
        {"/model/vocab", "null", "no vocabulary"},
        {"/model/vocab", R"({"a":0,"b":0})", "has the id of another"},
        {"/model/vocab", R"({"a":-1})", "not a whole number"},
        {"/model/vocab", R"({"a":1.5})", "not a whole number"},
        {"/model/vocab", R"({"a":2097152})", "beyond the limit of 2097151"},
        {"/model/vocab", R"({"a":18446744073709551615})", "beyond the limit of 2097151"},
        {"/model/vocab", R"({"a":"0"})", "is not a number"},
        {"/model/vocab", R"({"a":{}})", "not a token with its id"},
        {"/model/merges", R"([["a"]])", "has 1 parts"},
        {"/model/merges", R"([["a","b","c"]])", "has 3 parts"},
        {"/model/merges", R"([["a",1]])", "not made of strings"},
        {"/model/merges", R"([{"a":"b"}])", "not a merge"},
        {"/model/merges", R"([[["a","b"]]])", "not a merge"},
        {"/model/merges", R"(["ab"])", "not two parts"},
        {"/model/merges", R"(["a  b"])", "not two parts"},
        {"/model/merges", R"([["a","x"]])", "the vocabulary lacks the second"},
        {"/model/merges", R"([["x","a"]])", "the vocabulary lacks the first"},
        {"/model/merges", R"([["b","a"]])", "the vocabulary lacks what they make"},
        {"/added_tokens/0/id", "2097152", "2097152"},
        {"/added_tokens/0/id", "-1", "-1"},
        {"/added_tokens/0/id", "3", "cannot have id 3"},
        {"/added_tokens/0/content", R"("a")", "cannot have id 6"},
        {"/added_tokens/0/content", R"("")", "no valid text"},
        {"/added_tokens/1", R"({"id":7,"content":"<s>","special":true})", "cannot have id 7"},
        {"/added_tokens/1", R"({"id":6,"content":"<t>","special":true})", "cannot have id 6"},
        {"/added_tokens", "{}", "not a list"},
        {"/normalizer", R"({"type":"Lowercase"})", "normalizer asks for 'Lowercase'"},
        {"/normalizer", R"({"type":"Replace","pattern":{"Regex":"a+"},"content":"b"})", "by a regular expression"},
        {"/normalizer", R"({"type":"Replace","pattern":{"String":""},"content":"b"})", "an empty pattern"},
        {"/normalizer", R"({"type":"Sequence","normalizers":{}})", "not a list"},
        {"/pre_tokenizer", R"({"type":"Metaspace"})", "pre_tokenizer asks for 'Metaspace'"},
        {"/pre_tokenizer/behavior", R"("Sideways")", "behavior 'Sideways'"},
        {"/pre_tokenizer/pattern", R"({"Regex":"a(b"})", "does not compile"},
        {"/pre_tokenizer/pattern", R"({"Glob":"*"})", "String"},
        {"/pre_tokenizer", R"({"type":"ByteLevel","add_prefix_space":true})", "add_prefix_space"},
        {"/pre_tokenizer", R"({"type":"ByteLevel","add_prefix_space":false})", "other than ByteLevel"},
        {"/pre_tokenizer",
         R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false},{"type":"Digits"}]})",
         "a step after ByteLevel"},
        {"/post_processor", R"({"type":"BertProcessing"})", "post_processor asks for 'BertProcessing'"},
        {"/post_processor",
         R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"<s>"}}]})",
         "more than one token in front"},
        {"/post_processor", R"({"type":"TemplateProcessing","single":[]})", "without the text"},
        {"/decoder", "null", "none at all"},
        {"/decoder", R"({"type":"WordPiece"})", "decoder asks for 'WordPiece'"},
        {"/decoder", R"({"type":"ByteFallback"})", "ByteFallback"},
        {"/decoder", R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip"}]})", "a step after Fuse"},
        {"/model", "null", "no \"model\""},
    };
    for (const Bad& bad : table) {
        SCOPED_TRACE(std::string(bad.path) + " " + bad.value);
        Json j = small();
        // A value is put in as text, since the parser would not take all of them.
        at_path(j, bad.path) = "HERE";
        std::string text = dump(j);
        text.replace(text.find("\"HERE\""), 6, bad.value);
        malformed_files()["tokenizer.json"]++;
        expect_refused([&] { parse_tokenizer(text, "t.json"); }, "t.json", text.size(), bad.says);
    }
    for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
             {"", "not valid JSON"}, {"[]", "no \"model\""},
             {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}", "stands twice"},
             {"{\"model\":{\"vocab\":{\"a\":0},\"vocab\":{\"b\":1},\"merges\":[]}}", "twice"},
             {"{\"model\":{},\"model\":{}}", "twice"}, {std::string(100000, '['), "deeper"}}) {
        malformed_files()["tokenizer.json"]++;
        expect_refused([&, t = text] { parse_tokenizer(t, "t.json"); }, "t.json", text.size(), says);
    }
}

TEST(TokenizerJson, AnyDamageIsAnErrorOrATokenizer) {
    const std::string good = dump(small());
    for (size_t n = 0; n < good.size(); n++)
        expect_refused([&] { parse_tokenizer(good.substr(0, n), "t.json"); }, "t.json", n, "");
    std::mt19937 random(1);
    int accepted = 0;
    for (int i = 0; i < 20000; i++) {
        std::string text = good;
        for (unsigned k = 0; k <= random() % 3; k++) text[random() % text.size()] = char(random());
        try {
            const auto t = parse_tokenizer(text, "t.json");
            t->decode(t->encode("abc <s>é"));
            accepted++;
        } catch (const Error& e) {
            ASSERT_EQ(e.code, Exit::bad_input);
        }
    }
    EXPECT_GT(accepted, 10);
}

TEST(TokenizerFolder, ItsConfigSaysHowTextsBeginAndEnd) {
    const TempFolder folder;
    EXPECT_THROW(read_tokenizer(folder.path), Error);
    folder.put("tokenizer.json", dump(small()));
    EXPECT_EQ(read_tokenizer(folder.path)->eos(), -1);
    folder.put("tokenizer_config.json", R"({"eos_token":"<s>","bos_token":{"content":"c"},"add_bos_token":true})");
    EXPECT_EQ(read_tokenizer(folder.path)->eos(), 6);
    EXPECT_EQ(read_tokenizer(folder.path)->encode("ab"), (Ids{3, 2}));
    EXPECT_EQ(read_tokenizer(folder / "tokenizer.json")->encode("ab"), Ids{2}) << "the file alone";
    folder.put("tokenizer_config.json", R"({"eos_token":null,"bos_token":null,"add_bos_token":false})");
    EXPECT_EQ(read_tokenizer(folder.path)->encode("ab"), Ids{2});
    folder.put("tokenizer_config.json", R"({"eos_token":"</s>"})");
    expect_refused([&] { read_tokenizer(folder.path); }, folder / "tokenizer_config.json", 4096,
                   "eos_token '</s>' is not in");
}

// A GGUF with the keys that a test names; absent ones are left out.
struct Keys {
    std::string model = "gpt2", pre = "gpt-2";
    std::vector<std::string> tokens = {"a", "b", "ab", "<s>"}, merges = {"a b"};
    std::vector<int32_t> types = {1, 1, 1, 3};
    std::vector<float> scores;
    std::vector<std::pair<std::string, bool>> flags;
    int bos = 3;
};

std::string gguf(const TempFolder& folder, const Keys& k) {
    GgufWriter w;
    w.add("tokenizer.ggml.model", k.model);
    w.add("tokenizer.ggml.pre", k.pre);
    w.add("tokenizer.ggml.tokens", k.tokens);
    w.add("tokenizer.ggml.token_type", k.types);
    if (!k.merges.empty()) w.add("tokenizer.ggml.merges", k.merges);
    if (!k.scores.empty()) w.add("tokenizer.ggml.scores", k.scores);
    for (const auto& [key, value] : k.flags) w.add("tokenizer.ggml." + key, value);
    if (k.bos >= 0) w.add("tokenizer.ggml.bos_token_id", uint32_t(k.bos));
    w.write(folder / "t.gguf");
    return folder / "t.gguf";
}

TEST(TokenizerGguf, ScoresMergeTheBestTokenFirst) {
    const TempFolder folder;
    Keys k;
    k.model = "llama", k.pre = "default", k.merges = {}, k.bos = -1;
    k.tokens = {"<unk>", "a", "b", "c", "ab", "bc", "▁", "  ", "   ", "▁a", "<t>"};
    k.types = {2, 1, 1, 1, 1, 1, 1, 4, 4, 1, 4};
    k.scores = {0, -9, -9, -9, -2, -1, -9, -1000, -1000, -3, -1000};
    k.flags = {{"add_space_prefix", false}, {"add_bos_token", false}};
    const auto file = open_gguf(gguf(folder, k));
    const auto t = read_tokenizer(*file);
    EXPECT_EQ(t->encode("abc"), (Ids{1, 5}));
    EXPECT_EQ(t->encode(" ab a"), (Ids{6, 4, 9}));
    EXPECT_EQ(t->encode("    a"), (Ids{8, 9})) << "the longest run, then a space that joins the word";
    EXPECT_EQ(t->encode("     a"), (Ids{8, 7, 1})) << "a run joins nothing";
    EXPECT_EQ(t->encode("▁▁ a"), (Ids{7, 9})) << "runs written in the text are tokens, as in tokenizer.json";
    EXPECT_EQ(t->encode("a<t>"), (Ids{1, 10}));
    EXPECT_EQ(t->decode(Ids{8, 9}), "    a");
}

TEST(TokenizerGguf, Gemma4AddsBosAndHidesItsMarkersFromUsers) {
    const TempFolder folder;
    Keys k;
    k.model = "gemma4", k.pre = "gemma4";
    k.types[3] = 4;
    k.flags = {{"add_space_prefix", false}, {"add_bos_token", false}};
    const auto file = open_gguf(gguf(folder, k));
    const auto t = read_tokenizer(*file);
    EXPECT_EQ(t->encode("ab"), (Ids{3, 2}));
    EXPECT_TRUE(t->is_special(3));
    const Ids shielded = t->encode("<s>", false, false);
    EXPECT_EQ(std::count(shielded.begin(), shielded.end(), 3), 0);
}

TEST(TokenizerGguf, RefusesByNameWhatIsNotBuiltOrNotRight) {
    const TempFolder folder;
    const auto scored = [](Keys& k, std::vector<float> scores) {
        k.model = "llama", k.merges = {}, k.scores = scores, k.flags = {{"add_space_prefix", false}};
    };
    const std::vector<std::pair<std::function<void(Keys&)>, std::string>> table = {
        {[](Keys& k) { k.model = "bert"; }, "tokenizer.ggml.model is 'bert'"},
        {[](Keys& k) { k.pre = "llama-bpe"; }, "'llama-bpe'"},
        {[](Keys& k) { k.types.pop_back(); }, "4 tokens and 3 token types"},
        {[](Keys& k) { k.types[0] = 9; }, "token 0 has type 9"},
        {[](Keys& k) { k.tokens[1] = "a"; }, "token 1, 'a', stands twice"},
        {[](Keys& k) { k.tokens[3] = ""; }, "no valid text"},
        {[](Keys& k) { k.merges = {"ab"}; }, "not two parts"},
        {[](Keys& k) { k.merges = {"b a"}; }, "the vocabulary lacks what they make"},
        {[](Keys& k) { k.merges = {"a  b"}; }, "the vocabulary lacks the second"},
        {[](Keys& k) { k.merges = {}; }, "tokenizer.ggml.merges"},
        {[](Keys& k) { k.flags = {{"add_eos_token", true}}; }, "add_eos_token"},
        {[](Keys& k) { k.flags = {{"add_bos_token", true}}, k.bos = 4; }, "bos_token_id"},
        {[](Keys& k) { k.model = "llama"; }, "add_space_prefix"},
        {[&](Keys& k) { scored(k, {1}); }, "1 scores"},
        {[&](Keys& k) { scored(k, {1, NAN, 1, 1}); }, "is NaN"},
        {[&](Keys& k) { scored(k, {1, 1, 1, 1}), k.tokens[2] = std::string(1025, 'a'); }, "more than 1024"},
    };
    for (const auto& [change, says] : table) {
        SCOPED_TRACE(says);
        Keys k;
        change(k);
        const auto file = open_gguf(gguf(folder, k));
        malformed_files()["tokenizer in GGUF"]++;
        expect_refused([&] { read_tokenizer(*file); }, folder / "t.gguf", 4096, says);
    }
}

}  // namespace
