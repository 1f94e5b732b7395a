// safetensors.h - the format of Hugging Face checkpoints: u64 header length, JSON header, data.
#pragma once
#include <map>
#include <memory>
#include "file.h"

// Opens one file, or a sharded set through its index (`path` ends in .index.json). Everything that the format's rules
// forbid is Exit::bad_input naming file, byte offset and rule: ../README.md lists them with the tests.
struct Safetensors : TensorFile {
    virtual const std::map<std::string, std::string>& metadata() const = 0;
};
std::unique_ptr<Safetensors> open_safetensors(const std::string& path);

// Writes tensors whose names, types and shapes are known beforehand; their rows may come in any order, so that
// activations stream to disk as they are made. Nothing appears under `path` before commit().
class SafetensorsWriter {
public:
    struct Item { std::string name; Type type; std::vector<int64_t> shape; };
    SafetensorsWriter(const std::string& path, const std::vector<Item>&, const std::map<std::string, std::string>& metadata);
    // Rows of tensor `item` (all dimensions after the first make one row), from row `first`.
    void write(size_t item, int64_t first, const void* data, int64_t rows);
    void commit();

private:
    AtomicFile file_;
    std::vector<uint64_t> offset_, row_bytes_, rows_;
};

// The same for NumPy's .npz (a stored zip of .npy): one array an item. Rows of one item must come in order.
class NpzWriter {
public:
    NpzWriter(const std::string& path, const std::vector<SafetensorsWriter::Item>&);
    ~NpzWriter();
    void write(size_t item, int64_t first, const void* data, int64_t rows);
    void commit();

private:
    struct State;
    std::unique_ptr<State> state_;
};
