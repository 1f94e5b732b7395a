#include "split.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <algorithm>
#include <new>
#include "reader.h"
#include "unicode.h"

namespace {

// What a class may hold in place of the escape.
constexpr const char* white_space = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                                    "\\x{202f}\\x{205f}\\x{3000}";
constexpr const char* letter =
    "\\p{L}\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"
    "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}"
    "\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"
    "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"
    "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}"
    "\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}";
constexpr const char* numeric =
    "\\p{N}\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}"
    "\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}";
constexpr const char* mark =
    "\\p{M}\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}\\x{11241}\\x{113b8}-\\x{113c0}\\x{113c2}"
    "\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113d0}\\x{113d2}\\x{113e1}-\\x{113e2}\\x{11f00}-\\x{11f01}\\x{11f03}"
    "\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}\\x{13447}-\\x{13455}\\x{1611e}-\\x{1612f}\\x{1e08f}"
    "\\x{1e4ec}-\\x{1e4ef}\\x{1e5ee}-\\x{1e5ef}";

// Oniguruma's pattern as PCRE2 must read it to mean the same.
class Translation {
public:
    Translation(std::string_view regex, const std::string& who) : in_(regex), who_(who) {
        while (i_ < in_.size()) step();
    }
    std::string out;

private:
    [[noreturn]] void refuse(size_t n) const {
        fail(Exit::bad_input, "%s: the split pattern uses %s, which is not built", who_.c_str(),
             shown(in_.substr(i_, n), 20).c_str());
    }
    bool follows(std::string_view s) const { return in_.substr(i_).substr(0, s.size()) == s; }
    void take(size_t n) { out += in_.substr(i_, n), i_ += n; }

    void step() {
        if (in_[i_] == '\\') escape();
        else if (in_class_) class_member();
        else if (in_[i_] == '[') open_class();
        else if (follows("(?")) group();
        else if (in_[i_] == '{') repeat();
        else take(1);
    }

    void open_class() {
        in_class_ = true;
        take(1);
        if (i_ < in_.size() && in_[i_] == '^') take(1);
        if (i_ < in_.size() && in_[i_] == ']') take(1);     // a bracket that comes first is a member
    }

    void class_member() {
        if (follows("&&") || in_[i_] == '[') refuse(2);
        if (in_[i_] == ']') in_class_ = false;
        take(1);
    }

    void group() {
        for (const char* known : {"(?i:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
            if (follows(known)) return take(std::string_view(known).size());
        refuse(4);
    }

    void repeat() {
        const size_t end = in_.find('}', i_);
        if (end == in_.npos) return take(1);
        const std::string_view counts = in_.substr(i_, end + 1 - i_), behind = in_.substr(end + 1, 1);
        const bool exact = counts.find(',') == counts.npos;
        if (behind == "+" || (behind == "?" && exact) || counts.starts_with("{,")) refuse(counts.size() + 1);
        take(counts.size());
    }

    void escape() {
        if (i_ + 1 >= in_.size()) refuse(2);
        const char c = in_[i_ + 1];
        if (c == 's' || (c == 'S' && !in_class_)) return class_of(white_space, c == 'S', 2);
        if (std::string_view("hHvVwWbBKGXRQEkgCNoZ").find(c) != std::string_view::npos) refuse(2);
        for (const char* members : {letter, numeric, mark}) {       // each begins with its own \p{.}
            const std::string_view name = std::string_view(members).substr(2, 3);
            if ((c == 'p' || (c == 'P' && !in_class_)) && in_.substr(i_ + 2, 3) == name)
                return class_of(members, c == 'P', 5);
        }
        take(2);
        if (std::string_view("pPx").find(c) != std::string_view::npos && i_ < in_.size() && in_[i_] == '{')
            take(std::min(in_.find('}', i_), in_.size() - 1) + 1 - i_);
    }

    void class_of(const char* members, bool negated, size_t n) {
        if (in_class_) out += members;
        else (out += negated ? "[^" : "[") += members, out += ']';
        i_ += n;
    }

    std::string_view in_;
    const std::string& who_;
    size_t i_ = 0;
    bool in_class_ = false;
};

struct Span { size_t begin, end; bool match; };

}  // namespace

struct Splitter::Code {
    pcre2_code* code = nullptr;
    ~Code() { pcre2_code_free(code); }
};

const char* const Splitter::gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const Splitter::number = R"([\p{N}\x{11de0}-\x{11de9}\x{16ff4}-\x{16ff6}])";

Splitter::Splitter(std::string_view regex, Behavior behavior, bool invert, const std::string& who)
    : code_(new Code), behavior_(behavior), invert_(invert), who_(who) {
    const std::string pattern = Translation(regex, who).out;
    pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
    if (!context) throw std::bad_alloc();
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 100);
    int error = 0;
    size_t at = 0;
    code_->code = pcre2_compile((PCRE2_SPTR)pattern.data(), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                &error, &at, context);
    pcre2_compile_context_free(context);
    if (!code_->code) {
        char text[120] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR*)text, sizeof text);
        fail(Exit::bad_input, "%s: the split pattern does not compile: %s", who.c_str(), text);
    }
    pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);     // without machine code the same pattern is interpreted
}

Splitter::Splitter(Splitter&&) noexcept = default;
Splitter& Splitter::operator=(Splitter&&) noexcept = default;
Splitter::~Splitter() = default;

std::string Splitter::literal(std::string_view text) {
    std::string regex;
    for (size_t i = 0; i < text.size();) {
        const Char c = char_at(text, i);
        regex += format("\\x{%x}", unsigned(c.code));
        i += c.bytes;
    }
    return regex;
}

// Matches and the stretches between them, in order, together the whole text.
static std::vector<Span> find_spans(pcre2_code* code, std::string_view text, const std::string& who) {
    const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create(1, nullptr),
                                                                               pcre2_match_data_free);
    if (!data) throw std::bad_alloc();
    const auto search = [&](size_t from, uint32_t options) {
        return pcre2_match(code, (PCRE2_SPTR)text.data(), text.size(), from, PCRE2_NO_UTF_CHECK | options, data.get(),
                           nullptr);
    };
    std::vector<Span> spans;
    size_t done = 0, from = 0;
    while (from <= text.size()) {
        int found = search(from, 0);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = search(from, PCRE2_NO_JIT);
        if (found == PCRE2_ERROR_NOMATCH) break;
        if (found < 0)
            fail(Exit::bad_input, "%s: the split pattern gives up at byte %zu of the text (PCRE2 error %d)",
                 who.c_str(), from, found);
        const size_t* m = pcre2_get_ovector_pointer(data.get());
        const size_t begin = m[0], end = m[1];
        if (begin == end && begin == done && !spans.empty()) {      // empty, right behind a match: look further on
            if (from >= text.size()) break;
            from += char_at(text, from).bytes;
            continue;
        }
        if (begin > done) spans.push_back({done, begin, false});
        spans.push_back({begin, end, true});
        done = from = end;
    }
    if (done < text.size()) spans.push_back({done, text.size(), false});
    return spans;
}

void Splitter::split(std::string_view text, std::vector<std::string_view>& pieces) const {
    if (text.empty()) return;
    std::vector<Span> spans = find_spans(code_->code, text, who_);
    if (invert_)
        for (Span& s : spans) s.match = !s.match;
    const size_t n = spans.size();
    for (size_t k = 0; k < n; k++) {
        Span s = spans[k];
        if (behavior_ == removed && s.match) continue;
        if (behavior_ == merged_with_previous && !s.match && k + 1 < n && spans[k + 1].match) s.end = spans[++k].end;
        if (behavior_ == merged_with_next && s.match && k + 1 < n && !spans[k + 1].match) s.end = spans[++k].end;
        while (behavior_ == contiguous && k + 1 < n && spans[k + 1].match == s.match) s.end = spans[++k].end;
        if (s.begin < s.end) pieces.push_back(text.substr(s.begin, s.end - s.begin));
    }
}

bool matches_whole(const std::string& regex, std::string_view text, const std::string& who) {
    constexpr uint32_t whole = PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    int error = 0;
    size_t at = 0;
    pcre2_code* code = pcre2_compile((PCRE2_SPTR)regex.data(), regex.size(), whole, &error, &at, nullptr);
    pcre2_match_data* match = code ? pcre2_match_data_create(1, nullptr) : nullptr;
    if (match) error = pcre2_match(code, (PCRE2_SPTR)text.data(), text.size(), 0, 0, match, nullptr);
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    if (match && error >= 0) return true;
    if (match && error == PCRE2_ERROR_NOMATCH) return false;
    char says[120] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR*)says, sizeof says);
    fail(Exit::usage, "%s %s: not a regular expression that can be used: %s", who.c_str(), regex.c_str(), says);
}
