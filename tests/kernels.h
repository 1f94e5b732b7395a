// kernels.h - what the kernel tests share: inputs from named random numbers, outputs between guard bytes, and the
// comparison of a fast kernel with the scalar reference, byte for byte.
//
// Test data stay in the normal range: below 2^-126 the bf16 dot product of the processor flushes to zero, which the
// reference does not.
#pragma once
#include <gtest/gtest.h>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>
#include "../kernels/kernels.h"
#include "../kernels/parallel.h"
#include "../kernels/quant.h"
#include "../kernels/random.h"

// Memory that kernels touch, and the tests as well: of the process, or where they run on a GPU managed (gpu.cu).
void* touched(size_t bytes);
void untouched(void*);
template <class T> struct Touched {
    using value_type = T;
    Touched() = default;
    template <class U> Touched(const Touched<U>&) {}
    T* allocate(size_t n) { return (T*)touched(n * sizeof(T)); }
    void deallocate(T* p, size_t) { untouched(p); }
    bool operator==(const Touched&) const { return true; }
};
template <class T> using Numbers = std::vector<T, Touched<T>>;
inline void wait_for(const Kernels& k) { k.memory->download(nullptr, nullptr, 0); }

inline float at(const Tensor& t, size_t i) { return t.type == Type::bf16 ? bf16_to_f32(t.h()[i]) : t.f()[i]; }

// Memory for one run of a kernel. Inputs and outputs are filled by a stream of random numbers that starts anew with
// every Bench, so that two runs see the same; outputs are remembered and lie between guard bytes.
class Bench {
public:
    explicit Bench(uint64_t seed) : random_(seed) {}

    Tensor in(int rows, int cols, Type type = Type::f32, float scale = 1, float shift = 0) {
        Tensor t = take(rows, cols, type, false);
        fill(t, scale, shift);
        return t;
    }
    // Holds numbers before the kernel writes, as a gradient that is added to does.
    Tensor out(int rows, int cols, Type type = Type::f32, float scale = 1) {
        Tensor t = take(rows, cols, type, true);
        fill(t, scale, 0);
        return t;
    }
    // A gradient that nobody has written: garbage that must not be read (NaN).
    Tensor fresh(int rows, int cols, Type type = Type::f32) {
        Tensor t = take(rows, cols, type, true);
        memset(t.data, 0xff, t.bytes());
        t.fresh = true;
        return t;
    }
    Tensor gradient(bool is_fresh, int rows, int cols, Type type = Type::f32) {
        return is_fresh ? fresh(rows, cols, type) : out(rows, cols, type);
    }
    Tensor zeros(int rows, int cols, Type type = Type::f32) {
        Tensor t = take(rows, cols, type, true);
        memset(t.data, 0, t.bytes());
        return t;
    }
    // A weight of any type.
    Tensor quantized(int rows, int cols, Type type);

    // An input to be filled by the caller.
    Tensor room(int rows, int cols, Type type) { return take(rows, cols, type, false); }

    int* ids(const std::vector<int>& v) {
        ints_.push_back(std::make_unique<Numbers<int>>(v.begin(), v.end()));
        return ints_.back()->data();
    }
    uint32_t below(uint32_t n) { return random_.below(n); }
    float number();

    // Packs for these kernels; the memory is filled with ones first, so that padding left unwritten shows as NaN.
    void pack(const Kernels& k, Matrix& m);

    std::vector<Tensor> outputs() const;
    bool guards_intact() const;
    // "" or what differs, first.
    std::string differs(const Bench& other) const;

private:
    static constexpr size_t guard = 128;
    struct Block { Numbers<char> bytes; size_t size; Tensor t; bool output; };
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<std::unique_ptr<Numbers<int>>> ints_;
    Random random_;

    Tensor take(int rows, int cols, Type type, bool output);
    void fill(Tensor t, float scale, float shift);
};

// `run(kernels, bench)` with the reference and with `fast`, on 1, 2 and 3 threads: the same bytes, none of them NaN.
template <class F> void expect_same(const Kernels& fast, const std::string& what, F run, uint64_t seed = 1) {
    Bench expected(seed);
    run(reference, expected);
    for (int n : {1, 2, 3}) {
        set_threads(n);
        Bench got(seed);
        run(fast, got);
        EXPECT_TRUE(got.guards_intact()) << what << ": bytes around an output were written";
        std::string d = got.differs(expected);
        EXPECT_EQ(d, "") << what << ", " << n << " threads, " << fast.name << " against the reference";
        if (!d.empty()) break;
    }
}

inline const Type every_weight_type[] = {Type::f32,  Type::f16,  Type::bf16, Type::q8_0, Type::q4_0, Type::q4_1,
                                         Type::q5_0, Type::q5_1, Type::q4_k, Type::q5_k, Type::q6_k};

// Consecutive positions of some sequences, and the slot of each in a cache.
struct Sequence { int from, n; };
struct Tokens {
    Numbers<int> pos, first{0}, slot;
    explicit Tokens(std::initializer_list<Sequence> sequences) {
        for (Sequence s : sequences) add(s);
    }
    void add(Sequence s) {
        for (int i = 0; i < s.n; i++) pos.push_back(s.from + i);
        first.push_back(int(pos.size()));
        slot.push_back(int(slot.size()));
    }
    int n() const { return int(pos.size()); }
    int seqs() const { return int(slot.size()); }
    Rows rows() const { return {n(), seqs(), nullptr, pos.data(), first.data(), slot.data()}; }
};

// Zeroed panels for so many: of the pass's own tokens (room 0), or a cache of seqs slots with `room` panels each.
KeyValues panels(Bench&, Type, int heads, int size, int n, int seqs, int room);

// In files of their own, for kernels.cpp's list.
void test_convolve(const Kernels&);
void test_convolve_back(const Kernels&);
void test_delta(const Kernels&);
void test_delta_back(const Kernels&);

// Instruction sets of this machine and build, without the scalar one.
std::vector<const Kernels*> fast_kernels();
