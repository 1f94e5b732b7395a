// matmul_1_naive.cu - the definition: a thread an output, and two loads from memory for every multiplication.
//
// An H100 reads 3.4 TB/s and multiplies 67 TFLOP/s of f32 outside its tensor cores: to keep them busy, a number must
// be used some forty times once it is there. Here it is used once a thread; what is saved is left to the caches.
// Worse, the threads of a warp walk along 32 different rows of w, so that one load of two bytes each touches 32
// sectors of 32.
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

__global__ void __launch_bounds__(256) naive_kernel(Matmul m) {
    int i = int(blockIdx.y), o = int(blockIdx.x * 256 + threadIdx.x);
    if (o >= m.out) return;
    const bf16 *x = m.x + size_t(i) * m.in, *w = m.w + size_t(o) * m.in;
    float sum = 0;
    for (int k = 0; k < m.in; k++) sum = fmaf(to_float(x[k]), to_float(w[k]), sum);
    m.y[size_t(i) * m.out + o] = to_bf16(sum);
}

} // namespace

void matmul_1_naive(const Matmul& m) {
    launch<naive_kernel>(dim3(groups_of(size_t(m.out), 256), unsigned(m.n)), 256, 0, m);
}

} // namespace DD_CUDA::ladder
