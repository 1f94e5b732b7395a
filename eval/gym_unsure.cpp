// gym_unsure.cpp - stated facts and a question that they answer, or do not.
//
// What tells twins apart must be the facts' meaning and nothing else. So the replaced fact keeps its place, template
// and length to the letter; the word taken out and the word put in stand equally often in the other facts, so that
// words are repeated as often in both twins; and both are drawn alike, so that no word leans to one side.
#include <algorithm>
#include "gym_parts.h"

namespace gym {

namespace {

enum class List { people, places, food, thing, number, day, verb, past };

// A fact says that subject {S} stands in relation {R} to value {V}; {r} is the relation as the question spells it. Of
// wordings that ask through a group, {S} is in the group of colour {k}; {R} is what such a group holds, if anything.
struct Scenario {
    List subject, relation, value;
    const char *fact, *question, *wanted;       // wanted: what the needed fact tells, as an answer names it
    const char* link = nullptr;                 // which group {S} is in; then `fact` is about the group
    const char* group = nullptr;                // the word that the question has for it
    const char* follows = nullptr;              // `fact` within a sentence
};

// The first 9 common and the first 2 test-only wordings ask directly, the others through a group.
constexpr int general = 9, general_fresh = 2;
constexpr Scenario scenarios[] = {
    {List::people, List::food, List::number, "{S} has {V} {R}", "How many {R} does {S} have?", "how many {R} {S} has"},
    {List::people, List::thing, List::number, "{S} bought {V} {R}", "How many {R} did {S} buy?",
     "how many {R} {S} bought"},
    {List::places, List::thing, List::number, "The shop in {S} has {V} {R}", "How many {R} does the shop in {S} have?",
     "how many {R} the shop in {S} has"},
    {List::people, List::food, List::number, "{S} ordered {V} {R}", "What number of {R} did {S} order?",
     "what number of {R} {S} ordered"},
    {List::people, List::verb, List::places, "{S} {R} in {V}", "Where does {S} {r}?", "where {S} {R}"},
    {List::people, List::verb, List::day, "{S} {R} on {V}", "On which day does {S} {r}?", "on which day {S} {R}"},
    {List::thing, List::past, List::people, "{V} {R} the {S}", "Who {R} the {S}?", "who {R} the {S}"},
    {List::thing, List::past, List::places, "The {S} was {R} in {V}", "Where was the {S} {R}?",
     "where the {S} was {R}"},
    {List::thing, List::past, List::day, "The {S} was {R} on {V}", "When was the {S} {R}?", "when the {S} was {R}"},
    {List::people, List::food, List::number, "{K} {D} hold {V} {R}", "How many {R} are in {S}'s {C}?",
     "which {C} {S} has", "{S} has a {k} {C}", "{C}", "{k} {D} hold {V} {R}"},
    {List::people, List::day, List::day, "The {k} team meets on {V}", "When does {S}'s team meet?",
     "which team {S} is in", "{S} is in the {k} team", "team", "the {k} team meets on {V}"},
    {List::people, List::places, List::places, "The {k} bus goes to {V}", "Where does {S}'s bus go?",
     "which bus {S} takes", "{S} takes the {k} bus", "bus", "the {k} bus goes to {V}"},
    {List::people, List::thing, List::number, "{V} {R} belong to {S}", "How many of the {R} belong to {S}?",
     "how many {R} belong to {S}"},
    {List::people, List::verb, List::places, "Near {V} is where {S} {R}", "Near which town does {S} {r}?",
     "near which town {S} {R}"},
    {List::people, List::people, List::people, "{V} cleans the {k} room", "By whom is {S}'s room cleaned?",
     "which room {S} sleeps in", "{S} sleeps in the {k} room", "room", "{V} cleans the {k} room"},
};
static_assert(std::size(scenarios) == wordings);

// None of these says or denies another: who sleeps somewhere may also rest there, and what is sold is bought.
struct Verb {
    const char *says, *asks;
};
constexpr Verb verbs[] = {{"sings", "sing"},   {"works", "work"},     {"cooks", "cook"},   {"swims", "swim"},
                          {"plays", "play"},   {"reads", "read"},     {"walks", "walk"},   {"jumps", "jump"},
                          {"shops", "shop"},   {"votes", "vote"},     {"paints", "paint"}, {"climbs", "climb"},
                          {"sleeps", "sleep"}, {"skates", "skate"},   {"dances", "dance"}, {"fishes", "fish"}};
constexpr const char* pasts[] = {"found",  "dried",  "lent",   "made",    "lost",    "used",    "washed",  "bought",
                                 "mended", "packed", "stored", "weighed", "counted", "painted", "shipped", "praised"};
constexpr const char* days[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
constexpr const char* colours[] = {"red", "blue", "pink", "grey", "gold", "green", "white", "black", "brown"};

// A word in the form that facts use, and in the form that questions use.
struct Word {
    std::string says, asks;
};

Word draw(List list, int level, bool many, Random& random) {
    auto same = [](std::string w) { return Word{w, w}; };
    auto noun = [&](const Noun& n) { return same(many ? n.many : n.one); };
    switch (list) {
        case List::people: return same(pick(people(), random));
        case List::places: return same(pick(places(), random));
        case List::food: return noun(pick(foods(), random));
        case List::thing: return noun(pick(things(), random));
        case List::number: return same(std::to_string(between(2, level == 1 ? 20 : 99, random)));
        case List::day: return same(pick(days, random));
        case List::past: return same(pick(pasts, random));
        default: {
            const Verb v = pick(verbs, random);
            return {v.says, v.asks};
        }
    }
}

// One that is not among `taken` and, if `like` is given, as long. False when chance does not find one soon.
bool draw_other(Word& out, List list, int level, bool many, const std::vector<Word>& taken, const Word* like,
                Random& random) {
    for (int attempt = 0; attempt < 200; attempt++) {
        out = draw(list, level, many, random);
        if (like && (like->says.size() != out.says.size() || like->asks.size() != out.asks.size())) continue;
        if (std::none_of(taken.begin(), taken.end(), [&](const Word& w) { return w.says == out.says; })) return true;
    }
    return false;
}

struct Triple {
    Word subject, relation, value;
};

Slots slots_of(const Triple& t) {
    return {{'S', t.subject.says}, {'R', t.relation.says}, {'r', t.relation.asks}, {'V', t.value.says}};
}

size_t facts_at(int level, Random& random) {
    constexpr size_t few[levels] = {3, 4, 6, 7};
    return few[level - 1] + (level == 2 || level == 4 ? random.below(2) : 0);
}

// What both kinds of scenario yield: the facts with the needed one, the same with its replacement, and the words.
struct Pair {
    Missing kind = Missing::entity;
    std::vector<std::string> facts, keys;       // as sentences and as canonical roles; the needed one stands first
    std::string replacement, replacement_key;
    Facts words;                                // what does not depend on the twin
    std::string question_key;
};

std::string key(const Triple& t) { return t.subject.says + ":" + t.relation.says + ":" + t.value.says; }

// {S} {R} {V}, asked for V. Entity missing: another subject has it. Relation missing: the subject has another.
// Beside the needed fact stand one with its relation, one with the relation that may replace it, and fillers.
bool draw_general(Pair& pair, const Scenario& s, int level, Random& random) {
    const bool many = s.value == List::number;
    auto subject = [&](Word& w, const std::vector<Word>& taken, const Word* like) {
        return draw_other(w, s.subject, level, false, taken, like, random);
    };
    auto relation = [&](Word& w, const std::vector<Word>& taken, const Word* like) {
        return draw_other(w, s.relation, level, many, taken, like, random);
    };
    Triple needed{draw(s.subject, level, false, random), draw(s.relation, level, many, random),
                  draw(s.value, level, false, random)};
    std::vector<Word> subjects{needed.subject}, relations{needed.relation}, taken_values{needed.value};
    Word other_subject, other_relation, word;
    if (!subject(other_subject, subjects, &needed.subject)) return false;
    subjects.push_back(other_subject);
    if (!relation(other_relation, relations, &needed.relation)) return false;
    relations.push_back(other_relation);
    for (int i = 0; i < 3; i++) {
        if (!subject(word, subjects, nullptr)) return false;
        subjects.push_back(word);
        if (!relation(word, relations, nullptr)) return false;
        relations.push_back(word);
    }
    // (subject, relation) of the other facts; subject 1 and, where the entity is what may lack, subject 0 stay out.
    const size_t own = pair.kind == Missing::relation ? 0 : 3;
    const size_t others[7][2] = {{2, 0}, {3, 1}, {own, 2}, {4, 2}, {4, 3}, {2, 3}, {3, 4}};
    const size_t count = facts_at(level, random);
    std::vector<Triple> facts{needed};
    for (size_t i = 0; i + 1 < count; i++) {
        if (!draw_other(word, s.value, level, false, taken_values, nullptr, random)) return false;
        if (s.value != List::day || taken_values.size() < 4) taken_values.push_back(word);
        facts.push_back({subjects[others[i][0]], relations[others[i][1]], word});
    }
    for (const Triple& t : facts) {
        pair.facts.push_back(capital(fill(s.fact, slots_of(t))));
        pair.keys.push_back(key(t));
    }
    Triple replaced = needed;
    (pair.kind == Missing::entity ? replaced.subject : replaced.relation) =
        pair.kind == Missing::entity ? other_subject : other_relation;
    pair.replacement = capital(fill(s.fact, slots_of(replaced)));
    pair.replacement_key = key(replaced);
    const Slots slots = slots_of(needed);
    pair.words.question = fill(s.question, slots);
    pair.words.value = needed.value.says;
    pair.words.other_value = facts[1].value.says;
    pair.words.wanted = fill(s.wanted, slots);
    pair.words.asked = {{needed.subject.says}, {needed.relation.says, needed.relation.asks}};
    pair.question_key = needed.subject.says + ":" + needed.relation.says;
    return true;
}

// Two groups with a value each, and the fact that says which one {S} is in - or that somebody else is in it, which
// leaves two readings. From four facts on the others tell of things that both people have.
bool draw_by_group(Pair& pair, const Scenario& s, int level, Random& random) {
    pair.kind = Missing::reading;
    const bool many = s.value == List::number;
    const Word subject = draw(s.subject, level, false, random), value = draw(s.value, level, false, random);
    const Word goods = many ? draw(s.relation, level, many, random) : Word{};
    Word other, other_value;
    if (!draw_other(other, s.subject, level, false, {subject, value}, &subject, random)) return false;
    if (!draw_other(other_value, s.value, level, false, {value, subject, other}, nullptr, random)) return false;
    if (s.value == List::people && subject.says == value.says) return false;
    const std::string colour = pick(colours, random), unit_one = pick(units(), random).one;
    std::string second = colour, unit_many;
    while (second == colour) second = pick(colours, random);
    for (const Noun& n : units())
        if (n.one == unit_one) unit_many = n.many;
    auto slots = [&](const Word& who, const std::string& group, const Word& what) {
        Slots all = slots_of({who, goods, what});
        all['k'] = group, all['K'] = capital(group), all['C'] = unit_one, all['D'] = unit_many;
        return all;
    };
    const Slots own = slots(subject, colour, value);
    const std::string noun = fill(s.group, own);
    pair.facts = {fill(s.link, own), capital(fill(s.fact, own)),
                  capital(fill(s.fact, slots(subject, second, other_value)))};
    pair.keys = {subject.says + ":" + noun + ":" + colour, colour + ":" + noun + goods.says + ":" + value.says,
                 second + ":" + noun + goods.says + ":" + other_value.says};
    std::vector<Word> taken{subject, other, value, other_value}, taken_things;
    const size_t count = facts_at(level, random);
    for (size_t i = 0; pair.facts.size() < count || i == 1; i++) {
        Word who = i == 0 ? subject : other, thing;
        if (i > 1 && !draw_other(who, List::people, level, false, taken, nullptr, random)) return false;
        if (!draw_other(thing, List::thing, level, false, taken_things, nullptr, random)) return false;
        taken.push_back(who);
        taken_things.push_back(thing);
        pair.facts.push_back(who.says + " likes the " + thing.says);
        pair.keys.push_back(who.says + ":likes:" + thing.says);
    }
    pair.replacement = fill(s.link, slots(other, colour, value));
    pair.replacement_key = other.says + ":" + noun + ":" + colour;
    pair.words.question = fill(s.question, own);
    pair.words.value = value.says;
    pair.words.other_value = other_value.says;
    pair.words.wanted = fill(s.wanted, own);
    pair.words.follows = fill(s.follows, own);
    const bool first = random.below(2) == 0;        // the order in which the readings are named
    pair.words.readings = (first ? value.says : other_value.says) + " or " + (first ? other_value.says : value.says);
    pair.words.asked = {{subject.says}, {noun}};
    pair.question_key = subject.says + ":" + noun;
    return true;
}

// The same facts and question are the same item, in whatever order they stand.
std::string content(std::vector<std::string> keys, const std::string& question) {
    std::sort(keys.begin(), keys.end());
    std::string text;
    for (const std::string& k : keys) text += k + "|";
    return text + "?" + question;
}

}  // namespace

std::array<Item, 2> draw_unsure(int level, bool fresh, Random& random) {
    const uint32_t kind = random.below(3);
    const int common = wordings - test_only_wordings;
    for (;;) {
        Pair pair;
        pair.kind = kind == 0 ? Missing::entity : Missing::relation;
        const int first = fresh ? common : 0, generals = fresh ? general_fresh : general;
        const int groups = (fresh ? test_only_wordings : common) - generals;
        const int wording = kind == 2 ? first + generals + int(random.below(uint32_t(groups)))
                                      : first + int(random.below(uint32_t(generals)));
        const Scenario& s = scenarios[wording];
        if (!(kind == 2 ? draw_by_group(pair, s, level, random) : draw_general(pair, s, level, random))) continue;
        std::vector<size_t> order(pair.facts.size());
        for (size_t i = 0; i < order.size(); i++) order[i] = i;
        for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[random.below(uint32_t(i + 1))]);
        std::array<Item, 2> twins;
        for (int lacks = 0; lacks < 2; lacks++) {
            Item& item = twins[size_t(lacks)];
            item.wording = wording;
            item.facts = pair.words;
            item.facts.kind = pair.kind;
            item.facts.number = s.value == List::number;
            item.facts.answerable = !lacks;
            if (lacks) pair.facts[0] = pair.replacement, pair.keys[0] = pair.replacement_key;
            for (size_t i : order) {
                if (i == 0) item.facts.place = item.facts.stated.size();
                item.facts.stated.push_back(pair.facts[i]);
            }
            item.content = content(pair.keys, pair.question_key);
        }
        return twins;
    }
}

std::vector<std::string> values_like(const std::string& value) {
    for (std::span<const char* const> list : {people(), places(), std::span<const char* const>(days)})
        if (std::find(list.begin(), list.end(), value) != list.end()) return {list.begin(), list.end()};
    return {};
}

std::string unsure_text(const Item& item) {
    static const char* const frames[][2] = {
        {"", " "}, {"Facts: ", " Question: "}, {"We know this. ", " Now tell me: "}};
    const auto& frame = frames[item.wording % 3];
    std::string text = frame[0];
    for (const std::string& fact : item.facts.stated) text += (&fact == &item.facts.stated[0] ? "" : " ") + fact + ".";
    return text + frame[1] + item.facts.question + " Use only these facts. End with 'Answer:'.";
}

// --- answers

namespace {

// The closest fact first, then whether it tells what is asked: who has quoted it has what it takes to decide. An answer
// and an abstention have equally many words, so that the length of an answer tells nothing.
std::string unsure_answer(const Item& item, bool claims) {
    static const char* const starts[] = {"Let me check the facts: ", "I check the facts: ", "Checking the facts: "};
    Random random = stream(item.name, Purpose::answer);
    const Facts& f = item.facts;
    std::string text = std::string(pick(starts, random)) + "\"" + f.stated[f.place] + "\" is closest, " +
                       (claims ? "and it says " : "but none says ") + f.wanted;
    if (!f.follows.empty()) {
        const bool five = std::count(f.follows.begin(), f.follows.end(), ' ') == 4;
        text += claims ? ", and " + f.follows : (five ? ", so it is " : ", so it may be ") + f.readings;
    }
    return text + ". Answer: " + (claims ? f.value : "unknown");
}

}  // namespace

std::string unsure_gold(const Item& item) { return unsure_answer(item, item.facts.answerable); }

std::string unsure_rejected(const Item& item) { return unsure_answer(item, !item.facts.answerable); }

}  // namespace gym
