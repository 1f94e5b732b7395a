// jsonl.cpp - any bytes as lines of JSON: refused at one of them, or values that survive being written and read again;
// and as rows and preferences for a small tokenizer and each chat format: refused, or ids below the vocabulary.
#include <algorithm>
#include <filesystem>
#include "../engine/rows.h"
#include "fuzz.h"

std::vector<std::string> seeds() {
    return {R"({"text":"a \"b\" \u00e9\ud83d\ude00","n":[1,-2,3.5e-7,true,false,null]})",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n{\"prompt\":\"\",\"label\":true}\n",
            "[[[[{}]]],18446744073709551615,-9223372036854775808,1e308]",
            "{\"id\":[7],\"input_ids\":[1,2,3],\"labels\":[-100,2,3]}\r\n\n{\"prompt\":\"a\",\"completion\":\" b<s>\"}",
            R"({"prompt":[{"role":"user","content":"q"}],)"
            R"("completion":[{"role":"assistant","content":"<think>x</think>y","reasoning_content":"z"}]})",
            R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"<tool_response>"},)"
            R"({"role":"assistant","content":"\n<think>\na</think>b"},{"role":"tool","content":"c"},)"
            R"({"role":"user","content":" d "}]})",
            R"({"prompt":"a","chosen":"b","rejected":"c"})",
            R"({"prompt_ids":[1],"chosen_ids":[2,3],"rejected_ids":[4]})"};
}

namespace {

const Tokenizer& tokenizer() {
    static const auto folder = std::filesystem::path(__FILE__).parent_path();
    static const auto t = read_tokenizer((folder / "../tests/data/smollm2.tokenizer.json").string());
    return *t;
}

template <class F> void answers(F&& f) {
    try {
        f();
    } catch (const Error& e) {
        promise(e.code == Exit::bad_input && std::string_view(e.what()).starts_with("line"));
    }
}

void read_row(const Json& line, const std::string& who) {
    static const std::vector<const char*> formats = chat_format_names();
    const size_t turn = std::hash<std::string>()(dump(line));   // one format a line: an error costs microseconds
    RowReader r;
    r.tokenizer = &tokenizer();
    r.vocabulary = tokenizer().size();
    r.longest = 3000;
    r.chat = turn % 8 == 7 ? nullptr : chat_format(formats[turn % formats.size()]);
    r.to_continue = turn % 3 == 0, r.raw = turn % 5 == 0;
    const auto below = [&](const std::vector<int>& ids) {
        return std::all_of(ids.begin(), ids.end(), [&](int id) { return id >= 0 && id < r.vocabulary; });
    };
    answers([&] {
        const Row row = r.row(line, who);
        promise(!row.ids.empty() && row.ids.size() == row.labels.size() && row.ids.size() <= 3000 && below(row.ids));
    });
    if (!line.contains("chosen") && !line.contains("prompt_ids")) return;
    answers([&] {
        const Pair p = r.pair(line, who);
        promise(!p.prompt.empty() && !p.chosen.empty() && !p.rejected.empty() && p.chosen != p.rejected);
        promise(below(p.prompt) && below(p.chosen) && below(p.rejected));
    });
}

}  // namespace

void run(std::string_view input) {
    static const std::string who = "line";
    for (size_t end = 0; end != input.npos;) {
        end = input.find('\n');
        const Json value = parse_json(input.substr(0, end), who);
        promise(parse_json(dump(value), who) == value);
        if (value.is_object()) read_row(value, who);
        if (end != input.npos) input.remove_prefix(end + 1);
    }
}
