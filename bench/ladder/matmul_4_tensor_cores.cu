// matmul_4_tensor_cores.cu - mma.sync: a warp multiplies 16 x 16 by 16 x 8 in one instruction.
//
// 4,096 operations an instruction instead of 64, and the numbers stay bf16: half the bytes everywhere. The operands lie
// spread over the warp's registers in the order that the PTX ISA prescribes ("Matrix fragments for mma.m16n8k16"): lane
// 4 g + t holds rows g and g + 8, columns 2 t, 2 t + 1 and eight more. Here every lane collects its own pairs from
// shared memory, a load for each register. As rows are 128 bytes apart, the eight rows that a warp reads at once fall
// into the same four banks: each load takes eight turns, and the tensor cores wait for it.
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int tile = 64, threads = 128; // four warps, each 32 x 32 outputs
struct Shared {
    alignas(16) bf16 x[tile][tile], w[tile][tile];
};

__device__ __forceinline__ uint32_t pair(const bf16* p) {
    uint32_t two;
    move<uint32_t>(&two, p);
    return two;
}

__global__ void __launch_bounds__(threads) tensor_kernel(Matmul m) {
    Shared& shared = static_shared<Shared>();
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, g = lane / 4, t = lane % 4 * 2;
    int row = int(blockIdx.y) * tile, col = int(blockIdx.x) * tile, down = mine / 2 * 32, across = mine % 2 * 32;
    float sum[2][4][4] = {};
    for (int k = 0; k < m.in; k += tile) {
        for (int i = int(threadIdx.x); i < tile * 8; i += threads) { // sixteen bytes a thread
            int r = i / 8, at = i % 8 * 8;
            move<uint4>(&shared.x[r][at], m.x + size_t(row + r) * m.in + k + at);
            move<uint4>(&shared.w[r][at], m.w + size_t(col + r) * m.in + k + at);
        }
        __syncthreads(); // both tiles are there
        for (int at = t; at < tile; at += 16)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int r = down + i * 16 + g;
                uint32_t a[4] = {pair(&shared.x[r][at]), pair(&shared.x[r + 8][at]), pair(&shared.x[r][at + 8]),
                                 pair(&shared.x[r + 8][at + 8])};
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const bf16* w = shared.w[across + j * 8 + g];
                    uint32_t b[2] = {pair(w + at), pair(w + at + 8)};
                    mma_bf16(sum[i][j], a, b);
                }
            }
        __syncthreads(); // everybody has done with them
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int half = 0; half < 2; half++) {
                uint32_t two = two_bf16(sum[i][j][half * 2], sum[i][j][half * 2 + 1]);
                size_t r = size_t(row + down + i * 16 + half * 8 + g);
                move<uint32_t>(m.y + r * m.out + col + across + j * 8 + t, &two);
            }
}

} // namespace

void matmul_4_tensor_cores(const Matmul& m) {
    launch<tensor_kernel>(dim3(unsigned(m.out / tile), unsigned(m.n / tile)), threads, 0, m);
}

} // namespace DD_CUDA::ladder
