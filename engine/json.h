// json.h - JSON: a value, and one strict reader.
#pragma once
#include <compare>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#include "../kernels/error.h"

// A JSON value, used as nlohmann's is: j["a"]["b"] = 3; int n = j["n"]; Json j = {{"name", "x"}, {"list", {1, 2}}}.
// Members keep the order in which they were written. It is a type of our own because that one is a template, compiled
// anew in every file that sees it, which took half the time of a build; reading and writing are still nlohmann's
// (json.cpp). What a value is not (a member that is missing, text as a number) is Exit::failed: what a stranger wrote
// is asked for by the functions below, which name the file.
class Json {
public:
    struct Member;
    using Array = std::vector<Json>;
    using Object = std::vector<Member>;
    enum class Kind : uint8_t { null, boolean, integer, natural, real, text, array, object };   // natural: > INT64_MAX

    Json() = default;
    Json(std::nullptr_t) {}
    template <class T> requires std::is_arithmetic_v<T>
    Json(T v) {
        if constexpr (std::same_as<T, bool>) kind_ = Kind::boolean, boolean_ = v;
        else if constexpr (std::is_floating_point_v<T>) kind_ = Kind::real, real_ = double(v);
        else if (std::cmp_greater(v, INT64_MAX)) kind_ = Kind::natural, natural_ = uint64_t(v);
        else kind_ = Kind::integer, integer_ = int64_t(v);
    }
    Json(const char*);
    Json(std::string);
    Json(std::string_view);
    Json(Array);
    Json(Object);
    Json(std::initializer_list<Json>);      // an object where all are pairs that begin with a text, else an array
    template <class T> Json(const std::vector<T>& v) : Json(Array(v.begin(), v.end())) {}
    template <class T> Json(const std::map<std::string, T>& m) : Json(object()) {
        for (const auto& [key, value] : m) (*this)[key] = value;
    }
    static Json object();
    static Json array(std::initializer_list<Json> = {});

    Json(const Json&);
    Json(Json&& o) noexcept { swap(o); }
    Json& operator=(Json o) noexcept { return swap(o), *this; }
    ~Json() { if (kind_ >= Kind::text) destroy(); }

    bool is_null() const { return kind_ == Kind::null; }
    bool is_boolean() const { return kind_ == Kind::boolean; }
    bool is_number() const { return kind_ >= Kind::integer && kind_ <= Kind::real; }
    bool is_number_integer() const { return kind_ == Kind::integer || kind_ == Kind::natural; }
    bool is_number_unsigned() const { return kind_ == Kind::natural || (kind_ == Kind::integer && integer_ >= 0); }
    bool is_string() const { return kind_ == Kind::text; }
    bool is_array() const { return kind_ == Kind::array; }
    bool is_object() const { return kind_ == Kind::object; }
    const char* type_name() const;

    template <class T> T get() const {
        if constexpr (std::same_as<T, Json>) return *this;
        else if constexpr (std::same_as<T, bool>) return boolean();
        else if constexpr (std::is_floating_point_v<T>) return T(real());
        else if constexpr (std::is_arithmetic_v<T>) return kind_ == Kind::natural ? T(natural_) : T(integer());
        else if constexpr (std::same_as<T, std::string>) return text();
        else return T(elements().begin(), elements().end());        // std::vector, std::set
    }
    template <class T> requires(!std::same_as<T, char> && !std::is_pointer_v<T> && !std::same_as<T, std::string_view> &&
                                !std::same_as<T, std::nullptr_t> && !std::same_as<T, std::initializer_list<char>> &&
                                !std::same_as<T, Json>)
    operator T() const { return get<T>(); }

    size_t size() const;                        // of an array or object; null: 0; another: 1
    bool empty() const { return size() == 0; }

    // Arrays; null becomes one when something is put into it.
    template <std::integral I> Json& operator[](I i) & { return element(size_t(i)); }   // longer, where it is too short
    template <std::integral I> const Json& operator[](I i) const& { return element(size_t(i)); }
    template <std::integral I> Json operator[](I i) && { return std::move(element(size_t(i))); }    // outlives the rest
    void push_back(Json);
    template <std::integral I> void erase(I i) { elements().erase(elements().begin() + ptrdiff_t(i)); }
    const Json* begin() const { return elements().data(); }
    const Json* end() const { return elements().data() + elements().size(); }
    Json* begin() { return elements().data(); }
    Json* end() { return elements().data() + elements().size(); }
    const Json& front() const { return (*this)[0]; }
    const Json& back() const { return (*this)[size() - 1]; }
    Json& back() { return (*this)[size() - 1]; }

    // Objects; null becomes one when something is put into it.
    Json& operator[](const char* key) &;
    Json& operator[](const std::string& key) & { return (*this)[key.c_str()]; }
    const Json& operator[](const char* key) const& { return at(key); }
    const Json& operator[](const std::string& key) const& { return at(key); }
    Json operator[](const char* key) && { return std::move(at(key)); }
    Json operator[](const std::string& key) && { return std::move(at(key)); }
    const Json& at(std::string_view key) const;
    Json& at(std::string_view key) { return const_cast<Json&>(std::as_const(*this).at(key)); }
    const Json* find(std::string_view key) const;           // null when absent, or no object
    bool contains(std::string_view key) const { return find(key); }
    template <class T> T value(std::string_view key, const T& otherwise) const {
        const Json* v = find(key);
        return v ? v->get<T>() : otherwise;
    }
    std::string value(std::string_view key, const char* otherwise) const { return value(key, std::string(otherwise)); }
    const Object& items() const;                // for (const auto& [key, value] : j.items())
    Object& items();
    void erase(std::string_view key);
    void update(const Json& o);                 // its members are put in or take the place of their namesakes

    // Numbers are compared by what they are worth, arrays and objects member by member.
    friend bool operator==(const Json&, const Json&);
    friend std::partial_ordering operator<=>(const Json&, const Json&);
    template <class T> requires std::is_arithmetic_v<T>
    friend bool operator==(const Json& a, T b) { return a == Json(b); }
    template <class T> requires std::is_arithmetic_v<T>
    friend std::partial_ordering operator<=>(const Json& a, T b) { return a <=> Json(b); }
    friend bool operator==(const Json& a, std::nullptr_t) { return a.is_null(); }
    friend bool operator==(const Json& a, const char* b) { return a.is_string() && *a.text_ == b; }
    friend bool operator==(const Json& a, const std::string& b) { return a.is_string() && *a.text_ == b; }
    friend std::ostream& operator<<(std::ostream&, const Json&);

    std::string dump(int indent = -1) const;    // -1: one line, no spaces; bytes that are not UTF-8 become U+FFFD

private:
    void swap(Json& o) noexcept { std::swap(kind_, o.kind_), std::swap(natural_, o.natural_); }
    void destroy();
    [[noreturn]] void not_a(const char* expected) const;
    bool boolean() const;
    int64_t integer() const;
    double real() const;
    const std::string& text() const;
    const Array& elements() const;              // of null: none
    Array& elements();
    const Json& element(size_t i) const;
    Json& element(size_t i);
    void write(std::string& to, int indent, int depth) const;

    Kind kind_ = Kind::null;
    union {
        uint64_t natural_ = 0;
        int64_t integer_;
        double real_;
        bool boolean_;
        std::string* text_;
        Array* array_;
        Object* object_;
    };
};
struct Json::Member {
    std::string key;
    Json value;
    bool operator==(const Member&) const = default;
};

// Parses a whole text. Refused, with `who` and the byte offset in the message (Exit::bad_input): duplicate keys, data
// after the value, invalid UTF-8, nesting deeper than max_depth, numbers that overflow a double.
Json parse_json(std::string_view text, const std::string& who, int max_depth = 64);
Json parse_json_or_null(std::string_view text);         // null where the text is refused: a line that may be torn
Json read_json_file(const std::string& path, int max_depth = 64);

std::string dump(const Json&);              // one line

// Typed members of an object. `who` names the file; a missing member, another type, a negative, fractional or
// out-of-range number is Exit::bad_input, naming the member and what was found. The forms with `otherwise` take it
// when the member is absent or null.
int64_t get_int(const Json&, const char* key, const std::string& who, int64_t low, int64_t high);
int64_t get_int(const Json&, const char* key, const std::string& who, int64_t low, int64_t high, int64_t otherwise);
double get_number(const Json&, const char* key, const std::string& who);
double get_number(const Json&, const char* key, const std::string& who, double otherwise);
double get_number(const Json&, const char* key, const std::string& who, double low, double high);
double get_number(const Json&, const char* key, const std::string& who, double low, double high, double otherwise);
bool get_bool(const Json&, const char* key, const std::string& who, bool otherwise);
std::string get_string(const Json&, const char* key, const std::string& who);
std::string get_string(const Json&, const char* key, const std::string& who, const std::string& otherwise);
const Json* find(const Json&, const char* key);       // null when absent or null

std::string json_library();                 // the version of nlohmann_json that reads and writes
