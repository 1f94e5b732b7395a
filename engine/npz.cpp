// npz.cpp - NumPy's .npz: a zip archive (APPNOTE 6.3.10 of PKWARE) of .npy files (numpy/lib/format.py, version 1.0),
// stored without compression, so that every byte's place is known beforehand.
#include <algorithm>
#include <array>
#include "reader.h"
#include "safetensors.h"

namespace {

// CRC-32 (ISO 3309, reflected 0x04c11db7), eight bytes a step: table k is for a byte with k bytes after it.
constexpr auto crc_tables = [] {
    std::array<std::array<uint32_t, 256>, 8> t{};
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int i = 0; i < 8; i++) c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
        t[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++) t[k][b] = t[k - 1][b] >> 8 ^ t[0][t[k - 1][b] & 255];
    return t;
}();

uint32_t crc32(uint32_t crc, const void* data, size_t n) {
    const auto& t = crc_tables;
    auto p = (const uint8_t*)data;
    uint64_t c = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        w ^= c;
        c = t[7][w & 255] ^ t[6][w >> 8 & 255] ^ t[5][w >> 16 & 255] ^ t[4][w >> 24 & 255] ^ t[3][w >> 32 & 255] ^
            t[2][w >> 40 & 255] ^ t[1][w >> 48 & 255] ^ t[0][w >> 56];
    }
    for (; n > 0; n--, p++) c = c >> 8 ^ t[0][(c ^ *p) & 255];
    return ~uint32_t(c);
}

template <class T> void put(std::string& to, T value) { to.append((const char*)&value, sizeof value); }

std::string npy_header(const SafetensorsWriter::Item& item) {
    const char* descr = item.type == Type::f32   ? "<f4"
                        : item.type == Type::f16 ? "<f2"
                        : item.type == Type::i32 ? "<i4"
                        : item.type == Type::i64 ? "<i8"
                        : item.type == Type::u8  ? "|u1"
                                                 : nullptr;
    require(descr, "npz: NumPy has no type for %s of '%s'", info(item.type).name, item.name.c_str());
    std::string dict = format("{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (size_t i = 0; i < item.shape.size(); i++) dict += (i ? ", " : "") + std::to_string(item.shape[i]);
    dict += item.shape.size() == 1 ? ",), }" : "), }";
    dict.resize((10 + dict.size() + 1 + 63) / 64 * 64 - 10, ' ');
    dict.back() = '\n';
    std::string header("\x93NUMPY\x01\x00", 8);
    put(header, uint16_t(dict.size()));
    return header + dict;
}

struct Array {
    std::string name, header;       // of the file in the archive; of the .npy
    uint64_t at;                    // where its local header begins
    uint64_t data_at, rows, row_bytes, written = 0;
    uint32_t crc;
    bool zip64;

    uint64_t size() const { return header.size() + rows * row_bytes; }
    bool ascii() const { return std::all_of(name.begin(), name.end(), [](char c) { return uint8_t(c) < 0x80; }); }

    // What the local header and the central directory have in common, from "version needed" to the length of the name.
    void put_common(std::string& to) const {
        put<uint16_t>(to, zip64 ? 45 : 20);
        put<uint16_t>(to, ascii() ? 0 : 1 << 11);           // names are UTF-8
        put<uint16_t>(to, 0);                               // stored
        put<uint32_t>(to, 0x00210000);                      // 1980-01-01: equal content is equal bytes
        put(to, crc);
        for (int i = 0; i < 2; i++) put(to, zip64 ? UINT32_MAX : uint32_t(size()));
        put(to, uint16_t(name.size()));
    }
    std::string local_header() const {
        std::string s = "PK\3\4";
        put_common(s);
        put<uint16_t>(s, zip64 ? 20 : 0);
        s += name;
        if (zip64) {
            put<uint32_t>(s, 16 << 16 | 1);
            for (int i = 0; i < 2; i++) put(s, size());
        }
        return s;
    }
    void put_central(std::string& to) const {
        to += "PK\1\2";
        put<uint16_t>(to, 3 << 8 | 45);                     // made by: Unix
        put_common(to);
        put<uint16_t>(to, zip64 ? 28 : 0);
        to.append(6, '\0');                                 // no comment, disk 0, binary
        put<uint32_t>(to, 0100644u << 16);
        put(to, zip64 ? UINT32_MAX : uint32_t(at));
        to += name;
        if (zip64) {
            put<uint32_t>(to, 24 << 16 | 1);
            for (const uint64_t n : {size(), size(), at}) put(to, n);
        }
    }
};

}  // namespace

struct NpzWriter::State {
    explicit State(const std::string& path) : file(path) {}
    AtomicFile file;
    std::vector<Array> arrays;
    uint64_t end = 0, zip64_from = 0;
};

NpzWriter::NpzWriter(const std::string& path, const std::vector<SafetensorsWriter::Item>& items, uint64_t zip64_from)
    : state_(std::make_unique<State>(path)) {
    State& s = *state_;
    s.zip64_from = zip64_from;
    for (const SafetensorsWriter::Item& item : items) {
        size_t numbers = 1;
        for (size_t i = 1; i < item.shape.size(); i++) numbers *= size_t(item.shape[i]);
        Array a{item.name + ".npy", npy_header(item), s.end, 0, 1, row_bytes(item.type, numbers), 0, 0, false};
        require(a.name.size() < 65536, "npz: a name of %zu bytes", a.name.size());
        for (const Array& other : s.arrays) require(other.name != a.name, "npz: '%s' stands twice", item.name.c_str());
        if (!item.shape.empty()) a.rows = uint64_t(item.shape[0]);
        a.zip64 = a.size() >= zip64_from || a.at >= zip64_from;
        a.crc = crc32(0, a.header.data(), a.header.size());
        a.data_at = a.at + a.local_header().size() + a.header.size();
        s.end = a.data_at + a.rows * a.row_bytes;
        s.arrays.push_back(std::move(a));
    }
    s.file.reserve(s.end);
}
NpzWriter::~NpzWriter() = default;

void NpzWriter::write(size_t item, int64_t first, const void* data, int64_t rows) {
    require(item < state_->arrays.size(), "npz: there is no array %zu", item);
    Array& a = state_->arrays[item];
    require(rows >= 0 && uint64_t(first) == a.written && uint64_t(rows) <= a.rows - a.written,
            "npz: rows %ld..%ld of '%s', which has %lu; the next one is %lu", first, first + rows, a.name.c_str(),
            a.rows, a.written);
    const size_t bytes = uint64_t(rows) * a.row_bytes;
    state_->file.write_at(a.data_at + a.written * a.row_bytes, data, bytes);
    a.crc = crc32(a.crc, data, bytes);
    a.written += uint64_t(rows);
}

void NpzWriter::commit() {
    State& s = *state_;
    std::string directory;
    for (const Array& a : s.arrays) {
        require(a.written == a.rows, "npz: '%s' has %lu rows, %lu were written", a.name.c_str(), a.rows, a.written);
        const std::string head = a.local_header() + a.header;
        s.file.write_at(a.at, head.data(), head.size());
        a.put_central(directory);
    }
    const uint64_t count = s.arrays.size(), bytes = directory.size();
    const bool zip64 = s.end >= s.zip64_from || count >= 0xffff;
    if (zip64) {
        directory += "PK\6\6";
        put<uint64_t>(directory, 44);                       // bytes of this record after here
        put<uint32_t>(directory, 45 << 16 | 3 << 8 | 45);   // made by, needed
        put<uint64_t>(directory, 0);                        // disks
        for (const uint64_t n : {count, count, bytes, s.end}) put(directory, n);
        directory += "PK\6\7";
        put<uint32_t>(directory, 0);
        put(directory, s.end + bytes);
        put<uint32_t>(directory, 1);
    }
    directory += "PK\5\6";
    put<uint32_t>(directory, 0);
    for (int i = 0; i < 2; i++) put(directory, zip64 ? uint16_t(0xffff) : uint16_t(count));
    put(directory, uint32_t(bytes));
    put(directory, zip64 ? UINT32_MAX : uint32_t(s.end));
    put<uint16_t>(directory, 0);
    s.file.write_at(s.end, directory.data(), directory.size());
    s.file.commit();
}
