// avx2.cpp - the overlay for AVX2 with fused multiply-adds and f16 conversion: Haswell and Zen onwards.
#include "overlay.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c")
namespace {
#include "simd_avx2.inl"
#include "overlay.inl"
}  // namespace
bool overlay_avx2(Kernels& k) {
    overlay(k);
    return true;
}
#else
bool overlay_avx2(Kernels&) { return false; }
#endif
