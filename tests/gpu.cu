// gpu.cu - memory that the tests and a GPU's kernels touch, for make test-gpu.
#include <cuda_runtime.h>
#include <unistd.h>
#include <cstdio>
#include "../kernels/devices.h"
#include "../kernels/error.h"

// Said before anything else: the tests' parameters, made before any test runs, open the device already.
static struct IsThereOne {
    IsThereOne() {
        const Devices d = cuda_devices();
        const std::string why = d.all.empty() ? d.why : d.all[0].unfit;
        if (why.empty()) return;
        fprintf(stderr, "tests: no GPU to test: %s\n", why.c_str());
        _exit(int(Exit::no_resource));
    }
} is_there_one __attribute__((init_priority(101)));

void* touched(size_t bytes) {
    void* p = nullptr;
    if (cudaMallocManaged(&p, bytes ? bytes : 1) != cudaSuccess) fail(Exit::no_resource, "no managed memory");
    return p;
}
void untouched(void* p) {
    cudaDeviceSynchronize();
    cudaFree(p);
}
