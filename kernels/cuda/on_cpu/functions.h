// functions.h - CUDA's words and functions for a host compiler.
#pragma once
#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static // works as it stands; only static_shared and dynamic_shared are poisoned and guarded
#define __align__(n) alignas(n)

using std::max, std::min;

// Below, CUDA's functions. They carry their caller's place, so that an error can say who waits where.

inline void __syncthreads(cuda_cpu::Where where = cuda_cpu::Where::current()) {
    auto& m = cuda_cpu::machine();
    [[maybe_unused]] char& order = m.order[m.current->barriers++ % 2];
    CUDA_CPU_TSAN(__tsan_release(&order);)
    m.wait_in("__syncthreads", where);
    m.suspend();
    CUDA_CPU_TSAN(__tsan_acquire(&order);)
}

inline int __syncthreads_or(int vote, cuda_cpu::Where where = cuda_cpu::Where::current()) {
    auto& m = cuda_cpu::machine();
    int& votes = m.votes[m.current->barriers++ % 2];
    [[maybe_unused]] char& order = m.order[m.current->barriers % 2];
    CUDA_CPU_TSAN(__tsan_release(&order);)
    std::atomic_ref(votes).fetch_or(vote != 0, std::memory_order_relaxed); // for ThreadSanitizer: nobody is in a hurry
    m.wait_in("__syncthreads_or", where);
    m.suspend();
    CUDA_CPU_TSAN(__tsan_acquire(&order);)
    return std::atomic_ref(votes).load(std::memory_order_relaxed);
}

inline void __syncwarp(uint32_t mask = ~0u, cuda_cpu::Where where = cuda_cpu::Where::current()) {
    auto& m = cuda_cpu::machine();
    [[maybe_unused]] char& order = m.warps[m.current->rank / 32].order[m.current->warp_syncs++ % 2];
    CUDA_CPU_TSAN(__tsan_release(&order);)
    char nothing;
    cuda_cpu::warp_operation("__syncwarp", mask, where, nothing, [](auto&) {});
    CUDA_CPU_TSAN(__tsan_acquire(&order);)
}

namespace cuda_cpu {

// source(lane) gives the lane to read from, or -1 to keep one's own value.
template <class T, class Source> T shuffle(const char* name, uint32_t mask, T value, Where where, Source source) {
    struct Operand {
        T value, result;
        int source;
    };
    const int lane = machine().current->rank % 32, from = source(lane);
    Operand mine{value, value, from < 0 ? lane : from};
    warp_operation(name, mask, where, mine, [] CUDA_CPU_UNSEEN(Operand * (&all)[32]) {
        for (Operand* o : all) {
            if (!o) continue;
            if (all[o->source]) o->result = all[o->source]->value;
            else std::memset(&o->result, poison, sizeof(T)); // a lane that takes no part: undefined in CUDA
        }
    });
    return mine.result;
}

inline uint32_t ballot(const char* name, uint32_t mask, bool vote, Where where) {
    struct Operand {
        bool vote;
        uint32_t result;
    } mine{vote, 0};
    warp_operation(name, mask, where, mine, [] CUDA_CPU_UNSEEN(Operand * (&all)[32]) {
        uint32_t votes = 0;
        for (int i = 0; i < 32; ++i) votes |= uint32_t(all[i] && all[i]->vote) << i;
        for (Operand* o : all)
            if (o) o->result = votes;
    });
    return mine.result;
}

} // namespace cuda_cpu

#define CUDA_CPU_WHERE cuda_cpu::Where where = cuda_cpu::Where::current()

template <class T> T __shfl_sync(uint32_t mask, T value, int source, int width = 32, CUDA_CPU_WHERE) {
    return cuda_cpu::shuffle("__shfl_sync", mask, value, where,
                             [=](int lane) { return (lane & -width) | (source & (width - 1)); });
}
template <class T> T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32, CUDA_CPU_WHERE) {
    return cuda_cpu::shuffle("__shfl_xor_sync", mask, value, where,
                             [=](int lane) { return (lane ^ bits) <= (lane | (width - 1)) ? lane ^ bits : -1; });
}
template <class T> T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32, CUDA_CPU_WHERE) {
    return cuda_cpu::shuffle("__shfl_down_sync", mask, value, where,
                             [=](int lane) { return lane % width + int(by) < width ? lane + int(by) : -1; });
}
template <class T> T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32, CUDA_CPU_WHERE) {
    return cuda_cpu::shuffle("__shfl_up_sync", mask, value, where,
                             [=](int lane) { return lane % width >= int(by) ? lane - int(by) : -1; });
}
inline uint32_t __ballot_sync(uint32_t mask, int vote, CUDA_CPU_WHERE) {
    return cuda_cpu::ballot("__ballot_sync", mask, vote, where);
}
inline int __any_sync(uint32_t mask, int vote, CUDA_CPU_WHERE) {
    return cuda_cpu::ballot("__any_sync", mask, vote, where) != 0;
}
inline int __all_sync(uint32_t mask, int vote, CUDA_CPU_WHERE) {
    return cuda_cpu::ballot("__all_sync", mask, !vote, where) == 0;
}

template <class T> T atomicAdd(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref(*address).fetch_add(value, std::memory_order_relaxed);
}

template <class T> T __ldg(const T* address) { return *address; }
// Byte i of the result is the one of the eight bytes y:x that nibble i of the selector names.
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector) {
    uint64_t bytes = uint64_t(y) << 32 | x, r = 0;
    for (int i = 0; i < 4; i++) r |= (bytes >> (selector >> i * 4 & 7) * 8 & 0xff) << i * 8;
    return uint32_t(r);
}
inline uint64_t __umul64hi(uint64_t x, uint64_t y) { return uint64_t((unsigned __int128)x * y >> 64); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }

// launch<kernel>(grid, block, shared_bytes, stream, arguments...): the one way to start a kernel, in both worlds.
template <auto kernel, class... Args> void launch(dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
    cuda_cpu::check_grid(cuda_cpu::kernel_name<kernel>(), grid);
    (cuda_cpu::look_at(cuda_cpu::kernel_name<kernel>(), args), ...);
    cuda_cpu::submit([=] {
        cuda_cpu::run_grid(cuda_cpu::kernel_name<kernel>(), grid, block, shared_bytes, [&] { kernel(args...); });
    });
}

template <class T> T& dynamic_shared() { return *static_cast<T*>(cuda_cpu::machine().dynamic); }

template <class T> CUDA_CPU_UNSEEN T& static_shared() {
    static constinit T* object = nullptr;
    static constinit uint64_t block = 0;
    auto& m = cuda_cpu::machine();
    CUDA_CPU_TSAN(__tsan_acquire(&m.order[3]);) // the first caller's poisoning is not a race
    if (block != m.blocks) {
        block = m.blocks, object = static_cast<T*>(m.allocate_shared(sizeof(T)));
        CUDA_CPU_TSAN(__tsan_release(&m.order[3]);)
    }
    return *object;
}

template <class Word> void move(void* to, const void* from) {
    if ((uintptr_t(to) | uintptr_t(from)) % alignof(Word)) cuda_cpu::machine().fail("a vector access is misaligned");
    std::memcpy(to, from, sizeof(Word));
}
