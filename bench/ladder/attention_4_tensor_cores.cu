// attention_4_tensor_cores.cu - both products by mma.sync: FlashAttention-2 (Dao 2023, arXiv:2307.08691), plainly.
//
// 64 queries a block, sixteen a warp, against tiles of 64 keys. That a warp has whole rows of scores is the point: the
// softmax needs no other warp, and the shares, rounded to bf16, are already where the second product wants its left
// operand - scores never leave registers. The values are turned by ldmatrix.trans as they are read. All keys of the
// sequence are visited, also those that a causal mask hides: half of the work is for nothing.
#include "soften.h"

namespace DD_CUDA::ladder {
namespace {

struct Shared {
    alignas(128) bf16 q[square], k[square], v[square];
};

__global__ void __launch_bounds__(threads) tensor_kernel(Attention a) {
    Shared& shared = static_shared<Shared>();
    int begin = int(blockIdx.x) * tile, head = int(blockIdx.y), warp_row = int(threadIdx.x) / warp * 16;
    int row = begin + warp_row + int(threadIdx.x) % warp / 4;
    fetch(shared.q, a.q, a, begin, head);
    Running r;
    for (int key = 0; key < a.n; key += tile) {
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

void attention_4_tensor_cores(const Attention& a) {
    launch<tensor_kernel>(dim3(unsigned(a.n / tile), unsigned(a.heads)), threads, 0, a);
}

} // namespace DD_CUDA::ladder
