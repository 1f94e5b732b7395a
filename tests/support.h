// support.h - what tests share.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>
#include "../engine/json.h"
#include "../engine/safetensors.h"
#include "../kernels/cuda/families.h"
#include "../kernels/cuda/library.h"
#include "../models/session.h"
#include "files.h"

// Where the committed files of the tests lie.
inline std::string here(const std::string& name) { return format("%s/%s", DD_TESTS, name.c_str()); }

// Our own CUDA kernels, executed on the CPU (or in `make test-gpu` by a GPU); one_order: a row's numbers do not depend
// on what goes with it.
inline const Kernels& cuda_kernels(bool one_order = false) {
#ifdef DD_ON_GPU
    cuda(0, true); // opens the device
#endif
    static const Kernels fast = DD_CUDA::table("cuda on the CPU", false);
    static const Kernels one = DD_CUDA::table("cuda on the CPU, one order", true);
    return one_order ? one : fast;
}
// The same with products by cuBLASLt, or on the CPU by what stands for it.
inline const Kernels& library_kernels() {
    cuda_kernels();
    static const Kernels k = DD_CUDA::table("cuda with a library", false, true);
    return k;
}

// Every kernel path that this machine runs, the reference first.
inline std::vector<const Kernels*> paths() {
    std::vector<const Kernels*> all;
    for (const char* isa : {"scalar", "avx2", "avx512", "avx512+bf16"}) try {
            all.push_back(&cpu(isa));
        } catch (const Error&) {
        }
    return all;
}

// max |a - b| / max |b|; infinite when anything is not finite, so that no comparison passes on NaN.
inline double far(const float* a, const float* b, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
        difference = std::max(difference, std::fabs(double(a[i]) - double(b[i])));
        size = std::max(size, std::fabs(double(b[i])));
    }
    return difference / (size > 0 ? size : 1);
}

// The error that `run` ends with: its code, and its text in `text`.
inline Exit error_of(const std::function<void()>& run, std::string* text = nullptr) {
    try {
        run();
        return Exit::ok;
    } catch (const Error& e) {
        if (text) *text = e.what();
        return e.code;
    }
}
