// text.cpp - what lies under the tokenizers: UTF-8, composition, splitting, merging.
#include <array>
#include <chrono>
#include <random>
#include "../engine/bpe.h"
#include "../engine/normalize.h"
#include "../engine/split.h"
#include "../engine/unicode.h"
#include "files.h"

namespace {

TEST(Utf8, EveryCodePointComesBack) {
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        std::string s;
        append_utf8(s, c);
        const Char got = char_at(s, 0);
        ASSERT_EQ(got.state, Char::good) << c;
        ASSERT_EQ(got.code, c);
        ASSERT_EQ(got.bytes, s.size());
        ASSERT_EQ(char_before("x" + s, 1 + s.size()), 1u);
        for (size_t cut = 1; cut < s.size(); cut++) {
            ASSERT_EQ(char_at(s.substr(0, cut), 0).state, Char::cut) << c;
            ASSERT_EQ(unfinished("ab" + s.substr(0, cut)), 2u);
        }
        ASSERT_EQ(unfinished(s), s.size());
    }
}

TEST(Utf8, ReplacesTheLongestPieceThatIsNoCharacter) {
    // The example of the Unicode standard, table 3-8, and its neighbours.
    EXPECT_EQ(to_utf8("a\xf1\x80\x80\xe1\x80\xc2" "b\x80" "c\x80\xbf" "d"), "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffdd");
    EXPECT_EQ(to_utf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"), "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdA");
    EXPECT_EQ(to_utf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");
    EXPECT_EQ(unfinished("\xff"), 1u);
    EXPECT_EQ(unfinished("a\x80\x80\x80"), 4u);
    EXPECT_EQ(unfinished(""), 0u);
}

std::string nfc(std::string_view s) {
    Marked out;
    compose(s, s, out);
    EXPECT_EQ(out.text.size(), out.marks.size());
    return out.text;
}

TEST(Compose, FollowsTheStandard) {
    for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
             {"plain", "plain"}, {"e\u0301", "é"}, {"\u212b", "Å"}, {"\u1e9b\u0323", "\u1e9b\u0323"},
             {"a\u0301\u0323", "\u1ea1\u0301"}, {"a\u0323\u0301", "\u1ea1\u0301"}, {"d\u0307\u0323", "\u1e0d\u0307"},
             {"\u1100\u1161\u11a8", "각"}, {"\uac00\u11a8", "각"}, {"\u0928\u093c", "\u0929"},
             {"\u0958", "\u0915\u093c"}, {"\u0344", "\u0308\u0301"}, {"\u09c7\u09be", "\u09cb"},
             {"\u0f73", "\u0f71\u0f72"}, {"\ufb1d", "\u05d9\u05b4"},
             {"\u2add\u0338", "\u2add\u0338"}, {"\uf900", "豈"}, {"e\u0301e\u0301", "éé"}, {"\u0301e", "\u0301e"}})
        EXPECT_EQ(nfc(from), to) << from;
}

TEST(Compose, IsUnicode9WhateverTheLibraryKnows) {
    // U+0898 (Unicode 14, class 230) and U+1DFA (Unicode 14, class 218) are ordinary there and stay in their places.
    EXPECT_EQ(nfc("e\u0898\u0334"), "e\u0898\u0334");
    EXPECT_EQ(nfc("e\u0301\u1dfa"), "é\u1dfa");
    EXPECT_EQ(nfc("e\u1dfa\u0301"), "e\u1dfa\u0301") << "nothing composes across one";
    EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");
    EXPECT_EQ(nfc("\U000105d2\u0307"), "\U000105d2\u0307");
}

TEST(Compose, AMegabyteOfAccentsIsOrderedInNoTime) {
    std::string accents = "e";
    while (accents.size() < 1 << 20) accents += "\u0301\u0323";
    const auto begin = std::chrono::steady_clock::now();
    const std::string out = nfc(accents);
    EXPECT_LT((std::chrono::steady_clock::now() - begin).count(), 1e9);
    EXPECT_TRUE(out.starts_with("\u1eb9\u0323\u0323")) << "the lower ones come first";
    EXPECT_TRUE(out.ends_with("\u0301\u0301"));
}

TEST(Normalize, MarksStayWithTheirBytes) {
    const Marked m = normalize({{Normalizer::nfc, "", ""}, {Normalizer::replace, " ", "▁"}}, "e\u0301 x", "1223" "4");
    EXPECT_EQ(m.text, "é▁x");
    EXPECT_EQ(m.marks, "11" "333" "4");
    EXPECT_EQ(normalize({{Normalizer::replace, "aa", "b"}}, "aaa", "123").marks, "13");
    EXPECT_EQ(normalize({{Normalizer::replace, "a", ""}}, "aba", "123").marks, "2");
}

TEST(Normalize, ReplacementsCannotMakeAnyAmountOfText) {
    const std::vector<Normalizer> bomb(60, {Normalizer::replace, "a", "aa"});
    expect_refused([&] { normalize(bomb, "a", "1"); }, "", 4096, "replacements make more than");
}

using Pieces = std::vector<std::string_view>;

Pieces split(const char* regex, std::string_view text, Splitter::Behavior b = Splitter::isolated, bool invert = false) {
    Pieces pieces;
    Splitter(regex, b, invert, "pattern").split(text, pieces);
    return pieces;
}

TEST(Split, BehavesAsNamed) {
    const char* text = "the-final--countdown";
    EXPECT_EQ(split("-", text, Splitter::removed), (Pieces{"the", "final", "countdown"}));
    EXPECT_EQ(split("-", text), (Pieces{"the", "-", "final", "-", "-", "countdown"}));
    EXPECT_EQ(split("-", text, Splitter::merged_with_previous), (Pieces{"the-", "final-", "-", "countdown"}));
    EXPECT_EQ(split("-", text, Splitter::merged_with_next), (Pieces{"the", "-final", "-", "-countdown"}));
    EXPECT_EQ(split("-", text, Splitter::contiguous), (Pieces{"the", "-", "final", "--", "countdown"}));
    EXPECT_EQ(split("[a-z]+", text, Splitter::removed, true), (Pieces{"the", "final", "countdown"}));
    EXPECT_EQ(split("(?=c)", text), (Pieces{"the-final--", "countdown"})) << "an empty match cuts";
    EXPECT_EQ(split("x*", "axxb"), (Pieces{"a", "xx", "b"}));
    EXPECT_EQ(split(Splitter::literal(".+日").c_str(), "a.+日b"), (Pieces{"a", ".+日", "b"}));
    EXPECT_EQ(split("-", ""), Pieces{});
}

TEST(Split, ReadsPatternsWithTheReferencesTables) {
    EXPECT_EQ(split(R"(\s+)", "a\u180e \u3000b"), (Pieces{"a\u180e", " \u3000", "b"})) << "U+180E is no white space";
    EXPECT_EQ(split(R"([^\s]+)", "a\u180e b"), (Pieces{"a\u180e", " ", "b"}));
    EXPECT_EQ(split(R"(\S+)", "a\u180e b"), (Pieces{"a\u180e", " ", "b"}));
    EXPECT_EQ(split(R"(\p{L}+)", "a\u1c89\U00031350!"), (Pieces{"a\u1c89\U00031350", "!"})) << "Unicode 15 and 16";
    EXPECT_EQ(split(R"(\P{L}+)", "a\u1c89!"), (Pieces{"a\u1c89", "!"}));
    EXPECT_EQ(split(R"([^\p{L}\p{N}]+)", "a\U0001e4f0!"), (Pieces{"a\U0001e4f0", "!"}));
    EXPECT_EQ(split(R"([\p{L}\p{M}]+)", "a\u0897!"), (Pieces{"a\u0897", "!"}));
    EXPECT_EQ(split(Splitter::number, "a\U00011de0b"), (Pieces{"a", "\U00011de0", "b"})) << "digits of Unicode 17";
    EXPECT_EQ(split("^a", "a\na"), (Pieces{"a", "\n", "a"})) << "lines";
    EXPECT_EQ(split("(?i:'s)", "'\u017f'S"), (Pieces{"'\u017f", "'S"}));
    EXPECT_EQ(split(R"(\x{61}+|[\]a]+)", "aa]b"), (Pieces{"aa", "]", "b"}));
}

TEST(Split, RefusesWhatMeansSomethingElseInOniguruma) {
    const auto expect = [](const char* regex, const char* says) {
        SCOPED_TRACE(regex);
        expect_refused([&] { Splitter(regex, Splitter::isolated, false, "pattern"); }, "pattern", 4096, says);
    };
    for (const char* regex : {R"(\h+)", R"(\w+)", R"(\bx)", "[a&&b]", "[a[bc]]", "(?m:a)", "(?s)a", "(?<n>a)", "(?R)",
                              "a{1,2}+", "a{2}?", "a{,2}", R"(\v)", R"([\h])", "\\"})
        expect(regex, "which is not built");
    for (const char* regex : {"(", "[a", "a**", R"(\p{Nonsense})", R"(\p{L)"}) expect(regex, "does not compile");
    expect_refused([] { split("(?:a|aa)+$", std::string(60, 'a').append("b")); }, "pattern", 4096, "gives up");
}

TEST(Split, MatchesAWholeTextOrSaysWhyItCannot) {
    EXPECT_TRUE(matches_whole(R"(model\.layers\.\d+\..*(q|v)_proj)", "model.layers.12.self_attn.v_proj", "--flag"));
    EXPECT_FALSE(matches_whole("q_proj", "model.q_proj", "--flag")) << "the end alone is not the whole";
    EXPECT_FALSE(matches_whole("a|ab", "abc", "--flag"));
    EXPECT_TRUE(matches_whole("a|ab", "ab", "--flag"));
    std::string runs(60, 'a');
    runs += 'b';
    for (auto [regex, text, says] : {std::array<std::string, 3>{"(q_proj", "q_proj", "parenthesis"},
                                     std::array<std::string, 3>{"(a|aa)+", runs, "limit"}}) {
        std::string why;
        try {
            matches_whole(regex, text, "--flag");
        } catch (const Error& e) {
            EXPECT_EQ(e.code, Exit::usage);
            why = e.what();
        }
        EXPECT_NE(why.find("--flag"), why.npos) << why;
        EXPECT_NE(why.find(says), why.npos) << why;
    }
}

TEST(Vocabulary, KeepsIdsAndStrings) {
    Vocabulary v;
    EXPECT_EQ(v.find("a"), -1);
    for (int i = 0; i < 5000; i++) ASSERT_EQ(v.add(3 * i, "t" + std::to_string(i)), Vocabulary::added);
    EXPECT_EQ(v.add(1, "t7"), Vocabulary::string_taken);
    EXPECT_EQ(v.add(3, "new"), Vocabulary::id_taken);
    EXPECT_EQ(v.add(Vocabulary::max_size, "new"), Vocabulary::id_too_large);
    EXPECT_EQ(v.add(-1, "new"), Vocabulary::id_too_large);
    EXPECT_EQ(v.add(1, ""), Vocabulary::added) << "the empty string is a string";
    for (int i = 0; i < 5000; i++) ASSERT_EQ(v.find("t" + std::to_string(i)), 3 * i);
    EXPECT_EQ(v[9], "t3");
    EXPECT_FALSE(v.has(2));
    EXPECT_FALSE(v.has(-1));
    EXPECT_FALSE(v.has(1 << 30));
    EXPECT_EQ(v.count(), 5001u);
    EXPECT_EQ(v.size(), 14998);
}

// The definition of BPE, one merge at a time.
std::vector<int> merged_slowly(const Merges& merges, std::vector<int> ids) {
    for (;;) {
        size_t best = ids.size();
        const Merges::Merge* first = nullptr;
        for (size_t i = 0; i + 1 < ids.size(); i++) {
            const Merges::Merge* m = merges.find(ids[i], ids[i + 1]);
            if (m && (!first || m->rank < first->rank)) first = m, best = i;
        }
        if (!first) return ids;
        ids[best] = first->id;
        ids.erase(ids.begin() + long(best) + 1);
    }
}

TEST(Merger, DoesWhatTheDefinitionSays) {
    std::mt19937 random(1);
    for (int round = 0; round < 300; round++) {
        // Symbols are strings, as in every vocabulary: what two make depends on their letters, not on where they met.
        Vocabulary strings;
        Merges merges;
        for (const char* s : {"a", "b", "c"}) strings.add(int64_t(strings.count()), s);
        for (uint32_t rank = 0; rank < 30; rank++) {
            const int left = int(random() % strings.count()), right = int(random() % strings.count());
            const std::string whole = std::string(strings[left]) + std::string(strings[right]);
            if (merges.find(left, right) || whole.size() > 20) continue;
            strings.add(int64_t(strings.count()), whole);
            merges.set(left, right, {rank, strings.find(whole)});
        }
        Merger merger(merges);
        for (int n = 0; n < 60; n++) {
            std::vector<Symbol> symbols = {{7, 7}};         // not part of the word
            std::vector<int> ids;
            for (int i = 0; i < n; i++) {
                ids.push_back(int(random() % 3));
                symbols.push_back({ids.back(), uint32_t(i)});
            }
            merger.merge(symbols, 1);
            ids = merged_slowly(merges, ids);
            ASSERT_EQ(symbols.size(), ids.size() + 1);
            uint32_t at = 0;
            for (size_t i = 0; i < ids.size(); i++) {
                ASSERT_EQ(symbols[i + 1].id, ids[i]);
                ASSERT_EQ(symbols[i + 1].at, at);
                at += uint32_t(strings[ids[i]].size());
            }
        }
    }
}

}  // namespace
