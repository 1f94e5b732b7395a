// json.h - JSON through one strict reader.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include "../kernels/error.h"

using Json = nlohmann::ordered_json;      // members keep the order in which they were written

// Parses a whole text. Refused, with `who` and the byte offset in the message (Exit::bad_input): duplicate keys, data
// after the value, invalid UTF-8, nesting deeper than max_depth, numbers that overflow a double.
Json parse_json(std::string_view text, const std::string& who, int max_depth = 64);
Json read_json_file(const std::string& path, int max_depth = 64);

// One line, no spaces, UTF-8 as it is; bytes that are not UTF-8 become U+FFFD.
std::string dump(const Json&);

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
