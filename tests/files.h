// files.h - what the tests of the readers share: a folder that goes away, files made of bytes, a limit on memory.
#pragma once
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include "../engine/json.h"
#include "../engine/reader.h"

// A folder of its own for a test.
struct TempFolder {
    std::string path;
    TempFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "dd-test-XXXXXX").string();
        if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
        path = name;
    }
    ~TempFolder() { std::filesystem::remove_all(path); }
    std::string operator/(const std::string& name) const { return path + "/" + name; }
    std::string put(const std::string& name, std::string_view bytes) const {
        std::ofstream(*this / name, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
        return *this / name;
    }
    size_t files() const {
        return size_t(std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
    }
};

// Files that the tests carry.
inline std::string data_file(const std::string& name) {
    return (std::filesystem::path(__FILE__).parent_path() / "data" / name).string();
}

template <class T> std::string le(T value) { return {(const char*)&value, sizeof value}; }

// While it lives, the process can map at most `more` bytes beyond what it has: who wants more gets std::bad_alloc.
// A build whose sanitizer maps terabytes of its own is left alone.
class MemoryLimit {
public:
    explicit MemoryLimit(uint64_t more) {
        getrlimit(RLIMIT_AS, &before_);
        uint64_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        const uint64_t now = pages * uint64_t(sysconf(_SC_PAGESIZE));
        works = now < uint64_t(1) << 40;
        rlimit limit = before_;
        limit.rlim_cur = works ? now + more : before_.rlim_cur;
        setrlimit(RLIMIT_AS, &limit);
    }
    ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }
    bool works;

private:
    rlimit before_;
};

// How many different malformed files the tests have made, by kind; malformed_model.cpp insists on enough of them.
// What a JSON pointer leads to ("~1": a slash); its last member is made where it is missing.
inline Json& at_path(Json& j, const std::string& path) {
    Json* at = &j;
    std::istringstream names(path.substr(std::min(path.size(), size_t(1))));
    for (std::string name; std::getline(names, name, '/');) {
        for (size_t i; (i = name.find("~1")) != name.npos;) name.replace(i, 2, "/");
        at = at->is_array() ? &(*at)[size_t(std::stoul(name))] : &(*at)[name];
    }
    return *at;
}

inline std::map<std::string, int>& malformed_files() {
    static std::map<std::string, int> count;
    return count;
}

// Runs `open`, which must refuse the file: Exit::bad_input, one printable line that names the file and says `phrase`,
// and no more memory than twice the file and 64 MiB.
inline void expect_refused(const std::function<void()>& open, const std::string& who, uint64_t bytes,
                           const std::string& phrase) {
    std::string text;
    try {
        const MemoryLimit limit(2 * bytes + (uint64_t(64) << 20));
        open();
    } catch (const Error& e) {
        EXPECT_EQ(e.code, Exit::bad_input);
        text = e.what();
    }
    ASSERT_NE(text, "") << "was accepted";
    EXPECT_NE(text.find(who), text.npos) << text;
    EXPECT_NE(text.find(phrase), text.npos) << text << "\n  should say: " << phrase;
    EXPECT_EQ(valid_utf8(text), text.size());
    EXPECT_LT(text.size(), who.size() + 400) << text;
    for (const char c : text) EXPECT_TRUE(uint8_t(c) >= 0x20 && c != 0x7f) << text;
}
