// cuda_sample.cpp - drawing a token, executed on the CPU: the reference's tokens, from rows of every kind; what
// they are drawn from under a repeat penalty.
#include "cuda.h"
#include "draws.h"

TEST(CudaKernel, sample) {
    for (int cols : {1, 5, 77, 2500})
        expect_cuda(format("%d", cols), exactly, [&](const Kernels& k, Bench& b) { draw_all(k, b, cols); }, 2);
}

TEST(CudaKernel, penalise) {
    for (float penalty : {1.3f, 0.5f})
        expect_cuda(format("%g", penalty), exactly, [&](const Kernels& k, Bench& b) { penalise_all(k, b, penalty); });
}
