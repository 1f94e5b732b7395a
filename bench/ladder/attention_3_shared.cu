// attention_3_shared.cu - 32 queries share every tile of 32 keys and values, and a lane has a key of its own.
//
// A block brings a tile into shared memory once for all its queries: memory is read 32 times less. A lane now computes
// the whole score of one key, so that 32 scores need one maximum and one sum over the warp instead of five shuffles
// each; then the lanes take a column of the values each and are told the shares one by one. Rows of keys are padded, or
// the 32 lanes, which read one column of 32 rows, would meet in one bank. What is left is what rung 3 of matmul has:
// two loads from shared memory for a multiplication, and ordinary multipliers.
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int tile = warp, threads = 256, warps = threads / warp, rows = tile / warps, mine = head_size / warp;
struct Shared {
    float q[tile][head_size], k[tile][head_size + 1], v[tile][head_size];
};

__global__ void __launch_bounds__(threads) tiled_kernel(Attention a) {
    Shared& shared = static_shared<Shared>();
    int begin = int(blockIdx.x) * tile, head = int(blockIdx.y), lane = int(threadIdx.x) % warp;
    int first = int(threadIdx.x) / warp * rows; // of the rows of this warp
    auto number = [&](int row) { return (size_t(row) * a.heads + head) * head_size; };
    for (int i = int(threadIdx.x); i < tile * head_size; i += threads)
        shared.q[i / head_size][i % head_size] =
            to_float(a.q[number(begin + i / head_size) + i % head_size]) * a.scale * log2_e;

    float out[rows][mine] = {}, top[rows], sum[rows] = {};
    for (float& t : top) t = -INFINITY;
    for (int key = 0; key <= begin; key += tile) {
        __syncthreads(); // everybody has done with the tile before
        for (int i = int(threadIdx.x); i < tile * head_size; i += threads) {
            size_t from = number(key + i / head_size) + i % head_size;
            shared.k[i / head_size][i % head_size] = to_float(a.k[from]);
            shared.v[i / head_size][i % head_size] = to_float(a.v[from]);
        }
        __syncthreads(); // keys and values are there
        for (int r = 0; r < rows; r++) {
            float score = 0;
            for (int d = 0; d < head_size; d++) score = fmaf(shared.q[first + r][d], shared.k[lane][d], score);
            if (key + lane > begin + first + r) score = -INFINITY;
            float highest = fmaxf(top[r], warp_max(score)), shrink = fast_exp2(top[r] - highest);
            float share = fast_exp2(score - highest);
            top[r] = highest, sum[r] = fmaf(sum[r], shrink, warp_sum(share));
            for (int d = 0; d < mine; d++) out[r][d] *= shrink;
            for (int other = 0; other < warp; other++) {
                float s = __shfl_sync(all_lanes, share, other);
                for (int d = 0; d < mine; d++)
                    out[r][d] = fmaf(s, shared.v[other][lane + d * warp], out[r][d]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int d = 0; d < mine; d++)
            a.y[number(begin + first + r) + lane + d * warp] = to_bf16(out[r][d] / sum[r]);
}

} // namespace

void attention_3_shared(const Attention& a) {
    launch<tiled_kernel>(dim3(unsigned(a.n / tile), unsigned(a.heads)), threads, 0, a);
}

} // namespace DD_CUDA::ladder
