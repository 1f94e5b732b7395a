// generate - text from prompts: streamed, many at once, or an interactive chat.
#include <iostream>
#include "../models/work.h"
#include "common.h"
#include "verbs.h"

namespace {
struct {
    ModelFlags model;
    std::string prompt, input;
    bool raw = false, chat = true, json = false;
    std::optional<bool> think;
    bool want_think = false;
    GenerateOptions g;
    int64_t seed = 0;
} o;

// A pass that decodes reads every weight once, whatever the number of sequences.
void report(Session& s, const GenerateStats& t) {
    if (o.model.session.quiet) return;
    double decode = t.seconds - t.prompt_seconds;
    double bytes = forward_work(*s.model, 1, 0, 1, 1).weights * double(t.passes - t.prompt_passes);
    fprintf(stderr,
            "dd: %zu prompt tokens, %zu new tokens in %s: prompts %.0f tokens/s, decoding %.1f tokens/s, "
            "%.1f GB/s of weights read (%s)\n",
            t.prompt_tokens, t.new_tokens, duration(t.seconds).c_str(),
            t.prompt_seconds > 0 ? double(t.prompt_tokens) / t.prompt_seconds : 0.0,
            decode > 0 ? double(t.new_tokens) / decode : 0.0, decode > 0 ? bytes / decode * 1e-9 : 0.0, s.k.name);
}

Json as_json(const Row& row, const Answer& a) {
    return {{"id", row.id},   {"prompt_ids", row.ids}, {"ids", a.ids},
            {"text", a.text}, {"stop", name(a.stop)},  {"logprobs", a.logprobs}};
}

void show(size_t, const std::string& text) {
    put(text);
    flush_output();
}

// Prints answers in the order of the rows, whatever the order in which they end.
void batch(Session& s, const std::vector<Row>& rows) {
    std::vector<Request> requests;
    for (size_t i = 0; i < rows.size(); i++) requests.push_back({rows[i].ids, i});
    std::vector<std::optional<Answer>> done(rows.size());
    size_t next = 0, ended = 0;
    Progress progress;
    bool stream = !o.json && rows.size() == 1;
    if (stream) o.g.on_text = show;
    o.g.on_done = [&](size_t i, const Answer& a) {
        done[i] = a;
        ended++;
        for (; next < rows.size() && done[next]; next++) {
            if (o.json) put(dump(as_json(rows[next], *done[next])) + "\n");
            else if (!stream) put("[" + dump(rows[next].id) + "] " + done[next]->text + "\n");
            flush_output();
        }
        if (rows.size() > 1) progress.show(format("generate: %zu of %zu rows", ended, rows.size()));
    };
    GenerateStats stats = generate(s, requests, o.g);
    progress.clear();
    if (stream) put("\n");
    report(s, stats);
}

void interactive(Session& s) {
    const ChatFormat* format = s.chat();
    if (!format) fail(Exit::usage, "an interactive chat needs a chat format; --chat-format NAME chooses one");
    fprintf(stderr, "dd: a chat with %s (%s); an empty line or Ctrl-D ends it\n", o.model.session.model.c_str(),
            format->name);
    std::vector<Message> messages;
    std::string line;
    while (fprintf(stderr, "> "), std::getline(std::cin, line) && !line.empty()) {
        messages.push_back({"user", line, {}});
        std::vector<Part> parts = format->parts(messages, {true, o.think});
        std::string text;
        o.g.on_text = show;
        o.g.on_done = [&](size_t, const Answer& a) { text = a.text; };
        GenerateStats stats = generate(s, {{s.need_tokenizer().encode(parts), messages.size()}}, o.g);
        put("\n");
        report(s, stats);
        messages.push_back({"assistant", text, {}});
    }
}
}  // namespace

void verb::generate_flags(Flags& f) {
    o.model.declare(f);
    o.model.declare_edits(f);
    f.add("prompt", &o.prompt, "T", "one prompt");
    f.add("input", &o.input, "F.jsonl", "rows of prompts; - is standard input");
    f.add("raw", &o.raw, "", "prompts are plain text to continue");
    f.add("chat", &o.chat, "", "prompts go through the model's chat format (the default where it has one)");
    f.add("think", &o.want_think, "", "let a thinking model think; --no-think: tell it not to");
    f.number("max-tokens", &o.g.max_tokens, "N", 1, 1 << 20, "most new tokens an answer");
    f.number("temp", &o.g.sampling.temperature, "T", 0, 100, "temperature; 0: the most probable token");
    f.number("top-k", &o.g.sampling.top_k, "K", 0, 1 << 21, "sample from the K most probable tokens; 0: from all");
    f.number("top-p", &o.g.sampling.top_p, "P", 0, 1, "sample from the most probable tokens that make up P");
    f.number("min-p", &o.g.sampling.min_p, "P", 0, 1, "drop tokens less probable than P times the most probable");
    f.number("repeat-penalty", &o.g.sampling.repeat_penalty, "R", 0.01, 100,
             "divide the logits of tokens already there; 1: off");
    f.number("seed", &o.seed, "N", 0, 9e18, "random numbers are keyed by (seed, row, position)");
    f.add("stop", &o.g.stop_strings, "S", "a text that ends an answer; repeatable");
    f.add("ignore-eos", &o.g.ignore_eos, "", "go on to --max-tokens");
    f.number("slots", &o.g.slots, "N", 1, 4096, "answers at a time");
    f.number("context", &o.g.context, "N", 0, 1 << 24, "positions a sequence may reach; 0: the model's");
    f.add("json", &o.json, "", "one JSON object a row");
}

void verb::generate(const Flags& f) {
    o.g.sampling.seed = uint64_t(o.seed);
    if (f.given("think")) o.think = o.want_think;
    if (f.given("chat") && !o.chat) o.raw = true;
    for (const std::string& stop : o.g.stop_strings)
        if (stop.empty()) fail(Exit::usage, "--stop: an empty text would end every answer before it begins");
    o.g.interrupted = interrupted;
    const bool talk = !f.given("prompt") && o.input.empty();
    if (f.given("prompt") && !o.input.empty()) fail(Exit::usage, "--prompt and --input: one of the two was expected");
    std::vector<Row> rows;
    auto s = o.model.open([&](Session& s) {
        if (talk) {
            if (on_terminal(0)) return;
            fail(Exit::usage, "--prompt or --input is missing (on a terminal, neither opens a chat)");
        }
        RowReader reader = s.reader();
        if (f.given("chat") && o.chat && !reader.chat)
            fail(Exit::usage, "--chat: the model has no known chat format; --chat-format NAME chooses one");
        reader.raw = o.raw, reader.to_continue = true, reader.think = o.think;
        reader.longest = (o.g.context ? o.g.context : s.model->context) - 1;        // and an answer
        if (!o.input.empty()) rows = read_rows(o.input, reader);
        else rows.push_back(reader.row({{"id", 0}, {"prompt", o.prompt}}, "--prompt"));
    });
    watch_interrupts();
    if (talk) interactive(*s);
    else batch(*s, rows);
}
