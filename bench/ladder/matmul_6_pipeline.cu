// matmul_6_pipeline.cu - cp.async: while one stage is multiplied, the next two are on their way.
//
// Until here a block loads, waits some hundreds of cycles, multiplies, and loads again; only other blocks on the same
// SM hide the wait, and tiles this large leave room for few. cp.async copies from memory to shared memory past the
// registers and returns at once: groups of copies are committed in order, and waiting for "all but the last one" finds
// the oldest stage landed. One barrier a step serves twice: this stage has landed for everybody, and everybody has
// done with the stage that is fetched next.
#include "../../kernels/cuda/tiles.h"
#include "ladder.h"

namespace DD_CUDA::ladder {
namespace {

constexpr int tile = tile_cols, threads = 128, stages = 3;
struct Shared {
    bf16 x[stages][square], w[stages][square];
};

__device__ __forceinline__ void fetch(Shared& to, int stage, const Matmul& m, int row, int col, int k) {
    if (k < m.in)
        for (int i = int(threadIdx.x); i < tile * 8; i += threads) {
            int r = i / 8, chunk = i % 8;
            cp_async16(to.x[stage] + at(r, chunk), m.x + size_t(row + r) * m.in + k + chunk * 8);
            cp_async16(to.w[stage] + at(r, chunk), m.w + size_t(col + r) * m.in + k + chunk * 8);
        }
    cp_async_commit(); // at the end empty groups, so that waiting counts the same
}

__global__ void __launch_bounds__(threads) pipeline_kernel(Matmul m) {
    Shared& shared = dynamic_shared<Shared>();
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp, g = lane / 4, t = lane % 4 * 2;
    int row = int(blockIdx.y) * tile, col = int(blockIdx.x) * tile, down = mine / 2 * 32, across = mine % 2 * 32;
    float sum[2][4][4] = {};
    for (int s = 0; s < stages - 1; s++) fetch(shared, s, m, row, col, s * tile);
    for (int k = 0, stage = 0; k < m.in; k += tile, stage = (stage + 1) % stages) {
        cp_async_wait<stages - 2>();
        __syncthreads(); // this stage has landed, the one before is done with
        fetch(shared, (stage + stages - 1) % stages, m, row, col, k + (stages - 1) * tile);
#pragma unroll
        for (int s = 0; s < tile / 16; s++) {
            uint32_t a[2][4], b[2][2][2];
            for (int i = 0; i < 2; i++) load_a(a[i], shared.x[stage], down + i * 16, s);
            for (int j = 0; j < 2; j++) load_b(b[j], shared.w[stage], across + j * 16, s);
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma_bf16(sum[i][j], a[i], b[j / 2][j % 2]);
        }
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

void matmul_6_pipeline(const Matmul& m) {
    launch<pipeline_kernel>(dim3(unsigned(m.out / tile), unsigned(m.n / tile)), threads, sizeof(Shared), m);
}

} // namespace DD_CUDA::ladder
