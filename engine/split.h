// split.h - cutting text into the words that byte pairs are merged in.
//
// tokenizer.json writes its patterns for Oniguruma with the tables of Unicode 16; they run here in PCRE2, compiled to
// machine code. What the two read differently is translated, or refused by name:
//   \s is Unicode's White_Space (PCRE2 adds U+180E); \p{L} \p{N} \p{M} get what Unicode 15 and 16 added, since Debian
//   12's PCRE2 has Unicode 14; ^ and $ match at lines. Intersections and nested classes, \h \v \w \b, options other
//   than (?i:...), x{m,n}+ and x{n}? mean something else there and are not built.
// Inside a class, \S and negated properties keep PCRE2's own tables, and so do properties of two letters.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

class Splitter {
public:
    // What becomes of a match, as Hugging Face's Split names it.
    enum Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

    // regex: as tokenizer.json writes it. who: the file, for errors (Exit::bad_input: a pattern that is not built).
    Splitter(std::string_view regex, Behavior, bool invert, const std::string& who);
    Splitter(Splitter&&) noexcept;
    Splitter& operator=(Splitter&&) noexcept;
    ~Splitter();

    // Appends the pieces of `text`, which is UTF-8; none is empty. One object may serve several threads.
    void split(std::string_view text, std::vector<std::string_view>& pieces) const;

    static std::string literal(std::string_view text);      // a pattern that matches just this text
    static const char* const gpt2;                          // what ByteLevel splits by when use_regex is set
    static const char* const number;                        // one numeric code point, as Digits sees it (Unicode 17)

private:
    struct Code;
    std::unique_ptr<Code> code_;
    Behavior behavior_;
    bool invert_;
    std::string who_;
};

// Does this regular expression, in PCRE2's own syntax, match all of `text`? Exit::usage, naming `who`, for one that
// does not compile.
bool matches_whole(const std::string& regex, std::string_view text, const std::string& who);
