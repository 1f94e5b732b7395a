// gym_verify.cpp - word problems of one to four steps, and answers that check themselves.
#include <algorithm>
#include "gym_scenes.h"

namespace gym {

int64_t apply(int64_t value, Step step) {
    switch (step.op) {
        case '+': return value + step.operand;
        case '-': return value - step.operand;
        case 'x': return value * step.operand;
        default: return value / step.operand;
    }
}

std::string equation(int64_t left, Step step, int64_t result) {
    return format("%lld %c %lld = %lld", (long long)left, step.op, (long long)step.operand, (long long)result);
}

static char inverse(char op) { return op == '+' ? '-' : op == '-' ? '+' : op == 'x' ? '/' : 'x'; }

// --- problems

namespace {

// The sizes of numbers at each level: what is there and what is added or taken away, how many groups or sharers, and
// how many or how much each.
struct Sizes {
    int64_t low, high, few_low, few_high, each_low, each_high;
};
constexpr Sizes sizes[levels] = {
    {2, 20, 2, 5, 2, 10}, {2, 50, 2, 9, 2, 12}, {10, 200, 3, 12, 5, 40}, {20, 900, 3, 20, 10, 90}};

// Which steps a story has: how it begins, how often it grows (+) and shrinks (-), how it ends.
void draw_plan(Story& s, std::string& changes, int level, Random& random) {
    changes.clear();
    if (level == 1) {
        const uint32_t u = random.below(20);
        if (u < 14) changes = u < 7 ? "+" : "-";
        s.groups = u == 14 || u == 15;
        s.ending = u < 16 ? 0 : u < 18 ? 1 : 2;
        return;
    }
    s.groups = random.below(2) == 1;
    const uint32_t u = random.below(4);
    s.ending = u < 2 ? 0 : int(u) - 1;
    for (int left = level - s.groups - (s.ending != 0); left > 0; left--) {
        const bool grows = random.below(2) == 1;
        const char sign = grows ? '+' : '-', other = grows ? '-' : '+';
        changes += std::count(changes.begin(), changes.end(), sign) < 2 ? sign : other;
    }
}

// Going back from the result would begin with a step of the work (7 x 9 = 63, 63 / 9 = 7): no other route to check by.
bool retraces(const Problem& p) {
    const Step last = p.steps.back();
    for (size_t i = 0; i + 1 < p.steps.size(); i++)
        if ((i ? p.values[i - 1] : p.start) == p.truth() && p.steps[i].op == inverse(last.op) &&
            p.steps[i].operand == last.operand)
            return true;
    return false;
}

bool add_step(Problem& p, char op, int64_t operand) {
    const int64_t value = p.values.empty() ? p.start : p.values.back();
    if (op == '/' && (value % operand != 0 || value / operand < 2)) return false;
    p.steps.push_back({op, operand});
    p.values.push_back(apply(value, {op, operand}));
    return p.values.back() < 1000000;
}

// False when the draw does not work out: a division with a rest, more taken away than there is.
bool draw_numbers(Story& s, const std::string& changes, const Sizes& z, int64_t factor, Random& random) {
    Problem& p = s.problem;
    p = {};
    p.start = s.groups ? between(z.few_low, factor ? z.few_high : z.each_high, random) : between(z.low, z.high, random);
    if (s.groups && !add_step(p, 'x', factor ? factor : between(z.few_low, z.few_high, random))) return false;
    for (char op : changes) {
        const int64_t here = p.values.empty() ? p.start : p.values.back();
        const int64_t most = op == '+' ? z.high : std::min(z.high, here - 2);
        if (most < z.low || !add_step(p, op, between(z.low, most, random))) return false;
    }
    if (s.ending == 1) {
        const int64_t n = between(z.few_low, z.few_high, random);
        if (p.steps.empty()) p.start = n * between(z.each_low, z.each_high, random);
        return add_step(p, '/', n);
    }
    return s.ending != 2 || add_step(p, 'x', between(z.few_low, z.few_high, random));
}

// People, towns, goods and units; no two alike.
Slots draw_slots(const char* goods, const Measured& m, Random& random) {
    Slots s;
    s['P'] = pick(people(), random);
    do s['Q'] = pick(people(), random);
    while (s['Q'] == s['P']);
    s['T'] = pick(places(), random);
    do s['V'] = pick(places(), random);
    while (s['V'] == s['T']);
    const Noun unit = pick(units(), random);
    Noun other = unit;
    while (other.one == unit.one) other = pick(units(), random);
    s['C'] = unit.one, s['D'] = unit.many, s['E'] = other.one, s['F'] = other.many;
    const std::string kind = goods;
    const bool food = kind == "f" || (kind == "o" && random.below(2) == 1);
    const std::string good = food ? pick(foods(), random).many : pick(things(), random).many;
    s['O'] = kind == "m" ? m.small : kind.size() == 1 ? good : kind;
    s['G'] = good;
    s['X'] = m.thing, s['B'] = m.large, s['b'] = m.large_one;
    return s;
}

// The sentences of a story, in order; `number` is what {n} stands for in each.
struct Sentence {
    const char* pattern;
    int64_t number;
};
std::vector<Sentence> sentences(const Story& s) {
    const Scene& scene = scenes()[size_t(s.scene)];
    const std::vector<Step>& steps = s.problem.steps;
    std::vector<Sentence> out{{s.groups ? scene.groups : scene.plain, s.groups ? steps[0].operand : 0}};
    size_t gains = 0, losses = 0;
    for (size_t i = s.groups; i < steps.size() - (s.ending != 0); i++)
        out.push_back({steps[i].op == '+' ? scene.gain[gains++] : scene.loss[losses++], steps[i].operand});
    out.push_back({s.ending == 0 ? scene.now : s.ending == 1 ? scene.share : scene.price, steps.back().operand});
    return out;
}

// Numbers, and the names that the story speaks of, in their roles.
std::string story_content(const Story& s) {
    std::string text = std::to_string(s.problem.start), letters;
    for (const Step& step : s.problem.steps) text += step.op + std::to_string(step.operand);
    for (const Sentence& sentence : sentences(s))
        for (const char* c = sentence.pattern; *c; c++)
            if (*c == '{') letters += c[1];
    letters += 'O';
    for (char role : {'P', 'Q', 'T', 'V', 'O', 'C', 'E', 'G', 'X'})
        if (letters.find(role) != std::string::npos) text += std::string("|") + role + "=" + s.slots.at(role);
    return text;
}

}  // namespace

Story draw_story(int level, bool fresh, Random& random) {
    const Sizes& z = sizes[level - 1];
    Story s;
    s.scene = draw_wording(fresh, random);
    const Measured m = pick(measures().first(level == 1 ? 5 : level == 2 ? 7 : measures().size()), random);
    std::string changes;
    draw_plan(s, changes, level, random);
    // Many numbers for one plan, so that divisions, which seldom work out, come as often as they were planned.
    const int64_t factor = *scenes()[size_t(s.scene)].goods == 'm' && s.groups ? m.factor : 0;
    for (int attempt = 1; !draw_numbers(s, changes, z, factor, random) || retraces(s.problem); attempt++)
        if (attempt % 1000 == 0) draw_plan(s, changes, level, random);
    s.slots = draw_slots(scenes()[size_t(s.scene)].goods, m, random);
    s.slots['a'] = std::to_string(s.problem.start);
    s.slots['w'] = changes.empty() ? "" : " now";
    s.content = story_content(s);
    return s;
}

std::string story_text(const Story& s) {
    std::string text;
    Slots slots = s.slots;
    for (const Sentence& sentence : sentences(s)) {
        slots['n'] = std::to_string(sentence.number);
        text += (text.empty() ? "" : " ") + fill(sentence.pattern, slots);
    }
    return text;
}

// --- answers

std::string work(const Problem& p, const Values& values) {
    std::string text;
    for (size_t i = 0; i < p.steps.size(); i++)
        text += (i ? ", " : "") + equation(i ? values[i - 1] : p.start, p.steps[i], values[i]);
    return text;
}

int64_t slip(const Problem& p, size_t j, Random& random) {
    const int64_t right = p.values[j];
    const Step undo{inverse(p.steps[j].op), p.steps[j].operand};
    for (;;) {
        int64_t off = between(1, 3, random);
        if (right > 20 && random.below(4) == 0) off = 10;
        if (random.below(2)) off = -off;
        if (p.steps[j].op == 'x') off *= p.steps[j].operand;
        if (right + off >= 2 && apply(right + off, undo) > 0) return right + off;
    }
}

namespace {

enum class Route { backwards, other_order, rounding };

struct Bounds {
    Step low, high;             // the last step with rounded operands
    int64_t low_left, high_left;
    int64_t below() const { return apply(low_left, low); }
    int64_t above() const { return apply(high_left, high); }
};

// The last step with both numbers rounded to tens (a factor stays), so that its result lies strictly between.
Bounds bounds(const Problem& p) {
    const Step last = p.steps.back();
    const int64_t left = p.steps.size() > 1 ? p.values[p.values.size() - 2] : p.start;
    auto down = [](int64_t v) { return v / 10 * 10; };
    auto up = [](int64_t v) { return (v + 9) / 10 * 10; };
    if (last.op == 'x') return {last, last, down(left), up(left)};
    const Step smaller{last.op, down(last.operand)}, larger{last.op, up(last.operand)};
    if (last.op == '+') return {smaller, larger, down(left), up(left)};
    return {larger, smaller, down(left), up(left)};
}

// Which check the answer to this problem makes; the same for its right and its wrong answers. It must fail whatever
// wrong answer it may have to cover up: bounds and the exchange of the last two of many steps see the last step alone.
Route route(const Problem& p, int level, bool slips_anywhere, Random& random) {
    const size_t n = p.steps.size();
    const char last = p.steps.back().op;
    const int64_t left = n > 1 ? p.values[n - 2] : p.start;
    const uint32_t u = random.below(6);
    if (u == 0 && level >= 3 && !slips_anywhere && last != '/' && left >= 20 &&
        p.steps.back().operand >= (last == 'x' ? 2 : 20)) {
        const Bounds b = bounds(p);
        if (b.low_left > 0 && b.below() > 0 && b.below() < p.truth() && p.truth() < b.above()) return Route::rounding;
    }
    if (u == 1 || u == 2) {
        if (n == 1 && (last == '+' || last == 'x') && p.start != p.steps[0].operand) return Route::other_order;
        auto sums = [](char op) { return op == '+' || op == '-'; };
        if (n > 1 && !(n > 2 && slips_anywhere) && sums(last) && sums(p.steps[n - 2].op)) {
            const int64_t first = n > 2 ? p.values[n - 3] : p.start;
            if (apply(first, p.steps[n - 1]) > 0 && p.steps[n - 1].operand != p.steps[n - 2].operand)
                return Route::other_order;
        }
    }
    return Route::backwards;
}

// From the claimed result back to the start; stated to fit whether it does or not.
std::string backwards(const Problem& p, const Values& values) {
    std::string text;
    for (size_t i = p.steps.size(); i-- > 0;)
        text += (text.empty() ? "" : ", ") +
                equation(values[i], {inverse(p.steps[i].op), p.steps[i].operand}, i ? values[i - 1] : p.start);
    return text;
}

std::string other_order(const Problem& p, int64_t value) {
    const size_t n = p.steps.size();
    if (n == 1) return equation(p.steps[0].operand, {p.steps[0].op, p.start}, value);
    const int64_t first = n > 2 ? p.values[n - 3] : p.start, second = apply(first, p.steps[n - 1]);
    return equation(first, p.steps[n - 1], second) + ", " + equation(second, p.steps[n - 2], value);
}

std::string rounding(const Problem& p, int64_t value) {
    const Bounds b = bounds(p);
    return equation(b.low_left, b.low, b.below()) + " and " + equation(b.high_left, b.high, b.above()) + ", and " +
           format("%lld < %lld < %lld", (long long)b.below(), (long long)value, (long long)b.above());
}

std::string check_text(const Problem& p, const Values& values, Route route, Random& random) {
    static const char* const fits[] = {", as it should be.", ", which is right.", ", so it fits.", ", and that holds."};
    static const char* const back[] = {"Check backwards: ", "Check by going back: ", "I check it backwards: "};
    static const char* const turned[] = {"Check in the other order: ", "I check it the other way round: "};
    static const char* const rounded[] = {"Check with round numbers: ", "I check the size: "};
    const char* fit = pick(fits, random);
    switch (route) {
        case Route::other_order: return pick(turned, random) + other_order(p, values.back()) + fit;
        case Route::rounding: return pick(rounded, random) + rounding(p, values.back()) + fit;
        default: return pick(back, random) + backwards(p, values) + fit;
    }
}

Values ending_in(const Problem& p, int64_t value) {
    Values values = p.values;
    values.back() = value;
    return values;
}

// A first attempt that is wrong, seen by going one step back, and mended.
std::string failed_attempt(const Problem& p, int64_t value, int64_t wrong) {
    const Step last = p.steps.back(), undo{inverse(last.op), last.operand};
    const int64_t before = p.steps.size() > 1 ? p.values[p.values.size() - 2] : p.start;
    return work(p, ending_in(p, wrong)) + ". Check backwards: " + equation(wrong, undo, apply(wrong, undo)) +
           format(", but it should be %lld. So ", (long long)before) + equation(before, last, value) + ". ";
}

// The answer of verify that claims `value`: right with the truth, and of the same length and style without.
std::string verify_answer(const Item& item, int64_t value) {
    const Problem& p = item.problem;
    Random random = stream(item.name, Purpose::answer);
    const bool slips = random.below(10) == 0;
    const Route way = slips ? Route::backwards : route(p, item.name.level, false, random);
    const std::string check = check_text(p, ending_in(p, value), way, random);
    if (!slips) return work(p, ending_in(p, value)) + ". " + check + format(" Answer: %lld", (long long)value);
    int64_t wrong = value;
    while (wrong == value) wrong = slip(p, p.steps.size() - 1, random);
    return failed_attempt(p, value, wrong) + check + format(" Answer: %lld", (long long)value);
}

}  // namespace

std::string verify_gold(const Item& item) { return verify_answer(item, item.problem.truth()); }

std::string verify_rejected(const Item& item) {
    const Problem& p = item.problem;
    Random random = stream(item.name, Purpose::answer);
    const bool rounds = random.below(10) != 0 && route(p, item.name.level, false, random) == Route::rounding;
    // A wrong value inside the bounds would pass that check honestly: take one outside.
    const int64_t outside = rounds ? 2 * bounds(p).above() - p.truth() : 0;
    Random other = stream(item.name, Purpose::wrong);
    return verify_answer(item, rounds ? outside : slip(p, p.steps.size() - 1, other));
}

std::string claimed_check(const Problem& p, const Values& values, int level, Random& random) {
    return check_text(p, values, route(p, level, true, random), random);
}

}  // namespace gym
