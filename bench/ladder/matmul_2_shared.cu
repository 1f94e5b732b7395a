// matmul_2_shared.cu - a block computes a tile of 32 x 32 outputs, and what it needs passes through shared memory.
//
// A tile of x and one of w are loaded together, neighbouring threads reading neighbouring numbers, and every number
// then serves 32 outputs: memory is read 32 times less. The bottleneck moves into the block: each multiplication still
// takes two loads, from shared memory now, and an SM reads 128 bytes of it a cycle - 32 numbers, for 128 multipliers.
// The tile of w is padded by one number a row, or the 32 threads of a warp, which read one column of it, would stand
// in line at one bank.
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int tile = 32;
struct Shared {
    float x[tile][tile], w[tile][tile + 1];
};

__global__ void __launch_bounds__(tile* tile) shared_kernel(Matmul m) {
    Shared& shared = static_shared<Shared>();
    int across = int(threadIdx.x) % tile, down = int(threadIdx.x) / tile;
    int row = int(blockIdx.y) * tile, col = int(blockIdx.x) * tile;
    float sum = 0;
    for (int k = 0; k < m.in; k += tile) {
        shared.x[down][across] = to_float(m.x[size_t(row + down) * m.in + k + across]);
        shared.w[down][across] = to_float(m.w[size_t(col + down) * m.in + k + across]);
        __syncthreads(); // both tiles are there
        for (int i = 0; i < tile; i++) sum = fmaf(shared.x[down][i], shared.w[across][i], sum);
        __syncthreads(); // everybody has done with them
    }
    m.y[size_t(row + down) * m.out + col + across] = to_bf16(sum);
}

} // namespace

void matmul_2_shared(const Matmul& m) {
    launch<shared_kernel>(dim3(unsigned(m.out / tile), unsigned(m.n / tile)), tile * tile, 0, m);
}

} // namespace DD_CUDA::ladder
