// jsonl.cpp - any bytes as lines of JSON: refused at one of them, or values that survive being written and read again.
#include "../engine/json.h"
#include "fuzz.h"

std::vector<std::string> seeds() {
    return {R"({"text":"a \"b\" \u00e9\ud83d\ude00","n":[1,-2,3.5e-7,true,false,null]})",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n{\"prompt\":\"\",\"label\":true}\n",
            "[[[[{}]]],18446744073709551615,-9223372036854775808,1e308]"};
}

void run(std::string_view input) {
    static const std::string who = "line";
    for (size_t end = 0; end != input.npos;) {
        end = input.find('\n');
        const Json value = parse_json(input.substr(0, end), who);
        promise(parse_json(dump(value), who) == value);
        if (end != input.npos) input.remove_prefix(end + 1);
    }
}
