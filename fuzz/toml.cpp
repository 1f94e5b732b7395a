// toml.cpp - any bytes as a configuration file of flags: refused, or an object of values and lists of values.
#include "../verbs/cli.h"
#include "fuzz.h"

std::vector<std::string> seeds() {
    return {"# flags\nmodel = \"a#b\"  # a path\nlr = 2e-4\nsteps = 100\nquiet = true\n\n",
            "lora-targets = [\n  'q_proj', # one\n  \"v\\t\\\"proj\", ]\nstop=['a',\"b\"]\r\n\"prompt\" = '\\n'\n",
            "seed = -5\n"};
}

void run(std::string_view input) {
    static const std::string who = "input";
    const Json all = parse_toml(input, who);
    promise(all.is_object());
    for (const auto& [key, value] : all.items()) promise(!value.is_object() && !value.is_null());
    promise(parse_json(dump(all), who) == all);
}
