// normalize.h - what a tokenizer does to text before it looks for words.
#pragma once
#include <string>
#include <string_view>
#include <vector>

// A text with one mark a byte. Marks travel with the bytes when the text changes, so that it is still known of every
// token what the part that it came from allowed.
struct Marked {
    std::string text, marks;
    void add(std::string_view t, std::string_view m) { text += t, marks += m; }
    void add(std::string_view t, char mark) { text += t, marks.append(t.size(), mark); }
};

struct Normalizer {
    enum Kind { nfc, replace } kind = nfc;
    std::string from, to;                   // replace: every occurrence, left to right; `from` is not empty
};

// The text after all of them, in order. A changed stretch takes the mark of its first byte. text: UTF-8.
// Exit::bad_input when replacements make more than 64 times as much of it (and over a megabyte): a few of them can make
// any amount.
Marked normalize(const std::vector<Normalizer>&, std::string_view text, std::string_view marks);

// Normalization Form C of Unicode 9: the version that Hugging Face's tokenizers carry, and so the one that the models
// were trained with. Marks that Unicode gained later stay where they are and compose with nothing.
void compose(std::string_view text, std::string_view marks, Marked& out);
