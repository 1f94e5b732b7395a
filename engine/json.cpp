// json.cpp - the value. Numbers and texts are written by nlohmann.
#include "json.h"
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

Json::Json(const char* s) : Json(std::string(s)) {}
Json::Json(std::string_view s) : Json(std::string(s)) {}
Json::Json(std::string s) : kind_(Kind::text), text_(new std::string(std::move(s))) {}
Json::Json(Array a) : kind_(Kind::array), array_(new Array(std::move(a))) {}
Json::Json(Object o) : kind_(Kind::object), object_(new Object(std::move(o))) {}

Json::Json(std::initializer_list<Json> list) {
    const bool object = std::all_of(list.begin(), list.end(), [](const Json& j) {
        return j.is_array() && j.size() == 2 && j[0].is_string();
    });
    *this = object ? Json::object() : Json(Array(list));
    if (!object) return;
    for (const Json& pair : list) (*this)[pair[0].text()] = pair[1];
}

Json Json::object() { return Object(); }
Json Json::array(std::initializer_list<Json> list) { return Array(list); }

Json::Json(const Json& o) : kind_(o.kind_) {
    if (kind_ == Kind::text) text_ = new std::string(*o.text_);
    else if (kind_ == Kind::array) array_ = new Array(*o.array_);
    else if (kind_ == Kind::object) object_ = new Object(*o.object_);
    else natural_ = o.natural_;
}

void Json::destroy() {
    if (kind_ == Kind::text) delete text_;
    else if (kind_ == Kind::array) delete array_;
    else delete object_;
}

const char* Json::type_name() const {
    if (is_number()) return "number";
    return is_null() ? "null" : is_boolean() ? "boolean" : is_string() ? "string" : is_array() ? "array" : "object";
}

void Json::not_a(const char* expected) const {
    fail(Exit::failed, "json: found %s, expected %s", type_name(), expected);
}

bool Json::boolean() const { return is_boolean() ? boolean_ : (not_a("a boolean"), false); }
int64_t Json::integer() const {
    if (kind_ == Kind::real) return int64_t(real_);
    return kind_ == Kind::integer ? integer_ : (not_a("an integer"), 0);
}
double Json::real() const {
    if (kind_ == Kind::real) return real_;
    if (kind_ == Kind::natural) return double(natural_);
    return kind_ == Kind::integer ? double(integer_) : (not_a("a number"), 0);
}
const std::string& Json::text() const { return is_string() ? *text_ : (not_a("a string"), *text_); }

size_t Json::size() const {
    return is_null() ? 0 : is_array() ? array_->size() : is_object() ? object_->size() : 1;
}

const Json::Array& Json::elements() const {
    static const Array none;
    if (is_null()) return none;
    if (!is_array()) not_a("an array");
    return *array_;
}
Json::Array& Json::elements() {
    if (is_null()) *this = Array();
    return const_cast<Array&>(std::as_const(*this).elements());
}

Json& Json::element(size_t i) {
    Array& a = elements();
    if (i >= a.size()) a.resize(i + 1);
    return a[i];
}
const Json& Json::element(size_t i) const {
    if (i >= elements().size()) not_a("a longer array");
    return (*array_)[i];
}
void Json::push_back(Json v) { elements().push_back(std::move(v)); }

const Json::Object& Json::items() const {
    static const Object none;
    if (is_null()) return none;
    if (!is_object()) not_a("an object");
    return *object_;
}
Json::Object& Json::items() {
    if (is_null()) *this = Object();
    return const_cast<Object&>(std::as_const(*this).items());
}

const Json* Json::find(std::string_view key) const {
    if (is_object())
        for (const auto& [name, value] : *object_)
            if (name == key) return &value;
    return nullptr;
}
const Json& Json::at(std::string_view key) const {
    const Json* v = find(key);
    if (!v) fail(Exit::failed, "json: no member \"%.*s\" in this %s", int(key.size()), key.data(), type_name());
    return *v;
}
Json& Json::operator[](const char* key) & {
    Object& all = items();
    if (const Json* v = find(key)) return const_cast<Json&>(*v);
    return all.emplace_back(Member{key, {}}).value;
}
void Json::erase(std::string_view key) {
    std::erase_if(items(), [&](const Member& m) { return m.key == key; });
}
void Json::update(const Json& o) {
    for (const auto& [key, value] : o.items()) (*this)[key] = value;
}

bool operator==(const Json& a, const Json& b) {
    if (a.is_number() && b.is_number()) return (a <=> b) == 0;
    if (a.kind_ != b.kind_) return false;
    switch (a.kind_) {
    case Json::Kind::null: return true;
    case Json::Kind::boolean: return a.boolean_ == b.boolean_;
    case Json::Kind::text: return *a.text_ == *b.text_;
    case Json::Kind::array: return *a.array_ == *b.array_;
    default: return *a.object_ == *b.object_;
    }
}
std::partial_ordering operator<=>(const Json& a, const Json& b) {
    using Kind = Json::Kind;
    if (a.is_string() && b.is_string()) return *a.text_ <=> *b.text_;
    if (!a.is_number() || !b.is_number()) return std::partial_ordering::unordered;
    if (a.kind_ == Kind::real || b.kind_ == Kind::real) return a.real() <=> b.real();
    if (a.kind_ == b.kind_) return a.kind_ == Kind::natural ? a.natural_ <=> b.natural_ : a.integer_ <=> b.integer_;
    return a.kind_ == Kind::natural ? std::partial_ordering::greater : std::partial_ordering::less;
}
std::ostream& operator<<(std::ostream& to, const Json& j) { return to << j.dump(); }

void Json::write(std::string& to, int indent, int depth) const {
    const auto open_line = [&](int deep) {
        if (indent >= 0) to += '\n', to.append(size_t(indent * deep), ' ');
    };
    const auto scalar = [](const auto& v) {
        return nlohmann::json(v).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    };
    const char ends[2] = {is_array() ? '[' : '{', is_array() ? ']' : '}'};
    switch (kind_) {
    case Kind::null: to += "null"; return;
    case Kind::boolean: to += boolean_ ? "true" : "false"; return;
    case Kind::integer: to += std::to_string(integer_); return;
    case Kind::natural: to += std::to_string(natural_); return;
    case Kind::real: to += scalar(real_); return;               // not finite: null
    case Kind::text: to += scalar(*text_); return;
    default: break;
    }
    to += ends[0];
    for (size_t i = 0; i < size(); i++) {
        if (i) to += ',';
        open_line(depth + 1);
        if (is_object()) to += scalar((*object_)[i].key) + (indent >= 0 ? ": " : ":");
        (is_array() ? (*array_)[i] : (*object_)[i].value).write(to, indent, depth + 1);
    }
    if (size()) open_line(depth);
    to += ends[1];
}
std::string Json::dump(int indent) const {
    std::string to;
    write(to, indent, 0);
    return to;
}
std::string dump(const Json& j) { return j.dump(); }

std::string json_library() {
    return format("%d.%d.%d", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH);
}
