// collective.h - sums over several processes whose tensors are in devices, from device to device.
//
// All that it takes is said by all processes in the same order; how they learn of each other, and of one that died, is
// the caller's (train/ranks.h).
#pragma once
#include <cstddef>
#include <functional>
#include <string>

// Asked again and again by whoever waits for the others. Throws when they will not come, and that ends the waiting.
using Watch = std::function<void()>;

struct Collective {
    std::string (*name)();                      // of the library, with its version; empty: there is none here
    std::string (*missing)();                   // and why
    std::string (*device)();                    // which device this process has, of all in the world
    std::string (*identity)();                  // of a new group: one process asks for it, and tells the others
    void* (*join)(const std::string& identity, int rank, int size, const Watch&);
    void (*sum)(void* group, float* x, size_t n, const Watch&);        // in place; every process gets the same bits
    void (*leave)(void* group);
};
