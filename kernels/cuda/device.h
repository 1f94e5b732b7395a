// device.h - what the kernels share: numbers of either type four at a time, sums with one order, exponentials.
//
// Everything here computes what ref.h says, in its order of rounding (no contraction: fused only where fmaf stands), so
// that kernels without a sum give the reference's bits. Sums have an order of their own, which depends on the length of
// a row alone: four neighbours in a thread, threads by a tree.
#pragma once
#include "../kernels.h"
#include "grid.h"
#include "numbers.h"
#include "ptx.h"
#include "runtime.h"

namespace DD_CUDA {

constexpr uint32_t all_lanes = ~0u;
constexpr int warp = 32;

inline unsigned groups_of(size_t n, size_t size) { return unsigned((n + size - 1) / size); }

// A tensor as kernels take it. `whole`: four neighbours from a multiple of four on lie where one load can take them.
struct Numbers {
    void* data;
    int cols;
    bool narrow, fresh, whole; // narrow: bf16
};
// by_rows: the neighbours are counted from the beginning of each row, or of the tensor.
inline Numbers numbers(const Tensor& t, bool by_rows = false) {
    size_t size = t.type == Type::bf16 ? 2 : 4;
    require(!t.data || t.type == Type::bf16 || t.type == Type::f32, "cuda: a tensor of type %s", info(t.type).name);
    return {t.data, t.cols, size == 2, t.fresh, size_t(t.data) % (4 * size) == 0 && !(by_rows && t.cols % 4)};
}

__device__ __forceinline__ float read(const Numbers& t, size_t i) {
    return t.narrow ? to_float(static_cast<const bf16*>(t.data)[i]) : static_cast<const float*>(t.data)[i];
}
__device__ __forceinline__ void write(const Numbers& t, size_t i, float v) {
    if (t.narrow) static_cast<bf16*>(t.data)[i] = to_bf16(v);
    else static_cast<float*>(t.data)[i] = v;
}

struct alignas(16) Four {
    float v[4];
};

// Numbers at .. at + 3, of which `left` exist; zeros for the rest.
__device__ __forceinline__ Four read4(const Numbers& t, size_t at, int left = 4) {
    Four f{};
    if (t.whole && left >= 4) {
        if (!t.narrow) {
            move<uint4>(f.v, static_cast<const float*>(t.data) + at);
        } else {
            alignas(8) bf16 half[4];
            move<uint2>(half, static_cast<const bf16*>(t.data) + at);
            for (int j = 0; j < 4; j++) f.v[j] = to_float(half[j]);
        }
    } else {
        for (int j = 0; j < 4; j++)
            if (j < left) f.v[j] = read(t, at + j);
    }
    return f;
}
__device__ __forceinline__ void write4(const Numbers& t, size_t at, const Four& f, int left = 4) {
    if (t.whole && left >= 4) {
        if (!t.narrow) {
            move<uint4>(static_cast<float*>(t.data) + at, f.v);
        } else {
            uint2 pairs{two_bf16(f.v[0], f.v[1]), two_bf16(f.v[2], f.v[3])};
            move<uint2>(static_cast<bf16*>(t.data) + at, &pairs);
        }
    } else {
        for (int j = 0; j < 4; j++)
            if (j < left) write(t, at + j, f.v[j]);
    }
}
// What a gradient is made of: overwritten while fresh, added to afterwards.
__device__ __forceinline__ void give4(const Numbers& d, size_t at, Four f, int left = 4) {
    if (!d.fresh) {
        Four before = read4(d, at, left);
        for (int j = 0; j < 4; j++) f.v[j] = before.v[j] + f.v[j];
    }
    write4(d, at, f, left);
}

// f(first, left): four neighbours of n numbers, one thread each.
template <class F> __global__ void __launch_bounds__(256) each_kernel(F f, size_t n) {
    size_t i = (size_t(blockIdx.x) * 256 + threadIdx.x) * 4;
    if (i < n) f(i, n - i < 4 ? int(n - i) : 4);
}
template <class F> void each(size_t n, F f) {
    if (n) launch<each_kernel<F>>(groups_of(n, 1024), 256, 0, f, n);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(all_lanes, x, step);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(all_lanes, x, step));
    return x;
}

// Sums (or the largest) over a block of `threads`, a multiple of 32; every thread gets the result. `use` tells apart
// the uses within one kernel, which must not share memory: a warp may be late in reading the one before.
template <int threads, int use> struct BlockShared { float part[threads / warp]; };
template <int threads, int use> __device__ __forceinline__ float block_sum(float x) {
    if (threads == warp) return warp_sum(x);
    float(&part)[threads / warp] = static_shared<BlockShared<threads, use>>().part;
    x = warp_sum(x);
    if (threadIdx.x % warp == 0) part[threadIdx.x / warp] = x;
    __syncthreads(); // every warp's part is there
    return warp_sum(threadIdx.x % warp < threads / warp ? part[threadIdx.x % warp] : 0.0f);
}
template <int threads, int use> __device__ __forceinline__ float block_max(float x) {
    float(&part)[threads / warp] = static_shared<BlockShared<threads, use>>().part;
    x = warp_max(x);
    if (threadIdx.x % warp == 0) part[threadIdx.x / warp] = x;
    __syncthreads(); // every warp's part is there
    return warp_max(part[threadIdx.x % (threads / warp)]);
}

// Which sequence of a pass has this row.
__device__ __forceinline__ int sequence_of(const Rows& b, int row) {
    int low = 0, high = b.seqs - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (b.first[middle] <= row) low = middle;
        else high = middle - 1;
    }
    return low;
}

// Philox as random.h has it (ten rounds), on 32-bit registers.
__device__ __forceinline__ void philox4(uint32_t (&c)[4], uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 10; round++) {
        uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
        c[0] = uint32_t(b >> 32) ^ c[1] ^ k0, c[1] = uint32_t(b);
        c[2] = uint32_t(a >> 32) ^ c[3] ^ k1, c[3] = uint32_t(a);
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}

// ref.h's 2^x, to the bit.
__device__ __forceinline__ float exact_exp2(float x) {
    x = x < -126 ? -126 : x;
    x = x > 126 ? 126 : x;
    float shifted = x + 0x1.8p23f, r = x - (shifted - 0x1.8p23f);
    float p = 1.3264739e-3f;
    p = fmaf(p, r, 9.6715167e-3f);
    p = fmaf(p, r, 5.5507337e-2f);
    p = fmaf(p, r, 2.4022242e-1f);
    p = fmaf(p, r, 6.9314698e-1f);
    p = fmaf(p, r, 1.0f);
    return p * from_bits((bits(shifted) + 127) << 23);
}
constexpr float log2_e = 1.44269504f;
__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + exact_exp2(-x * log2_e)); }
__device__ __forceinline__ float exact_tanh(float x) { return 1 - 2 / (1 + exact_exp2(x * (2 * log2_e))); }

} // namespace DD_CUDA
