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
#include "../kernels/kernels.h"
#include "../models/session.h"
#include "files.h"

// Where the committed files of the tests lie.
inline std::string here(const std::string& name) { return std::string(DD_TESTS) + "/" + name; }

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
