// gym_arithmetic.cpp - the numbers of a text, and the sums in it that are true or false.
#include <algorithm>
#include <cmath>
#include "gym_read.h"

namespace gym {

bool read_number(std::string_view s, size_t& at, bool spaced, double& value) {
    size_t i = at;
    const bool negative = i < s.size() && s[i] == '-';
    if (negative) i++;
    std::string digits;
    while (i < s.size() && digit(s[i])) digits += s[i++];
    if (digits.empty()) return false;
    auto three = [&](size_t from) {
        size_t end = from;
        while (end < s.size() && digit(s[end])) end++;
        return end == from + 3;
    };
    if (digits.size() <= 3)
        while (i < s.size() && (s[i] == ',' || (spaced && s[i] == ' ')) && three(i + 1)) {
            digits += s.substr(i + 1, 3);
            i += 4;
        }
    if (i + 1 < s.size() && s[i] == '.' && digit(s[i + 1])) {
        digits += s[i++];
        while (i < s.size() && digit(s[i])) digits += s[i++];
    }
    value = std::strtod(digits.c_str(), nullptr) * (negative ? -1 : 1);
    at = i;
    return true;
}

bool operator_at(std::string_view s, size_t at) {
    if (at >= s.size()) return false;
    if (s[at] == 'x' || s[at] == 'X') return at + 1 >= s.size() || !letter(s[at + 1]);
    return s[at] == '+' || s[at] == '-' || s[at] == '/';
}

bool goes_on(std::string_view s, size_t at) {
    const size_t next = skip_spaces(s, at);
    if (next >= s.size()) return false;
    if (s[next] == '%' || s[next] == '^') return true;
    if (!operator_at(s, next)) return false;
    const size_t word = skip_spaces(s, next + 1);
    if (word >= s.size()) return false;
    return digit(s[word]) || s[word] == '(' || (letter(s[word]) && !(word + 1 < s.size() && letter(s[word + 1])));
}

namespace {

// = < > <= >= and ==; 0 for anything else, also for arrows.
char sign_at(std::string_view s, size_t& at) {
    auto is = [&](size_t i, char c) { return i < s.size() && s[i] == c; };
    if (!is(at, '=') && !is(at, '<') && !is(at, '>')) return 0;
    if (is(at, '=') && (is(at + 1, '>') || is(at + 1, '<'))) return 0;
    const char first = s[at++];
    if (!is(at, '=')) return first;
    at++;
    return first == '<' ? 'l' : first == '>' ? 'g' : '=';
}

bool true_of(double a, char sign, double b) {
    const bool equal = std::fabs(a - b) <= 1e-9 * std::max({1., std::fabs(a), std::fabs(b)});
    return sign == '=' ? equal : sign == 'l' ? a < b || equal : sign == 'g' ? a > b || equal
           : !equal && (sign == '<' ? a < b : a > b);
}

// sum = product {(+|-) product}, product = factor {(x|/) factor}, factor = number [unit] | ( sum ).
class Arithmetic {
public:
    Arithmetic(std::string_view s, size_t at, std::vector<double>& numbers) : at(at), s_(s), numbers_(numbers) {}
    size_t at;
    Relation::Side side;

    bool sum() { return level("+-", side.value, 0); }

private:
    std::string_view s_;
    std::vector<double>& numbers_;

    bool level(std::string_view ops, double& value, int depth) {
        const bool products = ops == "x/";
        if (!(products ? factor(value, depth) : level("x/", value, depth))) return false;
        for (;;) {
            const size_t op = skip_spaces(s_, at);
            if (!operator_at(s_, op) || ops.find(lower(s_[op])) == ops.npos) return true;
            const size_t here = at, count = numbers_.size(), length = side.text.size();
            at = skip_spaces(s_, op + 1);
            side.text += lower(s_[op]);
            double right = 0;
            if (!(products ? factor(right, depth) : level("x/", right, depth))) {
                at = here;
                numbers_.resize(count);
                side.text.resize(length);
                return true;
            }
            side.computed = true;
            switch (lower(s_[op])) {
                case '+': value += right; break;
                case '-': value -= right; break;
                case 'x': value *= right; break;
                default: value /= right;
            }
        }
    }

    bool factor(double& value, int depth) {
        if (at < s_.size() && s_[at] == '(' && depth < 8) {
            const size_t here = at;
            at = skip_spaces(s_, at + 1);
            side.text += '(';
            const bool inner = level("+-", value, depth + 1);
            const size_t close = skip_spaces(s_, at);
            if (!inner || close >= s_.size() || s_[close] != ')') {
                at = here;
                return false;
            }
            side.text += ')';
            at = close + 1;
            return true;
        }
        if (!read_number(s_, at, false, value)) return false;
        numbers_.push_back(value);
        side.text += format("%.10g", value);
        unit();
        return true;
    }

    // "12 km + 7 km": up to two words, if an operator or a sign follows them.
    void unit() {
        size_t end = at;
        for (int word = 0; word < 2; word++) {
            const size_t first = skip_spaces(s_, end);
            if (operator_at(s_, first)) break;
            size_t last = first;
            while (last < s_.size() && letter(s_[last])) last++;
            if (last == first) break;
            end = last;
            size_t next = skip_spaces(s_, end), sign = next;
            if (operator_at(s_, next) || sign_at(s_, sign)) at = end;
        }
    }
};

// A chain that begins at `at` may be the tail of something that cannot be judged: "N + 7 = 19", "half of 20 = 10".
bool may_begin(std::string_view s, size_t at, const Relation& r) {
    const char touching = at > 0 ? s[at - 1] : '\n', last = before(s, at);
    if (letter(touching) || digit(touching) || std::string_view("._^%").find(touching) != std::string_view::npos)
        return false;
    if (touching == ':' && at > 1 && digit(s[at - 2])) return false;
    size_t end = at;
    while (end > 0 && (s[end - 1] == ' ' || s[end - 1] == '\t')) end--;
    if (std::string_view("+/^%<>~!").find(last) != std::string_view::npos) return false;
    if (end > 0 && (last == 'x' || last == '-') && before(s, end - 1) != '\n' && operator_at(s, end - 1)) return false;
    if (!r.equation || r.sides[0].computed) return true;
    for (std::string_view word : {"of", "and", "by", "to", "from", "than"})
        if (end >= word.size() && word_at(s, end - word.size(), word)) return false;
    return true;
}

}  // namespace

bool Relation::computed() const {
    return std::any_of(sides.begin(), sides.end(), [](const Side& s) { return s.computed; });
}

bool Relation::mentions(double v) const { return std::find(numbers.begin(), numbers.end(), v) != numbers.end(); }

std::vector<Relation> relations(std::string_view text) {
    std::vector<Relation> out;
    for (size_t i = 0; i < text.size();) {
        if (!digit(text[i]) && text[i] != '(' && text[i] != '-') {
            i++;
            continue;
        }
        Relation r;
        r.at = i;
        size_t at = i;
        char sign = '=';
        for (;;) {
            Arithmetic a(text, at, r.numbers);
            if (!a.sum()) break;
            if (!r.sides.empty()) r.holds = r.holds && true_of(r.sides.back().value, sign, a.side.value);
            if (!r.sides.empty()) r.equation = r.equation && sign == '=';
            r.sides.push_back(a.side);
            at = a.at;
            size_t next = skip_spaces(text, at);
            if (!(sign = sign_at(text, next))) break;
            next = skip_spaces(text, next);
            if (next >= text.size() || !(digit(text[next]) || text[next] == '(' || text[next] == '-')) break;
            at = next;
        }
        if (r.sides.size() > 1 && may_begin(text, i, r) && !goes_on(text, at)) out.push_back(r);
        i = std::max(at, i + 1);
    }
    return out;
}

std::vector<double> numbers(std::string_view text) {
    std::vector<double> out;
    for (size_t i = 0; i < text.size();) {
        double value = 0;
        if (digit(text[i]) && (i == 0 || !letter(text[i - 1]))) {
            if (read_number(text, i, true, value)) out.push_back(value);
        } else {
            i++;
        }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

}  // namespace gym
