#include "normalize.h"
#include <utf8proc.h>
#include <algorithm>
#include <iterator>
#include "../kernels/error.h"
#include "unicode.h"

namespace {

struct Range { uint32_t first, last; };

bool contains(const Range* begin, const Range* end, uint32_t c) {
    const Range* r = std::partition_point(begin, end, [&](const Range& x) { return x.last < c; });
    return r != end && r->first <= c;
}

// Code points that reorder or compose in a later Unicode and are ordinary in Unicode 9 (up to Unicode 18).
constexpr Range young[] = {
    {0x5c8, 0x5c9},     {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1af0},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x105c9, 0x105e4}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10ecb, 0x10ecf}, {0x10ef0, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11380, 0x113ff}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11930, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
    {0x11d42, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16100, 0x1613f}, {0x16d63, 0x16d6a},
    {0x16ff0, 0x16ff1}, {0x1d127, 0x1d128}, {0x1d250, 0x1d281}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1e6e3, 0x1e6f5}};

// Code points of combining class 0 that compose with the one before them.
constexpr Range second[] = {
    {0x9be, 0x9be},     {0x9d7, 0x9d7},     {0xb3e, 0xb3e},     {0xb56, 0xb57},     {0xbbe, 0xbbe},
    {0xbd7, 0xbd7},     {0xcc2, 0xcc2},     {0xcd5, 0xcd6},     {0xd3e, 0xd3e},     {0xd57, 0xd57},
    {0xdcf, 0xdcf},     {0xddf, 0xddf},     {0x102e, 0x102e},   {0x1161, 0x1175},   {0x11a8, 0x11c2},
    {0x1b35, 0x1b35},   {0x11127, 0x11127}, {0x1133e, 0x1133e}, {0x11357, 0x11357}, {0x114b0, 0x114b0},
    {0x114ba, 0x114ba}, {0x114bd, 0x114bd}, {0x115af, 0x115af}};

constexpr auto decomposing = utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
constexpr auto composing = utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

int decompose(uint32_t c, utf8proc_int32_t (&out)[8]) {
    int ignored = 0;
    return int(utf8proc_decompose_char(utf8proc_int32_t(c), out, 8, decomposing, &ignored));
}

enum class Role {
    plain,      // as it is, whatever comes before it; marks that follow may change it
    frozen,     // as it is, and nothing composes across it
    changing,   // may decompose, reorder, or compose with what comes before it
};

Role role(uint32_t c) {
    if (c < 0x300 || (c >= 0x3400 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3)) return Role::plain;
    if (contains(std::begin(young), std::end(young), c)) return Role::frozen;
    utf8proc_int32_t parts[8];
    const bool decomposes = decompose(c, parts) != 1 || uint32_t(parts[0]) != c;
    return decomposes || utf8proc_get_property(utf8proc_int32_t(c))->combining_class ||
                   contains(std::begin(second), std::end(second), c)
               ? Role::changing
               : Role::plain;
}

// One stretch that nothing outside it changes. Ordering marks here, in n log n, leaves utf8proc a linear pass: its own
// ordering swaps neighbours, which takes minutes on a megabyte of accents.
std::string composed(std::string_view text) {
    std::vector<utf8proc_int32_t> codes;
    for (size_t i = 0; i < text.size();) {
        const Char c = char_at(text, i);
        utf8proc_int32_t parts[8];
        const int n = decompose(c.code, parts);
        codes.insert(codes.end(), parts, parts + n);
        i += c.bytes;
    }
    const auto rank = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    for (auto a = codes.begin(); a != codes.end();) {
        if (!rank(*a)) {
            ++a;
            continue;
        }
        const auto b = std::find_if(a, codes.end(), [&](utf8proc_int32_t c) { return !rank(c); });
        std::stable_sort(a, b, [&](utf8proc_int32_t x, utf8proc_int32_t y) { return rank(x) < rank(y); });
        a = b;
    }
    const utf8proc_ssize_t n = utf8proc_normalize_utf32(codes.data(), utf8proc_ssize_t(codes.size()), composing);
    std::string out;
    for (utf8proc_ssize_t k = 0; k < n; k++) append_utf8(out, uint32_t(codes[size_t(k)]));
    return out;
}

void replace(const Normalizer& r, std::string_view text, std::string_view marks, size_t limit, Marked& out) {
    size_t done = 0;
    for (size_t at; (at = text.find(r.from, done)) != text.npos; done = at + r.from.size()) {
        if (out.text.size() + r.to.size() > limit)
            fail(Exit::bad_input, "the tokenizer's replacements make more than %zu bytes of a text", limit);
        out.add(text.substr(done, at - done), marks.substr(done, at - done));
        out.add(r.to, marks[at]);
    }
    out.add(text.substr(done), marks.substr(done));
}

}  // namespace

void compose(std::string_view text, std::string_view marks, Marked& out) {
    size_t done = 0, before = 0;        // before: where what precedes i and may change with it begins
    for (size_t i = 0; i < text.size();) {
        if (!(text[i] & 0x80)) {
            before = i++;
            continue;
        }
        const Char c = char_at(text, i);
        const Role r = role(c.code);
        if (r != Role::changing) {
            before = r == Role::plain ? i : i + c.bytes;
            i += c.bytes;
            continue;
        }
        size_t end = i + c.bytes;
        while (end < text.size()) {
            const Char next = char_at(text, end);
            if (role(next.code) != Role::changing) break;
            end += next.bytes;
        }
        out.add(text.substr(done, before - done), marks.substr(done, before - done));
        out.add(composed(text.substr(before, end - before)), marks[before]);
        done = before = i = end;
    }
    out.add(text.substr(done), marks.substr(done));
}

Marked normalize(const std::vector<Normalizer>& steps, std::string_view text, std::string_view marks) {
    const size_t limit = 64 * text.size() + (1 << 20);
    Marked now{std::string(text), std::string(marks)};
    for (const Normalizer& step : steps) {
        Marked next;
        next.text.reserve(now.text.size());
        next.marks.reserve(now.marks.size());
        if (step.kind == Normalizer::nfc) compose(now.text, now.marks, next);
        else replace(step, now.text, now.marks, limit, next);
        now = std::move(next);
    }
    return now;
}
