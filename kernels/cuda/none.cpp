// none.cpp - a build without CUDA.
#include "../devices.h"
#include "../kernels.h"

const Kernels& cuda(int, bool) {
    fail(Exit::no_resource, "--device cuda: this build has no CUDA (make found no nvcc, or CUDA=0); use --device cpu");
}

Devices cuda_devices() { return {{}, "", "this build has no CUDA (make found no nvcc, or CUDA=0)"}; }
