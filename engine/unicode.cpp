#include "unicode.h"
#include <utf8proc.h>
#include "reader.h"

Char char_at(std::string_view text, size_t i) {
    const auto byte = [&](size_t k) -> unsigned { return (unsigned char)text[k]; };
    const unsigned lead = byte(i);
    if (lead < 0x80) return {lead, 1, Char::good};
    if (lead < 0xc2 || lead > 0xf4) return {};
    const int length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t code = lead & (0x7f >> length);
    for (int k = 1; k < length; k++) {
        if (i + k >= text.size()) return {0xfffd, uint8_t(k), Char::cut};
        // The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF.
        const unsigned low = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        const unsigned high = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (byte(i + k) < low || byte(i + k) > high) return {0xfffd, uint8_t(k), Char::broken};
        code = code << 6 | (byte(i + k) & 0x3f);
    }
    return {code, uint8_t(length), Char::good};
}

size_t char_before(std::string_view text, size_t i) {
    do i--;
    while (i > 0 && (text[i] & 0xc0) == 0x80);
    return i;
}

void append_utf8(std::string& out, uint32_t code) {
    if (code < 0x80) {
        out += char(code);
    } else if (code < 0x800) {
        out += char(0xc0 | code >> 6);
        out += char(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        out += char(0xe0 | code >> 12);
        out += char(0x80 | (code >> 6 & 0x3f));
        out += char(0x80 | (code & 0x3f));
    } else {
        out += char(0xf0 | code >> 18);
        out += char(0x80 | (code >> 12 & 0x3f));
        out += char(0x80 | (code >> 6 & 0x3f));
        out += char(0x80 | (code & 0x3f));
    }
}

std::string to_utf8(std::string_view bytes) {
    if (valid_utf8(bytes) == bytes.size()) return std::string(bytes);
    std::string out;
    for (size_t i = 0; i < bytes.size();) {
        const Char c = char_at(bytes, i);
        append_utf8(out, c.code);
        i += c.bytes;
    }
    return out;
}

size_t unfinished(std::string_view bytes) {
    // A sequence has at most four bytes, so an unfinished one begins within the last three.
    for (size_t i = bytes.size() > 3 ? bytes.size() - 3 : 0; i < bytes.size(); i++) {
        if ((bytes[i] & 0xc0) == 0x80) continue;
        const Char c = char_at(bytes, i);
        if (c.state == Char::cut && i + c.bytes == bytes.size()) return i;
    }
    return bytes.size();
}

bool is_white_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_word(uint32_t c) {
    switch (utf8proc_category(utf8proc_int32_t(c))) {
        case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC: return true;
        default: break;
    }
    const bool circled = (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
                         (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    return circled || c == 0x200c || c == 0x200d;
}
