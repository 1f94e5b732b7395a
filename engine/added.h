// added.h - the tokens that are found in a text before it is cut into words: <|im_start|>, <think>, <unused7> ...
#pragma once
#include <string>
#include <string_view>
#include <vector>

// What the part that a byte of text came from allows (Part in tokenizer.h).
enum Mark : char { may_be_special = 1, is_target = 2 };

struct AddedToken {
    int id = -1;
    std::string text;
    bool special = false;           // recognised only where every byte may be special; left out of plain text
    bool normalized = false;        // looked for after normalisation, not before
    bool lstrip = false, rstrip = false;    // takes the white space to its left, right
    bool single_word = false;       // only where no word character stands beside it
};

// Finds the leftmost token, and the longest of those that begin there.
class AddedTokens {
public:
    AddedTokens() = default;
    explicit AddedTokens(std::vector<AddedToken>);
    bool empty() const { return tokens_.empty(); }

    struct Found { size_t begin, end; int id; };
    // The first token in text[from ...]; false: none. marks: one Mark a byte.
    bool next(std::string_view text, std::string_view marks, size_t from, Found&) const;

private:
    const AddedToken* longest(std::string_view text, std::string_view marks, size_t at) const;
    std::vector<AddedToken> tokens_;        // in the order of their bytes
    bool begins_[256] = {};                 // does a token begin with this byte?
};
