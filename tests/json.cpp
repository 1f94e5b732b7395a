// json.cpp - the strict reader: what it takes, what it refuses, and what its getters insist on.
#include "../engine/json.h"
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include "files.h"

namespace {

TEST(Json, KeepsTheOrderOfMembers) {
    const std::string text = R"({"z":1,"a":[true,false,null,-2,2.5,"\u00e9\ud83d\ude00"],"m":{"y":{},"b":[]}})";
    EXPECT_EQ(dump(parse_json(text, "t")), R"({"z":1,"a":[true,false,null,-2,2.5,"é😀"],"m":{"y":{},"b":[]}})");
    EXPECT_EQ(parse_json(" 1 ", "t"), 1);
    EXPECT_EQ(parse_json("\"\"", "t"), "");
    EXPECT_EQ(parse_json("\xef\xbb\xbf{}", "t"), Json::object());       // a byte order mark in front
    EXPECT_EQ(parse_json("18446744073709551615", "t").get<uint64_t>(), UINT64_MAX);
    EXPECT_EQ(parse_json("-9223372036854775808", "t").get<int64_t>(), INT64_MIN);
    EXPECT_EQ(parse_json(R"("\u0000")", "t"), std::string(1, '\0'));
}

TEST(Json, IsUsedAsNlohmannsIs) {
    Json j = {{"name", "x"}, {"list", {1, 2.5, "three", nullptr}}, {"pairs", Json::array({{"a", 1}})}, {"on", true}};
    EXPECT_EQ(dump(j), R"({"name":"x","list":[1,2.5,"three",null],"pairs":[["a",1]],"on":true})");
    j["list"].push_back({{"deep", Json::object()}});
    j["new"]["made"]["on the way"] = std::vector<int>{3, 4};
    j["on"] = {};
    j.update({{"name", std::map<std::string, double>{{"b", 0.5}}}, {"last", uint64_t(1) << 63}});
    EXPECT_EQ(dump(j), R"({"name":{"b":0.5},"list":[1,2.5,"three",null,{"deep":{}}],"pairs":[["a",1]],"on":null,)"
                       R"("new":{"made":{"on the way":[3,4]}},"last":9223372036854775808})");
    const std::vector<int> three_four = j["new"]["made"]["on the way"];
    EXPECT_EQ(three_four, (std::vector<int>{3, 4}));
    const Json copy = j;
    j["list"].erase(0), j.erase("pairs"), j["list"][6] = -1;
    EXPECT_EQ(dump(j["list"]), R"([2.5,"three",null,{"deep":{}},null,null,-1])");
    EXPECT_EQ(copy["pairs"][0][1], 1u) << "a copy is a copy";
    EXPECT_EQ(copy.value("name", Json())["b"], 0.5f);
    EXPECT_EQ(copy.value("nothing", "else"), "else");
    EXPECT_EQ(parse_json(R"({"a":{"b":[7]}})", "t")["a"]["b"][0], 7) << "a part outlives what it was part of";
    // Numbers are what they are worth; what is not there, or not of the kind, is said.
    EXPECT_EQ(Json(3), Json(3.0));
    EXPECT_LT(Json(-1), UINT64_MAX);
    EXPECT_LT(Json(INT64_MAX), uint64_t(INT64_MAX) + 1);
    EXPECT_NE(Json(0), Json(false));
    EXPECT_FALSE(Json("1") < 2);
    EXPECT_TRUE(Json(5).is_number_unsigned() && Json(5u) == parse_json("5", "t"));
    EXPECT_FALSE(Json(-5).is_number_unsigned());
    EXPECT_THROW((void)copy["nothing"], Error);
    EXPECT_THROW((void)copy["list"][9], Error);
    EXPECT_THROW((void)copy["list"].get<double>(), Error);
    EXPECT_THROW((void)copy["on"].get<std::string>(), Error);
}

// Texts made at random, written as nlohmann writes them, on one line and indented.
TEST(Json, WritesWhatNlohmannWrites) {
    std::mt19937 random(7);
    std::function<nlohmann::ordered_json(int)> any = [&](int depth) -> nlohmann::ordered_json {
        nlohmann::ordered_json j;
        switch (random() % (depth ? 9 : 7)) {
        case 0: return nullptr;
        case 1: return random() % 2 == 0;
        case 2: return int64_t(random()) - (int64_t(1) << 31);
        case 3: return (uint64_t(random()) << 32) | random();
        case 4: return std::ldexp(double(random()), int(random() % 200) - 100);
        case 5: return double(int(random() % 2000) - 1000) / 8;
        case 6:
            for (j = ""; random() % 8;) j = j.get<std::string>() + std::string(1, char(random() % 128));
            return j;
        case 7:
            for (j = nlohmann::ordered_json::array(); random() % 4;) j.push_back(any(depth - 1));
            return j;
        default:
            for (j = nlohmann::ordered_json::object(); random() % 4;) j[std::to_string(random())] = any(depth - 1);
            return j;
        }
    };
    for (int i = 0; i < 3000; i++) {
        const nlohmann::ordered_json theirs = any(4);
        const Json ours = parse_json(theirs.dump(), "t");
        ASSERT_EQ(ours.dump(), theirs.dump());
        ASSERT_EQ(ours.dump(2), theirs.dump(2));
        ASSERT_EQ(ours, parse_json(ours.dump(2), "t"));
    }
}

TEST(Json, DepthIsLimitedExactly) {
    for (const int limit : {1, 64, 1024})
        for (const bool object : {false, true}) {
            const auto nested = [&](int n) {
                std::string s;
                for (int i = 0; i < n; i++) s += object ? (i + 1 < n ? "{\"a\":" : "{") : "[";
                return s + std::string(size_t(n), object ? '}' : ']');
            };
            EXPECT_NO_THROW(parse_json(nested(limit), "t", limit));
            EXPECT_THROW(parse_json(nested(limit + 1), "t", limit), Error);
        }
    const std::string deep(10'000'000, '[');
    expect_refused([&] { parse_json(deep, "deep"); }, "deep", deep.size(), "nested deeper than 64");
}

struct Bad { std::string text, says; };

TEST(Json, RefusesWhatIsNotJson) {
    const std::vector<Bad> table = {
        {"", "unexpected end of input"},
        {" \n", "unexpected end of input"},
        {"{", "unexpected end of input"},
        {"[1,2", "unexpected end of input"},
        {"\"abc", "missing closing quote"},
        {"{} x", "byte 4: not valid JSON"},
        {"{}{}", "expected end of input"},
        {"1 2", "expected end of input"},
        {std::string("{}\0garbage", 10), "byte 2: not valid JSON: a NUL byte"},
        {std::string("\"a\0b\"", 5), "byte 2: not valid JSON: a NUL byte"},
        {std::string("\0", 1), "a NUL byte"},
        {"[1,]", "unexpected ']'"},
        {"{\"a\":1,}", "unexpected '}'"},
        {"{,}", "unexpected ','"},
        {"{a:1}", "invalid literal"},
        {"{'a':1}", "invalid literal"},
        {"{\"a\" 1}", "expected ':'"},
        {"{1:1}", "expected string literal"},
        {"[1 2]", "expected ']'"},
        {"[1}", "expected ']'"},
        {"nul", "invalid literal"},
        {"True", "invalid literal"},
        {"NaN", "invalid literal"},
        {"Infinity", "invalid literal"},
        {"-", "expected digit"},
        {"+1", "invalid literal"},
        {"01", "expected end of input"},
        {"-01", "expected end of input"},
        {"1.", "expected digit"},
        {".5", "invalid literal"},
        {"1e", "expected '+', '-', or digit"},
        {"1e+", "expected digit"},
        {"0x10", "not valid JSON"},
        {"1e400", "number overflow"},
        {"-1e999", "number overflow"},
        {"[1e309]", "number overflow"},
        {"// note\n1", "invalid literal"},
        {"/* */ 1", "invalid literal"},
        {"\"\t\"", "control character"},
        {"\"a\nb\"", "control character"},
        {"\"\\x41\"", "forbidden character after backslash"},
        {"\"\\u12\"", "4 hex digits"},
        {"\"\\u12g4\"", "4 hex digits"},
        {"\"\\ud800\"", "surrogate"},
        {"\"\\ud800x\"", "surrogate"},
        {"\"\\ud800\\u0041\"", "surrogate"},
        {"\"\\udc00\"", "surrogate"},
        {"\"\\ud800\\ud800\"", "surrogate"},
        {"\"\xff\"", "ill-formed UTF-8"},
        {"\"\x80\"", "ill-formed UTF-8"},
        {"\"\xc0\x80\"", "ill-formed UTF-8"},
        {"\"\xe0\x80\x80\"", "ill-formed UTF-8"},
        {"\"\xed\xa0\x80\"", "ill-formed UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "ill-formed UTF-8"},
        {"\"\xe2\x82\"", "ill-formed UTF-8"},
        {"{\"\xff\":1}", "ill-formed UTF-8"},
        {"\xef\xbb{}", "BOM"},
        {"{\"a\":1,\"a\":2}", "byte 10: the key 'a' stands twice"},
        {"{\"a\":1,\"b\":2,\"\\u0061\":3}", "the key 'a' stands twice"},
        {"[{\"x\":{\"\":0,\"\":0}}]", "the key '' stands twice"},
        {"{\"a\\n\\u001b[2J\":1,\"a\\n\\u001b[2J\":1}", "'a\\x0a\\x1b[2J' stands twice"},
        {"\x1b[2J", "invalid literal"},
        {"\"" + std::string(1'000'000, 'a') + "\n\"", "control character"},
    };
    for (const Bad& bad : table) {
        SCOPED_TRACE(shown(bad.text));
        malformed_files()["JSON"]++;
        expect_refused([&] { parse_json(bad.text, "some file"); }, "some file: byte ", bad.text.size(), bad.says);
    }
}

TEST(Json, EveryPrefixOfAnObjectIsRefused) {
    const std::string text = R"({"a":[1,2.5e3,true,null,"\u00e9é"],"b":{"c":-1}})";
    EXPECT_NO_THROW(parse_json(text, "t"));
    for (size_t n = 0; n < text.size(); n++) EXPECT_THROW(parse_json(text.substr(0, n), "t"), Error) << n;
}

TEST(Json, ManyMembersAreNotQuadratic) {
    std::string text = "{";
    for (int i = 0; i < 400'000; i++) text += format("%s\"key %d\":%d", i ? "," : "", i, i);
    const auto start = std::chrono::steady_clock::now();
    const Json j = parse_json(text + "}", "t");
    EXPECT_EQ(j.size(), 400'000u);
    EXPECT_THROW(parse_json(text + ",\"key 7\":0}", "t"), Error);
    // Half a second; comparing every key with every other took minutes.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Json, ReadsFiles) {
    const TempFolder folder;
    EXPECT_EQ(read_json_file(folder.put("a.json", "{\"a\":1}"))["a"], 1);
    const std::string bad = folder.put("b.json", "{");
    expect_refused([&] { read_json_file(bad); }, bad + ": byte ", 1, "unexpected end");
    expect_refused([&] { read_json_file(folder / "none"); }, folder / "none", 0, "No such file");
}

TEST(Json, DumpNeverThrows) {
    EXPECT_EQ(dump(Json("a\xff" "b")), "\"a\xef\xbf\xbd" "b\"");
    EXPECT_EQ(dump(Json("\n\x1b")), "\"\\n\\u001b\"");
    EXPECT_EQ(dump(Json(std::numeric_limits<double>::quiet_NaN())), "null");
    EXPECT_EQ(dump(Json(0.1)), "0.1");
}

TEST(Json, GettersTakeWhatIsWrittenAsTheirType) {
    const Json j = parse_json(R"({"i":7,"n":-3,"f":1.5,"t":true,"s":"x","null":null,"big":18446744073709551615})", "t");
    EXPECT_EQ(get_int(j, "i", "t", 0, 7), 7);
    EXPECT_EQ(get_int(j, "n", "t", -3, 0), -3);
    EXPECT_EQ(get_int(j, "none", "t", 0, 7, 5), 5);
    EXPECT_EQ(get_int(j, "null", "t", 0, 7, 5), 5);
    EXPECT_EQ(get_number(j, "i", "t"), 7.0);
    EXPECT_EQ(get_number(j, "f", "t"), 1.5);
    EXPECT_EQ(get_number(j, "none", "t", 2.5), 2.5);
    EXPECT_TRUE(get_bool(j, "t", "t", false));
    EXPECT_TRUE(get_bool(j, "null", "t", true));
    EXPECT_EQ(get_string(j, "s", "t"), "x");
    EXPECT_EQ(get_string(j, "none", "t", "y"), "y");
    EXPECT_EQ(find(j, "null"), nullptr);
    EXPECT_EQ(find(j, "none"), nullptr);
    EXPECT_EQ(find(Json(3), "none"), nullptr);
    EXPECT_EQ(*find(j, "s"), "x");
}

TEST(Json, GettersRefuseTheRest) {
    const Json j = parse_json(R"({"neg":-1,"frac":1.0,"exp":1e2,"big":18446744073709551615,"huge":99999999999999999999,
        "s":"12","t":true,"a":[1],"null":null,"long":")" + std::string(500, 'x') + "\"}", "t");
    const std::string who = "dir/c.json";
    const auto refused = [&](const std::function<void()>& f, const char* says) { expect_refused(f, who, 0, says); };
    refused([&] { get_int(j, "neg", who, 0, 9); }, "\"neg\" is '-1', expected an integer from 0 to 9");
    refused([&] { get_int(j, "frac", who, 0, 9); }, "\"frac\" is '1.0'");
    refused([&] { get_int(j, "exp", who, 0, 900); }, "\"exp\" is '100.0'");
    refused([&] { get_int(j, "big", who, INT64_MIN, INT64_MAX); }, "\"big\" is '18446744073709551615'");
    refused([&] { get_int(j, "huge", who, INT64_MIN, INT64_MAX); }, "\"huge\" is '1e+20'");
    refused([&] { get_int(j, "s", who, 0, 99); }, "\"s\" is '\"12\"'");
    refused([&] { get_int(j, "t", who, 0, 9, 3); }, "\"t\" is 'true'");
    refused([&] { get_int(j, "null", who, 0, 9); }, "\"null\" is missing");
    refused([&] { get_int(j, "none", who, 0, 9); }, "\"none\" is missing");
    refused([&] { get_number(j, "s", who); }, "expected a number");
    refused([&] { get_number(j, "a", who, 1.0); }, "\"a\" is '[1]', expected a number");
    refused([&] { get_bool(j, "s", who, true); }, "expected true or false");
    refused([&] { get_string(j, "neg", who); }, "expected a string");
    refused([&] { get_string(j, "a", who, "x"); }, "expected a string");
    refused([&] { get_int(j, "long", who, 0, 9); }, "...'");
    refused([&] { get_int(Json(3), "x", who, 0, 9, 1); }, "expected an object with \"x\"");
    refused([&] { get_string(Json::array(), "x", who, "y"); }, "expected an object with \"x\"");
}

}  // namespace
