#include "chat.h"
#include <algorithm>
#include "chat_script.h"
#include "file.h"
#include "reader.h"
#include "unicode.h"

namespace {

const ChatFormat formats[] = {
    {"smollm2", smollm2, {"<|im_end|>", "<|endoftext|>"}, false},
    {"qwen3", qwen3, {"<|im_end|>", "<|endoftext|>"}, true},
    {"qwen3_5", qwen3_5, {"<|im_end|>", "<|endoftext|>"}, true},
    {"gemma3", gemma3, {"<end_of_turn>", "<eos>"}, false},
    {"gemma4", gemma4, {"<turn|>", "<eos>", "<|tool_response>"}, true},
    {"chatml", chatml, {"<|im_end|>", "<|endoftext|>"}, false},
    {"qwen3_5_think", qwen3_5_think, {"<|im_end|>", "<|endoftext|>"}, true},
    {"gemma4_v2", gemma4_v2, {"<turn|>", "<eos>", "<|tool_response>"}, true},
    {"gemma4_v1", gemma4_v1, {"<turn|>", "<eos>", "<|tool_response>"}, true},
};

const struct { const char *sha256, *format; } templates[] = {
    {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788", "smollm2"},
    {"a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8", "qwen3"},
    {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5", "qwen3"},      // same for messages of text
    {"273d8e0e683b885071fb17e08d71e5f2a5ddfb5309756181681de4f5a1822d80", "qwen3_5"},
    {"a4aee8afcf2e0711942cf848899be66016f8d14a889ff9ede07bca099c28f715", "qwen3_5_think"},
    {"7de1c58e208eda46e9c7f86397df37ec49883aeece39fb961e0a6b24088dd3c4", "gemma3"},
    {"0a2c8073c878ab1da004bee933a998606537bbb62016310352c7285c3f01c5b5", "gemma4"},
    {"2f1b4d75d067bae3fe44e676721c7f077d243bc007156cb9c2f8b5836613d082", "gemma4_v2"},
    {"33204f1acb5bd0002713e16a593847f24ceeafe711ed88bda2a352dc996a3373", "gemma4_v2"},
    {"781d10940fbc44be40064b5d43a056fc486c84ceaa55538226368b57314132bf", "gemma4_v2"},
    {"55572b8d3c8342044e25874c73fe5234b661fa0a57a57f6ef75b58e03d7d959a", "gemma4_v1"},
};

// Python calls four control characters white space that Unicode does not.
bool strips(uint32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

}  // namespace

const ChatFormat* chat_format(std::string_view name) {
    for (const ChatFormat& f : formats)
        if (name == f.name) return &f;
    return nullptr;
}

std::vector<const char*> chat_format_names() {
    std::vector<const char*> names;
    for (const ChatFormat& f : formats) names.push_back(f.name);
    return names;
}

const ChatFormat* chat_format_of_template(std::string_view jinja) {
    const std::string bare(jinja.ends_with('\n') ? jinja.substr(0, jinja.size() - 1) : jinja);
    for (const std::string& hash : {sha256(bare), sha256(bare + '\n')})
        for (const auto& t : templates)
            if (hash == t.sha256) return chat_format(t.format);
    return nullptr;
}

std::string render(const ChatFormat& format, const std::vector<Message>& messages, const ChatOptions& options) {
    std::string text;
    for (const Part& p : format.parts(messages, options)) text += p.text;
    return text;
}

std::vector<Message> messages_from_json(const Json& list, const std::string& who) {
    if (!list.is_array()) fail(Exit::bad_input, "%s: \"messages\" is not a list of messages", who.c_str());
    std::vector<Message> messages;
    for (const Json& m : list) {
        const std::string whose = who + ": message " + std::to_string(messages.size());
        if (!m.is_object()) fail(Exit::bad_input, "%s is not an object with role and content", whose.c_str());
        for (const char* calls : {"tool_calls", "tool_responses", "function_call"})
            if (const Json* c = find(m, calls); c && !c->empty())
                fail(Exit::bad_input, "%s has %s, which is not built: messages are text", whose.c_str(), calls);
        Message message{get_string(m, "role", whose), get_string(m, "content", whose), {}};
        if (find(m, "reasoning_content")) message.reasoning = get_string(m, "reasoning_content", whose);
        messages.push_back(std::move(message));
    }
    return messages;
}

std::string_view strip(std::string_view s) {
    while (!s.empty() && strips(char_at(s, 0).code)) s.remove_prefix(char_at(s, 0).bytes);
    while (!s.empty()) {
        const size_t last = char_before(s, s.size());
        if (!strips(char_at(s, last).code)) break;
        s = s.substr(0, last);
    }
    return s;
}

std::string_view lstrip(std::string_view s, char c) { return s.substr(std::min(s.find_first_not_of(c), s.size())); }

std::string_view rstrip(std::string_view s, char c) { return s.substr(0, s.find_last_not_of(c) + 1); }

void refuse_message(const std::vector<Message>& messages, size_t i, const char* why) {
    fail(Exit::bad_input, "message %zu of %zu (role %s): %s", i, messages.size(), shown(messages[i].role, 40).c_str(),
         why);
}

void refuse_empty(const char* format) { fail(Exit::bad_input, "%s: a conversation without messages", format); }
