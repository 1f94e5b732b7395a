// reader.cpp - see reader.h.
#include "reader.h"
#include <algorithm>

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

std::string printable(std::string_view bytes, bool lines) {
    std::string s;
    for (size_t at = 0; at < bytes.size();) {
        const size_t begin = at;
        while (at < bytes.size() && bytes[at] >= 0x20 && bytes[at] < 0x7f) at++;
        s += bytes.substr(begin, at - begin);
        if (at == bytes.size()) break;
        const size_t n = utf8_sequence(bytes.substr(at));
        const uint8_t a = uint8_t(bytes[at]);
        const bool c1 = n == 2 && a == 0xc2 && uint8_t(bytes[at + 1]) < 0xa0;      // U+0080 .. U+009F
        if ((n > 1 && !c1) || (lines && (a == '\n' || a == '\t')))
            s += bytes.substr(at, n);
        else
            for (size_t i = 0; i < std::max<size_t>(n, 1); i++) s += format("\\x%02x", uint8_t(bytes[at + i]));
        at += std::max<size_t>(n, 1);
    }
    return s;
}

std::string shown(std::string_view bytes, size_t most) {
    size_t cut = 0;
    while (cut < bytes.size()) {        // never half a character
        const size_t n = std::max<size_t>(utf8_sequence(bytes.substr(cut)), 1);
        if (cut + n > most) break;
        cut += n;
    }
    return "'" + printable(bytes.substr(0, cut)) + (cut < bytes.size() ? "...'" : "'");
}
