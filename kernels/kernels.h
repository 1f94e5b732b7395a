// kernels.h - a backend is a table of functions.
// The CPU's is the scalar reference, overlaid by whatever this machine does better. The GPU's stands alone.
#pragma once
#include "collective.h"
#include "list.h"

// Work that is remembered once and done again as a whole, where launching its parts costs more than doing them. What is
// remembered depends on addresses and sizes; numbers in device memory may change in between.
struct Recorder {
    void (*begin)();                // what is called from here on is remembered, not done
    void* (*end)();
    void (*replay)(void* recorded);
    void (*drop)(void* recorded);
};

// What a device's speeds are a share of (probe.h), read on the device itself.
namespace probe { struct Probe; }
struct Limits {
    const probe::Probe *bf16, *f32, *bandwidth;
};

struct Kernels {
    const char* name;       // "scalar", "avx2", "avx512", "avx512+bf16": said at start, never silent
    bool bf16;              // has bf16 dot products: the default of --precision
    const Memory* memory;   // where its tensors are
    const Recorder* recorder;       // null: nothing is gained by it
    const Collective* collective;   // null: what several processes add up goes through their memory
#define K(name, args) void(*name) args;
    DD_KERNELS(K)
#undef K
    const Limits* limits = nullptr; // null: the processor's (probe.h)
    int tokens_a_pass = 512;        // of prompts: fewer leave it idle, more only take memory
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

// The GPU's (cuda/table.cu): device `number`. Exit::no_resource, saying which, where the build, the driver, the device
// or its architecture is missing (cuda/none.cpp: the build). One device a process. one_order: a row's numbers do not
// depend on how many go together, which the fastest kernel for few rows gives up.
const Kernels& cuda(int number, bool one_order = false);
