// grid.h - what a kernel file includes instead of CUDA's headers. Under nvcc: a thin layer over the CUDA runtime. Under
// a host compiler: the same names, executed by the machine of on_cpu/machine.h.
//
// DD_CUDA is the namespace of the kernels: `gpu` for the GPU, `cuda_on_cpu` for the tests.
#pragma once
#include <cstdint>
#include <tuple>
#include "../error.h"

#ifdef __CUDACC__

#include <cuda_runtime.h>
#ifndef DD_CUDA
#define DD_CUDA gpu
#endif

inline cudaStream_t work = nullptr; // everything happens here, one after another

// Exit::no_resource when memory is what is missing.
void cuda_check(cudaError_t status, const char* what);

// launch<kernel>(grid, block, shared_bytes, arguments...): the one way to start a kernel, in both worlds.
template <auto kernel, class... Args> void launch(dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
    static size_t allowed = 48 * 1024;
    if (shared_bytes > allowed) {
        cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)),
                   "shared memory");
        allowed = shared_bytes;
    }
    [&]<class... P>(void (*function)(P...)) {
        std::tuple<P...> values(static_cast<P>(args)...); // CUDA copies raw bytes: the types must be the kernel's own
        std::apply(
            [&](P&... value) {
                void* addresses[] = {&value...};
                const void* symbol = reinterpret_cast<const void*>(function);
                cuda_check(cudaLaunchKernel(symbol, grid, block, addresses, shared_bytes, work), "launch");
            },
            values);
    }(kernel);
}

// Shared memory is asked for by type: the bytes given at launch, or one static object a block.
template <class T> __device__ __forceinline__ T& dynamic_shared() {
    extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];
    return *reinterpret_cast<T*>(dynamic_shared_bytes);
}
template <class T> __device__ __forceinline__ T& static_shared() {
    __shared__ T object;
    return object;
}

// One load and one store of a whole Word (uint4, uint32_t ...), of values of any type. Both addresses must be aligned.
template <class Word> __device__ __forceinline__ void move(void* to, const void* from) {
    *static_cast<Word*>(to) = *static_cast<const Word*>(from);
}

#else

#include "on_cpu/functions.h"

#endif
