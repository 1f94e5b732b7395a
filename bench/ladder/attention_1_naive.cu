// attention_1_naive.cu - the definition in three kernels: all scores, their softmax, the sum of values.
//
// Scores are n x n a head and go through memory three times: written, turned into shares, read again. At 2,048 tokens
// that is 16 MB a head each time, for 1 MB of queries, keys, values and results; the arithmetic waits for memory, and
// the memory itself grows with the square of the length.
#include "ladder.h"
#include "../../kernels/cuda/runtime.h"

namespace DD_CUDA::ladder {
namespace {

__device__ __forceinline__ size_t number(const Attention& a, int row, int head) {
    return (size_t(row) * a.heads + head) * head_size;
}

__global__ void __launch_bounds__(256) scores_kernel(Attention a, float* scores) {
    int row = int(blockIdx.y), head = int(blockIdx.z), key = int(blockIdx.x * 256 + threadIdx.x);
    if (key > row) return;
    const bf16 *q = a.q + number(a, row, head), *k = a.k + number(a, key, head);
    float sum = 0;
    for (int d = 0; d < head_size; d++) sum = fmaf(to_float(q[d]), to_float(k[d]), sum);
    scores[(size_t(head) * a.n + row) * a.n + key] = sum * a.scale;
}

__global__ void __launch_bounds__(256) softmax_kernel(Attention a, float* scores) {
    int row = int(blockIdx.x), head = int(blockIdx.y);
    float *of = scores + (size_t(head) * a.n + row) * a.n, top = -INFINITY, sum = 0;
    for (int key = int(threadIdx.x); key <= row; key += 256) top = fmaxf(top, of[key]);
    top = block_max<256, 0>(top);
    for (int key = int(threadIdx.x); key <= row; key += 256) sum += of[key] = exact_exp2((of[key] - top) * log2_e);
    sum = block_sum<256, 1>(sum);
    for (int key = int(threadIdx.x); key <= row; key += 256) of[key] /= sum;
}

__global__ void __launch_bounds__(head_size) values_kernel(Attention a, const float* scores) {
    int row = int(blockIdx.x), head = int(blockIdx.y), d = int(threadIdx.x);
    const float* share = scores + (size_t(head) * a.n + row) * a.n;
    float sum = 0;
    for (int key = 0; key <= row; key++) sum = fmaf(share[key], to_float(a.v[number(a, key, head) + d]), sum);
    a.y[number(a, row, head) + d] = to_bf16(sum);
}

} // namespace

void attention_1_naive(const Attention& a) {
    unsigned n = unsigned(a.n), heads = unsigned(a.heads);
    float* scores = static_cast<float*>(workspace(size_t(a.heads) * size_t(a.n) * size_t(a.n) * 4));
    launch<scores_kernel>(dim3(groups_of(n, 256), n, heads), 256, 0, a, scores);
    launch<softmax_kernel>(dim3(n, heads), 256, 0, a, scores);
    launch<values_kernel>(dim3(n, heads), head_size, 0, a, scores);
}

} // namespace DD_CUDA::ladder
