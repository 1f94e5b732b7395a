// chat_script.h - what the chat formats are written with.
#pragma once
#include <string>
#include <string_view>
#include <vector>
#include "chat.h"

// A conversation as it is written down, part by part.
class Script {
public:
    enum Voice : bool { prompt, model };        // what the model is given, and what it is to say
    // Text of the format itself: special tokens in it are tokens.
    Script& markup(std::string_view text, Voice v = prompt) { return add(text, true, v); }
    // Text that somebody wrote.
    Script& text(std::string_view text, Voice v = prompt) { return add(text, false, v); }
    std::vector<Part> parts;

private:
    Script& add(std::string_view text, bool special, Voice v) {
        if (!text.empty()) parts.push_back({std::string(text), special, v == model});
        return *this;
    }
};

std::string_view strip(std::string_view);               // Python's str.strip(): white space and U+001C ... U+001F
std::string_view lstrip(std::string_view, char);        // only this character
std::string_view rstrip(std::string_view, char);
// The voice of an assistant's turn.
inline Script::Voice voice_of(const Message& m) { return m.target ? Script::model : Script::prompt; }
// "message 2 of 5 (role user): " and a reason: Exit::bad_input.
[[noreturn]] void refuse_message(const std::vector<Message>&, size_t index, const char* why);
[[noreturn]] void refuse_empty(const char* format);

std::vector<Part> smollm2(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> chatml(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> qwen3(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> qwen3_5(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> qwen3_5_think(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> gemma3(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> gemma4(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> gemma4_v2(const std::vector<Message>&, const ChatOptions&);
std::vector<Part> gemma4_v1(const std::vector<Message>&, const ChatOptions&);
