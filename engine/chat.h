// chat.h - conversations as the text that a model was trained on. Written by hand, one function a family, proved
// against Hugging Face's rendering of the models' own templates (tests/chat.cpp).
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include "json.h"
#include "tokenizer.h"

struct Message {
    std::string role, content;
    std::optional<std::string> reasoning;       // "reasoning_content", where a family has it
};

struct ChatOptions {
    bool add_generation_prompt = false;
    std::optional<bool> enable_thinking;        // as in the families' own templates: unset is not the same as true
};

struct ChatFormat {
    const char* name;                           // smollm2 qwen3 qwen3_5 gemma3 gemma4 chatml
    // The conversation as parts whose texts joined are the rendered text: markup is special, what people wrote is not;
    // every assistant turn's content and end-of-turn token is a target. Exit::bad_input for a conversation that the
    // format refuses (roles that do not alternate ...), saying which message and why.
    std::vector<Part> (*parts)(const std::vector<Message>&, const ChatOptions&);
    std::vector<const char*> stops;             // tokens that end a turn
    bool thinks;                                // knows enable_thinking
};

const ChatFormat* chat_format(std::string_view name);               // null: no such format
std::vector<const char*> chat_format_names();
// The format of a model's own template (Jinja text), recognised by its SHA-256; null: unknown.
const ChatFormat* chat_format_of_template(std::string_view jinja);

std::string render(const ChatFormat&, const std::vector<Message>&, const ChatOptions&);
// "messages" of a row. `who` names file and line.
std::vector<Message> messages_from_json(const Json&, const std::string& who);
