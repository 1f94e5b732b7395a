// reader.cpp - see reader.h.
#include "reader.h"

void refuse(const std::string& who, uint64_t at, const char* fmt, ...) {
    std::string text = format("%s: byte %lu: ", who.c_str(), at);
    const size_t front = text.size();
    va_list a, b;
    va_start(a, fmt);
    va_copy(b, a);
    text.resize(front + size_t(vsnprintf(nullptr, 0, fmt, a)));
    vsnprintf(text.data() + front, text.size() - front + 1, fmt, b);
    va_end(a);
    va_end(b);
    throw Error(Exit::bad_input, text);
}

namespace {

// Bytes of the UTF-8 sequence at the start of s; 0: it is not one. The second byte's range keeps out overlong forms,
// surrogates and what lies beyond U+10FFFF (table 3-7 of the Unicode standard).
size_t utf8_sequence(std::string_view s) {
    const auto byte = [&](size_t i) { return uint8_t(s[i]); };
    const auto in = [&](size_t i, int low, int high) { return i < s.size() && byte(i) >= low && byte(i) <= high; };
    const auto tail = [&](size_t i) { return in(i, 0x80, 0xbf); };
    const uint8_t a = byte(0);
    if (a < 0x80) return 1;
    if (a < 0xc2 || a > 0xf4) return 0;
    if (a < 0xe0) return tail(1) ? 2 : 0;
    if (a < 0xf0) return in(1, a == 0xe0 ? 0xa0 : 0x80, a == 0xed ? 0x9f : 0xbf) && tail(2) ? 3 : 0;
    return in(1, a == 0xf0 ? 0x90 : 0x80, a == 0xf4 ? 0x8f : 0xbf) && tail(2) && tail(3) ? 4 : 0;
}

}  // namespace

size_t valid_utf8(std::string_view s) {
    size_t at = 0;
    while (at < s.size()) {
        const size_t n = uint8_t(s[at]) < 0x80 ? 1 : utf8_sequence(s.substr(at));
        if (n == 0) break;
        at += n;
    }
    return at;
}

std::string shown(std::string_view bytes, size_t most) {
    const std::string_view part = bytes.substr(0, most);
    const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
    std::string s = "'";
    size_t at = 0;
    while (at < part.size()) {
        const size_t begin = at;
        while (at < part.size() && printable(part[at])) at++;
        s += part.substr(begin, at - begin);
        if (at == part.size()) break;
        const std::string_view rest = bytes.substr(at);
        const size_t n = utf8_sequence(rest), step = n ? n : 1;
        if (at + step > most) break;        // never half a character
        const bool c1 = n == 2 && uint8_t(rest[0]) == 0xc2 && uint8_t(rest[1]) < 0xa0;      // U+0080 .. U+009F
        if (n > 1 && !c1)
            s += rest.substr(0, n);
        else
            for (size_t i = 0; i < step; i++) s += format("\\x%02x", uint8_t(rest[i]));
        at += step;
    }
    return s + (at < bytes.size() ? "...'" : "'");
}
