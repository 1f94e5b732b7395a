// gym_read.h - how the gym's judge reads an answer; used by gym_read.cpp, gym_arithmetic.cpp, gym_score.cpp and tests.
#pragma once
#include <string>
#include <string_view>
#include <vector>
#include "gym.h"

namespace gym {

// The text with one spelling of every sign: Markdown's stars and backquotes and LaTeX's dollars, \( \) and \boxed taken
// off; a minus of any kind as -, a product as x, a quotient (also \frac) as /, "equals" as =. What stands below, apart
// from gym.h's last_answer and abstains, which take any text, reads plain text.
std::string plain(std::string_view text);

// --- letters and words

inline bool digit(char c) { return c >= '0' && c <= '9'; }
inline char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; }
inline bool letter(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || uint8_t(c) >= 0x80; }
// `word` stands at `at`, in any case, and neither a letter nor a digit touches it.
bool word_at(std::string_view text, size_t at, std::string_view word);
bool has_words(std::string_view text, std::string_view phrase);
size_t skip_spaces(std::string_view text, size_t at);
// The last byte before `at` that is no space; '\n' at the beginning of a line or of the text.
char before(std::string_view text, size_t at);

// --- answers

// What follows the last "Answer:" or "answer is", up to the end of its sentence or line. Without one, or where nothing
// follows it, the last sentence of the text.
struct AnswerPart {
    std::string_view text;
    bool marked;            // it follows "Answer:"
    size_t at;              // where the last "Answer:" stands; npos
};
AnswerPart answer_part(std::string_view text);

// --- arithmetic

// The number at `at`: 12, -3, 1,234, 19.50, and if `spaced` 1 234 too. Moves `at` behind it; false if there is none.
bool read_number(std::string_view text, size_t& at, bool spaced, double& value);
std::vector<double> numbers(std::string_view text);         // all of them without their signs, each once, rising
bool operator_at(std::string_view text, size_t at);         // + - x /
// At `at` a sum is not yet over: an operator and a number, a letter or a parenthesis, or % or a power.
bool goes_on(std::string_view text, size_t at);

// "12 + 7 = 19", "350 < 361 < 370": sides of numbers, + - x / and parentheses, joined by = < > <= >=; a word or two
// may follow a number as its unit. Where letters stand for numbers nothing is read, for nothing can be judged.
struct Relation {
    struct Side {
        std::string text;               // without spaces and units: "12+7"
        double value = 0;
        bool computed = false;          // has an operator
    };
    std::vector<Side> sides;
    std::vector<double> numbers;        // as written
    bool equation = true;               // all signs are =
    bool holds = true;                  // all of them are true, to nine digits
    size_t at = 0;

    bool computed() const;              // some side is
    bool mentions(double) const;
};
std::vector<Relation> relations(std::string_view text);

}  // namespace gym
