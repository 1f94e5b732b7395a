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
    bool target = true;                         // of an assistant's turn, when training: is it to be learnt?
};

struct ChatOptions {
    bool add_generation_prompt = false;
    std::optional<bool> enable_thinking;        // as in the families' own templates: unset is not the same as true
};

struct ChatFormat {
    // smollm2 qwen3 qwen3_5 gemma3 gemma4 chatml, and templates that models of these families also came with:
    // qwen3_5_think (4B and larger: thinking unless switched off), gemma4_v2 (before 2026-07-09), gemma4_v1 (release).
    const char* name;
    // The conversation as parts whose texts joined are the rendered text: markup is special, what people wrote is not
    // (roles included). Exit::bad_input for a conversation that the family's template refuses, or would silently drop
    // messages of, saying which message and why.
    // Targets: what the model says in assistant turns to be learnt: content and end-of-turn token, not the newline
    // behind it, and its thoughts, except what the generation prompt (with the same options) writes of them: the empty
    // block of a family that does not think there, or the opening <think>.
    std::vector<Part> (*parts)(const std::vector<Message>&, const ChatOptions&);
    std::vector<const char*> stops;             // tokens that end a turn
    bool thinks;                                // knows enable_thinking
};

const ChatFormat* chat_format(std::string_view name);               // null: no such format
std::vector<const char*> chat_format_names();
// The format of a model's own template (Jinja text), recognised by its SHA-256, with or without a newline at its end;
// null: unknown.
const ChatFormat* chat_format_of_template(std::string_view jinja);

std::string render(const ChatFormat&, const std::vector<Message>&, const ChatOptions&);
// "messages" of a row. `who` names file and line. Members that no format reads are ignored, except calls of tools:
// leaving them out would be another conversation (Exit::bad_input).
std::vector<Message> messages_from_json(const Json&, const std::string& who);
