// rows.h - JSON lines that users bring (--input, --train-file): each a row of ids, and which of them count.
#pragma once
#include <functional>
#include <string>
#include <vector>
#include "chat.h"
#include "json.h"
#include "tokenizer.h"

struct Row {
    Json id;                        // carried to the output; the row's number, from 0, where it has none
    std::vector<int> ids;
    std::vector<int> labels;        // [ids], what token i should be; -100: does not count. labels[0] is never scored
    int line = 0;                   // of the file, from 1
    bool completion = false;        // only part of the ids counts
};

// A preference: one prompt, two answers.
struct Pair {
    Json id;
    std::vector<int> prompt, chosen, rejected;
    int line = 0;
};

struct RowReader {
    const Tokenizer* tokenizer = nullptr;       // null: only rows of ids
    const ChatFormat* chat = nullptr;           // null: messages are refused, prompts are plain text
    bool raw = false;                           // prompts are plain text
    bool to_continue = false;                   // conversations end where the model's turn begins
    std::optional<bool> think;
    bool specials = true;                       // special tokens written in "text" are tokens
    int vocabulary = 0;                         // ids of rows must be below
    bool bos = true;                            // "text" begins with BOS where the tokenizer adds one
    bool may_be_empty = false;                  // a row without tokens is one, not an error
    int longest = 0;                            // tokens a row may have; 0: any number

    Row row(const Json&, const std::string& who) const;
    Pair pair(const Json&, const std::string& who) const;

private:
    Row read(const Json&, const std::string& who) const;
};

// Calls `each` with every line's object; `who` = "FILE:LINE". path "-": standard input. A line that is not one JSON
// object is Exit::bad_input naming file and line; blank lines are skipped.
void for_each_line(const std::string& path,
                   const std::function<void(const Json&, const std::string& who, int line)>& each);
std::vector<Row> read_rows(const std::string& path, const RowReader&);
std::vector<Pair> read_pairs(const std::string& path, const RowReader&);
