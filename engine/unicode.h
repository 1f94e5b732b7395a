// unicode.h - the few facts about UTF-8 and code points that tokenizers need.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// One code point of a text, or a stretch of bytes that is none.
struct Char {
    enum State : uint8_t { good, broken, cut };     // cut: the text ends before the sequence does
    uint32_t code = 0xfffd;
    uint8_t bytes = 1;                              // broken, cut: the longest piece that one U+FFFD stands for
    State state = broken;
};
Char char_at(std::string_view text, size_t i);      // i < text.size()
size_t char_before(std::string_view text, size_t i);    // where the code point that ends at i begins; 0 < i, UTF-8

void append_utf8(std::string&, uint32_t code);
// Every maximal piece that is not UTF-8 becomes one U+FFFD, as Unicode recommends (section 3.9) and Rust and Python do.
std::string to_utf8(std::string_view bytes);
// Where the unfinished sequence at the end of `bytes` begins; bytes.size() if there is none.
size_t unfinished(std::string_view bytes);

bool is_white_space(uint32_t code);                 // the 25 code points with the property White_Space
bool is_word(uint32_t code);                        // \w: letters, marks, decimal digits, connectors, joiners
