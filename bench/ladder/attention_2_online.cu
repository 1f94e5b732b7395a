// attention_2_online.cu - no scores in memory: a softmax can be summed while its maximum is still unknown.
//
// Keep the largest score so far; when a larger one comes, what has been summed shrinks by 2^(old - new) (Milakov and
// Gimelshein 2018, arXiv:1805.02867). One kernel, a warp a query: two numbers of the head a lane, so that keys and
// values are read by whole rows. Nothing of size n x n exists any more. But every query reads all keys and values for
// itself, and every score takes five shuffles to be added up: some thirty instructions for 256 multiplications.
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int warps = 4, mine = head_size / warp; // numbers of a lane

__global__ void __launch_bounds__(warps* warp) online_kernel(Attention a) {
    int row = int(blockIdx.x) * warps + int(threadIdx.x) / warp, head = int(blockIdx.y);
    int lane = int(threadIdx.x) % warp * mine;
    auto number = [&](int row) { return (size_t(row) * a.heads + head) * head_size + lane; };
    float q[mine], out[mine] = {}, top = -INFINITY, sum = 0;
    for (int d = 0; d < mine; d++) q[d] = to_float(a.q[number(row) + d]) * a.scale * log2_e;
    for (int key = 0; key <= row; key++) {
        float score = 0;
        for (int d = 0; d < mine; d++) score = fmaf(q[d], to_float(a.k[number(key) + d]), score);
        score = warp_sum(score);
        float highest = fmaxf(top, score), shrink = fast_exp2(top - highest), share = fast_exp2(score - highest);
        top = highest, sum = fmaf(sum, shrink, share);
        for (int d = 0; d < mine; d++) out[d] = fmaf(share, to_float(a.v[number(key) + d]), out[d] * shrink);
    }
    for (int d = 0; d < mine; d++) a.y[number(row) + d] = to_bf16(out[d] / sum);
}

} // namespace

void attention_2_online(const Attention& a) {
    launch<online_kernel>(dim3(unsigned(a.n / warps), unsigned(a.heads)), warps * warp, 0, a);
}

} // namespace DD_CUDA::ladder
