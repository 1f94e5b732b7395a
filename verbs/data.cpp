// data - generated training rows.
#include <cinttypes>
#include "../engine/file.h"
#include "../eval/gym.h"
#include "common.h"
#include "gym_flags.h"
#include "verbs.h"

namespace {
struct {
    std::string name, out = "-", arm = "gold";
    GymFlags gym;
    bool preferences = false;
} o;
}  // namespace

void verb::data_flags(Flags& f) {
    f.choice("name", &o.name, {"gym"}, "which generator; also written without --name: dd data gym").positional = true;
    o.gym.declare(f, "train", 600);
    f.add("preferences", &o.preferences, "", "rows of prompt, chosen and rejected instead of messages");
    f.choice("arm", &o.arm, {"gold", "style"}, "style: every marker and no substance, the artefact to be refused");
    f.add("out", &o.out, "FILE", "where to write; - is standard output");
}

void verb::data(const Flags&) {
    if (o.name.empty()) fail(Exit::usage, "which rows? dd data gym (dd data --help)");
    gym::Options options = o.gym.options();
    options.preferences = o.preferences, options.style_arm = o.arm == "style";
    std::string text;
    size_t n = 0;
    for (const Json& row : gym::rows(options)) text += dump(row) + "\n", n++;
    if (o.out == "-") fwrite(text.data(), 1, text.size(), stdout);
    else {
        write_file(o.out, text);
        fprintf(stderr, "dd: %zu rows in %s\n", n, o.out.c_str());
    }
}
