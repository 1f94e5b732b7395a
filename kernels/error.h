// error.h - how anything in this house says no.
//
// An error says who, what was found, what was expected and the remedy, in one line. It carries the exit code of the
// process, is caught once, in dd.cpp, and is printed there as one line on stderr. Bad input never aborts.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

enum class Exit : int {
    ok = 0,
    failed = 1,         // the run failed for a reason of its own
    usage = 2,          // a flag, or a combination of flags
    bad_input = 3,      // a file: named, with offset or line, and the rule it breaks
    no_resource = 4,    // not enough memory or disk, or the device is absent
    refused = 5,        // the check refused: an audit's verdict, a gate
    numerics = 6,       // NaN or infinity stopped the run
    interrupted = 130,  // stopped by the user, after a checkpoint
};

struct Error : std::runtime_error {
    Exit code;
    Error(Exit code, const std::string& text) : std::runtime_error(text), code(code) {}
};

// printf into a std::string.
[[gnu::format(printf, 1, 2)]] inline std::string format(const char* fmt, ...) {
    va_list a, b;
    va_start(a, fmt);
    va_copy(b, a);
    std::string s(size_t(vsnprintf(nullptr, 0, fmt, a)), '\0');
    vsnprintf(s.data(), s.size() + 1, fmt, b);
    va_end(a);
    va_end(b);
    return s;
}

// fail(Exit::bad_input, "%s: header says %zu bytes, the file has %zu", ...)
template <class... T> [[noreturn, gnu::cold, gnu::noinline]] void fail(Exit code, const char* fmt, const T&... a) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    throw Error(code, format(fmt, a...));
#pragma GCC diagnostic pop
}

// What must hold if the code around it is right: a broken promise, not bad input.
#define require(ok, ...) do { if (!(ok)) fail(Exit::failed, __VA_ARGS__); } while (0)
