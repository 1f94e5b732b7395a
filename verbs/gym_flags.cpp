#include "gym_flags.h"
#include <cstdio>

void GymFlags::declare(Flags& f, const char* default_split, int64_t default_rows) {
    split = default_split, rows = default_rows;
    f.add("family", &family, "NAME,..", "gym: verify, unsure, revise, or several of them");
    f.add("level", &level, "L|L-L", "gym: 1 (one step, three facts) to 4, or a range");
    f.choice("split", &split, {"train", "test"}, "gym: the two never share an item");
    f.number("rows", &rows, "N", 1, 1e8, "gym: how many items");
    f.number("seed", &seed, "N", 0, 9e18, "gym: which items; the same number, the same items");
}

gym::Options GymFlags::options() const {
    gym::Options o;
    o.families.clear();
    for (const std::string& name : split_at(family, ',')) o.families.push_back(gym::parse_family(name));
    char rest;
    if (int n = sscanf(level.c_str(), "%d-%d%c", &o.low_level, &o.high_level, &rest); n == 1)
        o.high_level = o.low_level;
    else if (n != 2)
        fail(Exit::usage, "--level %s: expected one level or a range, as 1 or 1-2; levels run from 1 to %d",
             level.c_str(), gym::levels);
    o.split = gym::parse_split(split);
    o.rows = rows, o.seed = uint64_t(seed);
    return o;
}
