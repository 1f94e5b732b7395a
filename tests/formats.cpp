// formats.cpp - safetensors, npz and GGUF, written by ourselves and read back.
#include <cmath>
#include "../engine/gguf.h"
#include "../engine/safetensors.h"
#include "../kernels/random.h"
#include "files.h"

namespace {

// A tensor of each type, with rows in any order.
TEST(Safetensors, WritesWhatItReads) {
    const TempFolder folder;
    const std::string path = folder / "m.safetensors";
    const std::vector<SafetensorsWriter::Item> items = {
        {"u8", Type::u8, {3, 1}},  {"f32", Type::f32, {4, 2, 3}}, {"bf16", Type::bf16, {5}},
        {"f16", Type::f16, {1, 7}}, {"i32", Type::i32, {3}},       {"i64", Type::i64, {2, 2}},
        {"scalar", Type::f32, {}}, {"none", Type::f32, {0, 9}},   {"\xc3\xa9 \"quoted\"\n", Type::u8, {1}}};
    std::vector<std::string> content;
    Random random(3);
    {
        SafetensorsWriter writer(path, items, {{"format", "pt"}, {"note", "\"x\"\n\xc3\xa9"}});
        for (size_t i = 0; i < items.size(); i++) {
            size_t row = size_t(info(items[i].type).bytes);
            for (size_t d = 1; d < items[i].shape.size(); d++) row *= size_t(items[i].shape[d]);
            const int64_t rows = items[i].shape.empty() ? 1 : items[i].shape[0];
            content.emplace_back(row * size_t(rows), '\0');
            for (char& c : content.back()) c = char(random.u32());
            for (int64_t r = rows; r-- > 0;) writer.write(i, r, content[i].data() + size_t(r) * row, 1);
        }
        EXPECT_FALSE(exists(path));
        EXPECT_THROW(writer.write(0, 3, "x", 1), Error);
        writer.commit();
    }
    const auto file = open_safetensors(path);
    EXPECT_EQ(file->path(), path);
    ASSERT_EQ(file->tensors().size(), items.size());
    for (size_t i = 0; i < items.size(); i++) {
        const Stored* t = file->find(items[i].name);
        ASSERT_TRUE(t) << items[i].name;
        EXPECT_EQ(t->type, items[i].type);
        EXPECT_EQ(t->dtype, info(items[i].type).name);
        EXPECT_EQ(t->shape, items[i].shape);
        EXPECT_EQ(std::string(t->data, t->bytes), content[i]);
        EXPECT_EQ(uintptr_t(t->data) % uintptr_t(info(t->type).bytes), 0u) << "aligned by the writer: " << t->name;
    }
    EXPECT_EQ(file->metadata().at("format"), "pt");
    EXPECT_EQ(file->metadata().at("note"), "\"x\"\n\xc3\xa9");
    EXPECT_EQ(file->find("nothing"), nullptr);
    file->drop();
    EXPECT_EQ(*file->find("u8")->data, content[0][0]);
}

TEST(Safetensors, CommitWantsEveryRow) {
    const TempFolder folder;
    SafetensorsWriter writer(folder / "f", {{"a", Type::f32, {2}}}, {});
    const float x = 1;
    writer.write(0, 1, &x, 1);
    EXPECT_THROW(writer.commit(), Error);
    EXPECT_THROW(SafetensorsWriter(folder / "g", {{"a", Type::q8_0, {1, 32}}}, {}), Error);
    EXPECT_THROW(SafetensorsWriter(folder / "g", {{"a", Type::u8, {1}}, {"a", Type::u8, {1}}}, {}), Error);
    EXPECT_FALSE(exists(folder / "f") || exists(folder / "g"));
}

uint32_t at32(const std::string& s, size_t i) {
    uint32_t n;
    memcpy(&n, s.data() + i, 4);
    return n;
}
uint32_t crc32_bitwise(std::string_view s) {
    uint32_t c = UINT32_MAX;
    for (const char b : s) {
        c ^= uint8_t(b);
        for (int i = 0; i < 8; i++) c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
    }
    return ~c;
}

// The archive, walked from its end, as a reader does it.
TEST(Npz, IsAZipOfNpy) {
    const TempFolder folder;
    const float x[6] = {0, 1, 2, 3, 4, 5};
    const int64_t ids[3] = {7, -8, 9};
    for (const bool zip64 : {false, true}) {
        const std::string path = folder / "a.npz";
        {
            NpzWriter w(path, {{"x", Type::f32, {3, 2}}, {"ids", Type::i64, {3}}}, zip64 ? 0 : 0xffffffff);
            w.write(0, 0, x, 1);
            w.write(1, 0, ids, 3);
            EXPECT_THROW(w.write(0, 2, x, 1), Error);       // not the next row
            w.write(0, 1, x + 2, 2);
            w.commit();
        }
        const std::string s = read_file(path), end = s.substr(s.size() - 22);
        ASSERT_EQ(end.substr(0, 4), "PK\5\6");
        size_t at = zip64 ? s.find("PK\1\2") : at32(end, 16);
        EXPECT_EQ(s.find("PK\6\6") != s.npos, zip64);
        EXPECT_EQ(s.substr(s.size() - 22 - 20, 4) == "PK\6\7", zip64);
        for (const std::string name : {"x.npy", "ids.npy"}) {
            ASSERT_EQ(s.substr(at, 4), "PK\1\2");
            const size_t name_bytes = s[at + 28], extra_bytes = s[at + 30];
            EXPECT_EQ(s.substr(at + 46, name_bytes), name);
            const size_t extra = at + 46 + name_bytes;
            const size_t size = zip64 ? at32(s, extra + 4) : at32(s, at + 20);
            const size_t local = zip64 ? at32(s, extra + 20) : at32(s, at + 42);
            ASSERT_EQ(s.substr(local, 4), "PK\3\4");
            const std::string npy = s.substr(local + 30 + name_bytes + size_t(s[local + 28]), size);
            EXPECT_EQ(crc32_bitwise(npy), at32(s, at + 16));
            EXPECT_EQ(npy.substr(0, 8), std::string("\x93NUMPY\1\0", 8));
            EXPECT_EQ(npy[8] % 64, 118 % 64);
            EXPECT_EQ(npy[10 + npy[8] - 1], '\n');
            if (name == "x.npy") {
                EXPECT_NE(npy.find("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"), npy.npos);
                EXPECT_EQ(npy.substr(128), std::string((const char*)x, sizeof x));
            } else {
                EXPECT_NE(npy.find("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }"), npy.npos);
                EXPECT_EQ(npy.substr(128), std::string((const char*)ids, sizeof ids));
            }
            at = extra + extra_bytes;
        }
    }
}

TEST(Npz, RefusesWhatNumPyHasNot) {
    const TempFolder folder;
    EXPECT_THROW(NpzWriter(folder / "a", {{"x", Type::bf16, {2}}}), Error);
    EXPECT_THROW(NpzWriter(folder / "a", {{"x", Type::f32, {2}}, {"x", Type::f32, {2}}}), Error);
    NpzWriter w(folder / "a", {{"x", Type::f32, {2}}});
    EXPECT_THROW(w.commit(), Error);
    EXPECT_EQ(folder.files(), 1u);      // the one being written
}

TEST(Gguf, WritesWhatItReads) {
    const TempFolder folder;
    const std::string path = folder / "m.gguf", blocks(3 * 2 * 34, '\5');
    const float x[3] = {1, 2, 3};
    {
        GgufWriter w;
        w.add("general.architecture", "llama");
        w.add("llama.block_count", uint32_t(4'000'000'000));
        w.add("eps", 1e-5f);
        w.add("yes", true);
        w.add("name", std::string("\xc3\xa9"));
        w.add("tokens", std::vector<std::string>{"a", "", "\xff"});
        w.add("types", std::vector<int32_t>{1, -6});
        w.add("scores", std::vector<float>{0.5f, -INFINITY});
        w.add("flags", std::vector<bool>{true, false});
        w.add("none", std::vector<float>{});
        w.add("blk.0.q", Type::q8_0, {3, 64}, blocks.data(), blocks.size());
        w.add("vector", Type::f32, {3}, x, sizeof x);
        w.add("scalar", Type::f32, {}, x, 4);
        w.add("empty", Type::f32, {0, 4}, x, 0);
        EXPECT_THROW(w.add("eps", 1.f), Error);
        EXPECT_THROW(w.add("vector", Type::f32, {3}, x, sizeof x), Error);
        EXPECT_THROW(w.add("wrong size", Type::f32, {3}, x, 8), Error);
        EXPECT_THROW(w.add("half a block", Type::q8_0, {2, 16}, x, 34), Error);
        w.write(path);
    }
    const auto f = open_gguf(path);
    EXPECT_EQ(f->keys().size(), 10u);
    EXPECT_EQ(f->keys()[1], "llama.block_count");
    EXPECT_EQ(f->string("general.architecture"), "llama");
    EXPECT_EQ(f->integer("llama.block_count", 0, INT64_MAX), 4'000'000'000);
    EXPECT_EQ(f->number("llama.block_count"), 4e9);
    EXPECT_EQ(f->number("eps"), double(1e-5f));
    EXPECT_TRUE(f->boolean("yes"));
    EXPECT_EQ(f->string("name"), "\xc3\xa9");
    EXPECT_EQ(f->strings("tokens"), (std::vector<std::string_view>{"a", "", "\xff"}));
    EXPECT_EQ(f->integers("types"), (std::vector<int64_t>{1, -6}));
    EXPECT_EQ(f->floats("scores"), (std::vector<float>{0.5f, -INFINITY}));
    EXPECT_EQ(f->booleans("flags"), (std::vector<bool>{true, false}));
    EXPECT_TRUE(f->floats("none").empty());
    EXPECT_TRUE(f->has("eps") && !f->has("ep"));
    const Stored* q = f->find("blk.0.q");
    ASSERT_TRUE(q);
    EXPECT_EQ(q->type, Type::q8_0);
    EXPECT_EQ(q->dtype, "Q8_0");
    EXPECT_EQ(q->shape, (std::vector<int64_t>{3, 64}));
    EXPECT_EQ(std::string(q->data, q->bytes), blocks);
    EXPECT_EQ(std::string(f->find("vector")->data, 12), std::string((const char*)x, 12));
    EXPECT_EQ(f->find("scalar")->shape.size(), 0u);
    EXPECT_EQ(f->find("empty")->bytes, 0u);
    for (const Stored& t : f->tensors()) EXPECT_EQ((t.data - f->tensors()[0].data) % 32, 0) << t.name;
    f->drop();
    EXPECT_EQ(f->string("general.architecture"), "llama");
}

}  // namespace
