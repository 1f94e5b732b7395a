// matmul_5_ldmatrix.cu - ldmatrix fetches whole fragments, from a tile swizzled so that no two rows share a bank.
//
// One ldmatrix.x4 gives every lane of a warp four registers, already where mma.sync wants them: a load where there
// were four. Each of its eight-row matrices is read at once, so the rows must lie in different banks: sixteen-byte
// chunk c of row r stands at c xor r mod 8 (tiles.h), which costs nothing but the xor, where padding would cost memory.
// A warp's fragments of w serve both its rows of fragments of x.
#include "../../kernels/cuda/tiles.h"
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int tile = tile_cols, threads = 128;
struct Shared {
    alignas(128) bf16 x[square], w[square];
};

__global__ void __launch_bounds__(threads) ldmatrix_kernel(Matmul m) {
    Shared& shared = static_shared<Shared>();
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, g = lane / 4, t = lane % 4 * 2;
    int row = int(blockIdx.y) * tile, col = int(blockIdx.x) * tile, down = mine / 2 * 32, across = mine % 2 * 32;
    float sum[2][4][4] = {};
    for (int k = 0; k < m.in; k += tile) {
        for (int i = int(threadIdx.x); i < tile * 8; i += threads) {
            int r = i / 8, chunk = i % 8;
            move<uint4>(shared.x + at(r, chunk), m.x + size_t(row + r) * m.in + k + chunk * 8);
            move<uint4>(shared.w + at(r, chunk), m.w + size_t(col + r) * m.in + k + chunk * 8);
        }
        __syncthreads(); // both tiles are there
#pragma unroll
        for (int s = 0; s < tile / 16; s++) {
            uint32_t a[2][4], b[2][2][2];
            for (int i = 0; i < 2; i++) load_a(a[i], shared.x, down + i * 16, s);
            for (int j = 0; j < 2; j++) load_b(b[j], shared.w, across + j * 16, s);
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma_bf16(sum[i][j], a[i], b[j / 2][j % 2]);
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

void matmul_5_ldmatrix(const Matmul& m) {
    launch<ldmatrix_kernel>(dim3(unsigned(m.out / tile), unsigned(m.n / tile)), threads, 0, m);
}

} // namespace DD_CUDA::ladder
