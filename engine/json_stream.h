// json_stream.h - JSON as a stream of events: for readers that must not first make a tree of what a stranger wrote.
#pragma once
#include "json.h"

// Receives the values of a text in their order. It may refuse() any of them, with `at` as the place.
struct JsonEvents {
    virtual ~JsonEvents() = default;
    virtual void open(bool object) = 0;             // an object or an array begins
    virtual void close() = 0;
    virtual void key(std::string& name) = 0;        // may be moved from, as may text below
    virtual void string(std::string& text) = 0;
    virtual void scalar(Json value) = 0;            // null, a boolean or a number; integers below zero are signed
    size_t at = 0;              // where in its file the text begins; then the end of the value, or one past it
};

// The rules of parse_json, except that duplicate keys are for the receiver to find.
void stream_json(std::string_view text, const std::string& who, int max_depth, JsonEvents&);
