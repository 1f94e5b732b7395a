// malformed_gguf.cpp - GGUF files that break one rule each: the cases of llama.cpp's tests/test-gguf.cpp under their
// names there, the shapes behind the published holes of other readers, and our own limits.
#include "../engine/ggml_types.h"
#include "../engine/gguf.h"
#include "files.h"

namespace {

enum : int32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, KINDS };
constexpr int sizes[KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

std::string text(std::string_view s) { return le<uint64_t>(s.size()) + std::string(s); }
std::string pair(std::string_view key, int32_t kind, const std::string& value) { return text(key) + le(kind) + value; }
std::string array(int32_t kind, uint64_t n, const std::string& elements) { return le(kind) + le(n) + elements; }
std::string entry(std::string_view name, const std::vector<int64_t>& ne, int32_t type, uint64_t offset) {
    std::string s = text(name) + le<uint32_t>(uint32_t(ne.size()));
    for (const int64_t n : ne) s += le(n);
    return s + le(type) + le(offset);
}

// The parts of a file, so that a case can spoil one of them.
struct Parts {
    std::string magic = "GGUF";
    uint32_t version = 3;
    std::vector<std::string> pairs, entries;
    uint64_t alignment = 32, size = 0;          // of the data, all tensors padded
    std::optional<uint64_t> tensor_count, pair_count;
    std::optional<std::string> data;

    Parts& add(std::string_view name, const std::vector<int64_t>& ne, int32_t type, uint64_t bytes) {
        entries.push_back(entry(name, ne, type, size));
        size += (bytes + alignment - 1) / alignment * alignment;
        return *this;
    }
    std::string bytes() const {
        std::string s = magic + le(version) + le(tensor_count.value_or(entries.size())) +
                        le(pair_count.value_or(pairs.size()));
        for (const std::string& p : pairs) s += p;
        for (const std::string& e : entries) s += e;
        s.resize((s.size() + alignment - 1) / alignment * alignment);
        return s + data.value_or(std::string(size, '\3'));
    }
};

// A key of every kind, and of an array of every kind.
std::vector<std::string> all_kinds() {
    std::vector<std::string> list;
    const std::string some(64, '\x41');
    for (int32_t kind = 0; kind < KINDS; kind++) {
        if (kind == ARRAY) continue;
        const std::string one = kind == STRING ? text("value") : some.substr(0, size_t(sizes[kind]));
        list.push_back(pair(format("my_key_%d", kind), kind, one));
        list.push_back(pair(format("my_array_%d", kind), ARRAY, array(kind, 3, one + one + one)));
    }
    return list;
}
Parts with_pairs() { return {.pairs = all_kinds()}; }
// A tensor of every type that ggml has.
Parts with_tensors(uint64_t alignment = 32) {
    Parts p = with_pairs();
    p.alignment = alignment;
    for (const GgmlType& t : ggml_types)
        p.add(format("my_tensor_%d", t.id), {3 * t.block, 2}, t.id, uint64_t(6 * t.bytes));
    return p;
}
template <class Change> std::string changed(Parts p, Change change) {
    change(p);
    return p.bytes();
}

struct Bad { std::string name, bytes, says; };

void expect_all_refused(const std::vector<Bad>& table) {
    const TempFolder folder;
    for (const Bad& bad : table) {
        SCOPED_TRACE(bad.name);
        const std::string path = folder.put("m.gguf", bad.bytes);
        malformed_files()["GGUF"]++;
        expect_refused([&] { open_gguf(path); }, path + ": byte ", bad.bytes.size(), bad.says);
    }
}

std::string aligned(Parts p, int32_t kind, uint32_t value) {
    p.pairs.push_back(pair("general.alignment", kind, le(value)));
    return p.bytes();
}
std::string every_key(int32_t kind) {
    return changed(with_pairs(), [&](Parts& p) {
        for (size_t i = 0; i < p.pairs.size(); i++) p.pairs[i] = pair(format("my_key_%zu", i), kind, "\1");
    });
}
std::string tensor(const std::string& name, const std::vector<int64_t>& ne, int32_t type, uint64_t bytes = 32) {
    return changed(with_pairs(), [&](Parts& p) { p.add(name, ne, type, bytes); });
}
std::string tensor_at(uint64_t offset) {
    return changed(with_pairs(), [&](Parts& p) {
        p.size = 32;
        p.entries = {entry("x", {4}, 0, offset)};
    });
}
// Laid out for an alignment that the file does not declare.
std::string inconsistent() {
    return changed(with_tensors(1), [](Parts& p) { p.alignment = 32; });
}

TEST(MalformedGguf, TheListOfLlamaCpp) {
    const std::string long_name = "my_tensor_0_with_a_very_long_name_which_is_longer_than_what_is_allowed_for_ggml";
    const int64_t most = 0x7fffffffffffffc0, big = 4 * int64_t(INT32_MAX), root = int64_t(1) << 31;
    expect_all_refused({
        {"HEADER_BAD_MAGIC", Parts{.magic = "FUGG"}.bytes(), "begins with 'FUGG', expected 'GGUF'"},
        {"HEADER_BAD_VERSION_0", Parts{.version = 0}.bytes(), "version 0, versions 2 and 3 can be read"},
        {"HEADER_BAD_VERSION_1", Parts{.version = 1}.bytes(), "version 1, versions 2 and 3"},
        {"HEADER_BAD_VERSION_FUTURE", Parts{.version = 4}.bytes(), "version 4, versions 2 and 3"},
        {"HEADER_BAD_N_KV", Parts{.pair_count = UINT64_MAX}.bytes(), "18446744073709551615 keys, the limit is 65536"},
        {"HEADER_BAD_N_TENSORS", Parts{.tensor_count = UINT64_MAX}.bytes(), "18446744073709551615 tensors, the limit"},
        {"KV_BAD_KEY_SIZE", changed(with_pairs(), [](Parts& p) { p.pairs[3].replace(0, 8, le(UINT64_MAX)); }),
         "a key has 18446744073709551615 bytes, the limit is 65536"},
        {"KV_EMPTY_KEY", changed(with_pairs(), [](Parts& p) { p.pairs[3] = pair("", U8, "\1"); }), "is empty"},
        {"KV_BAD_TYPE", every_key(KINDS), "has the unknown type 13"},
        {"KV_DUPLICATE_KEY", changed(with_pairs(), [](Parts& p) { p.pairs[3] = pair("my_key_0", U8, "\1"); }),
         "the key 'my_key_0' stands twice"},
        {"KV_BAD_ALIGN", aligned(with_pairs(), U32, 13), "general.alignment is 13, expected a power of two"},
        {"KV_WRONG_TYPE_ALIGN", aligned(with_pairs(), I32, 13), "'general.alignment' is i32, expected a u32"},
        {"TENSORS_BAD_NAME_SIZE", tensor(long_name, {4}, 0), "a tensor's name has 79 bytes, the limit is 63"},
        {"TENSORS_BAD_N_DIMS", tensor("x", {1, 1, 1, 1, 1}, 0), "has 5 dimensions, at most 4"},
        {"TENSORS_BAD_SHAPE", tensor("x", {-1, -1}, 0), "the shape of tensor 'x' overflows"},
        {"TENSORS_NE_TOO_BIG", tensor("x", {big, big}, 0), "the shape of tensor 'x' overflows"},
        {"TENSORS_NBYTES_TOO_BIG", tensor("x", {root, root}, 27), "the size of tensor 'x' overflows"},
        {"TENSORS_BAD_TYPE", tensor("x", {256}, 43), "has the unknown ggml type 43"},
        {"TENSORS_BAD_OFFSET", tensor_at(UINT64_MAX), "at offset 18446744073709551615 of the data, expected 0"},
        {"TENSORS_DUPLICATE_NAME", changed(with_pairs(), [](Parts& p) { p.add("x", {4}, 0, 16).add("x", {4}, 0, 16); }),
         "the tensor 'x' stands twice"},
        {"TENSORS_BAD_ALIGN", aligned(with_tensors(), U32, 13), "general.alignment is 13"},
        {"TENSORS_INCONSISTENT_ALIGN", inconsistent(), "expected"},
        {"DATA_NOT_ENOUGH_DATA", changed(with_tensors(), [](Parts& p) { p.data = std::string(p.size - 1, '\3'); }),
         "it is cut short"},
        {"DATA_BAD_ALIGN", aligned(with_tensors(), U32, 13), "general.alignment is 13"},
        {"DATA_INCONSISTENT_ALIGN", inconsistent(), "'my_tensor_1' is at offset 24 of the data, expected 32"},
        {"DATA_MEM_SIZE_OVERFLOW", changed(with_pairs(), [&](Parts& p) {
             p.entries = {entry("a", {most}, 24, 0), entry("b", {most}, 24, uint64_t(most))};
             p.data = std::string(32, '\3');
         }), "the tensors need 18446744073709551488 bytes"},
    });
}

TEST(Gguf, TakesTheSuccessesOfLlamaCpp) {
    EXPECT_EQ(parse_gguf(Parts().bytes(), "HEADER_EMPTY")->tensors().size(), 0u);
    EXPECT_EQ(parse_gguf(with_pairs().bytes(), "KV_SUCCESS")->keys().size(), 24u);
    EXPECT_EQ(parse_gguf(tensor("x", {4, 0}, 0, 0), "TENSORS_ZERO_DIM")->find("x")->bytes, 0u);
    // Their TENSORS_SUCCESS has no data; ours must, as DATA_SUCCESS has.
    const auto file = parse_gguf(with_tensors().bytes(), "DATA_SUCCESS");
    for (const GgmlType& t : ggml_types) {
        const Stored* stored = file->find(format("my_tensor_%d", t.id));
        ASSERT_TRUE(stored) << t.name;
        EXPECT_EQ(stored->type, t.type);
        EXPECT_EQ(stored->dtype, t.name);
        EXPECT_EQ(stored->bytes, size_t(6 * t.bytes));
        EXPECT_EQ(stored->shape, (std::vector<int64_t>{2, 3 * t.block}));
        if (t.type != Type::other) {
            EXPECT_EQ(info(t.type).block, t.block) << t.name;
            EXPECT_EQ(info(t.type).bytes, t.bytes) << t.name;
        }
    }
    for (const uint32_t alignment : {1, 4096}) {
        const auto custom = parse_gguf(aligned(with_tensors(alignment), U32, alignment), "DATA_CUSTOM_ALIGN");
        const char* next = custom->tensors()[0].data;
        for (const Stored& t : custom->tensors()) {
            EXPECT_EQ(t.data, next);
            next += (t.bytes + alignment - 1) / alignment * alignment;
        }
    }
}

TEST(MalformedGguf, Frame) {
    const std::string empty = Parts().bytes();
    expect_all_refused({
        {"nothing", "", "the magic number needs 4 bytes, 0 are left"},
        {"three bytes", "GGU", "the magic number needs 4 bytes"},
        {"magic alone", "GGUF", "the version needs 4 bytes"},
        {"no counts", "GGUF" + le<uint32_t>(3), "the number of tensors needs 8 bytes"},
        {"lower case", "gguf" + empty.substr(4), "begins with 'gguf'"},
        {"old ggml", "lmgg" + empty.substr(4), "begins with 'lmgg'"},
        {"strange magic", "\x1b\xff\n\x01" + empty.substr(4), "begins with '\\x1b\\xff\\x0a\\x01'"},
        {"safetensors", le<uint64_t>(2) + "{}", "begins with '\\x02\\x00\\x00\\x00'"},
        {"big-endian", Parts{.version = 0x03000000}.bytes(), "big-endian"},
        {"version of 32 bits", Parts{.version = UINT32_MAX}.bytes(), "version 4294967295"},
        {"a tensor too many", Parts{.tensor_count = 1}.bytes(), "1 tensors and 0 keys do not fit into the 8 bytes"},
        {"a key too many", Parts{.pair_count = 1}.bytes(), "0 tensors and 1 keys do not fit into the 8 bytes left"},
        // CVE-2024-21836, -23605: count times element size wraps.
        {"tensors that wrap", Parts{.tensor_count = UINT64_MAX / 24 + 1}.bytes(), "tensors, the limit is 1000000"},
        {"keys that wrap", Parts{.pair_count = uint64_t(1) << 61}.bytes(), "keys, the limit is 65536"},
        {"negative keys", Parts{.pair_count = uint64_t(1) << 63}.bytes(), "keys, the limit is 65536"},
        {"a million tensors", Parts{.tensor_count = 1'000'000}.bytes(), "do not fit into the 8 bytes left"},
        {"a million and one", Parts{.tensor_count = 1'000'001}.bytes(), "1000001 tensors, the limit is 1000000"},
        {"65537 keys", Parts{.pair_count = 65'537}.bytes(), "65537 keys, the limit is 65536"},
        {"no tensors, odd padding", empty + "x", "something follows"},
        {"bytes after the last tensor", with_tensors().bytes() + "x", "something follows"},
        {"a second file behind it", with_tensors().bytes() + std::string(32, '\0'), "something follows"},
    });
}

TEST(MalformedGguf, Metadata) {
    const auto with = [](const std::string& p) { return Parts{.pairs = {p}}.bytes(); };
    const uint64_t most = UINT64_MAX;
    expect_all_refused({
        {"key over 64 KiB", with(pair(std::string(65'537, 'k'), U8, "\1")), "a key has 65537 bytes"},
        {"key beyond the file", with(le<uint64_t>(60'000) + "k"), "a key needs 60000 bytes"},
        {"key with NUL", with(pair(std::string("a\0b", 3), U8, "\1")), "'a\\x00b' is empty, not UTF-8 or holds a NUL"},
        {"key that is not UTF-8", with(pair("\xff\xfe", U8, "\1")), "the key '\\xff\\xfe' is empty, not UTF-8"},
        {"key with surrogates", with(pair("\xed\xa0\x80", U8, "\1")), "not UTF-8"},
        {"negative type", with(pair("k", -1, "\1")), "'k' has the unknown type 4294967295"},
        {"type 13", with(pair("k", KINDS, "\1")), "'k' has the unknown type 13"},
        {"array of type 13", with(pair("k", ARRAY, array(KINDS, 1, "\1"))), "'k' has the unknown type 13"},
        {"array of arrays", with(pair("k", ARRAY, array(ARRAY, 1, array(U8, 1, "\1")))), "'k' is an array of arrays"},
        {"escape sequences", with(pair("\x1b[2J\n", ARRAY, array(ARRAY, 0, ""))), "'\\x1b[2J\\x0a' is an array"},
        // CVE-2024-23496, -21825: length + 1 wraps.
        {"string of 2^64 - 1", with(pair("k", STRING, le(most))), "a string has 18446744073709551615 bytes"},
        {"token of 2^64 - 1", with(pair("tokenizer.k", STRING, le(most))), "a string needs 18446744073709551615 bytes"},
        {"string beyond the file", with(pair("k", STRING, le<uint64_t>(1000) + "x")), "a string needs 1000 bytes"},
        {"string of 1 GiB", with(pair("k", STRING, le<uint64_t>(1 << 30))), "the limit is 16777216"},
        {"string over 16 MiB", with(pair("k", STRING, text(std::string(16'777'217, 'x')))), "the limit is 16777216"},
        // ggml #1516: an array count of 2^63.
        {"2^63 numbers", with(pair("k", ARRAY, array(U32, uint64_t(1) << 63, ""))), "the array 'k' overflows"},
        {"2^62 numbers of 4", with(pair("k", ARRAY, array(U32, uint64_t(1) << 62, "1234"))), "the array 'k' overflows"},
        {"2^61 numbers of 8", with(pair("k", ARRAY, array(F64, uint64_t(1) << 61, ""))), "the array 'k' overflows"},
        {"2^63 bytes", with(pair("k", ARRAY, array(U8, uint64_t(1) << 63, ""))), "a value needs 9223372036854775808"},
        {"2^61 strings", with(pair("k", ARRAY, array(STRING, uint64_t(1) << 61, ""))), "2305843009213693952 strings"},
        {"2^64 - 1 strings", with(pair("k", ARRAY, array(STRING, most, ""))), "18446744073709551615 strings"},
        {"2^30 strings", with(pair("k", ARRAY, array(STRING, 1 << 30, text("x")))), "has 1073741824 strings"},
        {"too few numbers", with(pair("k", ARRAY, array(F32, 100, std::string(300, 'x')))), "a value needs 400 bytes"},
        {"array with a bad string", with(pair("k", ARRAY, array(STRING, 2, text("x") + le(most)))), "a string has"},
        {"alignment 0", aligned(with_pairs(), U32, 0), "general.alignment is 0"},
        {"alignment 3", aligned(with_pairs(), U32, 3), "general.alignment is 3"},
        {"alignment 8192", aligned(with_pairs(), U32, 8192), "expected a power of two up to 4096"},
        {"alignment 2^31", aligned(with_pairs(), U32, 1u << 31), "general.alignment is 2147483648"},    // ggml #1516
        {"alignment as f32", aligned(with_pairs(), F32, 0x42000000), "is f32, expected a u32"},
        {"alignment as array", with(pair("general.alignment", ARRAY, array(U32, 1, "1234"))), "an array of u32"},
    });
}

TEST(MalformedGguf, Tensors) {
    const int64_t half = int64_t(1) << 62, big = int64_t(1) << 32;
    expect_all_refused({
        {"name with NUL", tensor(std::string("a\0b", 3), {4}, 0), "'a\\x00b' is not UTF-8 or holds a NUL"},
        {"name not UTF-8", tensor("\xc0\xaf", {4}, 0), "is not UTF-8"},
        {"name of 64 bytes", tensor(std::string(64, 'n'), {4}, 0), "a tensor's name has 64 bytes, the limit is 63"},
        {"rank of 32 bits", changed(Parts(), [](Parts& p) {
             p.entries = {text("x") + le<uint32_t>(UINT32_MAX) + std::string(64, '\1')};
         }), "has 4294967295 dimensions, at most 4"},
        {"negative and zero", tensor("x", {0, -1}, 0), "the shape of tensor 'x' overflows"},
        {"INT64_MIN", tensor("x", {INT64_MIN}, 0), "the shape of tensor 'x' overflows"},
        // CVE-2024-21802: the number of elements wraps to something small.
        {"2^64 numbers", tensor("x", {half, 4}, 24), "the shape of tensor 'x' overflows"},
        {"2^64 numbers of rank 4", tensor("x", {big, big, 1, 1}, 0), "the shape of tensor 'x' overflows"},
        {"2^63 numbers", tensor("x", {half, 2}, 24), "the shape of tensor 'x' overflows"},
        {"four large dimensions", tensor("x", {65536, 65536, 65536, 65536}, 0), "the shape of tensor 'x' overflows"},
        // CVE-2026-33298: type size times elements wraps for blocks.
        {"bytes of f32 wrap", tensor("x", {half}, 0), "the size of tensor 'x' overflows"},
        {"bytes of Q8_0", tensor("x", {INT64_MAX - 31}, 8), "the tensors need"},
        {"bytes of Q8_K", tensor("x", {INT64_MAX - 255}, 15), "the tensors need"},
        {"bytes of i64 wrap", tensor("x", {half, 1}, 27), "the size of tensor 'x' overflows"},
        // CVE-2025-53630, CVE-2026-27940, #26318: the sum of sizes, or the padding of one, wraps.
        {"sum wraps", changed(Parts(), [](Parts& p) {
             p.entries = {entry("a", {INT64_MAX}, 24, 0), entry("b", {INT64_MAX}, 24, uint64_t(1) << 63),
                          entry("c", {64}, 24, 0)};
         }), "the size of tensor 'b' overflows"},
        {"padding wraps", tensor("x", {1, INT64_MAX}, 30), "the size of tensor 'x' overflows"},
        // CVE-2026-7482: dimensions that the file has no bytes for.
        {"a terabyte in a small file", tensor("x", {1 << 20, 1 << 18}, 0), "the tensors need 1099511627776 bytes"},
        {"a number too many", tensor("x", {9}, 0), "the tensors need 64 bytes"},
        {"half a block", tensor("x", {16, 2}, 2), "has rows of 16 numbers, blocks of Q4_0 hold 32"},
        {"a block and a bit", tensor("x", {257}, 12), "has rows of 257 numbers, blocks of Q4_K hold 256"},
        {"blocks of rank 0", tensor("x", {}, 8), "has rows of 1 numbers, blocks of Q8_0 hold 32"},
        {"type -1", tensor("x", {256}, -1), "unknown ggml type -1"},
        {"removed type 4", tensor("x", {256}, 4), "unknown ggml type 4"},
        {"removed type 31", tensor("x", {256}, 31), "unknown ggml type 31"},
        {"removed type 36", tensor("x", {256}, 36), "unknown ggml type 36"},
        {"type INT32_MAX", tensor("x", {256}, INT32_MAX), "unknown ggml type 2147483647"},
        {"offset 1", tensor_at(1), "is at offset 1 of the data, expected 0"},
        {"offset 32", tensor_at(32), "is at offset 32 of the data, expected 0"},
        {"a gap", changed(Parts(), [](Parts& p) {
             p.entries = {entry("a", {8}, 0, 0), entry("b", {8}, 0, 64)};
             p.size = 96;
         }), "'b' is at offset 64 of the data, expected 32"},
        {"the same bytes twice", changed(Parts(), [](Parts& p) {
             p.entries = {entry("a", {8}, 0, 0), entry("b", {8}, 0, 0)};
             p.size = 32;
         }), "'b' is at offset 0 of the data, expected 32"},
        {"the wrong order", changed(Parts(), [](Parts& p) {
             p.entries = {entry("a", {8}, 0, 32), entry("b", {8}, 0, 0)};
             p.size = 64;
         }), "'a' is at offset 32 of the data, expected 0"},
        {"entry cut short", with_tensors().bytes().substr(0, 1500), "left"},
    });
}

TEST(MalformedGguf, EveryPrefixIsRefused) {
    Parts p = with_pairs();
    p.add("a", {32, 2}, 8, 68).add("b", {5}, 0, 20);
    const std::string whole = p.bytes();
    EXPECT_NO_THROW(parse_gguf(whole, "m"));
    for (size_t n = 0; n < whole.size(); n++)
        expect_refused([&] { parse_gguf(whole.substr(0, n), "m"); }, "m: byte ", n, ": ");
}

// One byte changed: refused, or read without harm. (What a sanitizer would report, it reports here.)
TEST(MalformedGguf, EveryFlippedByteIsHarmless) {
    Parts p = with_pairs();
    p.add("a", {32, 2}, 8, 68).add("b", {5}, 0, 20);
    std::string bytes = p.bytes();
    const size_t head = bytes.size() - p.size;
    int refused = 0;
    for (size_t i = 0; i < head; i++)
        for (const uint8_t flip : {0x01, 0x80, 0xff}) {
            bytes[i] = char(bytes[i] ^ flip);
            try {
                const auto file = parse_gguf(bytes, "m");
                for (const Stored& t : file->tensors())
                    EXPECT_LE(t.data + t.bytes, bytes.data() + bytes.size()) << i;
            } catch (const Error& e) {
                EXPECT_EQ(e.code, Exit::bad_input);
                refused++;
            }
            bytes[i] = char(bytes[i] ^ flip);
        }
    EXPECT_GT(refused, int(head));      // most of a header's bytes matter
}

TEST(Gguf, GettersInsistOnTheStoredType) {
    Parts p = with_pairs();
    p.pairs.push_back(pair("neg", I32, le<int32_t>(-5)));
    p.pairs.push_back(pair("big", U64, le<uint64_t>(UINT64_MAX)));
    p.pairs.push_back(pair("bigs", ARRAY, array(U64, 2, le<uint64_t>(1) + le<uint64_t>(UINT64_MAX))));
    p.pairs.push_back(pair("nan", F32, le<uint32_t>(0x7fc00000)));
    p.pairs.push_back(pair("many", ARRAY, array(U8, (1 << 22) + 1, std::string((1 << 22) + 1, '\1'))));
    const std::string bytes = p.bytes();
    const auto f = parse_gguf(bytes, "some.gguf");
    EXPECT_EQ(f->integer("neg", -5, -5), -5);
    for (const int kind : {U8, I8, U16, I16, U32, I32, U64, I64}) {
        EXPECT_GT(f->integer(format("my_key_%d", kind), 0, INT64_MAX), 0);
        EXPECT_GT(f->number(format("my_key_%d", kind)), 0);
        EXPECT_EQ(f->integers(format("my_array_%d", kind)).size(), 3u);
    }
    EXPECT_EQ(f->number("my_key_12"), 0x1.1414141414141p+21);
    EXPECT_EQ(f->string("my_key_8"), "value");
    EXPECT_EQ(f->strings("my_array_8")[2], "value");
    EXPECT_EQ(f->number("big"), 0x1p64);
    const auto refused = [&](const std::function<void()>& get, const char* says) {
        expect_refused(get, "some.gguf: ", bytes.size(), says);
    };
    refused([&] { f->integer("none", 0, 1); }, "the metadata lack 'none', expected an integer");
    refused([&] { f->integer("neg", 0, 9); }, "'neg' is -5, expected an integer from 0 to 9");
    refused([&] { f->integer("big", 0, INT64_MAX); }, "'big' is over 2^63, expected");
    refused([&] { f->integer("my_key_6", 0, 9); }, "'my_key_6' is f32, expected an integer");
    refused([&] { f->integer("my_key_7", 0, 9); }, "'my_key_7' is bool, expected an integer");
    refused([&] { f->integer("my_key_8", 0, 9); }, "'my_key_8' is string, expected an integer");
    refused([&] { f->integer("my_array_4", 0, 9); }, "is an array of u32, expected an integer");
    refused([&] { f->number("my_key_8"); }, "is string, expected a number");
    refused([&] { f->number("my_key_7"); }, "is bool, expected a number");
    refused([&] { f->number("my_array_6"); }, "is an array of f32, expected a number");
    refused([&] { f->number("nan"); }, "'nan' is nan, expected a finite number");
    refused([&] { f->boolean("my_key_0"); }, "is u8, expected a bool");
    refused([&] { f->string("my_array_8"); }, "is an array of string, expected a string");
    refused([&] { f->strings("my_key_8"); }, "is string, expected an array of strings");
    // llama.cpp #26690: an array of u8 read as floats is read over its end.
    refused([&] { f->floats("my_array_0"); }, "is an array of u8, expected an array of f32");
    refused([&] { f->floats("my_array_12"); }, "is an array of f64, expected an array of f32");
    refused([&] { f->integers("my_array_6"); }, "is an array of f32, expected an array of integers");
    refused([&] { f->integers("my_key_4"); }, "is u32, expected an array of integers");
    refused([&] { f->booleans("my_array_0"); }, "is an array of u8, expected an array of bool");
    refused([&] { f->integers("bigs"); }, "an element of 'bigs' is over 2^63");
    refused([&] { f->integers("many"); }, "'many' has 4194305 elements, at most 4194304 are used");
}

// As many tensors and keys as are allowed, in linear time and memory.
TEST(Gguf, TakesAMillionTensors) {
    std::string s = "GGUF" + le<uint32_t>(3) + le<uint64_t>(1'000'000) + le<uint64_t>(65'536);
    for (int i = 0; i < 65'536; i++) s += pair(format("%x", i), U8, "\1");
    for (int i = 0; i < 1'000'000; i++) s += entry(format("%x", i), {0}, 0, 0);
    s.resize((s.size() + 31) / 32 * 32);
    const auto file = parse_gguf(s, "m");
    EXPECT_EQ(file->tensors().size(), 1'000'000u);
    EXPECT_EQ(file->keys().size(), 65'536u);
    EXPECT_TRUE(file->find("f423f"));
}

}  // namespace
