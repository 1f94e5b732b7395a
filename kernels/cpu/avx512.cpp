// avx512.cpp - the overlay for AVX-512 without bf16 dot products: two fused multiply-adds on widened halves instead.
#include "overlay.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"      // g++ 12 takes its own _mm512_undefined_ps()
#pragma GCC diagnostic ignored "-Wuninitialized"            // for a mistake
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")
namespace {
#include "simd_avx512.inl"
#include "overlay.inl"
}  // namespace
bool overlay_avx512(Kernels& k) {
    overlay(k);
    return true;
}
#else
bool overlay_avx512(Kernels&) { return false; }
#endif
