// avx512_bf16.cpp - the overlay for AVX-512 with bf16 dot products: Zen 4 and later, Cooper Lake, Sapphire Rapids.
#include "overlay.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"      // g++ 12 takes its own _mm512_undefined_ps()
#pragma GCC diagnostic ignored "-Wuninitialized"            // for a mistake
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c")
#define HAVE_BF16_DOT
namespace {
#include "simd_avx512.inl"
#include "overlay.inl"
}  // namespace
bool overlay_avx512_bf16(Kernels& k) {
    overlay(k);
    k.bf16 = true;
    return true;
}
#else
bool overlay_avx512_bf16(Kernels&) { return false; }
#endif
