// gguf.h - the format of llama.cpp: typed metadata and tensors in blocks, read by mapping.
#pragma once
#include <memory>
#include <optional>
#include "file.h"

// Metadata is typed at the door: a getter fails (Exit::bad_input, naming file and key) unless the stored type is one
// it accepts. Arrays of strings and numbers are views into the mapping, bounds-checked when the file was opened; as a
// vector at most 4,194,304 elements of one are given out, more than any vocabulary has.
struct Gguf : TensorFile {
    virtual bool has(std::string_view key) const = 0;
    virtual std::vector<std::string> keys() const = 0;                                      // in the order of the file
    virtual bool is_array(std::string_view key) const = 0;                                  // false: it is not there
    virtual int64_t integer(std::string_view key, int64_t low, int64_t high) const = 0;     // any integer type
    virtual double number(std::string_view key) const = 0;                      // any integer or float type; finite
    virtual bool boolean(std::string_view key) const = 0;
    virtual std::string_view string(std::string_view key) const = 0;
    virtual std::vector<std::string_view> strings(std::string_view key) const = 0;
    virtual std::vector<int64_t> integers(std::string_view key) const = 0;                  // array of any integer type
    virtual std::vector<float> floats(std::string_view key) const = 0;                      // array of f32
    virtual std::vector<bool> booleans(std::string_view key) const = 0;
};

// Opens a file of version 2 or 3. Everything that the format's rules forbid is Exit::bad_input naming file, byte offset
// and rule: counts and lengths that the bytes left cannot hold, more than 65,536 keys or a million tensors, keys that
// are empty, twice there or over 64 KiB, strings over 16 MiB outside tokenizer.*, arrays of arrays, unknown types, an
// alignment that is no power of two up to 4096, names of 64 bytes or more, rank over 4, rows that are not whole blocks,
// sizes that overflow, and tensors that do not lie back to back, each padded to the alignment, to the end of the file.
// A tensor of a type that ggml knows and we do not compute with is there as Type::other, with ggml's name in `dtype`.
std::unique_ptr<Gguf> open_gguf(const std::string& path);

// The same for a file's bytes in memory, which must outlive the result. `who` stands for the path.
std::unique_ptr<Gguf> parse_gguf(std::string_view bytes, const std::string& who);

// Writes a GGUF file (version 3, alignment 32): what the tests read, and exports. Tensor shapes are outermost first.
// What the format forbids (a name twice or of 64 bytes, a fifth dimension, half a block) is a broken promise.
class GgufWriter {
public:
    GgufWriter();
    ~GgufWriter();
    void add(const std::string& key, uint32_t);
    void add(const std::string& key, float);
    void add(const std::string& key, bool);
    void add(const std::string& key, const std::string&);
    void add(const std::string& key, const char*);      // without it, a literal would be a bool
    void add(const std::string& key, const std::vector<std::string>&);
    void add(const std::string& key, const std::vector<int32_t>&);
    void add(const std::string& key, const std::vector<float>&);
    void add(const std::string& key, const std::vector<bool>&);
    // The data are not copied: they must be there until write().
    void add(const std::string& name, Type, const std::vector<int64_t>& shape, const void* data, size_t bytes);
    void write(const std::string& path);        // atomic

private:
    struct State;
    std::unique_ptr<State> state_;
};
