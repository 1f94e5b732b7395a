// soften.h - the online softmax on the fragments of mma.sync, as rungs 4 to 6 of attention share it.
//
// A lane holds of rows g and g + 8 (lane = 4 g + t) two scores in eight: four lanes share a row, and two shuffles make
// its maximum. The sums of what they hold are added up at the end only.
#pragma once
#include "../../kernels/cuda/attention.h"
#include "ladder.h"

namespace DD_CUDA::ladder {

constexpr int tile = tile_cols, threads = 128, columns = head_size / 8; // 64 queries by 64 keys, a warp 16 queries

struct Running {
    float out[columns][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
};

// Scores of keys key .. +63 become shares; what was summed under an earlier maximum shrinks. row: of the lane's first.
__device__ __forceinline__ void soften(float (&score)[tile / 8][4], Running& r, float c, int row, int key) {
    int t = int(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float highest = r.top[half];
#pragma unroll
        for (int j = 0; j < tile / 8; j++)
#pragma unroll
            for (int n = 0; n < 2; n++) {
                float& x = score[j][half * 2 + n];
                x = key + j * 8 + t + n > row + half * 8 ? -INFINITY : x * c;
                highest = fmaxf(highest, x);
            }
        highest = fmaxf(highest, __shfl_xor_sync(all_lanes, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(all_lanes, highest, 2));
        float shrink = fast_exp2(r.top[half] - highest), more = 0;
        r.top[half] = highest;
#pragma unroll
        for (int j = 0; j < tile / 8; j++)
#pragma unroll
            for (int n = 0; n < 2; n++) {
                float& x = score[j][half * 2 + n];
                x = fast_exp2(x - highest);
                more += x;
            }
        r.sum[half] = fmaf(r.sum[half], shrink, more);
#pragma unroll
        for (int j = 0; j < columns; j++) r.out[j][half * 2] *= shrink, r.out[j][half * 2 + 1] *= shrink;
    }
}

// y of the lane's two rows.
__device__ __forceinline__ void finish(const Attention& a, const Running& r, int row, int head) {
    int t = int(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = r.sum[half] + __shfl_xor_sync(all_lanes, r.sum[half], 1);
        sum += __shfl_xor_sync(all_lanes, sum, 2);
        bf16* y = a.y + (size_t(row + half * 8) * a.heads + head) * head_size;
#pragma unroll
        for (int j = 0; j < columns; j++) {
            uint32_t two = two_bf16(r.out[j][half * 2] / sum, r.out[j][half * 2 + 1] / sum);
            move<uint32_t>(y + j * 8 + t, &two);
        }
    }
}

// Rows row .. +63 of a head into a tile.
__device__ __forceinline__ void fetch(bf16* to, const bf16* from, const Attention& a, int row, int head) {
    const bf16* corner = from + (size_t(row) * a.heads + head) * head_size;
    load_rows<tile, threads>(to, from, true, head_size,
                             [&](int r) { return corner + size_t(r) * a.heads * head_size; });
    cp_async_commit();
}

} // namespace DD_CUDA::ladder
