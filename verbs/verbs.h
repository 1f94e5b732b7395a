// verbs.h - what the table in dd.cpp points to: for each verb, what declares its flags and what runs it.
#pragma once
#include "cli.h"

namespace verb {
#define VERB(name) void name##_flags(Flags&); void name(const Flags&);
VERB(generate)
VERB(score)
VERB(extract)
VERB(train)
VERB(init)
#undef VERB
}  // namespace verb
