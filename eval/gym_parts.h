// gym_parts.h - what the files of the gym share among themselves; the gym is used through gym.h.
#pragma once
#include <array>
#include <map>
#include <span>
#include "../engine/random.h"
#include "gym.h"

namespace gym {

struct Noun {
    const char *one, *many;
};

// At least 40 of each; no word stands in two lists.
std::span<const char* const> people();
std::span<const char* const> places();
std::span<const Noun> foods();
std::span<const Noun> things();
std::span<const Noun> units();          // what goods are counted in: boxes, crates ...

// What stands for {X} in a template.
using Slots = std::map<char, std::string>;
std::string fill(std::string_view pattern, const Slots&);
std::string capital(std::string);

template <class List> auto pick(const List& list, Random& random) {
    return list[random.below(uint32_t(std::size(list)))];
}
inline int64_t between(int64_t low, int64_t high, Random& random) {
    return low + random.below(uint32_t(high - low + 1));
}

// What the numbers of an item are for: the item itself, or the answers to it.
enum class Purpose { item, answer, wrong };
Random stream(const Name&, Purpose);

// A template: one of the test-only ones if `fresh`, else one that both splits use.
inline int draw_wording(bool fresh, Random& random) {
    const int common = wordings - test_only_wordings;
    return fresh ? common + int(random.below(test_only_wordings)) : int(random.below(uint32_t(common)));
}

// --- verify

// A problem and who and what it is about.
struct Story {
    int scene = 0;
    Problem problem;
    bool groups = false;                // the first step is "so many in each"
    int ending = 0;                     // 0 a question about what there is, 1 shared out, 2 at so much each
    Slots slots;
    std::string content;
};
Story draw_story(int level, bool fresh, Random&);
std::string story_text(const Story&);

int64_t apply(int64_t value, Step);
std::string equation(int64_t left, Step, int64_t result);       // "12 + 7 = 19"
// A wrong result for step j that a hurried person might write: 2 or more, as right ones are, and what undoing the step
// makes of it is positive.
int64_t slip(const Problem&, size_t j, Random&);
// The work and a check of it, claiming these results of the steps whether they are or not.
std::string work(const Problem&, const Values&);
std::string claimed_check(const Problem&, const Values&, int level, Random&);
std::string verify_gold(const Item&);
std::string verify_rejected(const Item&);

// --- unsure

// Both twins, from one stream: the answerable one and the other. Everything but name and prompt.
std::array<Item, 2> draw_unsure(int level, bool fresh, Random&);
std::string unsure_text(const Item&);
std::string unsure_gold(const Item&);
std::string unsure_rejected(const Item&);
// Everything that might have been drawn in the place of this value: all people, towns or days.
std::vector<std::string> values_like(const std::string& value);

// --- revise

Proposal draw_proposal(const Problem&, bool right, bool agrees, Random&);
std::string revise_text(const Item&, const Story&, Random&);
std::string revise_gold(const Item&);
std::string revise_rejected(const Item&);

}  // namespace gym
