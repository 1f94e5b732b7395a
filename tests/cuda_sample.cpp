// cuda_sample.cpp - drawing a token, executed on the CPU: the reference's tokens, from rows of every kind.
#include "cuda.h"
#include "draws.h"

TEST(CudaKernel, sample) {
    for (int cols : {1, 5, 77, 2500})
        expect_cuda(format("%d", cols), exactly, [&](const Kernels& k, Bench& b) { draw_all(k, b, cols); }, 2);
}
