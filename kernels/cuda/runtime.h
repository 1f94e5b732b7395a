// runtime.h - the device as the kernels' host side sees it: its memory, and room to work in. Two implementations: the
// CUDA runtime (device.cu), and for tests without a GPU the process itself (on_cpu/device.cpp).
#pragma once
#include "../kernels.h"
#include "grid.h"

namespace DD_CUDA {

extern const Memory memory;
extern const Recorder recorder;     // CUDA graphs

// Room for the inside of one entry of the table, until the next entry that asks: all work of the process is one stream.
// Always at the same place, since recorded work remembers where it was.
void* workspace(size_t bytes);

} // namespace DD_CUDA
