// gguf_write.cpp - writing GGUF: the header is built in memory, the data are streamed after it.
#include <set>
#include "ggml_types.h"
#include "gguf.h"

namespace {

constexpr uint64_t alignment = 32;
// The format's numbers for the types of metadata that we write.
enum : uint32_t { kind_u32 = 4, kind_i32 = 5, kind_f32 = 6, kind_bool = 7, kind_string = 8, kind_array = 9 };

template <class T> void put(std::string& to, T value) { to.append((const char*)&value, sizeof value); }
void put_string(std::string& to, std::string_view s) {
    put<uint64_t>(to, s.size());
    to += s;
}
uint64_t padded(uint64_t n) { return (n + alignment - 1) / alignment * alignment; }

}  // namespace

struct GgufWriter::State {
    struct Data { const void* data; size_t bytes; };
    std::string pairs, entries;
    uint64_t pair_count = 0, offset = 0;
    std::vector<Data> data;
    std::set<std::string> keys, names;

    // Begins a pair; what comes after it is the value.
    std::string& begin(const std::string& key, uint32_t kind) {
        require(!key.empty() && keys.insert(key).second, "GGUF: the key '%s' is empty or stands twice", key.c_str());
        put_string(pairs, key);
        put(pairs, kind);
        pair_count++;
        return pairs;
    }
    std::string& begin_array(const std::string& key, uint32_t kind, uint64_t count) {
        put(begin(key, kind_array), kind);
        put(pairs, count);
        return pairs;
    }
};

GgufWriter::GgufWriter() : state_(std::make_unique<State>()) {}
GgufWriter::~GgufWriter() = default;

void GgufWriter::add(const std::string& key, uint32_t value) { put(state_->begin(key, kind_u32), value); }
void GgufWriter::add(const std::string& key, float value) { put(state_->begin(key, kind_f32), value); }
void GgufWriter::add(const std::string& key, bool value) { put<uint8_t>(state_->begin(key, kind_bool), value); }
void GgufWriter::add(const std::string& key, const std::string& value) {
    put_string(state_->begin(key, kind_string), value);
}
void GgufWriter::add(const std::string& key, const char* value) { add(key, std::string(value)); }
void GgufWriter::add(const std::string& key, const std::vector<std::string>& values) {
    std::string& to = state_->begin_array(key, kind_string, values.size());
    for (const std::string& s : values) put_string(to, s);
}
void GgufWriter::add(const std::string& key, const std::vector<int32_t>& values) {
    std::string& to = state_->begin_array(key, kind_i32, values.size());
    for (const int32_t v : values) put(to, v);
}
void GgufWriter::add(const std::string& key, const std::vector<float>& values) {
    std::string& to = state_->begin_array(key, kind_f32, values.size());
    for (const float v : values) put(to, v);
}
void GgufWriter::add(const std::string& key, const std::vector<bool>& values) {
    std::string& to = state_->begin_array(key, kind_bool, values.size());
    for (const bool v : values) put<uint8_t>(to, v);
}

void GgufWriter::add(const std::string& name, Type type, const std::vector<int64_t>& shape, const void* data,
                     size_t bytes) {
    State& s = *state_;
    const GgmlType* ggml = ggml_type(type);
    require(ggml, "GGUF: the tensor '%s' is of type %s, which ggml does not know", name.c_str(), info(type).name);
    require(name.size() < 64 && s.names.insert(name).second, "GGUF: the name '%s' is too long or stands twice",
            name.c_str());
    require(shape.size() <= 4, "GGUF: the tensor '%s' has %zu dimensions, at most 4", name.c_str(), shape.size());
    size_t numbers = 1;
    for (const int64_t n : shape) numbers *= size_t(n);
    const size_t row = shape.empty() ? 1 : size_t(shape.back());
    require(row % ggml->block == 0 && bytes == row_bytes(type, numbers),
            "GGUF: %zu bytes are not what the shape of tensor '%s' needs", bytes, name.c_str());
    put_string(s.entries, name);
    put<uint32_t>(s.entries, uint32_t(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) put<uint64_t>(s.entries, uint64_t(shape[i]));
    put<int32_t>(s.entries, ggml->id);
    put<uint64_t>(s.entries, s.offset);
    s.offset += padded(bytes);
    s.data.push_back({data, bytes});
}

void GgufWriter::write(const std::string& path) {
    const State& s = *state_;
    std::string head = "GGUF";
    put<uint32_t>(head, 3);
    put<uint64_t>(head, s.data.size());
    put<uint64_t>(head, s.pair_count);
    head += s.pairs;
    head += s.entries;
    head.resize(padded(head.size()));
    AtomicFile file(path);
    file.reserve(head.size() + s.offset);
    file.write(head);
    const std::string zeros(alignment, '\0');
    for (const State::Data& d : s.data) {
        file.write(d.data, d.bytes);
        file.write(zeros.data(), padded(d.bytes) - d.bytes);
    }
    file.commit();
}
