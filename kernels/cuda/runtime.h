// runtime.h - the device as the kernels' host side sees it: its memory, and room to work in. Two implementations: the
// CUDA runtime (device.cu), and for tests without a GPU the process itself (on_cpu/device.cpp).
#pragma once
#include "../kernels.h"
#include "grid.h"

namespace DD_CUDA {

extern const Memory memory;
extern const Recorder recorder;     // CUDA graphs

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

} // namespace DD_CUDA
