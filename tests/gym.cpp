// gym.cpp - what the gym promises about its items: names, splits, wordings, twins, and that nothing but the meaning of
// the facts tells which question has an answer.
#include <gtest/gtest.h>
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include "../eval/gym_parts.h"
#include "support.h"

namespace {

using gym::Family;
using gym::Item;
using gym::Split;

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    std::string word;
    for (char c : text + " ")
        if (isalnum(uint8_t(c))) word += char(tolower(c));
        else if (!word.empty()) words.push_back(std::exchange(word, ""));
    return words;
}

std::vector<Item> take(Family family, int low, int high, Split split, int64_t rows, uint64_t seed = 1) {
    gym::Options o;
    o.families = {family};
    o.low_level = low, o.high_level = high;
    o.split = split;
    o.rows = rows;
    o.seed = seed;
    return gym::items(o);
}

// --- names

TEST(Gym, NamesReproduceItems) {
    for (Family family : gym::families)
        for (int level = 1; level <= gym::levels; level++)
            for (Split split : {Split::train, Split::test})
                for (uint64_t index : {uint64_t(0), uint64_t(1), uint64_t(153), uint64_t(1) << 40}) {
                    const gym::Name name{family, level, split, 7, index};
                    const Item item = gym::make_item(name), again = gym::make_item(gym::parse_name(name.text()));
                    EXPECT_EQ(gym::parse_name(name.text()), name);
                    EXPECT_EQ(item.prompt, again.prompt);
                    EXPECT_EQ(gym::gold_answer(item), gym::gold_answer(again));
                    EXPECT_EQ(gym::rejected_answer(item), gym::rejected_answer(again));
                    EXPECT_EQ(gym::style_answer(item), gym::style_answer(again));
                    EXPECT_EQ(item.content, gym::content_of(name));
                }
}

// Rows are files that people keep: these items must not change under their names.
TEST(Gym, ItemsStayWhatTheyAre) {
    auto prompt = [](const char* name) { return gym::make_item(gym::parse_name(name)).prompt; };
    EXPECT_EQ(prompt("verify/1/train/1/0"),
              "A train leaves Prague for Zurich with 10 riders. On the way 5 riders get off. How many riders are on "
              "the train now? End with 'Answer: N'.");
    EXPECT_EQ(prompt("unsure/1/train/1/0"),
              "We know this. Gus takes the white bus. The gold bus goes to Derby. The white bus goes to Graz. Now tell "
              "me: Where does Gus's bus go? Use only these facts. End with 'Answer:'.");
    EXPECT_EQ(prompt("revise/2/test/1/0"),
              "A class in Varna collects 40 onions. The teacher Raul adds 20 onions. The teacher Carla lays all the "
              "onions out in 3 equal rows. How many onions are in each row? Oscar has worked it out: 40 + 20 = 60, "
              "60 / 3 = 20. Kate is happy with 20. What is right? End with 'Answer: N'.");
    EXPECT_EQ(gym::gold_answer(gym::make_item(gym::parse_name("revise/2/test/1/0"))),
              "40 + 20 = 60, 60 / 3 = 20, so both are right. Check backwards: 20 x 3 = 60, 60 - 20 = 40, so it fits. "
              "Answer: 20");
}

TEST(Gym, WrongNamesAreRefused) {
    EXPECT_EQ(gym::parse_name("verify/2/test/7/153").text(), "verify/2/test/7/153");
    EXPECT_EQ(gym::parse_name("unsure/4/train/18446744073709551615/0").seed, UINT64_MAX);
    for (const char* name :
         {"", "verify", "verify/2/test/7", "verify/2/test/7/153/1", "Verify/2/test/7/153", "verify/0/test/7/153",
          "verify/5/test/7/153", "verify/02/test/7/153", "verify/2/dev/7/153", "verify/2/test/-7/153",
          "verify/2/test/7/", "verify/2/test/7/1x", "verify/2/test/18446744073709551616/0", "verify/2/test/7/153 "})
        EXPECT_EQ(error_of([&] { gym::parse_name(name); }), Exit::usage) << name;
}

// --- splits

// A million items of many seeds: their sides never meet, and none of the problems of `verify` in one split is a problem
// of `revise` in the other.
TEST(Gym, SplitsAreDisjointOverAMillionItems) {
    std::vector<uint64_t> seen[2];
    for (Split split : {Split::train, Split::test})
        for (Family family : gym::families)
            for (int level = 1; level <= gym::levels; level++)
                for (uint64_t i = 0; i < (family == Family::unsure ? 5000 : 60000); i++) {
                    const uint64_t hash = gym::content_hash(gym::content_of({family, level, split, 1 + i % 5, i}));
                    ASSERT_EQ(hash & 1, uint64_t(split));
                    seen[int(split)].push_back(hash);
                }
    ASSERT_EQ(seen[0].size() + seen[1].size(), 1000000u);
    for (auto& hashes : seen) std::sort(hashes.begin(), hashes.end());
    std::vector<uint64_t> common;
    std::set_intersection(seen[0].begin(), seen[0].end(), seen[1].begin(), seen[1].end(), std::back_inserter(common));
    EXPECT_EQ(common.size(), 0u);
    // The sides are equally large: the bit is no matter of wording or level.
    int ones = 0;
    for (int i = 0; i < 10000; i++) ones += gym::content_hash("item " + std::to_string(i)) & 1;
    EXPECT_NEAR(ones, 5000, 200);
}

TEST(Gym, ItemsHardlyRepeat) {
    for (Family family : gym::families)
        for (int level = 1; level <= gym::levels; level++)
            for (Split split : {Split::train, Split::test}) {
                std::set<std::string> contents;
                for (uint64_t i = 0; i < 10000; i++) contents.insert(gym::content_of({family, level, split, 3, i}));
                EXPECT_GT(contents.size(), 9990u) << gym::text(family) << " " << level;
            }
}

// Content is what an item is about, not how it is told.
TEST(Gym, ContentHoldsRolesAndNoWording) {
    EXPECT_EQ(gym::make_item(gym::parse_name("verify/1/train/1/0")).content, "10-5|T=Prague|V=Zurich|O=riders");
    EXPECT_EQ(gym::make_item(gym::parse_name("revise/2/test/1/0")).content, "40+20/3|P=Raul|Q=Carla|T=Varna|O=onions");
    // The order in which facts stand is wording too.
    EXPECT_EQ(gym::make_item(gym::parse_name("unsure/1/train/1/0")).content,
              "Gus:bus:white|gold:bus:Derby|white:bus:Graz|?Gus:bus");
}

// --- wordings

TEST(Gym, AFifthOfTheTestIsInWordingsThatTrainingNeverSees) {
    EXPECT_GE(gym::wordings - gym::test_only_wordings, 12);
    EXPECT_EQ(gym::test_only_wordings * 5, gym::wordings);
    for (Family family : gym::families) {
        std::map<int, int> train, test;
        for (uint64_t i = 0; i < 4000; i++) {
            train[gym::make_item({family, 1 + int(i % 4), Split::train, 1, i}).wording]++;
            test[gym::make_item({family, 1 + int(i % 4), Split::test, 1, i}).wording]++;
        }
        EXPECT_EQ(train.size(), size_t(gym::wordings - gym::test_only_wordings)) << gym::text(family);
        EXPECT_EQ(test.size(), size_t(gym::wordings)) << gym::text(family);
        EXPECT_LT(train.rbegin()->first, gym::wordings - gym::test_only_wordings);
        int fresh = 0;
        for (const auto& [wording, n] : test)
            if (wording >= gym::wordings - gym::test_only_wordings) fresh += n;
        EXPECT_NEAR(fresh, 800, 80) << gym::text(family);
        // Twins share a wording, so every count is that of half as many draws.
        for (const auto& [wording, n] : test) EXPECT_GT(n, 60) << gym::text(family) << " " << wording;
    }
}

TEST(Gym, ListsAreLongAndShareNoWord) {
    std::set<std::string> all;
    size_t count = 0;
    auto add = [&](const std::string& word) {
        EXPECT_TRUE(all.insert(word).second) << word << " stands twice";
        count++;
    };
    for (auto list : {gym::people(), gym::places()}) {
        EXPECT_GE(list.size(), 40u);
        for (const char* word : list) add(word);
    }
    for (auto list : {gym::foods(), gym::things(), gym::units()}) {
        EXPECT_GE(list.size(), 40u);
        for (const gym::Noun& noun : list) add(noun.one), add(noun.many);
    }
    EXPECT_EQ(all.size(), count);
}

// --- problems

TEST(Gym, ProblemsAreWorkedOutExactly) {
    for (Family family : {Family::verify, Family::revise})
        for (int level = 1; level <= gym::levels; level++)
            for (const Item& item : take(family, level, level, Split::test, 1000)) {
                const gym::Problem& p = item.problem;
                ASSERT_EQ(p.steps.size(), size_t(level)) << item.name.text();
                ASSERT_EQ(p.values.size(), p.steps.size());
                int64_t value = p.start;
                const std::vector<std::string> words = words_of(item.prompt);
                auto stated = [&](int64_t n) {
                    return std::find(words.begin(), words.end(), std::to_string(n)) != words.end();
                };
                EXPECT_TRUE(stated(p.start)) << item.prompt;
                for (size_t i = 0; i < p.steps.size(); i++) {
                    const auto [op, n] = p.steps[i];
                    EXPECT_TRUE(stated(n)) << item.prompt;
                    EXPECT_GE(n, 2);
                    EXPECT_TRUE(op != '/' || value % n == 0) << item.prompt;
                    value = op == '+' ? value + n : op == '-' ? value - n : op == 'x' ? value * n : value / n;
                    EXPECT_EQ(p.values[i], value);
                    EXPECT_GT(value, 0);
                }
                EXPECT_EQ(item.truth(), std::to_string(value));
                EXPECT_TRUE(item.prompt.ends_with(" End with 'Answer: N'."));
                for (char c : item.prompt) EXPECT_TRUE(c != '{' && c != '}') << item.prompt;
            }
}

// Every level has all four operations (with one step, in different items).
TEST(Gym, EveryOperationComesUp) {
    for (int level = 1; level <= gym::levels; level++) {
        std::map<char, int> ops;
        for (const Item& item : take(Family::verify, level, level, Split::train, 2000))
            for (gym::Step step : item.problem.steps) ops[step.op]++;
        for (char op : {'+', '-', 'x', '/'}) EXPECT_GT(ops[op], 100) << level << op;
    }
}

TEST(Gym, CellsOfReviseComeEquallyOften) {
    int cells[2][2] = {};
    int64_t by_step = 0, by_number = 0;
    for (const Item& item : take(Family::revise, 1, 4, Split::test, 2000)) {
        const gym::Proposal& p = item.proposal;
        cells[p.right][p.remark_right()]++;
        EXPECT_EQ(p.values == item.problem.values, p.right);
        EXPECT_EQ(p.other == item.problem.values, !p.right);
        EXPECT_EQ(p.values.back() == item.problem.truth(), p.right);
        EXPECT_NE(p.other.back(), p.values.back());
        const size_t remark = item.prompt.find(gym::work(item.problem, p.values));
        ASSERT_NE(remark, item.prompt.npos) << item.prompt;
        if (!p.agrees) {
            const std::string rest = item.prompt.substr(remark + gym::work(item.problem, p.values).size());
            const std::vector<std::string> words = words_of(rest);
            const bool number = std::count(words.begin(), words.end(), std::to_string(p.other.back())) > 0;
            (rest.find('=') == rest.npos ? by_number : by_step)++;
            EXPECT_TRUE(number || rest.find('=') != rest.npos) << item.prompt;
        }
    }
    for (auto& row : cells)
        for (int n : row) EXPECT_EQ(n, 500);
    EXPECT_NEAR(double(by_step), 500, 70);
    EXPECT_NEAR(double(by_number), 500, 70);
}

// --- twins

TEST(Gym, TwinsDifferInOneFactOfEqualLength) {
    std::map<gym::Missing, int> kinds;
    for (int level = 1; level <= gym::levels; level++) {
        const std::vector<Item> items = take(Family::unsure, level, level, Split::test, 2000);
        for (size_t k = 0; k < items.size(); k += 2) {
            const Item& a = items[k].facts.answerable ? items[k] : items[k + 1];
            const Item& b = items[k].facts.answerable ? items[k + 1] : items[k];
            ASSERT_TRUE(a.facts.answerable && !b.facts.answerable) << a.name.text();
            kinds[a.facts.kind]++;
            EXPECT_EQ(a.facts.question, b.facts.question);
            EXPECT_EQ(a.wording, b.wording);
            EXPECT_EQ(a.prompt.size(), b.prompt.size());
            ASSERT_EQ(a.facts.stated.size(), b.facts.stated.size());
            EXPECT_GE(a.facts.stated.size(), 3u);
            EXPECT_LE(a.facts.stated.size(), 8u);
            for (size_t i = 0; i < a.facts.stated.size(); i++) {
                EXPECT_EQ(a.facts.stated[i] != b.facts.stated[i], i == a.facts.place) << a.prompt;
                EXPECT_EQ(a.facts.stated[i].size(), b.facts.stated[i].size());
            }
            // Some fact of the answerable one speaks of what is asked, and none of the other's does.
            auto speaks = [&](const Item& item) {
                return std::any_of(item.facts.stated.begin(), item.facts.stated.end(), [&](const std::string& fact) {
                    const std::vector<std::string> words = words_of(fact);
                    return std::all_of(item.facts.asked.begin(), item.facts.asked.end(), [&](const auto& ways) {
                        return std::any_of(ways.begin(), ways.end(), [&](const std::string& way) {
                            return std::count(words.begin(), words.end(), words_of(way)[0]) > 0;
                        });
                    });
                });
            };
            EXPECT_TRUE(speaks(a)) << a.prompt;
            EXPECT_FALSE(speaks(b)) << b.prompt;
            EXPECT_NE(a.facts.value, a.facts.other_value);
            EXPECT_EQ(a.truth(), a.facts.value);
            EXPECT_EQ(b.truth(), "unknown");
        }
    }
    for (auto kind : {gym::Missing::entity, gym::Missing::relation, gym::Missing::reading})
        EXPECT_NEAR(kinds[kind], 1333, 120) << int(kind);
}

// --- shortcuts

// Items as counts of words, and what is to be told from them.
struct Bags {
    std::vector<SparseRow> rows;
    std::vector<int> labels;
    std::map<std::string, int> columns;

    void add(const std::string& text, int label) {
        std::map<int, double> counts;
        for (const std::string& word : words_of(text))
            counts[columns.try_emplace(word, int(columns.size())).first->second]++;
        SparseRow row;
        for (const auto& [column, n] : counts) row.push_back({column, n});
        rows.push_back(row);
        labels.push_back(label);
    }
    // Fitted to the first half of the items, judged on the second.
    double held_out_auc() const {
        const size_t half = rows.size() / 2;
        const std::vector<SparseRow> seen(rows.begin(), rows.begin() + int64_t(half));
        const Logistic fit = fit_logistic(seen, {labels.data(), half}, int(columns.size()), .1);
        std::vector<double> scores;
        for (size_t i = half; i < rows.size(); i++) scores.push_back(fit.score(rows[i]));
        return auc(scores, {labels.data() + half, rows.size() - half});
    }
};

double auc_of(const std::vector<double>& scores, const std::vector<int>& labels) { return auc(scores, labels); }

TEST(Gym, NoShortcutTellsWhatCanBeAnswered) {
    const std::vector<Item> items = take(Family::unsure, 1, 4, Split::test, 10000);
    Bags honest, planted;
    std::vector<double> length, answer_length, answer_words, place, count, order, value_length;
    std::vector<int> labels;
    for (size_t i = 0; i < items.size(); i++) {
        const Item& item = items[i];
        const gym::Facts& f = item.facts;
        std::string text = f.question;
        for (const std::string& fact : f.stated) text += " " + fact;
        honest.add(text, f.answerable);
        // The same items with a cue: one unanswerable question in four begins with "and".
        planted.add((!f.answerable && i % 8 < 2 ? "and " : "") + text, f.answerable);
        const std::string gold = gym::gold_answer(item);
        const size_t answer = gold.find(" Answer: ");
        labels.push_back(f.answerable);
        length.push_back(double(item.prompt.size()));
        answer_length.push_back(double(answer));
        answer_words.push_back(double(words_of(gold).size()));
        place.push_back(double(f.place));
        count.push_back(double(f.stated.size()));
        order.push_back(double(i % 2));
        value_length.push_back(double(f.value.size()));
    }
    EXPECT_EQ(std::accumulate(labels.begin(), labels.end(), 0), 5000);
    EXPECT_NEAR(honest.held_out_auc(), .5, .02);
    EXPECT_GT(planted.held_out_auc(), .58);
    for (const auto& feature : {length, place, count, value_length}) EXPECT_EQ(auc_of(feature, labels), .5);
    EXPECT_NEAR(auc_of(order, labels), .5, .02);
    EXPECT_EQ(auc_of(answer_words, labels), .5);
    EXPECT_NEAR(auc_of(answer_length, labels), .5, .1);
}

// Nor do the words of a proposal or of a remark tell whether they are right.
TEST(Gym, NoShortcutTellsWhoIsRight) {
    Bags solution, remark;
    for (const Item& item : take(Family::revise, 1, 4, Split::test, 20000)) {
        solution.add(item.prompt, item.proposal.right);
        remark.add(item.prompt, item.proposal.remark_right());
    }
    EXPECT_NEAR(solution.held_out_auc(), .5, .02);
    EXPECT_NEAR(remark.held_out_auc(), .5, .02);
}

// --- rows

TEST(Gym, RowsComeInTurn) {
    gym::Options o;
    o.rows = 120;
    const std::vector<Item> items = gym::items(o);
    std::map<std::string, int> each;
    std::set<std::string> names;
    for (const Item& item : items) {
        each[item.name.text().substr(0, 8)]++;
        names.insert(item.name.text());
    }
    EXPECT_EQ(names.size(), 120u);
    EXPECT_EQ(each.size(), 6u);
    for (const auto& [kind, n] : each) EXPECT_EQ(n, 20) << kind;
    o.rows = 123;       // an odd number leaves no twin alone
    int lonely = 0;
    for (const Item& item : gym::items(o)) lonely += item.name.family == Family::unsure;
    EXPECT_EQ(gym::items(o).size(), 123u);
    EXPECT_EQ(lonely % 2, 0);
}

TEST(Gym, RowsAreOfTheKindAskedFor) {
    gym::Options o;
    o.rows = 12;
    const std::vector<Item> items = gym::items(o);
    const std::vector<Json> chat = gym::rows(o);
    ASSERT_EQ(chat.size(), 12u);
    for (size_t i = 0; i < chat.size(); i++) {
        const std::string answer = gym::gold_answer(items[i]);
        const Json expected{{"id", items[i].name.text()},
                            {"messages", {{{"role", "user"}, {"content", items[i].prompt}},
                                          {{"role", "assistant"}, {"content", answer}}}}};
        EXPECT_EQ(dump(chat[i]), dump(expected));
    }
    o.preferences = true;
    const std::vector<Json> pairs = gym::rows(o);
    for (size_t i = 0; i < pairs.size(); i++)
        EXPECT_EQ(dump(pairs[i]), dump(Json{{"id", items[i].name.text()}, {"prompt", items[i].prompt},
                                            {"chosen", gym::gold_answer(items[i])},
                                            {"rejected", gym::rejected_answer(items[i])}}));
    o.style_arm = true;
    EXPECT_EQ(gym::rows(o)[3]["chosen"], gym::style_answer(items[3]));
    EXPECT_EQ(gym::rows(o)[3]["rejected"], gym::gold_answer(items[3]));
    o.preferences = false;
    EXPECT_EQ(gym::rows(o)[3]["messages"][1]["content"], gym::style_answer(items[3]));
}

TEST(Gym, WrongOptionsAreRefused) {
    auto refused = [](auto change) {
        gym::Options o;
        o.rows = 8;
        change(o);
        return error_of([&] { gym::items(o); });
    };
    EXPECT_EQ(refused([](gym::Options&) {}), Exit::ok);
    EXPECT_EQ(refused([](gym::Options& o) { o.families.clear(); }), Exit::usage);
    EXPECT_EQ(refused([](gym::Options& o) { o.low_level = 0; }), Exit::usage);
    EXPECT_EQ(refused([](gym::Options& o) { o.high_level = 5; }), Exit::usage);
    EXPECT_EQ(refused([](gym::Options& o) { o.low_level = 3; }), Exit::usage);
    EXPECT_EQ(refused([](gym::Options& o) { o.rows = 0; }), Exit::usage);
    EXPECT_EQ(refused([](gym::Options& o) { o.families = {Family::unsure}, o.rows = 7; }), Exit::usage);
    EXPECT_EQ(error_of([] { gym::parse_family("verfy"); }), Exit::usage);
    EXPECT_EQ(error_of([] { gym::parse_split("dev"); }), Exit::usage);
}

}  // namespace
