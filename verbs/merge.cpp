// merge - base and adapters as one new model.
#include "../engine/file.h"
#include "../models/save.h"
#include "common.h"
#include "verbs.h"

namespace {
struct {
    ModelFlags model;
    std::string out;
} o;
}  // namespace

void verb::merge_flags(Flags& f) {
    o.model.declare(f);
    f.add("out", &o.out, "DIR", "the new Hugging Face directory");
}

void verb::merge(const Flags&) {
    if (o.out.empty()) fail(Exit::usage, "--out is missing: the new directory");
    if (o.model.session.adapters.empty()) fail(Exit::usage, "--adapter is missing: there is nothing to merge");
    if (exists(o.out + "/config.json"))
        fail(Exit::usage, "--out %s: there is a model already; choose another folder", o.out.c_str());
    o.model.session.device = "cpu";             // nothing is computed that a GPU would be faster at,
    o.model.session.pack = false;               // and no products are
    auto s = o.model.open();
    write_merged(o.out, *s);
    if (!o.model.session.quiet)
        fprintf(stderr, "dd: %s: %zu adapter tensors merged\n", o.out.c_str(), s->adapter_tensors);
}
