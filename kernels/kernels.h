// kernels.h - a backend is a table of functions.
// The CPU's is the scalar reference, overlaid by whatever this machine does better. The GPU's stands alone.
#pragma once
#include "list.h"

struct Kernels {
    const char* name;       // "scalar", "avx2", "avx512", "avx512+bf16": said at start, never silent
    bool bf16;              // has bf16 dot products: the default of --precision
#define K(name, args) void(*name) args;
    DD_KERNELS(K)
#undef K
};

extern const Kernels reference; // cpu/ref.cpp      scalar, plain: the specification the others are tested against
extern const Kernels nothing;           // cpu/cpu.cpp      computes nothing: to plan memory with the real walk
bool overlay_avx2(Kernels&);            // cpu/avx2.cpp     replaces the entries it does better; false: not compiled in
bool overlay_avx512(Kernels&);          // cpu/avx512.cpp
bool overlay_avx512_bf16(Kernels&);     // cpu/avx512_bf16.cpp

// The reference and the best overlay that this machine runs, chosen at the first call; DD_ISA=scalar|avx2|avx512|
// avx512+bf16 forces one (Exit::no_resource when the machine or the build lacks it).
const Kernels& cpu();
const Kernels& cpu(const char* isa);
