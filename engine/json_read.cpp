// json_read.cpp - the strict reader: nlohmann's lexer and grammar, our rules about what they let through.
#include <nlohmann/json.hpp>
#include <unordered_set>
#include "file.h"
#include "json_stream.h"
#include "reader.h"

namespace {

// Walks over the text and counts, because nlohmann tells a SAX reader where it is only when the syntax is wrong.
struct Cursor {
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = ptrdiff_t;
    using pointer = const char*;
    using reference = char;
    const char* place;
    size_t* count;

    char operator*() const { return *place; }
    Cursor& operator++() { return place++, ++*count, *this; }
    bool operator==(const Cursor& o) const { return place == o.place; }
    bool operator!=(const Cursor& o) const { return place != o.place; }
};

// nlohmann's SAX interface on one side, JsonEvents on the other.
class Glue {
public:
    Glue(JsonEvents& to, const std::string& who, int max_depth)
        : to_(to), who_(who), max_depth_(max_depth), begin_(to.at) {}

    bool null() { return to_.scalar(nullptr), true; }
    bool boolean(bool v) { return to_.scalar(v), true; }
    bool number_integer(int64_t v) { return to_.scalar(v ? Json(v) : Json(-0.0)), true; }      // comes with a sign
    bool number_unsigned(uint64_t v) { return to_.scalar(v), true; }
    bool number_float(double v, const std::string&) { return to_.scalar(v), true; }
    bool string(std::string& v) { return to_.string(v), true; }
    bool binary(nlohmann::json::binary_t&) { return false; }
    bool key(std::string& v) { return to_.key(v), true; }
    bool start_object(size_t) { return open(true); }
    bool start_array(size_t) { return open(false); }
    bool end_object() { return close(); }
    bool end_array() { return close(); }

    bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception& e) {
        // "[json.exception.parse_error.101] parse error at line 1, column 2: what we want"
        std::string_view text = e.what();
        if (const size_t end = text.find("] "); end != text.npos) text.remove_prefix(end + 2);
        if (text.starts_with("parse error")) text.remove_prefix(std::min(text.size(), text.find(": ") + 2));
        const std::string quoted = shown(text, 160);
        refuse(who_, begin_ + at, "not valid JSON: %s", quoted.substr(1, quoted.size() - 2).c_str());
    }

private:
    bool open(bool object) {
        if (++depth_ > max_depth_) refuse(who_, to_.at, "JSON nested deeper than %d levels", max_depth_);
        return to_.open(object), true;
    }
    bool close() { return depth_--, to_.close(), true; }

    JsonEvents& to_;
    const std::string& who_;
    const int max_depth_;
    const size_t begin_;
    int depth_ = 0;
};

// Builds the tree. A level's members are gathered and then looked through once: to compare each key with all before it
// would be quadratic.
class Tree : public JsonEvents {
public:
    explicit Tree(const std::string& who) : who_(who) {}
    Json root;

    void open(bool object) override { levels_.push_back({object, {}, {}, {}, {}}); }
    void key(std::string& name) override {
        levels_.back().key = std::move(name);
        levels_.back().places.push_back(at);
    }
    void string(std::string& text) override { place(std::move(text)); }
    void scalar(Json value) override { place(std::move(value)); }
    void close() override {
        Level level = std::move(levels_.back());
        levels_.pop_back();
        if (!level.object) return place(std::move(level.elements));
        refuse_duplicates(level);
        place(std::move(level.members));
    }

private:
    struct Level {
        bool object;
        Json::Object members;
        std::vector<size_t> places;         // where the keys end
        Json::Array elements;
        std::string key;
    };

    void place(Json value) {
        if (levels_.empty()) return void(root = std::move(value));
        Level& level = levels_.back();
        if (level.object)
            level.members.push_back({std::move(level.key), std::move(value)});
        else
            level.elements.push_back(std::move(value));
    }
    void refuse_duplicates(const Level& level) {
        std::unordered_set<std::string_view> seen;
        seen.reserve(level.members.size());
        for (size_t i = 0; i < level.members.size(); i++)
            if (const std::string& key = level.members[i].key; !seen.insert(key).second)
                refuse(who_, level.places[i], "the key %s stands twice in one object", shown(key).c_str());
    }

    const std::string& who_;
    std::vector<Level> levels_;
};

}  // namespace

void stream_json(std::string_view text, const std::string& who, int max_depth, JsonEvents& events) {
    // nlohmann takes a NUL for the end of the text, whatever follows.
    const size_t nul = text.find('\0');
    if (nul != text.npos) refuse(who, events.at + nul, "not valid JSON: a NUL byte");
    Glue glue(events, who, max_depth);
    const Cursor first{text.data(), &events.at}, last{text.data() + text.size(), &events.at};
    nlohmann::json::sax_parse(first, last, &glue);
}

Json parse_json(std::string_view text, const std::string& who, int max_depth) {
    Tree tree(who);
    stream_json(text, who, max_depth, tree);
    return std::move(tree.root);
}

Json parse_json_or_null(std::string_view text) {
    try {
        return parse_json(text, "");
    } catch (const Error&) {
        return nullptr;
    }
}

Json read_json_file(const std::string& path, int max_depth) {
    return parse_json(read_file(path, size_t(1) << 28), path, max_depth);
}

const Json* find(const Json& j, const char* key) {
    const Json* v = j.find(key);
    return v && !v->is_null() ? v : nullptr;
}

namespace {

const Json& member(const Json& j, const char* key, const std::string& who) {
    if (!j.is_object())
        fail(Exit::bad_input, "%s: found %s, expected an object with \"%s\"", who.c_str(), j.type_name(), key);
    const Json* value = find(j, key);
    if (!value) fail(Exit::bad_input, "%s: \"%s\" is missing", who.c_str(), key);
    return *value;
}

[[noreturn]] void wrong(const Json& value, const char* key, const std::string& who, const std::string& expected) {
    const std::string found = shown(dump(value), 60);
    fail(Exit::bad_input, "%s: \"%s\" is %s, expected %s", who.c_str(), key, found.c_str(), expected.c_str());
}

}  // namespace

int64_t get_int(const Json& j, const char* key, const std::string& who, int64_t low, int64_t high) {
    const Json& value = member(j, key, who);
    const bool fits = value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
    if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
        wrong(value, key, who, format("an integer from %ld to %ld", low, high));
    return value.get<int64_t>();
}
int64_t get_int(const Json& j, const char* key, const std::string& who, int64_t low, int64_t high, int64_t otherwise) {
    return j.is_object() && !find(j, key) ? otherwise : get_int(j, key, who, low, high);
}

double get_number(const Json& j, const char* key, const std::string& who) {
    const Json& value = member(j, key, who);
    if (!value.is_number()) wrong(value, key, who, "a number");
    return value.get<double>();
}
double get_number(const Json& j, const char* key, const std::string& who, double otherwise) {
    return j.is_object() && !find(j, key) ? otherwise : get_number(j, key, who);
}

double get_number(const Json& j, const char* key, const std::string& who, double low, double high) {
    const double x = get_number(j, key, who);
    if (!(x >= low && x <= high)) wrong(member(j, key, who), key, who, format("a number from %g to %g", low, high));
    return x;
}
double get_number(const Json& j, const char* key, const std::string& who, double low, double high, double otherwise) {
    return j.is_object() && !find(j, key) ? otherwise : get_number(j, key, who, low, high);
}

bool get_bool(const Json& j, const char* key, const std::string& who, bool otherwise) {
    if (j.is_object() && !find(j, key)) return otherwise;
    const Json& value = member(j, key, who);
    if (!value.is_boolean()) wrong(value, key, who, "true or false");
    return value.get<bool>();
}

std::string get_string(const Json& j, const char* key, const std::string& who) {
    const Json& value = member(j, key, who);
    if (!value.is_string()) wrong(value, key, who, "a string");
    return value.get<std::string>();
}
std::string get_string(const Json& j, const char* key, const std::string& who, const std::string& otherwise) {
    return j.is_object() && !find(j, key) ? otherwise : get_string(j, key, who);
}
