// runtime.h - the device as the kernels' host side sees it: its memory, and room to work in. Two implementations: the
// CUDA runtime (device.cu), and for tests without a GPU the process itself (on_cpu/device.cpp).
#pragma once
#include "../kernels.h"
#include "grid.h"

namespace DD_CUDA {

extern const Memory memory;
extern const Recorder recorder;         // CUDA graphs
extern const Collective collective;     // NCCL

extern const Limits limits;         // limits.cu

// How much the probes of limits.cu do, so that a reading takes a few milliseconds: bytes read; the side of a square
// product; blocks of 256 threads, and steps of their chains.
struct ProbeSizes {
    size_t bytes;
    int side, blocks, steps;
};
extern const ProbeSizes probe_sizes;

// Room for the inside of one entry of the table, until the next entry that asks: all work of the process is one stream.
// Always at the same place, since recorded work remembers where it was.
void* workspace(size_t bytes);

// What both say of a device that is full, and of one that has stopped answering.
[[noreturn]] inline void no_memory_left(size_t more, size_t free) {
    fail(Exit::no_resource,
         "device memory: %.2f GB more are needed, %.2f GB are free; lower the batch, the length or the cache, or use "
         "--recompute",
         double(more) * 1e-9, double(free) * 1e-9);
}
[[noreturn]] inline void device_lost(const char* what, const char* why) {
    fail(Exit::failed, "cuda: %s: %s; the device may be lost: start again, the last checkpoint stands", what, why);
}

} // namespace DD_CUDA
