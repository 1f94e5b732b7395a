// attention_5_causal.cu - what the mask hides is not computed, and the longest rows begin first.
//
// Tiles beyond the diagonal are left out: half of the arithmetic. Now blocks are unequal, the last has as many tiles as
// there are, the first one; a GPU starts them in order, so the blocks are numbered backwards - long ones first, and
// the short ones fill up the end, when otherwise one long block would keep all other SMs waiting.
#include "soften.h"

namespace DD_CUDA::ladder {
namespace {

struct Shared {
    alignas(128) bf16 q[square], k[square], v[square];
};

__global__ void __launch_bounds__(threads) causal_kernel(Attention a) {
    Shared& shared = static_shared<Shared>();
    int begin = int(gridDim.x - 1 - blockIdx.x) * tile, head = int(blockIdx.y), warp_row = int(threadIdx.x) / warp * 16;
    int row = begin + warp_row + int(threadIdx.x) % warp / 4;
    fetch(shared.q, a.q, a, begin, head);
    Running r;
    for (int key = 0; key <= begin; key += tile) {
        __syncthreads(); // everybody has done with the keys before
        fetch(shared.k, a.k, a, key, head);
        fetch(shared.v, a.v, a, key, head);
        cp_async_wait<0>();
        __syncthreads(); // keys and values are there
        float score[tile / 8][4] = {};
        multiply_heads<head_size, tile, tile>(score, shared.q, shared.k, warp_row);
        soften(score, r, a.scale * log2_e, row, key);
        multiply_back<tile>(r.out, score, shared.v, 0);
    }
    finish(a, r, row, head);
}

} // namespace

void attention_5_causal(const Attention& a) {
    launch<causal_kernel>(dim3(unsigned(a.n / tile), unsigned(a.heads)), threads, 0, a);
}

} // namespace DD_CUDA::ladder
