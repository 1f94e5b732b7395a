// chat_qwen.cpp - the formats around <|im_start|> and <|im_end|>: ChatML, SmolLM2, Qwen3, Qwen3.5.
#include "chat_script.h"

namespace {

constexpr std::string_view start = "<|im_start|>", end = "<|im_end|>";
constexpr std::string_view think = "<think>", thought = "</think>";
constexpr std::string_view opening = "<think>\n", empty_block = "<think>\n\n</think>\n\n";

// One turn, from <|im_start|> to the newline behind <|im_end|>.
void turn(Script& s, std::string_view role, std::string_view content, Script::Voice voice = Script::prompt) {
    s.markup(start).text(role).markup("\n").text(content, voice).markup(end, voice).markup("\n");
}

// What an assistant's message holds: thoughts, in their own member or before </think> in the text, and the answer.
struct Answer { std::string_view reasoning, content; };

Answer split_thoughts(const Message& m, std::string_view content) {
    if (m.reasoning) return {*m.reasoning, content};
    const size_t first = content.find(thought);
    if (first == content.npos) return {"", content};
    std::string_view reasoning = rstrip(content.substr(0, first), '\n');
    const size_t open = reasoning.rfind(think);
    if (open != reasoning.npos) reasoning.remove_prefix(open + think.size());
    return {lstrip(reasoning, '\n'), lstrip(content.substr(content.rfind(thought) + thought.size()), '\n')};
}

// A turn that opens with its thoughts. `given`: what of that the generation prompt writes, so that it is no target.
void thinking_turn(Script& s, std::string_view reasoning, std::string_view content, std::string_view given,
                   Script::Voice voice) {
    const bool all_given = given == empty_block && reasoning.empty();
    const bool opened = all_given || given == opening;
    s.markup(start).text("assistant").markup("\n").markup(opening, opened ? Script::prompt : voice);
    s.text(reasoning, voice).markup("\n</think>\n\n", all_given ? Script::prompt : voice);
    s.text(content, voice).markup(end, voice).markup("\n");
}

// Results of tools that follow each other are one turn of the user. `headless`: the first has no turn to open.
void tool_turn(Script& s, const std::vector<Message>& m, size_t i, std::string_view content, bool headless) {
    if (!headless && (i == 0 || m[i - 1].role != "tool")) s.markup(start).text("user");
    s.markup("\n<tool_response>\n").text(content).markup("\n</tool_response>");
    if (i + 1 == m.size() || m[i + 1].role != "tool") s.markup(end).markup("\n");
}

bool is_query(const Message& m, std::string_view content) {
    return m.role == "user" && !(content.starts_with("<tool_response>") && content.ends_with("</tool_response>"));
}

std::vector<Part> qwen3_5_as(const std::vector<Message>& m, const ChatOptions& o, std::string_view given) {
    if (m.empty()) refuse_empty("qwen3_5");
    size_t last_query = m.size();
    for (size_t i = 0; i < m.size(); i++)
        if (is_query(m[i], strip(m[i].content))) last_query = i;
    if (last_query == m.size()) fail(Exit::bad_input, "qwen3_5: no user query in %zu messages", m.size());
    Script s;
    for (size_t i = 0; i < m.size(); i++) {
        const std::string_view content = strip(m[i].content);
        if (m[i].role == "system" && i > 0)
            refuse_message(m, i, "qwen3_5 takes a system message only at the beginning");
        if (m[i].role == "system" || m[i].role == "user") {
            turn(s, m[i].role, content);
        } else if (m[i].role == "assistant") {
            const Answer a = split_thoughts(m[i], content);
            if (i > last_query) thinking_turn(s, strip(a.reasoning), a.content, given, voice_of(m[i]));
            else turn(s, m[i].role, a.content, voice_of(m[i]));
        } else if (m[i].role == "tool") {
            tool_turn(s, m, i, content, i == 0);
        } else {
            refuse_message(m, i, "qwen3_5 knows system, user, assistant and tool");
        }
    }
    if (o.add_generation_prompt) s.markup(start).text("assistant").markup("\n").markup(given);
    return s.parts;
}

}  // namespace

std::vector<Part> chatml(const std::vector<Message>& m, const ChatOptions& o) {
    Script s;
    for (const Message& message : m) {
        const bool model = message.role == "assistant";
        turn(s, message.role, message.content, model ? voice_of(message) : Script::prompt);
    }
    if (o.add_generation_prompt) s.markup(start).text("assistant").markup("\n");
    return s.parts;
}

std::vector<Part> smollm2(const std::vector<Message>& m, const ChatOptions& o) {
    Script s;
    if (!m.empty() && m[0].role != "system")
        turn(s, "system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    for (Part& p : chatml(m, o)) s.parts.push_back(std::move(p));
    return s.parts;
}

std::vector<Part> qwen3(const std::vector<Message>& m, const ChatOptions& o) {
    if (m.empty()) refuse_empty("qwen3");
    size_t last_query = m.size() - 1;
    for (size_t i = 0; i < m.size(); i++)
        if (is_query(m[i], m[i].content)) last_query = i;
    // Unless thinking is switched off, the model itself writes the block, an empty one too.
    const std::string_view given = o.enable_thinking == false ? empty_block : "";
    Script s;
    for (size_t i = 0; i < m.size(); i++) {
        const std::string& role = m[i].role;
        if (role == "user" || role == "system") {
            turn(s, role, m[i].content);
        } else if (role == "assistant") {
            const Answer a = split_thoughts(m[i], m[i].content);
            if (i > last_query && (i + 1 == m.size() || !a.reasoning.empty()))
                thinking_turn(s, lstrip(rstrip(a.reasoning, '\n'), '\n'), lstrip(a.content, '\n'), given,
                              voice_of(m[i]));
            else turn(s, role, a.content, voice_of(m[i]));
        } else if (role == "tool") {
            tool_turn(s, m, i, m[i].content, false);
        } else {
            refuse_message(m, i, "qwen3 knows system, user, assistant and tool; it would leave this one out");
        }
    }
    if (o.add_generation_prompt) s.markup(start).text("assistant").markup("\n").markup(given);
    return s.parts;
}

std::vector<Part> qwen3_5(const std::vector<Message>& m, const ChatOptions& o) {
    return qwen3_5_as(m, o, o.enable_thinking == true ? opening : empty_block);
}

std::vector<Part> qwen3_5_think(const std::vector<Message>& m, const ChatOptions& o) {
    return qwen3_5_as(m, o, o.enable_thinking == false ? empty_block : opening);
}
