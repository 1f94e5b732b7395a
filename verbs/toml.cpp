// toml.cpp - flags from a .toml file. Deliberately a subset: what is not understood is an error, never skipped.
#include <algorithm>
#include <cmath>
#include "../engine/file.h"
#include "../engine/reader.h"
#include "cli.h"

namespace {

class Toml {
public:
    Toml(std::string_view text, const std::string& path) : text_(text), path_(path) {}

    Json read() {
        Json all = Json::object();
        while (skip(true), at_ < text_.size()) {
            const std::string name = key();
            if (all.contains(name)) wrong("the key " + shown(name) + " stands twice");
            skip(false);
            if (!take('=')) wrong("key = value was expected");
            skip(false);
            all[name] = value();
            skip(false);
            if (at_ < text_.size() && text_[at_] != '\n') wrong("something follows the value");
        }
        return all;
    }

private:
    [[noreturn]] void wrong(const std::string& what) const {
        const auto line = 1 + std::count(text_.begin(), text_.begin() + long(std::min(at_, text_.size())), '\n');
        fail(Exit::bad_input, "%s:%ld: %s", path_.c_str(), long(line), what.c_str());
    }
    bool take(char c) {
        if (at_ == text_.size() || text_[at_] != c) return false;
        at_++;
        return true;
    }
    void skip(bool lines) {                     // white space and comments
        for (; at_ < text_.size(); at_++) {
            const char c = text_[at_];
            if (c == '#') at_ = std::min(text_.find('\n', at_), text_.size()) - 1;
            else if (c != ' ' && c != '\t' && c != '\r' && !(lines && c == '\n')) return;
        }
    }
    static bool bare(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    }
    std::string key() {
        if (text_[at_] == '[') wrong("sections are not known here; write one flag a line");
        if (text_[at_] == '"' || text_[at_] == '\'') return string();
        const size_t begin = at_;
        while (at_ < text_.size() && bare(text_[at_])) at_++;
        if (at_ == begin) wrong("the name of a flag was expected");
        return std::string(text_.substr(begin, at_ - begin));
    }
    std::string string() {
        const char quote = text_[at_++];
        std::string s;
        while (at_ < text_.size() && text_[at_] != '\n') {
            const char c = text_[at_++];
            if (c == quote) return s;
            if (c != '\\' || quote == '\'') {
                s += c;
                continue;
            }
            const char next = at_ < text_.size() ? text_[at_++] : '\n';
            constexpr std::string_view names = "\"\\nrtbf", means = "\"\\\n\r\t\b\f";
            const size_t which = names.find(next);
            if (which == names.npos) wrong("an unknown escape in a string; known are \\\" \\\\ \\n \\r \\t \\b \\f");
            s += means[which];
        }
        at_--;
        wrong("a string does not end on its line");
    }
    Json value() {
        if (at_ == text_.size() || text_[at_] == '\n') wrong("a value is missing");
        if (text_[at_] == '"' || text_[at_] == '\'') return string();
        if (take('[')) return list();
        const size_t begin = at_;
        while (at_ < text_.size() && (bare(text_[at_]) || text_[at_] == '.' || text_[at_] == '+')) at_++;
        const std::string word(text_.substr(begin, at_ - begin));
        if (word == "true" || word == "false") return word == "true";
        char* end;
        const double number = strtod(word.c_str(), &end);
        if (word.empty() || *end || !std::isfinite(number) || word.find_first_of("xX") != word.npos)
            wrong(shown(word.empty() ? text_.substr(begin, 20) : word) + " is no value; texts stand in quotes");
        if (word.find_first_of(".eE") != word.npos) return number;
        if (std::abs(number) >= 0x1p63) wrong(shown(word) + " is too large");
        return strtoll(word.c_str(), nullptr, 10);
    }
    Json list() {
        Json all = Json::array();
        for (;;) {
            skip(true);
            if (take(']')) return all;
            if (at_ < text_.size() && text_[at_] == '[') wrong("a list in a list");
            all.push_back(value());
            skip(true);
            if (take(']')) return all;
            if (!take(',')) wrong("a list needs a comma between its values and ] at its end");
        }
    }

    const std::string_view text_;
    const std::string& path_;
    size_t at_ = 0;
};

}  // namespace

Json read_toml_file(const std::string& path) {
    return parse_toml(read_file(path, size_t(1) << 20), path);
}

Json parse_toml(std::string_view text, const std::string& who) {
    if (valid_utf8(text) != text.size() || text.find('\0') != text.npos)
        fail(Exit::bad_input, "%s: is not UTF-8 text", who.c_str());
    return Toml(text, who).read();
}
