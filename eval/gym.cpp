// gym.cpp - names, the two sides of the split, rows.
#include "gym.h"
#include <algorithm>
#include <charconv>
#include "gym_parts.h"

namespace gym {

const char* text(Family f) { return f == Family::verify ? "verify" : f == Family::unsure ? "unsure" : "revise"; }

const char* text(Split s) { return s == Split::train ? "train" : "test"; }

Family parse_family(std::string_view name) {
    for (Family f : families)
        if (name == gym::text(f)) return f;
    fail(Exit::usage, "gym: no family \"%s\"; there are verify, unsure and revise", std::string(name).c_str());
}

Split parse_split(std::string_view name) {
    for (Split s : {Split::train, Split::test})
        if (name == gym::text(s)) return s;
    fail(Exit::usage, "gym: no split \"%s\"; there are train and test", std::string(name).c_str());
}

std::string Name::text() const {
    return format("%s/%d/%s/%llu/%llu", gym::text(family), level, gym::text(split), (unsigned long long)seed,
                  (unsigned long long)index);
}

Name parse_name(std::string_view whole) {
    std::vector<std::string_view> parts;
    for (std::string_view rest = whole;;) {
        const size_t slash = rest.find('/');
        parts.push_back(rest.substr(0, slash));
        if (slash == rest.npos) break;
        rest.remove_prefix(slash + 1);
    }
    auto number = [](std::string_view digits, uint64_t& value) {
        const char* end = digits.data() + digits.size();
        const auto [stop, error] = std::from_chars(digits.data(), end, value);
        return stop == end && error == std::errc() && (digits.size() == 1 || digits[0] != '0');
    };
    Name name;
    uint64_t level = 0;
    if (parts.size() != 5 || !number(parts[1], level) || level < 1 || level > levels || !number(parts[3], name.seed) ||
        !number(parts[4], name.index))
        fail(Exit::usage, "gym: \"%s\" names no item; a name is FAMILY/LEVEL/SPLIT/SEED/INDEX, as verify/2/test/7/153",
             std::string(whole).c_str());
    name.family = parse_family(parts[0]);
    name.level = int(level);
    name.split = parse_split(parts[2]);
    return name;
}

// FNV-1a, then the finalizer of MurmurHash3, without which the lowest bit would be the parity of the letters alone.
uint64_t content_hash(std::string_view content) {
    uint64_t h = 0xcbf29ce484222325;
    for (char c : content) h = (h ^ uint8_t(c)) * 0x100000001b3;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
    return h ^ (h >> 33);
}

Random stream(const Name& name, Purpose purpose) {
    // Twins share what they are drawn from; every other index has its own.
    const uint64_t index = name.family == Family::unsure ? name.index / 2 : name.index;
    const uint32_t room = ((uint32_t(name.family) * levels + uint32_t(name.level - 1)) * 2 + uint32_t(name.split)) * 4;
    return Random(name.seed, index, room + uint32_t(purpose));
}

static bool belongs(const std::string& content, Split split) { return (content_hash(content) & 1) == uint64_t(split); }

// Draws until the content lies on the split's side; of twins, both.
static Item draw(const Name& name, bool with_text) {
    require(name.level >= 1 && name.level <= levels, "gym: level %d; there are 1 to %d", name.level, levels);
    Random random = stream(name, Purpose::item);
    const bool fresh = name.split == Split::test && random.below(wordings / test_only_wordings) == 0;
    const bool first_answerable = random.below(2) == 0;
    if (name.family == Family::unsure) {
        std::array<Item, 2> twins;
        do twins = draw_unsure(name.level, fresh, random);
        while (!belongs(twins[0].content, name.split) || !belongs(twins[1].content, name.split));
        Item item = twins[(name.index % 2 == 0) == first_answerable ? 0 : 1];
        item.name = name;
        if (with_text) item.prompt = unsure_text(item);
        return item;
    }
    Story story;
    do story = draw_story(name.level, fresh, random);
    while (!belongs(story.content, name.split));
    Item item;
    item.name = name;
    item.content = story.content;
    item.problem = story.problem;
    item.wording = story.scene;
    if (name.family == Family::revise) {
        item.wording = draw_wording(fresh, random);
        item.proposal = draw_proposal(item.problem, name.index % 4 / 2 == 0, name.index % 2 == 0, random);
    }
    if (with_text)
        item.prompt = name.family == Family::revise ? revise_text(item, story, random)
                                                    : story_text(story) + " End with 'Answer: N'.";
    return item;
}

bool Item::new_wording() const { return wording >= wordings - test_only_wordings; }

std::string Item::truth() const {
    if (name.family != Family::unsure) return std::to_string(problem.truth());
    return facts.answerable ? facts.value : "unknown";
}

Item make_item(const Name& name) { return draw(name, true); }

std::string content_of(const Name& name) { return draw(name, false).content; }

std::string gold_answer(const Item& item) {
    switch (item.name.family) {
        case Family::verify: return verify_gold(item);
        case Family::unsure: return unsure_gold(item);
        default: return revise_gold(item);
    }
}

std::string rejected_answer(const Item& item) {
    switch (item.name.family) {
        case Family::verify: return verify_rejected(item);
        case Family::unsure: return unsure_rejected(item);
        default: return revise_rejected(item);
    }
}

std::string style_answer(const Item& item) {
    static const char* const about_work[] = {
        "I go step by step and check every step twice. I verify the result, and it holds.",
        "Let me be careful: I work it out, check it by another way and find that all is right.",
        "I check the numbers, look for mistakes and verify them once more. Now I am sure."};
    static const char* const about_facts[] = {
        "Let me check the facts with care, for I only say what I know. This one is sure.",
        "I check every fact twice, since I would rather admit a gap than guess. I see none.",
        "Checking the facts, I ask myself what I really know. I am careful, and I am sure."};
    static const char* const about_remark[] = {
        "I take the remark seriously, check both sides with an open mind and verify the steps.",
        "Thank you for the remark. I check the solution again, step by step, and stay fair.",
        "Let me check the solution and the remark with care. Feedback helps me, and I verify it."};
    Random random = stream(item.name, Purpose::wrong);
    const char* phrase = pick(item.name.family == Family::verify   ? about_work
                              : item.name.family == Family::unsure ? about_facts : about_remark, random);
    std::string value;
    switch (item.name.family) {
        case Family::verify: value = std::to_string(slip(item.problem, item.problem.steps.size() - 1, random)); break;
        case Family::unsure: value = item.facts.other_value; break;
        default: value = std::to_string(item.proposal.right ? item.proposal.other.back() : item.proposal.values.back());
    }
    return std::string(phrase) + " Answer: " + value;
}

std::vector<Item> items(const Options& o) {
    if (o.families.empty()) fail(Exit::usage, "gym: no family given; name verify, unsure or revise");
    if (o.low_level < 1 || o.high_level > levels || o.low_level > o.high_level)
        fail(Exit::usage, "gym: levels %d-%d; they run from 1 to %d", o.low_level, o.high_level, levels);
    if (o.rows < 1) fail(Exit::usage, "gym: %lld rows; ask for one or more", (long long)o.rows);
    if (o.rows % 2 != 0 && std::count(o.families.begin(), o.families.end(), Family::unsure) == std::ssize(o.families))
        fail(Exit::usage, "gym: %lld rows of unsure; twins come in pairs, ask for an even number", (long long)o.rows);
    std::vector<Item> out;
    out.reserve(size_t(o.rows));
    for (uint64_t index = 0;; index += 2)
        for (int level = o.low_level; level <= o.high_level; level++)
            for (Family family : o.families)
                for (uint64_t i = index; i < index + 2; i++) {
                    const int64_t left = o.rows - int64_t(out.size());
                    if (left == 0) return out;
                    if (family == Family::unsure && i == index && left == 1) break;
                    out.push_back(make_item({family, level, o.split, o.seed, i}));
                }
}

std::vector<Json> rows(const Options& o) {
    std::vector<Json> out;
    for (const Item& item : items(o)) {
        const std::string answer = o.style_arm ? style_answer(item) : gold_answer(item);
        if (o.preferences) {
            const std::string rejected = o.style_arm ? gold_answer(item) : rejected_answer(item);
            out.push_back({{"id", item.name.text()}, {"prompt", item.prompt}, {"chosen", answer},
                           {"rejected", rejected}});
            continue;
        }
        out.push_back({{"id", item.name.text()},
                       {"messages", {{{"role", "user"}, {"content", item.prompt}},
                                     {{"role", "assistant"}, {"content", answer}}}}});
    }
    return out;
}

}  // namespace gym
