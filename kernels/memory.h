// memory.h - where the tensors of a backend live, and how numbers get there and back.
//
// The CPU's kernels read and write the memory of the process: nothing is ever copied for them. A device has memory of
// its own, which only its kernels touch; whoever has numbers for it or wants some of it says put, get or hold
// (tensor.h), and is given back what it gave where nothing need be copied. So nobody asks which kind it is.
#pragma once
#include <cstddef>

struct Tensor;

struct Memory {
    bool host;                                          // the process may read and write it
    void* (*reserve)(size_t bytes);                     // addresses; memory comes behind them with
    void (*commit)(void* base, size_t from, size_t to); // base + from .. to: Exit::no_resource when there is
                                                        // none; null: the system does it at the first touch
    void (*release)(void* base, size_t bytes);
    void (*upload)(void* to, const void* from, size_t bytes);   // before whatever is called next; `from` may go at once
    void (*download)(void* to, const void* from, size_t bytes); // after whatever was called before
    void (*fill)(void* at, int byte, size_t bytes);
    void (*hold)(void* to, const Tensor& stored); // a weight, as a file has it, as the kernels read it
    size_t (*available)();                        // bytes that could still be committed; host: SIZE_MAX
};
extern const Memory host_memory;
