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
VERB(eval)
VERB(data)
VERB(merge)
VERB(info)
VERB(tokenize)
VERB(render)
VERB(bench)
VERB(env)
VERB(completion)
#undef VERB
}  // namespace verb
