// products_blocks.cu - x w^T for bf16 x and w in blocks, as the reference has it: whole-number codes are exact in bf16,
// so a group's share is a product of x and codes, and enters the sum times the group's scale; the minima enter times
// the sum of x over the group. No weight is ever rounded.
#include "products.h"

namespace DD_CUDA {
namespace {

// A block 64 x 64 outputs, each of its 2 x 2 warps 32 x 32; two groups of 32 numbers (four of 16) a step. While a step
// is multiplied, x of the next is on its way and its codes are unpacked.
constexpr int block_threads = 128, block_tile = 64;
struct CodesShared {
    bf16 a[2][square], b[2][square];
    float scale[2][4][block_tile], low[2][4][block_tile], sums[2][2][block_tile];
};
struct BlockWork {
    Source x, u, b;
    Stored w;
    Type type;
    Output out;
    const float* sums; // of x over groups of 32, [rows, in / 32]
    int rows, in, rank;
};

template <Type type> __device__ void unpack(CodesShared& to, int stage, const BlockWork& w, int col, int k) {
    constexpr int size = group_of(type);
    for (int i = int(threadIdx.x); i < square / 4; i += block_threads) {
        int r = i / 16, c = i % 16 * 4, q[4] = {};
        if (col + r < w.out.cols && k + c < w.in) codes4<type>(w.w, size_t(col + r) * w.in + k + c, q);
        uint2 pairs{two_bf16(float(q[0]), float(q[1])), two_bf16(float(q[2]), float(q[3]))};
        move<uint2>(to.b[stage] + at_number(r, c), &pairs);
    }
    for (int i = int(threadIdx.x); i < block_tile * tile_cols / size; i += block_threads) {
        int r = i % block_tile, g = i / block_tile;
        float d = 0, m = 0;
        if (col + r < w.out.cols && k + g * size < w.in)
            scale_at<type>(w.w, size_t(col + r) * w.in + k + g * size, d, m);
        to.scale[stage][g][r] = d, to.low[stage][g][r] = m;
    }
}
__device__ void unpack(CodesShared& to, int stage, const BlockWork& w, int col, int k) {
    switch (w.type) {
        case Type::q8_0:
            return unpack<Type::q8_0>(to, stage, w, col, k);
        case Type::q4_0:
            return unpack<Type::q4_0>(to, stage, w, col, k);
        case Type::q4_1:
            return unpack<Type::q4_1>(to, stage, w, col, k);
        case Type::q5_0:
            return unpack<Type::q5_0>(to, stage, w, col, k);
        case Type::q5_1:
            return unpack<Type::q5_1>(to, stage, w, col, k);
        case Type::q4_k:
            return unpack<Type::q4_k>(to, stage, w, col, k);
        case Type::q5_k:
            return unpack<Type::q5_k>(to, stage, w, col, k);
        default:
            return unpack<Type::q6_k>(to, stage, w, col, k);
    }
}

__device__ void fetch(CodesShared& to, int stage, const BlockWork& w, int row, int col, int k) {
    load_tile<block_tile, block_threads>(to.a[stage], w.x, row, k, w.rows - row, w.in - k);
    unpack(to, stage, w, col, k);
    if (!w.sums) return;
    int r = int(threadIdx.x) % block_tile, g = int(threadIdx.x) / block_tile, groups = w.in / 32;
    bool there = row + r < w.rows && k / 32 + g < groups;
    to.sums[stage][g][r] = there ? w.sums[size_t(row + r) * groups + k / 32 + g] : 0;
}

// Part of a sum: numbers 16 k .. +15 of the tiles.
__device__ __forceinline__ void multiply(float (&sum)[2][4][4], const bf16* a, const bf16* b, int row, int col, int k) {
    uint32_t fa[2][4], fb[4][2];
#pragma unroll
    for (int i = 0; i < 2; i++) load_a(fa[i], a, row + i * 16, k);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        uint32_t two[2][2];
        load_b(two, b, col + j * 8, k);
        for (int i = 0; i < 2; i++) fb[j + i][0] = two[i][0], fb[j + i][1] = two[i][1];
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) mma_bf16(sum[i][j], fa[i], fb[j]);
}

__global__ void __launch_bounds__(block_threads) block_kernel(BlockWork w) {
    CodesShared& shared = dynamic_shared<CodesShared>();
    int lane = int(threadIdx.x) % warp, mine = int(threadIdx.x) / warp;
    int row = int(blockIdx.x) * block_tile, col = int(blockIdx.y) * block_tile;
    int warp_row = mine / 2 * 32, warp_col = mine % 2 * 32, groups = w.type == Type::q6_k ? 4 : 2;

    float sum[2][4][4] = {};
    fetch(shared, 0, w, row, col, 0);
    cp_async_commit();
    for (int k = 0, stage = 0; k < w.in; k += tile_cols, stage ^= 1) {
        cp_async_wait<0>();
        __syncthreads(); // this stage is there, and everybody has done with the other
        if (k + tile_cols < w.in) fetch(shared, stage ^ 1, w, row, col, k + tile_cols);
        cp_async_commit();
        for (int g = 0; g < groups; g++) {
            float part[2][4][4] = {};
            for (int i = g * 4 / groups; i < (g + 1) * 4 / groups; i++)
                multiply(part, shared.a[stage], shared.b[stage], warp_row, warp_col, i);
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int n = 0; n < 4; n++) {
                        int c = warp_col + j * 8 + lane % 4 * 2 + n % 2, r = warp_row + i * 16 + n / 2 * 8 + lane / 4;
                        float& s = sum[i][j][n];
                        s = fmaf(part[i][j][n], shared.scale[stage][g][c], s);
                        if (w.sums) s = fmaf(shared.sums[stage][g][r], shared.low[stage][g][c], s);
                    }
        }
    }
    for (int k = 0; k < w.rank; k += tile_cols) { // the adapter's share
        __syncthreads();                          // everybody has done with the tiles before
        load_tile<block_tile, block_threads>(shared.a[0], w.u, row, k, w.rows - row, w.rank - k);
        load_tile<block_tile, block_threads>(shared.b[0], w.b, col, k, w.out.cols - col, w.rank - k);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads(); // the tiles are there
        for (int i = 0; i < 4; i++) multiply(sum, shared.a[0], shared.b[0], warp_row, warp_col, i);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int r = row + warp_row + i * 8 + lane / 4;
            const float* pair = sum[i / 2][j] + i % 2 * 2;
            if (r < w.rows) finish2(w.out, size_t(r), col + warp_col + j * 8 + lane % 4 * 2, pair[0], pair[1]);
        }
}

// x summed over groups of 32.
__global__ void __launch_bounds__(256) sums_kernel(float* sums, const bf16* x, size_t groups) {
    size_t i = size_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= groups) return;
    float sum = 0;
    for (int j = 0; j < 32; j++) sum += to_float(x[i * 32 + j]);
    sums[i] = sum;
}

} // namespace

void block_product(const Product& p, const Tensor& x) {
    Type type = p.w->w.type;
    BlockWork w{source(x.data, x.cols),
                {},
                {},
                stored(p.w->w),
                type,
                {numbers(p.y), Output::write, 1, p.w->out, 0, 0},
                nullptr,
                x.rows,
                x.cols,
                p.u.cols};
    if (p.u) w.u = source(p.u.data, p.u.cols), w.b = source(panel_data(*p.b), p.b->in);
    if (has_low(type)) {
        size_t groups = x.count() / 32;
        float* sums = static_cast<float*>(workspace(groups * 4));
        launch<sums_kernel>(groups_of(groups, 256), 256, 0, sums, static_cast<const bf16*>(x.data), groups);
        w.sums = sums;
    }
    launch<block_kernel>(dim3(groups_of(size_t(x.rows), block_tile), groups_of(size_t(p.w->out), block_tile)),
                         block_threads, sizeof(CodesShared), w);
}

} // namespace DD_CUDA
