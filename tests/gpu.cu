// gpu.cu - memory that the tests and a GPU's kernels touch, for make test-gpu.
#include <cuda_runtime.h>
#include <cstdlib>
#include "../kernels/error.h"

void* touched(size_t bytes) {
    void* p = nullptr;
    if (cudaMallocManaged(&p, bytes ? bytes : 1) != cudaSuccess) fail(Exit::no_resource, "no managed memory");
    return p;
}
void untouched(void* p) {
    cudaDeviceSynchronize();
    cudaFree(p);
}
