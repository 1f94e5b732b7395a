// attention_6_pipeline.cu - the next keys and values are on their way while these are multiplied.
//
// Two places for each tile, as rung 6 of matmul has three. One barrier a tile is left: when all threads have waited for
// their own copies and met there, this tile has landed for everybody and everybody has done with the other place, so
// that the next copies may begin at once. The tensor cores now wait for the softmax only: of its four passes over the
// scores, exponentials cost the most (an SM makes 16 a cycle, and 4,096 operations of mma.sync).
#include "soften.h"

namespace DD_CUDA::ladder {
namespace {

struct Shared {
    bf16 q[square], k[2][square], v[2][square];
};

__global__ void __launch_bounds__(threads) pipeline_kernel(Attention a) {
    Shared& shared = dynamic_shared<Shared>();
    int begin = int(gridDim.x - 1 - blockIdx.x) * tile, head = int(blockIdx.y), warp_row = int(threadIdx.x) / warp * 16;
    int row = begin + warp_row + int(threadIdx.x) % warp / 4;
    fetch(shared.q, a.q, a, begin, head);
    fetch(shared.k[0], a.k, a, 0, head);
    fetch(shared.v[0], a.v, a, 0, head);
    Running r;
    for (int key = 0, place = 0; key <= begin; key += tile, place ^= 1) {
        cp_async_wait<0>();
        __syncthreads(); // these have landed, and everybody has done with those before
        if (key < begin) {
            fetch(shared.k[place ^ 1], a.k, a, key + tile, head);
            fetch(shared.v[place ^ 1], a.v, a, key + tile, head);
        }
        float score[tile / 8][4] = {};
        multiply_heads<head_size, tile, tile>(score, shared.q, shared.k[place], warp_row);
        soften(score, r, a.scale * log2_e, row, key);
        multiply_back<tile>(r.out, score, shared.v[place], 0);
    }
    finish(a, r, row, head);
}

} // namespace

void attention_6_pipeline(const Attention& a) {
    launch<pipeline_kernel>(dim3(unsigned(a.n / tile), unsigned(a.heads)), threads, sizeof(Shared), a);
}

} // namespace DD_CUDA::ladder
