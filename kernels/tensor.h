// tensor.h - Type, Tensor, Arena: the three things every file needs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>
#include "error.h"
#include "memory.h"

// How numbers are stored. Activations are f32, or bf16 where they are operands of products; only weights are in blocks.
// q8_0 .. q6_k are the block formats of GGUF: `block` weights of a row in `bytes` bytes.
enum class Type : uint8_t { f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, i32, i64, u8, other };

struct TypeInfo { const char* name; int block, bytes; };

inline const TypeInfo& info(Type t) {
    static constexpr TypeInfo table[] = {
        {"F32", 1, 4},     {"F16", 1, 2},     {"BF16", 1, 2},     {"Q8_0", 32, 34},   {"Q4_0", 32, 18},
        {"Q4_1", 32, 20},  {"Q5_0", 32, 22},  {"Q5_1", 32, 24},   {"Q4_K", 256, 144}, {"Q5_K", 256, 176},
        {"Q6_K", 256, 210}, {"I32", 1, 4},    {"I64", 1, 8},      {"U8", 1, 1},       {"other", 1, 0}};
    return table[int(t)];
}
inline size_t row_bytes(Type t, size_t cols) { return cols / info(t).block * info(t).bytes; }

// Where the gradient of a tensor is, once somebody has added to it. A weight's lives as long as the training; an
// activation's, from the first who adds to it until the op that made the tensor has taken its step back. Tensors may
// share one buffer as long as none of them writes to it: `holders` counts them (null: a weight's, never shared).
struct Grad { void* data = nullptr; int* holders = nullptr; };

// A view of rows of numbers: one row a token, one column a channel. Owns nothing and is passed by value.
// Two dimensions are enough: heads are chunks of columns.
struct Tensor {
    void* data = nullptr;
    int rows = 0, cols = 0;
    Type type = Type::f32;
    bool fresh = false;         // a gradient that nobody has written yet: overwrite it; otherwise add to it
    Grad* grad = nullptr;       // null: a constant, nobody wants its gradient

    size_t count() const { return size_t(rows) * cols; }
    size_t bytes() const { return rows * row_bytes(type, cols); }
    float* f() const { return (float*)data; }
    uint16_t* h() const { return (uint16_t*)data; }
    explicit operator bool() const { return data != nullptr; }
    // Rows first .. first+n-1.
    Tensor slice(int first, int n) const {
        Tensor t = *this;
        t.data = (char*)data + first * row_bytes(type, cols);
        t.rows = n, t.grad = nullptr;
        return t;
    }
};

// A stack of bytes, in the process's memory (an anonymous mapping on huge pages) or in a device's. Nothing is freed one
// by one: remember `used`, rewind to it.
// Memory comes behind the addresses when it is first taken (or touched), so an arena may be planned generously.
class Arena {
public:
    explicit Arena(size_t size, bool counting = false);     // counting: addresses without memory, to plan with
    Arena(size_t size, const Memory&);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    void* take(size_t n) {
        n = (n + 63) & ~size_t(63);
        require(n <= size_ - used, "arena full: %zu of %zu bytes used, %zu wanted", used, size_, n);
        used += n;
        if (used > peak) peak = used;
        if (used > committed_) commit();
        return base_ + (used - n);
    }
    Tensor make(int rows, int cols, Type type = Type::f32) {
        Tensor t{nullptr, rows, cols, type};
        t.data = take(t.bytes());
        return t;
    }
    // Give back all taken since `mark`. Tests poison it, so that whatever still looks there finds NaN.
    void rewind(size_t mark);

    // n numbers of the process, where kernels read them: themselves, or a copy taken from this arena.
    template <class T> const T* put(const T* from, size_t n) {
        if (memory.host || !n) return from;
        void* to = take(n * sizeof(T));
        memory.upload(to, from, n * sizeof(T));
        return (const T*)to;
    }
    template <class T> const T* put(const std::vector<T>& from) { return put(from.data(), from.size()); }
    // A weight as a file has it, where and as kernels read it: likewise. `stored` outlives the arena.
    Tensor hold(Tensor stored) {
        if (memory.host) return stored;
        Tensor t = make(stored.rows, stored.cols, stored.type);
        memory.hold(t.data, stored);
        return t;
    }
    // A tensor that begins with these numbers, a copy.
    Tensor copy(const std::vector<float>& from, int rows, int cols) {
        Tensor t = make(rows, cols);
        memory.upload(t.data, from.data(), t.bytes());
        return t;
    }

    size_t size() const { return size_; }
    const Memory& memory;
    size_t used = 0, peak = 0;
    bool poison = false;

private:
    void commit();
    char* base_;
    size_t size_, committed_;
    bool counting_;
};

// f32 numbers of a tensor in this memory, for the process to read: where they are, or copied into `buffer`.
inline const float* get(const Memory& from, const Tensor& t, std::vector<float>& buffer) {
    if (from.host) return t.f();
    buffer.resize(t.count());
    from.download(buffer.data(), t.data, t.bytes());
    return buffer.data();
}
inline std::vector<float> get(const Memory& from, const Tensor& t) {
    std::vector<float> v(t.count());
    from.download(v.data(), t.data, t.bytes());
    return v;
}
