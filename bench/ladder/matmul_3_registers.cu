// matmul_3_registers.cu - a thread computes 4 x 4 outputs, so that a number from shared memory serves four of them.
//
// Eight loads now feed sixteen multiplications instead of two feeding one: what tiles did to memory, done once more to
// shared memory. The tiles lie with the reduction down (k, then rows), so that a thread's four neighbours are one load
// of sixteen bytes. This is as far as the ordinary multipliers go: at best the 67 TFLOP/s of f32, when the tensor cores
// beside them would do some 800 of bf16.
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int tile = 64, depth = 16, threads = 256, side = 4;
struct Shared {
    alignas(16) float x[depth][tile + side], w[depth][tile + side]; // padded: loads by columns meet other banks
};

__global__ void __launch_bounds__(threads) registers_kernel(Matmul m) {
    Shared& shared = static_shared<Shared>();
    int across = int(threadIdx.x) % (tile / side) * side, down = int(threadIdx.x) / (tile / side) * side;
    int row = int(blockIdx.y) * tile, col = int(blockIdx.x) * tile;
    float sum[side][side] = {};
    for (int k = 0; k < m.in; k += depth) {
        for (int i = int(threadIdx.x); i < tile * depth; i += threads) {
            int r = i / depth, at = i % depth;
            shared.x[at][r] = to_float(m.x[size_t(row + r) * m.in + k + at]);
            shared.w[at][r] = to_float(m.w[size_t(col + r) * m.in + k + at]);
        }
        __syncthreads(); // both tiles are there
        for (int at = 0; at < depth; at++) {
            Four x, w;
            move<uint4>(x.v, &shared.x[at][down]);
            move<uint4>(w.v, &shared.w[at][across]);
#pragma unroll
            for (int i = 0; i < side; i++)
#pragma unroll
                for (int j = 0; j < side; j++) sum[i][j] = fmaf(x.v[i], w.v[j], sum[i][j]);
        }
        __syncthreads(); // everybody has done with them
    }
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) m.y[size_t(row + down + i) * m.out + col + across + j] = to_bf16(sum[i][j]);
}

} // namespace

void matmul_3_registers(const Matmul& m) {
    launch<registers_kernel>(dim3(unsigned(m.out / tile), unsigned(m.n / tile)), threads, 0, m);
}

} // namespace DD_CUDA::ladder
