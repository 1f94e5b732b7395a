// gym_scenes.h - the wordings of word problems; used by gym_verify.cpp alone.
#pragma once
#include "gym_parts.h"

namespace gym {

// One setting, in which a quantity can begin, grow, shrink, be shared out and be paid for. The slots: {P} and {Q}
// people, {T} and {V} towns, {O} the goods (plural), {G} other goods, {C} {D} a unit and its plural, {E} {F} another,
// {a} the number that the story starts with, {n} the number of this sentence, {w} " now" after a change, else nothing.
struct Scene {
    const char* goods;          // "f" a food, "t" a thing, "o" either, "m" a measure (with {B} {b} {X}), else this word
    const char *plain, *groups;         // how it begins: a of them; a times n of them
    const char *gain[2], *loss[2];      // the first and the second time
    const char *now, *share, *price;    // questions: how many; divided by n; n for each
};
std::span<const Scene> scenes();        // `wordings` of them, the test-only ones last

// "a rope of 4 yards": what has the measure, the large unit (plural, singular), the small one and how many make one.
struct Measured {
    const char *thing, *large, *large_one, *small;
    int factor;
};
std::span<const Measured> measures();

}  // namespace gym
