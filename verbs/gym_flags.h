// gym_flags.h - which items of the gym: the same flags for writing rows and for judging.
#pragma once
#include "../eval/gym.h"
#include "cli.h"

struct GymFlags {
    std::string family = "verify,unsure,revise", level = "1-2", split;
    int64_t rows = 0, seed = 1;
    void declare(Flags&, const char* split, int64_t rows);
    gym::Options options() const;           // Exit::usage for families, levels and splits that there are not
};
