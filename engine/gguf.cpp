// gguf.cpp - reading: what a file claims is compared with the bytes it has before anything is allocated or repeated.
// The format: docs/gguf.md of ggml, and ggml/src/gguf.cpp where that is stricter.
#include "gguf.h"
#include <algorithm>
#include <cmath>
#include "ggml_types.h"
#include "names.h"
#include "reader.h"

namespace {

constexpr uint64_t max_keys = 65'536, max_tensors = 1'000'000, max_key = 65'536, max_string = uint64_t(16) << 20;
constexpr uint64_t max_alignment = 4096, max_elements = uint64_t(1) << 22;
constexpr size_t max_name = 63, max_rank = 4;
// The fewest bytes of a key with its value (u64 length, one byte, i32 type, u8) and of a tensor's entry (u64 length, no
// name, u32 rank, no dimension, i32 type, u64 offset).
constexpr uint64_t min_pair = 14, min_tensor = 24;

// The types of metadata, with the format's numbers for them.
enum class Kind : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
struct KindInfo { const char* name; uint64_t bytes; };      // bytes 0: not of one size
constexpr KindInfo kinds[] = {{"u8", 1}, {"i8", 1}, {"u16", 2}, {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
                              {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};
uint64_t bytes_of(Kind k) { return kinds[size_t(k)].bytes; }

// A key and where its value lies. `kind` is that of the elements if it is an array.
struct Pair {
    std::string_view name;
    Kind kind;
    bool is_array;
    uint64_t count;
    std::string_view bytes;         // of all elements, as they stand in the file

    std::string what() const { return (is_array ? "an array of " : "") + std::string(kinds[size_t(kind)].name); }
    bool is_integer() const { return kind <= Kind::i32 || kind == Kind::u64 || kind == Kind::i64; }
};

template <class T> T load(const char* p) {
    T t;
    memcpy(&t, p, sizeof t);
    return t;
}
// Element i of an integer kind; nothing if it does not fit.
std::optional<int64_t> integer_at(const Pair& p, uint64_t i) {
    const char* at = p.bytes.data() + i * bytes_of(p.kind);
    switch (p.kind) {
        case Kind::u8: return load<uint8_t>(at);
        case Kind::i8: return load<int8_t>(at);
        case Kind::u16: return load<uint16_t>(at);
        case Kind::i16: return load<int16_t>(at);
        case Kind::u32: return load<uint32_t>(at);
        case Kind::i32: return load<int32_t>(at);
        case Kind::i64: return load<int64_t>(at);
        default: {
            const auto n = load<uint64_t>(at);
            return n > INT64_MAX ? std::nullopt : std::optional(int64_t(n));
        }
    }
}

class File : public Gguf {
public:
    explicit File(const std::string& name) : name_(name) {}
    explicit File(std::unique_ptr<Mapped> map) : name_(map->path), map_(std::move(map)) {}

    void read() { read({map_->data, map_->size}); }
    void read(std::string_view bytes);

    const std::string& path() const override { return name_; }
    const std::vector<Stored>& tensors() const override { return tensors_; }
    const Stored* find(std::string_view name) const override { return tensor_names_.find(name); }
    void drop() const override {
        if (map_) map_->drop();
    }

    bool has(std::string_view key) const override { return pair_names_.find(key); }
    bool is_array(std::string_view key) const override {
        const Pair* p = pair_names_.find(key);
        return p && p->is_array;
    }
    std::vector<std::string> keys() const override {
        std::vector<std::string> all;
        for (const Pair& p : pairs_) all.emplace_back(p.name);
        return all;
    }
    int64_t integer(std::string_view key, int64_t low, int64_t high) const override;
    double number(std::string_view key) const override;
    bool boolean(std::string_view key) const override { return get(key, Kind::boolean, false, "a bool").bytes[0] != 0; }
    std::string_view string(std::string_view key) const override {
        return get(key, Kind::string, false, "a string").bytes.substr(8);
    }
    std::vector<std::string_view> strings(std::string_view key) const override;
    std::vector<int64_t> integers(std::string_view key) const override;
    std::vector<float> floats(std::string_view key) const override;
    std::vector<bool> booleans(std::string_view key) const override;

private:
    void read_counts(Reader&, uint64_t* tensors, uint64_t* pairs);
    void read_pair(Reader&);
    void read_alignment();
    uint64_t read_tensor(Reader&, uint64_t offset);
    void place_tensors(std::string_view bytes, size_t at, uint64_t size);

    uint64_t place_of(const Pair& p) const { return uint64_t(p.bytes.data() - begin_); }
    const Pair& get(std::string_view key, const char* expected) const {
        const Pair* p = pair_names_.find(key);
        if (!p)
            fail(Exit::bad_input, "%s: the metadata lack %s, expected %s", name_.c_str(), shown(key).c_str(), expected);
        return *p;
    }
    [[noreturn]] void wrong(const Pair& p, const char* expected) const {
        refuse(name_, place_of(p), "%s is %s, expected %s", shown(p.name).c_str(), p.what().c_str(), expected);
    }
    const Pair& get(std::string_view key, Kind kind, bool is_array, const char* expected) const {
        const Pair& p = get(key, expected);
        if (p.kind != kind || p.is_array != is_array) wrong(p, expected);
        if (is_array) check_count(p);
        return p;
    }
    void check_count(const Pair& p) const {
        if (p.count > max_elements)
            refuse(name_, place_of(p), "%s has %lu elements, at most %lu are used", shown(p.name).c_str(),
                   p.count, max_elements);
    }

    const std::string name_;
    std::unique_ptr<Mapped> map_;
    const char* begin_ = nullptr;
    uint64_t alignment_ = 32;
    std::vector<Pair> pairs_;
    NameIndex<Pair> pair_names_{pairs_};
    std::vector<Stored> tensors_;
    NameIndex<Stored> tensor_names_{tensors_};
};

void File::read_counts(Reader& r, uint64_t* tensors, uint64_t* pairs) {
    if (const auto magic = r.take(4, "the magic number"); magic != "GGUF")
        refuse(name_, 0, "begins with %s, expected 'GGUF': not a GGUF file", shown(magic).c_str());
    const auto version = r.number<uint32_t>("the version");
    if (version << 16 == 0 && version != 0) refuse(name_, 4, "the file is big-endian: convert it to little-endian");
    if (version != 2 && version != 3)
        refuse(name_, 4, "version %u, versions 2 and 3 can be read: convert the model again", version);
    *tensors = r.number<uint64_t>("the number of tensors");
    *pairs = r.number<uint64_t>("the number of keys");
    if (*tensors > max_tensors)
        refuse(name_, 8, "%lu tensors, the limit is %lu", *tensors, max_tensors);
    if (*pairs > max_keys)
        refuse(name_, 16, "%lu keys, the limit is %lu", *pairs, max_keys);
    if (*tensors * min_tensor + *pairs * min_pair > r.remaining())
        refuse(name_, 8, "%lu tensors and %lu keys do not fit into the %zu bytes left: cut short or damaged",
               *tensors, *pairs, r.remaining());
}

// A string's length, checked against `most`; the bytes are left to take.
uint64_t string_length(Reader& r, uint64_t most, const char* what, const std::string& who) {
    const auto n = r.number<uint64_t>(what);
    if (n > most)
        refuse(who, r.at() - 8, "%s has %lu bytes, the limit is %lu", what, n,
               most);
    return n;
}

void File::read_pair(Reader& r) {
    const size_t at = r.at();
    Pair p;
    p.name = r.take(string_length(r, max_key, "a key", name_), "a key");
    if (p.name.empty() || !is_name(p.name))
        refuse(name_, at, "the key %s is empty, not UTF-8 or holds a NUL", shown(p.name).c_str());
    const auto type = [&] {
        const auto n = r.number<uint32_t>("the type of a value");
        if (n >= std::size(kinds)) refuse(name_, r.at() - 4, "%s has the unknown type %u", shown(p.name).c_str(), n);
        return Kind(n);
    };
    p.kind = type();
    p.is_array = p.kind == Kind::array;
    p.count = 1;
    if (p.is_array) {
        p.kind = type();
        if (p.kind == Kind::array) refuse(name_, r.at() - 4, "%s is an array of arrays", shown(p.name).c_str());
        p.count = r.number<uint64_t>("the length of an array");
    }
    const size_t begin = r.at();
    if (p.kind == Kind::string) {
        if (p.count > r.remaining() / 8)
            refuse(name_, begin, "%s has %lu strings, %zu bytes are left", shown(p.name).c_str(),
                   p.count, r.remaining());
        const uint64_t most = p.name.starts_with("tokenizer.") ? UINT64_MAX : max_string;
        for (uint64_t i = 0; i < p.count; i++) r.take(string_length(r, most, "a string", name_), "a string");
    } else {
        const auto size = checked_mul(p.count, bytes_of(p.kind));
        if (!size) refuse(name_, begin, "the size of the array %s overflows", shown(p.name).c_str());
        r.take(*size, "a value");
    }
    p.bytes = {begin_ + begin, r.at() - begin};
    pairs_.push_back(p);
    if (!pair_names_.add()) refuse(name_, at, "the key %s stands twice", shown(p.name).c_str());
}

void File::read_alignment() {
    const Pair* p = pair_names_.find("general.alignment");
    if (!p) return;
    if (p->kind != Kind::u32 || p->is_array) wrong(*p, "a u32");
    alignment_ = load<uint32_t>(p->bytes.data());
    if (alignment_ == 0 || (alignment_ & (alignment_ - 1)) != 0 || alignment_ > max_alignment)
        refuse(name_, place_of(*p), "general.alignment is %lu, expected a power of two up to %lu",
               alignment_, max_alignment);
}

// One tensor's entry, whose data must begin at `offset` of the data section; returns where the next one's must.
uint64_t File::read_tensor(Reader& r, uint64_t offset) {
    const size_t at = r.at();
    const std::string_view name = r.take(string_length(r, max_name, "a tensor's name", name_), "a tensor's name");
    const std::string quoted = shown(name);
    if (!is_name(name)) refuse(name_, at, "the tensor name %s is not UTF-8 or holds a NUL", quoted.c_str());
    Stored& t = tensors_.emplace_back();
    t.name = name;
    if (!tensor_names_.add()) refuse(name_, at, "the tensor %s stands twice", quoted.c_str());
    const auto rank = r.number<uint32_t>("a tensor's rank");
    if (rank > max_rank) refuse(name_, r.at() - 4, "the tensor %s has %u dimensions, at most 4", quoted.c_str(), rank);
    uint64_t numbers = 1, row = 1;
    t.shape.resize(rank);
    for (uint32_t i = 0; i < rank; i++) {
        const auto n = r.number<uint64_t>("a tensor's shape");
        const auto product = checked_mul(numbers, n);
        if (n > INT64_MAX || !product || *product > INT64_MAX)
            refuse(name_, r.at() - 8, "the shape of tensor %s overflows", quoted.c_str());
        numbers = *product;
        if (i == 0) row = n;
        t.shape[rank - 1 - i] = int64_t(n);         // the file has the contiguous dimension first
    }
    const auto id = r.number<int32_t>("a tensor's type");
    const GgmlType* type = ggml_type(id);
    if (!type) refuse(name_, r.at() - 4, "the tensor %s has the unknown ggml type %d", quoted.c_str(), id);
    t.type = type->type;
    t.dtype = type->name;
    if (row % type->block != 0)
        refuse(name_, r.at() - 4, "the tensor %s has rows of %lu numbers, blocks of %s hold %d", quoted.c_str(),
               row, type->name, type->block);
    const auto bytes = checked_mul(numbers / type->block, type->bytes);
    const auto padded = bytes ? checked_pad(*bytes, alignment_) : std::nullopt;
    const auto next = padded ? checked_add(offset, *padded) : std::nullopt;
    if (!next) refuse(name_, r.at(), "the size of tensor %s overflows", quoted.c_str());
    t.bytes = *bytes;
    if (const auto begin = r.number<uint64_t>("a tensor's offset"); begin != offset)
        refuse(name_, r.at() - 8, "the tensor %s is at offset %lu of the data, expected %lu", quoted.c_str(),
               begin, offset);
    return *next;
}

// `at`: where the entries end; `size`: the sum of the padded tensors, which end where the file ends.
void File::place_tensors(std::string_view bytes, size_t at, uint64_t size) {
    const auto begin = checked_pad(at, alignment_);
    if (tensors_.empty() && bytes.size() == at) return;     // without tensors, the padding may be missing
    if (*begin > bytes.size() || size != bytes.size() - *begin)
        refuse(name_, std::min<uint64_t>(*begin, bytes.size()), "the tensors need %lu bytes from byte %lu on, the file "
               "has %zu bytes: it is cut short, or something follows", size,
               *begin, bytes.size());
    uint64_t offset = *begin;
    for (Stored& t : tensors_) {
        t.data = bytes.data() + offset;
        offset += *checked_pad(t.bytes, alignment_);
    }
}

void File::read(std::string_view bytes) {
    begin_ = bytes.data();
    Reader r(bytes, name_);
    uint64_t tensors, pairs, size = 0;
    read_counts(r, &tensors, &pairs);
    pairs_.reserve(pairs);
    for (uint64_t i = 0; i < pairs; i++) read_pair(r);
    read_alignment();
    if (tensors > r.remaining() / min_tensor)
        refuse(name_, r.at(), "%lu tensors do not fit into the %zu bytes left", tensors, r.remaining());
    tensors_.reserve(tensors);
    for (uint64_t i = 0; i < tensors; i++) size = read_tensor(r, size);
    place_tensors(bytes, r.at(), size);
}

int64_t File::integer(std::string_view key, int64_t low, int64_t high) const {
    const Pair& p = get(key, "an integer");
    if (p.is_array || !p.is_integer()) wrong(p, "an integer");
    const auto n = integer_at(p, 0);
    if (!n || *n < low || *n > high)
        refuse(name_, place_of(p), "%s is %s, expected an integer from %ld to %ld", shown(key).c_str(),
               n ? std::to_string(*n).c_str() : "over 2^63", low, high);
    return *n;
}

double File::number(std::string_view key) const {
    const Pair& p = get(key, "a number");
    if (p.is_array || p.kind == Kind::boolean || p.kind == Kind::string) wrong(p, "a number");
    const char* at = p.bytes.data();
    const double x = p.kind == Kind::f32   ? load<float>(at)
                     : p.kind == Kind::f64 ? load<double>(at)
                     : p.kind == Kind::u64 ? double(load<uint64_t>(at))
                                     : double(*integer_at(p, 0));
    if (!std::isfinite(x)) refuse(name_, place_of(p), "%s is %g, expected a finite number", shown(key).c_str(), x);
    return x;
}

std::vector<std::string_view> File::strings(std::string_view key) const {
    const Pair& p = get(key, Kind::string, true, "an array of strings");
    std::vector<std::string_view> all;
    all.reserve(p.count);
    const char* at = p.bytes.data();
    for (uint64_t i = 0; i < p.count; i++) {
        all.emplace_back(at + 8, load<uint64_t>(at));
        at += 8 + all.back().size();
    }
    return all;
}

std::vector<int64_t> File::integers(std::string_view key) const {
    const Pair& p = get(key, "an array of integers");
    if (!p.is_array || !p.is_integer()) wrong(p, "an array of integers");
    check_count(p);
    std::vector<int64_t> all(p.count);
    for (uint64_t i = 0; i < p.count; i++) {
        const auto n = integer_at(p, i);
        if (!n) refuse(name_, place_of(p) + 8 * i, "an element of %s is over 2^63", shown(key).c_str());
        all[i] = *n;
    }
    return all;
}

std::vector<float> File::floats(std::string_view key) const {
    const Pair& p = get(key, Kind::f32, true, "an array of f32");
    std::vector<float> all(p.count);
    if (p.count) memcpy(all.data(), p.bytes.data(), p.bytes.size());
    return all;
}

std::vector<bool> File::booleans(std::string_view key) const {
    const Pair& p = get(key, Kind::boolean, true, "an array of bool");
    std::vector<bool> all(p.count);
    for (uint64_t i = 0; i < p.count; i++) all[i] = p.bytes[i] != 0;
    return all;
}

}  // namespace

std::unique_ptr<Gguf> parse_gguf(std::string_view bytes, const std::string& who) {
    auto file = std::make_unique<File>(who);
    file->read(bytes);
    return file;
}

std::unique_ptr<Gguf> open_gguf(const std::string& path) {
    auto file = std::make_unique<File>(std::make_unique<Mapped>(path));
    file->read();
    return file;
}
