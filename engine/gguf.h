// gguf.h - the format of llama.cpp: typed metadata and tensors in blocks, read by mapping.
#pragma once
#include <memory>
#include <optional>
#include "file.h"

// Metadata is typed at the door: a getter fails (Exit::bad_input, naming file and key) unless the stored type is one
// it accepts. Arrays of strings and numbers are views into the mapping, bounds-checked when the file was opened.
struct Gguf : TensorFile {
    virtual bool has(std::string_view key) const = 0;
    virtual std::vector<std::string> keys() const = 0;
    virtual int64_t integer(std::string_view key, int64_t low, int64_t high) const = 0;     // any integer type
    virtual double number(std::string_view key) const = 0;                                  // any integer or float type
    virtual bool boolean(std::string_view key) const = 0;
    virtual std::string_view string(std::string_view key) const = 0;
    virtual std::vector<std::string_view> strings(std::string_view key) const = 0;
    virtual std::vector<int64_t> integers(std::string_view key) const = 0;                  // array of any integer type
    virtual std::vector<float> floats(std::string_view key) const = 0;                      // array of f32
    virtual std::vector<bool> booleans(std::string_view key) const = 0;
};
std::unique_ptr<Gguf> open_gguf(const std::string& path);

// Writes a GGUF file (version 3, alignment 32): what the tests read, and exports. Tensor shapes are outermost first.
class GgufWriter {
public:
    GgufWriter();
    ~GgufWriter();
    void add(const std::string& key, uint32_t);
    void add(const std::string& key, float);
    void add(const std::string& key, bool);
    void add(const std::string& key, const std::string&);
    void add(const std::string& key, const std::vector<std::string>&);
    void add(const std::string& key, const std::vector<int32_t>&);
    void add(const std::string& key, const std::vector<float>&);
    void add(const std::string& key, const std::vector<bool>&);
    void add(const std::string& name, Type, const std::vector<int64_t>& shape, const void* data, size_t bytes);
    void write(const std::string& path);        // atomic

private:
    struct State;
    std::unique_ptr<State> state_;
};
