// safetensors.h - the format of Hugging Face checkpoints: u64 header length, JSON header, data.
#pragma once
#include <map>
#include <memory>
#include "file.h"

struct Safetensors : TensorFile {
    virtual const std::map<std::string, std::string>& metadata() const = 0;     // of a sharded set: the first shard's
};

// Opens one file, or a sharded set through its index (`path` ends in .index.json). Everything that the format's rules
// forbid is Exit::bad_input naming file, byte offset and rule: a header beyond the file, over 100 MB or not of the
// form {name: {dtype, shape, data_offsets}}, a name that stands twice or is no UTF-8, a number that is no plain
// non-negative integer, a rank over 8, more than a million tensors, sizes that overflow or contradict shape and dtype,
// and data that are not exactly the tensors, one after the other from the first byte to the last of the file. Shards
// are plain file names beside the index and hold just the tensors that it says.
std::unique_ptr<Safetensors> open_safetensors(const std::string& path);

// The same for one file's bytes in memory, which must outlive the result. `who` stands for the path.
std::unique_ptr<Safetensors> parse_safetensors(std::string_view bytes, const std::string& who);

// Writes tensors whose names, types and shapes are known beforehand; their rows may come in any order, so that
// activations stream to disk as they are made. Nothing appears under `path` before commit(), which insists that every
// row has come. In the file, wider numbers stand first, so that all are aligned; otherwise in the order of the items.
class SafetensorsWriter {
public:
    struct Item { std::string name; Type type; std::vector<int64_t> shape; };   // type: f32 f16 bf16 i32 i64 u8
    SafetensorsWriter(const std::string& path, const std::vector<Item>&,
                      const std::map<std::string, std::string>& metadata);
    // Rows of tensor `item` (all dimensions after the first make one row; a scalar is one row), from row `first`.
    void write(size_t item, int64_t first, const void* data, int64_t rows);
    void commit();

private:
    AtomicFile file_;
    std::vector<uint64_t> offset_, row_bytes_, rows_, written_;
};

// The same for NumPy's .npz (a stored zip of .npy): one array an item, not bf16. Rows of one item must come in order.
// Where a size or an offset reaches `zip64_from`, the zip's 64-bit fields are used.
class NpzWriter {
public:
    NpzWriter(const std::string& path, const std::vector<SafetensorsWriter::Item>&, uint64_t zip64_from = 0xffffffff);
    ~NpzWriter();
    void write(size_t item, int64_t first, const void* data, int64_t rows);
    void commit();

private:
    struct State;
    std::unique_ptr<State> state_;
};
