// tokenize - ids and pieces of texts; render - conversations as text.
#include "../engine/file.h"
#include "../models/checkpoint.h"
#include "common.h"
#include "verbs.h"

namespace {
struct {
    std::string model, input, prompt, chat_format;
    bool chat = false, special = true, bos = true, json = false;
} o;
struct {
    std::string chat_format, input;
    bool json = false;
} r;

// M: a model, a folder that holds only a tokenizer.json, or that file.
struct Source {
    std::unique_ptr<Checkpoint> checkpoint;
    std::unique_ptr<Tokenizer> tokenizer;
};
Source open_source(const std::string& path) {
    Source s;
    if (path.ends_with(".json") || (is_folder(path) && !exists(path + "/config.json"))) {
        s.tokenizer = read_tokenizer(path);
    } else {
        s.checkpoint = std::make_unique<Checkpoint>(path);
        s.tokenizer = s.checkpoint->tokenizer();
    }
    return s;
}
}  // namespace

void verb::tokenize_flags(Flags& f) {
    f.add("model", &o.model, "PATH", "a model, a folder with a tokenizer.json, or that file");
    f.add("input", &o.input, "F.jsonl", "rows of text or messages; - is standard input");
    f.add("prompt", &o.prompt, "T", "one text");
    f.add("chat", &o.chat, "", "--prompt is a user's turn");
    f.add("chat-format", &o.chat_format, "NAME", "default: by the model's own template");
    f.add("special", &o.special, "", "special tokens written in the text are tokens; --no-special: they are text");
    f.add("bos", &o.bos, "", "text begins with BOS where the tokenizer adds one; --no-bos: it does not");
    f.add("json", &o.json, "", "one JSON object a row");
}

void verb::tokenize(const Flags& f) {
    if (o.model.empty() || f.given("prompt") == !o.input.empty())
        fail(Exit::usage, "--model, and one of --input and --prompt, are needed");
    Source source = open_source(o.model);
    RowReader reader;
    reader.tokenizer = source.tokenizer.get();
    reader.vocabulary = source.tokenizer->size();
    reader.raw = true, reader.may_be_empty = true, reader.bos = o.bos;
    reader.chat = chat_format(o.chat_format);
    if (!reader.chat && !o.chat_format.empty()) fail(Exit::usage, "--chat-format %s: unknown", o.chat_format.c_str());
    if (!reader.chat && source.checkpoint) reader.chat = chat_format_of_template(source.checkpoint->chat_template());
    size_t n = 0;
    auto one = [&](const Json& row, const std::string& who) {
        RowReader here = reader;
        here.specials = get_bool(row, "special", who, o.special);
        Row encoded = here.row(row, who);
        std::string text = source.tokenizer->decode(encoded.ids);
        Json id = encoded.id.is_null() ? Json(n) : encoded.id;
        n++;
        if (o.json) {
            put(dump({{"id", id}, {"ids", encoded.ids}, {"text", text}}) + "\n");
            return;
        }
        put(format("%s: %zu tokens\n", dump(id).c_str(), encoded.ids.size()));
        for (int t : encoded.ids) put(format("%8d  %s\n", t, dump(source.tokenizer->piece(t)).c_str()));
    };
    if (o.input.empty())
        one(o.chat ? Json{{"messages", Json::array({{{"role", "user"}, {"content", o.prompt}}})}}
                   : Json{{"text", o.prompt}},
            "--prompt");
    else for_each_line(o.input, [&](const Json& row, const std::string& who, int) { one(row, who); });
}

void verb::render_flags(Flags& f) {
    f.add("chat-format", &r.chat_format, "NAME", "smollm2, qwen3, qwen3_5, gemma3, gemma4, chatml");
    f.add("input", &r.input, "F.jsonl",
          "rows {\"messages\", \"add_generation_prompt\", \"enable_thinking\"}; - is standard input");
    f.add("json", &r.json, "", "one JSON object a row: {\"id\", \"text\"} or {\"id\", \"error\"}");
}

void verb::render(const Flags&) {
    const ChatFormat* format = chat_format(r.chat_format);
    if (!format)
        fail(Exit::usage, "--chat-format %s: known are smollm2, qwen3, qwen3_5, gemma3, gemma4, chatml",
             r.chat_format.c_str());
    if (r.input.empty()) fail(Exit::usage, "--input is missing");
    size_t n = 0;
    for_each_line(r.input, [&](const Json& row, const std::string& who, int) {
        const Json* messages = find(row, "messages");
        if (!messages) fail(Exit::bad_input, "%s: no \"messages\"", who.c_str());
        ChatOptions options;
        options.add_generation_prompt = get_bool(row, "add_generation_prompt", who, false);
        if (find(row, "enable_thinking")) options.enable_thinking = get_bool(row, "enable_thinking", who, false);
        Json out = {{"id", find(row, "id") ? row["id"] : Json(n)}};
        n++;
        try {
            out["text"] = ::render(*format, messages_from_json(*messages, who), options);
        } catch (const Error& e) {
            if (!r.json) throw;
            out["error"] = e.what();
        }
        put((r.json ? dump(out) : out["text"].get<std::string>()) + "\n");
    });
}
