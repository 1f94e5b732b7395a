// file.h - files as the rest of the house sees them: mapped for reading, atomic for writing.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>
#include "../kernels/tensor.h"

// A whole file, mapped read-only. It must not change while it is mapped (a file that shrinks is SIGBUS).
class Mapped {
public:
    explicit Mapped(const std::string& path);       // Exit::bad_input when it cannot be opened or is not a plain file
    ~Mapped();
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;
    const std::string path;
    const char* data = nullptr;
    size_t size = 0;
    void drop() const;                              // tell the system that the pages are not needed for now
};

// A tensor in a file. `data` points into the mapping, at any address: formats do not promise that numbers are aligned,
// so copy them before use as numbers. `shape` is outermost first, as in safetensors and PyTorch.
struct Stored {
    std::string name;
    Type type = Type::other;
    std::string dtype;                              // as the file spells it
    std::vector<int64_t> shape;
    const char* data = nullptr;
    size_t bytes = 0;
};

// A file of named tensors, whatever its format. Tensors are in the order of the file; find is O(1).
struct TensorFile {
    virtual ~TensorFile() = default;
    virtual const std::string& path() const = 0;
    virtual const std::vector<Stored>& tensors() const = 0;
    virtual const Stored* find(std::string_view name) const = 0;
    virtual void drop() const = 0;                  // its pages are not needed for now
};

// A plain file or a pipe, whole. Exit::bad_input when it cannot be read or is larger than max_bytes.
std::string read_file(const std::string& path, size_t max_bytes = size_t(1) << 32);
// Every line, without its end, of a plain file, a pipe, or standard input ("-"); numbers count from 1. Exit::bad_input
// when it cannot be read, or at a line of more than max_line bytes.
void read_lines(const std::string& path, size_t max_line,
                const std::function<void(std::string_view line, int number)>& each);
bool exists(const std::string& path);
bool is_folder(const std::string& path);
// 64 hex digits. `plain`: without the CPU's own instructions for it, so that a test can compare the two.
std::string sha256(std::string_view bytes, bool plain = false);
std::string sha256_of_file(const std::string& path);

// Writes into a temporary file beside `path` that takes its name in commit(), after fsync; until then, and when it is
// destroyed without commit, `path` is as it was. A link is followed: what it points to is replaced. Errors:
// Exit::no_resource for a full disk or quota, Exit::bad_input for a folder that is missing or may not be written and
// for a path that is no plain file (a device would be replaced by a file), all naming the path.
class AtomicFile {
public:
    explicit AtomicFile(const std::string& path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    void reserve(uint64_t bytes);                       // posix_fallocate: a full disk is found before work begins
    void write(const void* data, size_t n);             // after the last byte written so far
    void write_at(uint64_t offset, const void* data, size_t n);     // what nobody wrote reads as zeros
    void write(std::string_view s) { write(s.data(), s.size()); }
    void commit();                                      // once; nothing may be written after it

private:
    std::string path_, temp_;
    int fd_ = -1;
    uint64_t end_ = 0;
};
void write_file(const std::string& path, std::string_view bytes);       // atomic
// A descriptor, to read and to write, of a new file without a name in the folder of `beside`; the caller closes it.
int open_nameless(const std::string& beside);
// The temporary files of all writers that are not done. For signal handlers that end the process.
void remove_unfinished_files();
// What a write that failed with errno `error` ends in: Exit::no_resource where room was lacking, else Exit::bad_input.
[[noreturn]] void fail_to_write(const std::string& path, const char* doing, uint64_t bytes, int error);
void make_folders(const std::string& path);                             // like mkdir -p
void sync_folder(const std::string& path);                              // fsync of a directory
