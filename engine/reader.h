// reader.h - bytes that somebody else wrote: every read is checked against what is left, every product for overflow.
#pragma once
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include "../kernels/error.h"

// Exit::bad_input "WHO: byte AT: ...": a rule of a format that the bytes at AT break.
[[noreturn, gnu::cold, gnu::format(printf, 3, 4)]]
void refuse(const std::string& who, uint64_t at, const char* fmt, ...);

// Text that a terminal shows and does not obey: control characters and what is not UTF-8 as \xNN. `lines`: newlines
// and tabs stay.
std::string printable(std::string_view bytes, bool lines = false);

// Bytes from a file as they may stand in an error: printable, in quotes, cut after `most` bytes.
std::string shown(std::string_view bytes, size_t most = 80);

// How many bytes from the start on are valid UTF-8 (RFC 3629: nothing overlong, no surrogates); size() if all are.
size_t valid_utf8(std::string_view);

// A name that a file may give to a tensor or a key: valid UTF-8 without NUL.
inline bool is_name(std::string_view s) { return s.find('\0') == s.npos && valid_utf8(s) == s.size(); }

// Arithmetic on sizes that a file claims: nothing where the result does not fit.
inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
    uint64_t c;
    return __builtin_add_overflow(a, b, &c) ? std::nullopt : std::optional(c);
}
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
    uint64_t c;
    return __builtin_mul_overflow(a, b, &c) ? std::nullopt : std::optional(c);
}
// a rounded up to a multiple of `to`, a power of two.
inline std::optional<uint64_t> checked_pad(uint64_t a, uint64_t to) {
    const auto c = checked_add(a, to - 1);
    return c ? std::optional(*c & ~(to - 1)) : std::nullopt;
}

// Walks over bytes from front to back. Numbers are little-endian and need no alignment.
class Reader {
public:
    Reader(std::string_view bytes, const std::string& who) : bytes_(bytes), who_(who) {}

    size_t at() const { return at_; }
    size_t remaining() const { return bytes_.size() - at_; }

    // The next n bytes. `what` says in the error what should have been there.
    std::string_view take(uint64_t n, const char* what) {
        if (n > remaining())
            refuse(who_, at_, "%s needs %lu bytes, %zu are left: the file is cut short or damaged", what,
                   n, remaining());
        at_ += n;
        return bytes_.substr(at_ - n, n);
    }
    template <class T> T number(const char* what) {
        T t;
        memcpy(&t, take(sizeof t, what).data(), sizeof t);
        return t;
    }

private:
    std::string_view bytes_;
    const std::string& who_;
    size_t at_ = 0;
};
