// gym_read.cpp - what an answer says: its last `Answer:`, and the words that claim a check or admit a gap.
//
// Small models write numbers and signs in many ways. All reading begins with `plain`, which leaves one spelling of
// each, so that a judge of substance does not judge Markdown and LaTeX. The words come from answers of small models
// and their synonyms; they make up what the reports call style.
#include "gym_read.h"
#include <algorithm>
#include <cmath>

namespace gym {

namespace {

struct Spelling {
    std::string_view from, to;
};
constexpr Spelling signs[] = {
    {"\u2212", "-"},  {"\u2013", "-"},  {"\u2014", "-"},   {"\u2010", "-"},  {"\u2011", "-"},  {"\u00d7", "x"},
    {"\u00b7", "x"},  {"\u22c5", "x"},  {"\u00f7", "/"},   {"\u2215", "/"},  {"\u00a0", " "},  {"\u2009", " "},
    {"\u202f", " "},  {"\u2264", "<="}, {"\u2265", ">="},  {"\u2248", "~"},  {"\u2260", "!="}, {"\u2019", "'"},
    {"\u201c", "\""}, {"\u201d", "\""}, {"\uff1a", ":"},   {"\uff1d", "="},  {"\u20ac", ""},   {"\u00a3", ""},
    {"\\times", " x "}, {"\\cdot", " x "}, {"\\div", " / "}, {"\\frac", ""}, {"\\dfrac", ""},  {"\\leq", " <= "},
    {"\\geq", " >= "},  {"\\le", " <= "},  {"\\ge", " >= "}, {"\\approx", "~"}, {"\\neq", "!="},  {"\\,", " "},
    {"\\ ", " "},       {"\\(", ""},       {"\\)", ""},      {"\\[", ""},    {"\\]", ""},      {"\\%", "%"},
    {"\\$", ""},        {"$", ""},         {"`", ""},        {"__", ""}};
constexpr Spelling words[] = {{"is equal to", "="},   {"equals", "="}, {"plus", "+"},      {"minus", "-"},
                              {"multiplied by", "x"}, {"times", "x"},  {"divided by", "/"}};
// LaTeX commands whose braces hold plain text; the braces of others become parentheses.
constexpr std::string_view boxes[] = {"\\boxed{", "\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\fbox{"};

// Takes the first of `list` that `text` has at i; moves i behind it.
template <class List> const Spelling* take(const List& list, std::string_view text, size_t& i, bool whole_word) {
    for (const Spelling& s : list)
        if (whole_word ? word_at(text, i, s.from) : text.substr(i).starts_with(s.from)) {
            i += s.from.size();
            return &s;
        }
    return nullptr;
}

// Stars are a product between numbers ("6 * 7"), a power if there are two ("2**3"), and bold print elsewhere.
std::string_view star(std::string_view text, size_t& i, const std::string& out) {
    const size_t first = i;
    while (i < text.size() && text[i] == '*') i++;
    const size_t next = skip_spaces(text, i);
    const char last = before(out, out.size());
    if (i == first + 1)
        return next < text.size() && (digit(text[next]) || text[next] == '(') && (digit(last) || last == ')') ? "x"
                                                                                                             : "";
    return i < text.size() && digit(text[i]) && !out.empty() && digit(out.back()) ? "^" : "";
}

}  // namespace

bool word_at(std::string_view text, size_t at, std::string_view word) {
    auto touches = [&](size_t i) { return i < text.size() && (letter(text[i]) || digit(text[i])); };
    const std::string_view here = text.substr(at, word.size());
    return std::equal(here.begin(), here.end(), word.begin(), word.end(),
                      [](char a, char b) { return lower(a) == lower(b); }) &&
           !(at > 0 && touches(at - 1)) && !touches(at + word.size());
}

bool has_words(std::string_view text, std::string_view phrase) {
    for (size_t i = 0; i + phrase.size() <= text.size(); i++)
        if (word_at(text, i, phrase)) return true;
    return false;
}

size_t skip_spaces(std::string_view text, size_t at) {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) at++;
    return at;
}

char before(std::string_view text, size_t at) {
    while (at > 0 && (text[at - 1] == ' ' || text[at - 1] == '\t')) at--;
    return at > 0 ? text[at - 1] : '\n';
}

std::string plain(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    std::vector<bool> open;         // braces; true: of a box
    for (size_t i = 0; i < text.size();) {
        const char c = text[i];
        if (c == '\\') {
            const auto box = std::find_if(std::begin(boxes), std::end(boxes),
                                          [&](std::string_view b) { return text.substr(i).starts_with(b); });
            if (box != std::end(boxes)) {
                open.push_back(true);
                out += ' ';
                i += box->size();
                continue;
            }
        }
        const bool word_begins = letter(c) && uint8_t(c) < 0x80 && (i == 0 || !letter(text[i - 1]));
        const bool sign = uint8_t(c) >= 0x80 || c == '\\' || c == '$' || c == '`' || c == '_';
        if (const Spelling* s = sign          ? take(signs, text, i, false)
                                : word_begins ? take(words, text, i, true)
                                              : nullptr) {
            out += s->to;
            continue;
        }
        if (c == '*') {
            out += star(text, i, out);
            continue;
        }
        i++;
        if (text.substr(i - 1, 3) == "{,}") {       // 1{,}234
            out += ',';
            i += 2;
        } else if (c == '{') {
            open.push_back(false);
            out += '(';
        } else if (c == '}') {
            const bool box = !open.empty() && open.back();
            if (!open.empty()) open.pop_back();
            out += box ? " " : i < text.size() && text[i] == '{' ? ")/" : ")";       // \frac{12}{3}
        } else {
            out += c;
        }
    }
    return out;
}

// --- the answer, and the words for checks and gaps

namespace {

// The end of the sentence or line that `from` is in: a full stop inside a number does not end it.
size_t sentence_end(std::string_view s, size_t from) {
    for (size_t i = from; i < s.size(); i++)
        if (s[i] == '\n' || ((s[i] == '.' || s[i] == '!' || s[i] == '?') && (i + 1 == s.size() || !digit(s[i + 1]))))
            return i;
    return s.size();
}

bool says_something(std::string_view s) {
    return std::any_of(s.begin(), s.end(), [](char c) { return letter(c) || digit(c); });
}

// Where what follows the last "Answer:" or "answer is" at or before `from` begins, be it on the next line, and where
// the word stands; npos if there is none.
size_t after_answer(std::string_view s, size_t from, size_t& at) {
    for (size_t i = std::min(from, s.size()) + 1; i-- > 0;) {
        if (!word_at(s, i, "answer")) continue;
        size_t next = skip_spaces(s, i + 6);
        const bool is = word_at(s, next, "is");
        if (is) next = skip_spaces(s, next + 2);
        const bool colon = next < s.size() && (s[next] == ':' || s[next] == '=');
        if (!is && !colon) continue;
        next += colon;
        while (next < s.size() && isspace(uint8_t(s[next]))) next++;
        at = i;
        return next;
    }
    return std::string_view::npos;
}

constexpr std::string_view check_words[] = {
    "check",     "checks",      "checked",      "checking",  "recheck",    "rechecking", "verify",      "verifies",
    "verified",  "verifying",   "verification", "confirm",   "confirms",   "confirming", "make sure",   "making sure",
    "made sure", "sanity test", "to be sure",   "recount",   "recompute",  "recalculate", "work backwards",
    "working backwards", "go back over", "going back over", "test this", "test the answer", "prove it"};

constexpr std::string_view gap_words[] = {
    "unknown", "unsaid", "unclear", "undetermined", "uncertain", "unstated", "unspecified", "insufficient", "N/A",
    "not known", "not said", "not stated", "not given", "not mentioned", "not specified", "not clear", "not provided",
    "not enough", "not available", "not listed", "not told", "not possible", "not determined", "no information",
    "no fact", "no way to know", "none says", "none of them says", "none of them tells", "nothing says",
    "nothing tells", "nothing there says", "do not say", "does not say", "don't say", "doesn't say", "do not state",
    "does not state", "don't state", "doesn't state", "do not tell", "does not tell", "don't tell", "doesn't tell",
    "do not mention", "does not mention", "don't mention", "doesn't mention", "do not specify", "does not specify",
    "do not know", "don't know", "cannot know", "can't know", "cannot say", "can't say", "cannot tell", "can't tell",
    "can not tell", "cannot answer", "can't answer", "cannot determine", "can't determine", "cannot be", "can't be",
    "can not be", "could not be", "impossible to", "unable to", "unanswerable", "without more"};

}  // namespace

AnswerPart answer_part(std::string_view s) {
    size_t at = std::string_view::npos;
    const size_t begin = after_answer(s, s.size(), at);
    if (begin != s.npos) {
        const std::string_view part = s.substr(begin, sentence_end(s, begin) - begin);
        if (says_something(part)) return {part, true, at};
        s = s.substr(0, at);
    }
    std::string_view last;
    for (size_t i = 0; i < s.size();) {
        const size_t end = sentence_end(s, i);
        if (says_something(s.substr(i, end - i))) last = s.substr(i, end - i);
        i = end + 1;
    }
    return {last, false, at};
}

// Of "13", "N = 13", "13, since 6 + 7 = 13" and "6 + 7 = 13" the 13. None of "12 or 13", "not 13", "6 + 7".
static std::optional<int64_t> value_of(std::string_view part) {
    size_t first = part.find_first_of("0123456789"), at = first;
    double value = 0;
    read_number(part, at, true, value);
    if (goes_on(part, at)) {                // a sum: its result
        const size_t equals = part.rfind('=');
        first = at = equals == part.npos ? equals : part.find_first_of("0123456789", equals);
        if (first == part.npos || !read_number(part, at, true, value) || goes_on(part, at)) return {};
    }
    const size_t second = part.find_first_of("0123456789", at);
    const std::string_view between = part.substr(at, second == part.npos ? 0 : second - at);
    const bool several = second != part.npos && (between.find_first_not_of(" ,;:/-~") == between.npos ||
                                                 has_words(between, "or") || has_words(between, "and") ||
                                                 has_words(between, "to") || has_words(between, "but"));
    if (several || value != std::floor(value) || value >= 1e15 || has_words(part.substr(0, first), "not")) return {};
    return int64_t(before(part, first) == '-' ? -value : value);
}

AnswerLine last_answer(std::string_view text) {
    const std::string s = plain(text);
    for (size_t from = s.size(), at = 0, begin; (begin = after_answer(s, from, at)) != s.npos; from = at - 1) {
        const std::string_view part = std::string_view(s).substr(begin, sentence_end(s, begin) - begin);
        if (part.find_first_of("0123456789") != part.npos) return {true, value_of(part)};
        if (at == 0) break;
    }
    return {};
}

size_t find_check(std::string_view text, size_t from) {
    for (size_t i = from; i < text.size(); i++)
        if (letter(text[i]) && (i == 0 || !letter(text[i - 1])))
            for (std::string_view word : check_words)
                if (word_at(text, i, word)) return i;
    return std::string_view::npos;
}

bool abstains(std::string_view text) {
    const std::string s = plain(text);
    return std::any_of(std::begin(gap_words), std::end(gap_words),
                       [&](std::string_view phrase) { return has_words(s, phrase); });
}

}  // namespace gym
