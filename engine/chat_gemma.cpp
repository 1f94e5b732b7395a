// chat_gemma.cpp - Gemma 3 and Gemma 4.
#include "chat_script.h"

namespace {

// Revisions of Gemma 4's template that differ for messages of text.
enum Revision { v1, v2, v3 };       // release; until 2026-07-09; since

// The text without what lies between <|channel> and <channel|>: a thought never comes back as history.
std::string without_thoughts(std::string_view text) {
    constexpr std::string_view open = "<|channel>", close = "<channel|>";
    std::string kept;
    for (bool more = true; more;) {
        const size_t at = text.find(close);
        more = at != text.npos;
        const std::string_view piece = text.substr(0, at);
        kept += piece.substr(0, piece.find(open));
        if (more) text.remove_prefix(at + close.size());
    }
    return std::string(strip(kept));
}

std::vector<Part> gemma4_as(Revision revision, const std::vector<Message>& m, const ChatOptions& o) {
    if (m.empty() && revision != v3) refuse_empty("gemma4");
    Script s;
    s.markup("<bos>");
    const bool system = !m.empty() && (m[0].role == "system" || m[0].role == "developer");
    const bool thinks = o.enable_thinking.value_or(false);
    if (system || thinks) {
        s.markup("<|turn>system\n");
        if (thinks) s.markup(revision == v1 ? "<|think|>" : "<|think|>\n");
        if (system) s.text(strip(m[0].content));
        s.markup("<turn|>\n");
    }
    size_t shown_from = 0;          // thoughts of the messages from here on are shown
    for (size_t i = system; i < m.size(); i++)
        if (m[i].role == "user") shown_from = i + 1;
    for (size_t i = system; i < m.size(); i++) {
        if (m[i].role == "tool")
            refuse_message(m, i, "gemma4 shows a tool's result only with its call, which is not built");
        const bool model = m[i].role == "assistant" || m[i].role == "model";
        const Script::Voice voice = model ? voice_of(m[i]) : Script::prompt;
        const bool joins = revision != v1 && model && i > system && m[i - 1].role == "assistant";
        const bool joined = revision == v3 && model && i + 1 < m.size() && m[i + 1].role == "assistant";
        if (!joins) s.markup("<|turn>").text(model ? "model" : m[i].role).markup("\n");
        if (revision == v3 && i >= shown_from && m[i].reasoning && !m[i].reasoning->empty())
            s.markup("<|channel>thought\n", voice).text(*m[i].reasoning, voice).markup("\n<channel|>", voice);
        s.text(model ? without_thoughts(m[i].content) : strip(m[i].content), voice);
        if (!joined) s.markup("<turn|>", voice).markup("\n");
    }
    if (o.add_generation_prompt) s.markup("<|turn>model\n");
    return s.parts;
}

}  // namespace

std::vector<Part> gemma3(const std::vector<Message>& m, const ChatOptions& o) {
    if (m.empty()) refuse_empty("gemma3");
    Script s;
    s.markup("<bos>");
    const bool system = m[0].role == "system";
    for (size_t i = system; i < m.size(); i++) {
        if ((m[i].role == "user") != ((i - system) % 2 == 0))
            refuse_message(m, i, "gemma3 takes user and assistant in turn, user first");
        const bool model = m[i].role == "assistant" || m[i].role == "model";
        const Script::Voice voice = model ? voice_of(m[i]) : Script::prompt;
        s.markup("<start_of_turn>").text(model ? "model" : m[i].role).markup("\n");
        if (system && i == 1) s.text(m[0].content).markup("\n\n");
        s.text(strip(m[i].content), voice).markup("<end_of_turn>", voice).markup("\n");
    }
    if (o.add_generation_prompt) s.markup("<start_of_turn>model\n");
    return s.parts;
}

std::vector<Part> gemma4(const std::vector<Message>& m, const ChatOptions& o) { return gemma4_as(v3, m, o); }
std::vector<Part> gemma4_v2(const std::vector<Message>& m, const ChatOptions& o) { return gemma4_as(v2, m, o); }
std::vector<Part> gemma4_v1(const std::vector<Message>& m, const ChatOptions& o) { return gemma4_as(v1, m, o); }
