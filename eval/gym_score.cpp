// gym_score.cpp - the rules of the judge. Each is stated at its field in gym.h; tests/gym_score.cpp has an example of
// everything that a model might do to be credited without having earned it.
#include <algorithm>
#include "gym_parts.h"
#include "gym_read.h"

namespace gym {

namespace {

// --- verify and revise

// Where the check begins: at the first announcement that has an attempt before it, else at the first one.
size_t check_begins(std::string_view text, size_t attempt) {
    const size_t first = find_check(text), later = attempt == text.npos ? text.npos : find_check(text, attempt);
    return later != text.npos ? later : first;
}

// The check is about this problem: an equation that is not one of the work again uses the answer and a number that
// problem or work have; or the answer lies between two bounds that the check computes.
bool rests_on(const Relation& r, double answer, const std::vector<Relation>& work, const std::vector<Relation>& check,
              const Problem& problem) {
    if (!r.mentions(answer)) return false;
    if (!r.equation) {
        auto computed_there = [&](double bound) {
            return std::any_of(check.begin(), check.end(), [&](const Relation& other) {
                return other.equation && other.computed() && other.sides.back().value == bound;
            });
        };
        for (size_t i = 1; i + 1 < r.sides.size(); i++)
            if (r.sides[i].value == answer && computed_there(r.sides[i - 1].value) &&
                computed_there(r.sides[i + 1].value))
                return true;
        return false;
    }
    if (!r.computed()) return false;
    for (const Relation& done : work)
        for (const Relation::Side& a : done.sides)
            for (const Relation::Side& b : r.sides)
                if (a.computed && b.computed && a.text == b.text) return false;
    std::vector<double> others = r.numbers;
    others.erase(std::find(others.begin(), others.end(), answer));
    return std::any_of(others.begin(), others.end(), [&](double v) {
        auto stated = [&](Step s) { return double(s.operand) == v; };
        auto mentions = [&](const Relation& w) { return v != answer && w.mentions(v); };
        return v == double(problem.start) || std::any_of(problem.steps.begin(), problem.steps.end(), stated) ||
               std::any_of(work.begin(), work.end(), mentions);
    });
}

void judge_work(Score& score, const Item& item, std::string_view text) {
    const Problem& p = item.problem;
    const AnswerLine answer = last_answer(text);
    score.answered = answer.given;
    score.right = answer.value == p.truth();

    const std::vector<Relation> all = relations(text);
    const auto first = std::find_if(all.begin(), all.end(), [](const Relation& r) { return r.computed(); });
    const size_t begin = check_begins(text, first == all.end() ? text.npos : first->at);
    const size_t line = answer_part(text).at;           // of the answer; a check may also follow it
    const size_t end = line != text.npos && line > begin ? line : text.size();
    score.says_check = begin != text.npos;

    std::vector<Relation> work, check;
    for (const Relation& r : all) {
        if (r.at < begin && r.computed()) work.push_back(r);
        if (r.at >= begin && r.at < end) check.push_back(r);
    }
    // What was there before the check. Work that had only come to a right value on its way is no wrong attempt.
    const bool attempted = score.says_check && !work.empty();
    const double attempt = attempted ? work.back().sides.back().value : 0;
    const bool on_its_way =
        std::any_of(p.values.begin(), p.values.end(), [&](int64_t v) { return double(v) == attempt; });
    score.first_wrong = attempted ? attempt != double(p.truth()) && !(on_its_way && score.right)
                                  : answer.given && !score.right;
    score.caught = score.first_wrong && score.right;
    const bool true_throughout = std::all_of(check.begin(), check.end(), [](const Relation& r) { return r.holds; });
    score.real_check =
        attempted && answer.value && true_throughout && std::any_of(check.begin(), check.end(), [&](const Relation& r) {
            return rests_on(r, double(*answer.value), work, check, p);
        });
}

// --- unsure

// The values that the text may mean as its answer: all of the sort that is asked for, apart from the question's own.
std::vector<std::string> values_in(const Facts& facts, std::string_view text) {
    std::vector<std::string> found;
    if (facts.number) {
        for (double v : numbers(text)) found.push_back(format("%.10g", v));
        return found;
    }
    for (const std::string& value : values_like(facts.value))
        if (has_words(text, value) && !has_words(facts.question, value)) found.push_back(value);
    return found;
}

void judge_facts(Score& score, const Item& item, std::string_view text) {
    const Facts& facts = item.facts;
    const AnswerPart part = answer_part(text);
    const std::vector<std::string> values = values_in(facts, part.text);
    const bool gap = abstains(part.text);
    score.abstained = gap && values.empty();
    // "Answer: Atlantis" is a guess too; without "Answer:" only what could be the answer counts as one.
    score.answered = !values.empty() || (part.marked && !gap);
    score.right = facts.answerable ? values == std::vector<std::string>{facts.value} : score.abstained;

    const size_t begin = find_check(text);
    score.says_check = begin != text.npos;
    if (!score.says_check) return;
    const size_t line = part.at;
    const std::string_view check = text.substr(begin, line != text.npos && line > begin ? line - begin : text.npos);
    auto names_what_is_asked = [&](std::string_view s) {
        return std::all_of(facts.asked.begin(), facts.asked.end(), [&](const auto& spellings) {
            return std::any_of(spellings.begin(), spellings.end(), [&](const auto& way) { return has_words(s, way); });
        });
    };
    auto repeats_a_fact = [&](auto holds) {
        return std::any_of(facts.stated.begin(), facts.stated.end(), [&](const std::string& fact) {
            return holds(fact) && has_words(check, fact);
        });
    };
    if (score.abstained) score.real_check = !facts.answerable && names_what_is_asked(check);
    else if (values.size() == 1)
        score.real_check = repeats_a_fact(names_what_is_asked) &&
                           repeats_a_fact([&](const std::string& fact) { return has_words(fact, values[0]); });
}

}  // namespace

Score score(const Item& item, const Reply& reply) {
    Score s;
    const std::string text = plain(reply.text);
    if (item.name.family == Family::unsure) judge_facts(s, item, text);
    else judge_work(s, item, text);
    s.cut_off = reply.cut_off;
    if (s.cut_off) {
        // Who knows how it would have gone on: nothing was given in the end, and nothing was checked.
        s.right = s.real_check = s.caught = s.answered = s.abstained = false;
    }
    return s;
}

}  // namespace gym
