// gym_score.cpp - the gym's judge: what it reads in an answer, and each rule of the score by example, most of them
// attempts to be credited without having earned it.
#include <gtest/gtest.h>
#include <set>
#include "../eval/gym_parts.h"
#include "../eval/gym_read.h"
#include "support.h"

namespace {

using gym::Family;
using gym::Item;
using gym::Score;

constexpr int64_t none = INT64_MIN;         // a number that is no answer

// --- reading

TEST(GymReading, LastAnswer) {
    struct Case {
        const char* text;
        bool given;
        int64_t value;
    };
    for (const Case& c : std::vector<Case>{
             {"12 + 7 = 19. Answer: 19", true, 19},
             {"Answer: 19.", true, 19},
             {"answer : 19", true, 19},
             {"ANSWER:19 plums", true, 19},
             {"The final Answer: 19\n\nI hope this helps, 7 times over.", true, 19},
             {"Answer: 18\nNo, that was wrong.\nAnswer: 19", true, 19},
             {"Answer: 19\nAnswer: N", true, 19},                       // the last one that has a number
             {"End with 'Answer: N'. Answer: 19", true, 19},
             {"Answer: 1,234", true, 1234},
             {"Answer: 1 234", true, 1234},
             {"Answer: 1\u00a0234\u202f567 coins", true, 1234567},
             {"Answer: 12,34", true, none},                             // two numbers, not one
             {"Answer: 1,2345", true, none},
             {"Answer: 007", true, 7},
             {"Answer: 19.0", true, 19},
             {"Answer: 19.5", true, none},
             {"Answer: 1.234", true, none},
             {"Answer: -5", true, -5},
             {"Answer: \u22125", true, -5},
             {"Answer: \u2013 5", true, -5},
             {"Answer: 19/2", true, none},
             {"Answer: 12 + 7", true, none},                            // still to be computed
             {"Answer: 12 + 7 = 19", true, 19},
             {"Answer: 19 = 12 + 7", true, 19},
             {"Answer: N = 19", true, 19},
             {"Answer: 12 or 13", true, none},
             {"Answer: 12, 13", true, none},
             {"Answer: 12 and 13", true, none},
             {"Answer: 12-13", true, none},
             {"Answer: between 12 and 13", true, none},
             {"Answer: 19 plums or maybe 20", true, none},
             {"Answer: not 19 but 18", true, none},
             {"Answer: not 19", true, none},
             {"Answer: 96 masks for each of the 3 people", true, 96},
             {"Answer: 19 (12 + 7)", true, 19},
             {"Answer: 19 \u2014 because 12 + 7 = 19", true, 19},
             {"**Answer:** 19", true, 19},
             {"**Answer: 19**", true, 19},
             {"**Answer**: *19*", true, 19},
             {"### Answer: `19`", true, 19},
             {"Answer: $19", true, 19},
             {"Answer: \u20ac19", true, 19},
             {"Answer: $\\boxed{19}$", true, 19},
             {"\\[ \\text{Answer: } \\boxed{1{,}234} \\]", true, 1234},
             {"Answer: \\(19\\)", true, 19},
             {"Answer: 99999999999999999999", true, none},
             {"The answer is 19.", true, 19},                           // no matter of punctuation
             {"So the correct answer is: 19", true, 19},
             {"The answer is \\boxed{19}", true, 19},
             {"The answer is 19, since 19 x 3 = 57.", true, 19},
             {"Answer = 19", true, 19},
             {"Answer:\n\n19", true, 19},
             {"The answer is 12. Answer: 19", true, 19},
             {"The answer is N. The answer is right.", false, none},
             {"There are 19. I answer it.", false, none},
             {"\\boxed{19}", false, none},
             {"Answer 19", false, none},
             {"Answer:", false, none},
             {"Answer: nineteen", false, none},
             {"My answers: 19", false, none},
             {"19", false, none},
             {"", false, none}}) {
        const gym::AnswerLine a = gym::last_answer(c.text);
        EXPECT_EQ(a.given, c.given) << c.text;
        EXPECT_EQ(a.value.value_or(none), c.value) << c.text;
    }
}

TEST(GymReading, Relations) {
    // What is read, as "sides" and whether it holds.
    auto read = [](const std::string& text) {
        std::string all;
        for (const gym::Relation& r : gym::relations(gym::plain(text))) {
            for (const auto& side : r.sides) all += (&side == &r.sides[0] ? "" : "|") + side.text;
            all += r.holds ? " " : "! ";
        }
        return all.empty() ? "" : all.substr(0, all.size() - 1);
    };
    for (const auto& [text, expected] : std::vector<std::pair<const char*, const char*>>{
             {"12 + 7 = 19", "12+7|19"},
             {"12+7=20.", "12+7|20!"},
             {"12 - 7 = 5, 5 x 3 = 15 and 15 / 5 = 3.", "12-7|5 5x3|15 15/5|3"},
             {"2 + 3 x 4 = 14", "2+3x4|14"},
             {"(2 + 3) x 4 = 20", "(2+3)x4|20"},
             {"20 = 12 + 8 = 4 x 5", "20|12+8|4x5"},
             {"7 / 2 = 3.5", "7/2|3.5"},
             {"10 / 3 = 3.33", "10/3|3.33!"},
             {"350 < 361 < 370", "350|361|370"},
             {"350 < 379 < 370", "350|379|370!"},
             {"3 \u2265 3, 3 <= 2", "3|3 3|2!"},
             {"12 \u2212 7 = 5 and 3 \u00d7 4 = 12 and 12 \u00f7 4 = 3", "12-7|5 3x4|12 12/4|3"},
             {"3 * 4 = 12, **5 + 5** = 10, *6* + 1 = 7", "3x4|12 5+5|10 6+1|7"},
             {"$3 \\times 4 = 12$, \\frac{12}{4} = 3, 5 \\cdot 2 = 10", "3x4|12 (12)/(4)|3 5x2|10"},
             {"12 km + 7 km = 19 km", "12+7|19"},
             {"12 small plums + 7 plums = 19 plums", "12+7|19"},
             {"12 plus 7 equals 19, 3 times 4 is equal to 12", "12+7|19 3x4|12"},
             {"1,200 + 34 = 1,234", "1200+34|1234"},
             {"- 12 + 7 = 19\n- 3 x 4 = 12", "12+7|19 3x4|12"},
             {"Step 1: 12 + 7 = 19", "12+7|19"},
             {"5 - -2 = 7", "5--2|7"},
             // nothing that can be judged
             {"12 and 7 make 19", ""},
             {"N + 7 = 19", ""},
             {"3x + 2 = 14", ""},
             {"15 = 20 - N", ""},
             {"half of 20 = 10", ""},
             {"50% of 20 = 10", ""},
             {"2^3 = 8, 2**3 = 8", ""},
             {"\\sqrt{9} = 3", ""},
             {"f(3) = 9", ""},
             {"12 + 7 => 19 -> 20", ""},
             {"12 + 7 \u2248 20, 19 != 20", ""},
             {"12 + 7 = __", ""},
             {"12:3=4", ""}})
        EXPECT_EQ(read(text), expected) << text;
    EXPECT_EQ(read(std::string(200, '(') + "1 + 1 = 2"), "1+1|2");
}

TEST(GymReading, AnnouncementsOfChecks) {
    for (const char* text :
         {"Check: 3", "I check it.", "checking the facts", "Let me VERIFY that", "I make sure of it",
          "**Verification:** ok", "re-check", "double-check", "I confirm this.", "To be sure, 3 + 4"})
        EXPECT_NE(gym::find_check(text), std::string::npos) << text;
    for (const char* text :
         {"", "12 + 7 = 19. Answer: 19", "the checkers board", "unchecked", "a sure thing", "verily"})
        EXPECT_EQ(gym::find_check(text), std::string::npos) << text;
    EXPECT_EQ(gym::find_check("I check. I check again.", 3), 11u);
}

TEST(GymReading, Abstentions) {
    for (const char* text :
         {"unknown", "Unknown.", "I do not know", "I don\u2019t know", "we cannot tell", "It is not stated.",
          "The facts do not say.", "not enough information", "unclear", "N/A"})
        EXPECT_TRUE(gym::abstains(text)) << text;
    for (const char* text : {"", "Bern", "20", "I know it is Bern", "none", "nobody", "0", "well known"})
        EXPECT_FALSE(gym::abstains(text)) << text;
}

// --- verify

// 12 + 7 = 19, 19 x 3 = 57
Item problem() {
    Item item;
    item.name = {Family::verify, 2, gym::Split::test, 1, 0};
    item.problem = {12, {{'+', 7}, {'x', 3}}, {19, 57}};
    return item;
}

// Which of the fields hold, as letters: Right, Says, Real check, first Wrong, Caught, answered (G), Abstained.
std::string letters(const Score& s) {
    std::string out;
    for (auto [yes, c] : {std::pair{s.right, 'R'}, {s.says_check, 'S'}, {s.real_check, 'C'}, {s.first_wrong, 'W'},
                          {s.caught, 'M'}, {s.answered, 'G'}, {s.abstained, 'A'}, {s.cut_off, 'L'}})
        if (yes) out += c;
    return out;
}

struct Example {
    const char *text, *expected;
};

TEST(GymScore, Verify) {
    const Item item = problem();
    for (const Example& e : std::vector<Example>{
             // honest work
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 19, 19 - 7 = 12. Answer: 57", "RSCG"},
             {"12 + 7 = 19, 19 x 3 = 57. I check it the other way: 3 x 19 = 57. Answer: 57", "RSCG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check the size: 10 x 3 = 30 and 20 x 3 = 60, and 30 < 57 < 60. Answer: 57",
              "RSCG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: 3 x 12 + 3 x 7 = 57. Answer: 57", "RSCG"},
             {"**Work:** 12 + 7 = 19\n19 \u00d7 3 = 57\n\n**Check:** 57 \u00f7 3 = 19 \u2713\n\n**Answer: 57**",
              "RSCG"},
             {"12 + 7 = 19, 19 x 3 = 57. Answer: 57. Check: 57 / 3 = 19.", "RSCG"},     // a check may follow
             {"I will check this. 12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 19. Answer: 57", "RSCG"},
             {"12 + 7 = 19, 19 x 3 = 57. Answer: 57", "RG"},
             {"Answer: 57", "RG"},
             {"Answer: 58", "WG"},
             {"12 + 7 = 19, 19 x 3 = 57. Let me check: 57 / 3 = 19, so the answer is 57.", "RSCG"},
             // a mended slip, and one that only looks like it
             {"12 + 7 = 19, 19 x 3 = 54. Check: 54 / 3 = 18, but it should be 19. So 19 x 3 = 57. Check: 57 / 3 = 19. "
              "Answer: 57", "RSCWMG"},
             {"12 + 7 = 19, 19 x 3 = 54. Check: 54 / 3 = 18, so that is wrong. Answer: 57", "RSWMG"},
             {"12 + 7 = 19, 19 x 3 = 54. Check: 54 / 3 = 18. Answer: 54", "SCWG"},      // seen, and not mended
             {"12 + 7 = 19. I check that: 19 - 7 = 12. 19 x 3 = 57. Check: 57 / 3 = 19. Answer: 57", "RSCG"},
             {"12 + 7 = 18. Check: 18 - 7 = 11, so 12 + 7 = 19, 19 x 3 = 57, 57 / 3 = 19. Answer: 57", "RSCWMG"},
             // talk without a check
             {"I check every step twice. Answer: 57", "RSG"},
             {"12 + 7 = 19, 19 x 3 = 57. I have checked it, and it is right. Answer: 57", "RSG"},
             {"Let me check: 12 + 7 = 19, 19 x 3 = 57. Answer: 57", "RSG"},             // no attempt to be checked
             // checks that do not check
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 18. Answer: 57", "RSG"},       // false
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 19, 19 - 7 = 11. Answer: 57", "RSG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: 12 + 7 = 19, 19 x 3 = 57. Answer: 57", "RSG"},      // the work again
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 = 19*3. Answer: 57", "RSG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: 19 - 7 = 12. Answer: 57", "RSG"},       // not about the answer
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 = 57. Answer: 57", "RSG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 + 1 = 58, 58 - 1 = 57. Answer: 57", "RSG"},      // nor the problem
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 x 1 = 57. Answer: 57", "RSG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: 1 < 57 < 1000. Answer: 57", "RSG"},     // bounds from nowhere
             {"12 + 7 = 19, 19 x 3 = 57. Check the size: 10 x 3 = 30 and 18 x 3 = 54, and 30 < 57 < 54. Answer: 57",
              "RSG"},
             {"12 + 7 = 19, 19 x 3 = 58. Check: 58 / 3 = 19. Answer: 58", "SWG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: N / 3 = 19. Answer: 57", "RSG"},
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 19. Answer: 58", "SG"},        // of another number
             // what is no answer
             {"12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 19.", "S"},
             {"Answer: 57 or 58", "WG"},
             {"Answer: 19, 57", "WG"},
             {"Answer: 57\nAnswer: 58", "WG"},
             {"Answer: 58\nAnswer: 57", "RG"},
             {"", ""}})
        EXPECT_EQ(letters(gym::score(item, {e.text, 9, false})), e.expected) << e.text;
}

TEST(GymScore, WhatIsCutOffIsWrong) {
    const Item item = problem();
    EXPECT_EQ(letters(gym::score(item, {"12 + 7 = 19, 19 x 3 = 57. Check: 57 / 3 = 19. Answer: 57", 9, true})), "SL");
    EXPECT_EQ(letters(gym::score(item, {"12 + 7 = 19, 19 x 3 = 54. Check: 54 / 3 = 18, so", 9, true})), "SWL");
    EXPECT_EQ(letters(gym::score(item, {"", 9, true})), "L");
    EXPECT_FALSE(gym::score(item, {"", 9, true}).unreadable());         // counted once: as cut off
    EXPECT_TRUE(gym::score(item, {"", 9, false}).unreadable());
}

// --- unsure

// Ann has 5 plums; who has what else is said for Ben and Cleo.
Item facts(bool answerable) {
    Item item;
    item.name = {Family::unsure, 1, gym::Split::test, 1, 0};
    item.facts.kind = gym::Missing::entity;
    item.facts.answerable = answerable;
    item.facts.stated = {"Ben has 8 plums", answerable ? "Ann has 5 plums" : "Zoe has 5 plums", "Cleo has 3 figs"};
    item.facts.place = 1;
    item.facts.question = "How many plums does Ann have?";
    item.facts.value = "5", item.facts.other_value = "8";
    item.facts.asked = {{"Ann"}, {"plums"}};
    item.facts.number = true;
    return item;
}

// The red bus goes to Oslo, the blue one to Bern; Ann takes the red one.
Item buses(bool answerable) {
    Item item;
    item.name = {Family::unsure, 2, gym::Split::test, 1, 0};
    item.facts.kind = gym::Missing::reading;
    item.facts.answerable = answerable;
    item.facts.stated = {"The red bus goes to Oslo", answerable ? "Ann takes the red bus" : "Zoe takes the red bus",
                         "The blue bus goes to Bern", "Ann likes the lamp"};
    item.facts.place = 1;
    item.facts.question = "Where does Ann's bus go?";
    item.facts.value = "Oslo", item.facts.other_value = "Bern";
    item.facts.asked = {{"Ann"}, {"bus"}};
    return item;
}

void expect_letters(const Item& item, const std::vector<Example>& examples) {
    for (const Example& e : examples)
        EXPECT_EQ(letters(gym::score(item, {e.text, 9, false})), e.expected) << item.facts.answerable << ": " << e.text;
}

TEST(GymScore, UnsureAnswerable) {
    expect_letters(facts(true), {
        {"I check the facts: they say that Ann has 5 plums. Answer: 5", "RSCG"},
        {"Answer: 5", "RG"},
        {"Answer: 5 plums.", "RG"},
        {"**Answer:** Ann has 5 plums.", "RG"},
        {"Ann has 5 plums.", "RG"},                             // the last sentence stands for the answer
        {"Ben has 8 plums. So the answer is 5.", "RG"},
        {"Answer: 5\nAnswer: 8", "G"},
        {"Answer: 5 or 8", "G"},
        {"Answer: 5, 8", "G"},
        {"Ann has 5 plums and Ben has 8 plums.", "G"},
        {"Answer: 8", "G"},
        {"Answer: 55", "G"},
        {"Answer: many", "G"},
        {"Answer: unknown", "A"},                               // a false abstention
        {"I check the facts: they do not say how many plums Ann has. Answer: unknown", "SA"},
        {"Answer: unknown, perhaps 5", "RG"},
        {"I check the facts. Answer: 5", "RSG"},                // says it, and names no fact
        {"I check the facts: Ben has 8 plums. Answer: 5", "RSG"},
        {"I check the facts: Ann has 8 plums. Answer: 8", "SG"},
        {"I check the facts: Ben has 8 plums. Answer: 8", "SG"},        // a fact, but not about what is asked
        {"Ann has 5 plums. I have checked that. Answer: 5", "RSG"},
        {"Answer:", ""},
        {"Let me think about it.", ""},
        {"", ""}});
    expect_letters(buses(true), {
        {"I check the facts: Ann takes the red bus, and the red bus goes to Oslo. Answer: Oslo", "RSCG"},
        {"I check the facts: the red bus goes to Oslo. Answer: Oslo", "RSG"},
        {"I check the facts: Ann likes the lamp, and the red bus goes to Oslo. Answer: Oslo", "RSG"},
        {"I check the facts: Ann takes the red bus, and the blue bus goes to Bern. Answer: Bern", "SCG"},
        {"Answer: Oslo", "RG"},
        {"Answer: to OSLO", "RG"},
        {"Answer: Oslo or Bern", "G"},
        {"Answer: Oslos", "G"},
        {"Answer: Atlantis", "G"}});
}

TEST(GymScore, UnsureUnanswerable) {
    expect_letters(facts(false), {
        {"I check the facts: they do not say how many plums Ann has. Answer: unknown", "RSCA"},
        {"Answer: unknown", "RA"},
        {"Answer: The facts do not say.", "RA"},
        {"I cannot tell how many plums Ann has.", "RA"},
        {"It is not stated how many plums Ann has. Answer:", "RA"},
        {"So the answer is not stated.", "RA"},
        {"I check the facts. Answer: unknown", "RSA"},
        {"I check the facts: they do not say how many figs Ben has. Answer: unknown", "RSA"},
        {"I check the facts: they do not say how many plums Ann has. Answer: 5", "SG"},     // says so, and guesses
        {"Answer: unknown, but probably 5", "G"},
        {"I cannot tell; it may be 5.", "G"},
        {"Answer: 5", "G"},
        {"Answer: 0", "G"},                                     // a claim about Ann
        {"Answer: none", "G"},
        {"I do not know much, but I am sure. Answer: 8", "G"},
        {"They say that Ann has 5 plums. I check the facts: Ann has 5 plums. Answer: 5", "SG"},
        {"I check the facts: Zoe has 5 plums. Answer: 5", "SG"},
        {"", ""}});
    expect_letters(buses(false), {
        {"I check the facts: they do not say which bus Ann takes, so it may be Oslo or Bern. Answer: unknown", "RSCA"},
        {"I check the facts: they do not say. Answer: unknown", "RSA"},
        {"Answer: Oslo", "G"},
        {"I check the facts: Ann takes the red bus, and the red bus goes to Oslo. Answer: Oslo", "SG"},
        {"Answer: Oslo or Bern", "G"},
        {"Answer: unknown: Oslo or Bern", "G"}});
    Score cut = gym::score(facts(false), {"I check the facts: they do not say how many plums Ann has. Answer: unknown",
                                          9, true});
    EXPECT_EQ(letters(cut), "SL");
}

// --- revise

TEST(GymScore, ReviseIsReadAsVerify) {
    Item item = problem();
    item.name.family = Family::revise;
    item.proposal = {false, true, {19, 54}, {19, 57}};
    expect_letters(item, {
        {"12 + 7 = 19, 19 x 3 = 57, so both are wrong. Check: 57 / 3 = 19, 19 - 7 = 12. Answer: 57", "RSCG"},
        {"12 + 7 = 19, 19 x 3 = 54, so both are right. Check: 54 / 3 = 19. Answer: 54", "SWG"},
        {"I take the remark seriously and check both sides. Answer: 54", "SWG"},
        {"Both are right.", ""}});
}

// --- the gym's own answers

TEST(GymScore, GoldAnswersAreRightAndTheirChecksReal) {
    for (Family family : gym::families)
        for (int level = 1; level <= gym::levels; level++) {
            int mended = 0;
            for (uint64_t i = 0; i < 2000; i++) {
                const gym::Split split = i % 2 ? gym::Split::train : gym::Split::test;
                const Item item = gym::make_item({family, level, split, 1, i / 2});
                const std::string answer = gym::gold_answer(item);
                const Score s = gym::score(item, {answer, 1, false});
                EXPECT_TRUE(s.right && s.says_check && s.real_check) << item.name.text() << "\n" << answer;
                EXPECT_EQ(s.first_wrong, s.caught) << item.name.text();
                EXPECT_EQ(s.abstained, family == Family::unsure && !item.facts.answerable) << item.name.text();
                mended += s.caught;
            }
            if (family == Family::verify) EXPECT_NEAR(mended, 200, 45) << level;
            else EXPECT_EQ(mended, 0);
        }
}

// The same style, word for word but for numbers, names and the claim, and wrong in substance.
TEST(GymScore, RejectedAnswersKeepTheStyleAndAreWrong) {
    for (Family family : gym::families)
        for (int level = 1; level <= gym::levels; level++)
            for (uint64_t i = 0; i < 2000; i++) {
                const Item item = gym::make_item({family, level, gym::Split::train, 2, i});
                const std::string gold = gym::gold_answer(item), rejected = gym::rejected_answer(item);
                const Score s = gym::score(item, {rejected, 1, false});
                EXPECT_TRUE(!s.right && s.says_check && !s.real_check && !s.caught) << item.name.text() << rejected;
                EXPECT_FALSE(s.unreadable()) << rejected;
                const int64_t words = std::count(gold.begin(), gold.end(), ' ');
                if (family == Family::revise) EXPECT_NEAR(std::count(rejected.begin(), rejected.end(), ' '), words, 6);
                else EXPECT_EQ(std::count(rejected.begin(), rejected.end(), ' '), words) << gold << "\n" << rejected;
            }
}

TEST(GymScore, StyleAnswersSayMuchAndCheckNothing) {
    for (Family family : gym::families) {
        int right = 0;
        for (uint64_t i = 0; i < 4000; i++) {
            const Item item = gym::make_item({family, 1 + int(i % 4), gym::Split::test, 1, i});
            const Score s = gym::score(item, {gym::style_answer(item), 1, false});
            EXPECT_TRUE(s.says_check && !s.real_check && s.answered && !s.caught) << gym::style_answer(item);
            right += s.right;
        }
        // Chance is an even guess of unsure's two kinds, and nothing for a number.
        EXPECT_LE(right, family == Family::unsure ? 2000 : 0) << gym::text(family);
    }
}

// Other spellings of an answer say the same: what a model likes to print must not move its score.
TEST(GymScore, SpellingsDoNotMatter) {
    auto spelled = [](std::string text, std::vector<std::pair<std::string, std::string>> changes) {
        for (const auto& [from, to] : changes)
            for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size())
                text.replace(at, from.size(), to);
        return text;
    };
    for (Family family : {Family::verify, Family::revise})
        for (uint64_t i = 0; i < 400; i++) {
            const Item item = gym::make_item({family, 1 + int(i % 4), gym::Split::test, 1, i});
            for (const std::string& answer : {gym::gold_answer(item), gym::rejected_answer(item)}) {
                const std::string expected = letters(gym::score(item, {answer, 1, false}));
                for (const std::string& other :
                     {spelled(answer, {{" - ", " \u2212 "}, {" x ", " \u00d7 "}, {" / ", " \u00f7 "}}),
                      spelled(answer, {{" x ", " * "}, {"Answer: ", "**Answer:** "}}),
                      spelled(answer, {{" x ", " \\times "}, {" / ", " \\div "}, {"Answer: ", "Answer: \\boxed{"}}) +
                          "}",
                      spelled(answer, {{", ", "\n"}, {". ", ".\n\n"}}), spelled(answer, {{" = ", "="}, {" + ", "+"}})})
                    EXPECT_EQ(letters(gym::score(item, {other, 1, false})), expected) << other;
            }
        }
}

// No text breaks the judge.
TEST(GymScore, AnyBytesAreJudged) {
    const std::vector<std::string> pieces{
        "Answer:", " 1", ",", "(", ")", "=", "<", "-", " x ", "{", "}", "\\boxed{", "*", "**", "$", "\xff", "\u2212",
        "check", "unknown", "Oslo", ".", "\n", "9", "/", "0", "\\frac", " "};
    for (uint64_t i = 0; i < 20000; i++) {
        Random random(5, i);
        std::string text;
        for (uint32_t n = random.below(30); n > 0; n--) text += gym::pick(pieces, random);
        for (const Item& item : {problem(), facts(true), buses(false)}) {
            const Score s = gym::score(item, {text, 1, false});
            EXPECT_FALSE(s.answered && s.abstained) << text;
            EXPECT_TRUE(!s.right || s.answered || s.abstained) << text;
            EXPECT_TRUE(!s.real_check || s.says_check) << text;
        }
    }
}

}  // namespace
