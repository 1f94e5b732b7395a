// tiles.h - tiles of bf16 in shared memory, 64 numbers (128 bytes) a row, and the fragments that mma.sync takes from
// them.
//
// Fragments: PTX ISA, "Matrix fragments for mma.m16n8k16"; tests/cuda_layouts.cpp checks them.
#pragma once
#include "device.h"

namespace DD_CUDA {

constexpr int tile_cols = 64;

// Where chunk (eight numbers, 16 bytes) of a row stands. ldmatrix reads one chunk of eight successive rows at once, and
// rows are 128 bytes apart: unswizzled, all eight would fall into the same four banks.
__device__ __forceinline__ int at(int row, int chunk) { return row * tile_cols + (chunk ^ row % 8) * 8; }

__device__ __forceinline__ int at_number(int row, int col) { return at(row, col / 8) + col % 8; }
constexpr int square = tile_cols * tile_cols; // numbers of a tile of 64 rows

// A matrix in global memory. `wide`: every chunk of eight lies where one copy can take it.
struct Source {
    const bf16* data;
    int64_t stride;
    bool wide;
};
inline Source source(const void* data, int cols) {
    return {static_cast<const bf16*>(data), cols, size_t(data) % 16 == 0 && cols % 8 == 0};
}

// Starts copying a tile of `rows` rows: number r from row_at(r) on (null: there is none), of which `left` numbers
// exist; beyond them come zeros.
template <int rows, int threads, class Row>
__device__ __forceinline__ void load_rows(bf16* to, const bf16* any, bool wide, int left, Row row_at) {
    for (int i = int(threadIdx.x); i < rows * 8; i += threads) {
        int r = i / 8, chunk = i % 8;
        const bf16* from = row_at(r);
        int there = from ? left - chunk * 8 : 0;
        if (wide) {
            unsigned valid = there >= 8 ? 16 : there > 0 ? unsigned(there) * 2 : 0;
            cp_async16(to + at(r, chunk), valid ? from + chunk * 8 : any, valid);
        } else {
            for (int j = 0; j < 8; j++) to[at(r, chunk) + j] = j < there ? from[chunk * 8 + j] : to_bf16(0);
        }
    }
}
// The same from (row, col) of a matrix on, of which rows_left and cols_left exist.
template <int rows, int threads>
__device__ __forceinline__ void load_tile(bf16* to, const Source& m, int64_t row, int64_t col, int rows_left,
                                          int cols_left) {
    const bf16* corner = m.data + row * m.stride + col;
    load_rows<rows, threads>(to, m.data, m.wide, cols_left,
                             [&](int r) { return r < rows_left ? corner + r * m.stride : nullptr; });
}

// Rows row .. +15 and numbers 16 k .. +15 of a tile, as the A of a product.
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const bf16* tile, int row, int k) {
    int lane = int(threadIdx.x) % warp;
    ldmatrix_x4(a, tile + at(row + lane % 16, k * 2 + lane / 16));
}
// The same of a tile that holds A's transpose: its rows are A's columns.
__device__ __forceinline__ void load_a_turned(uint32_t (&a)[4], const bf16* tile, int row, int k) {
    int lane = int(threadIdx.x) % warp;
    ldmatrix_x4_trans(a, tile + at(k * 16 + lane % 8 + lane / 16 * 8, row / 8 + lane / 8 % 2));
}
// B for two neighbouring products, columns col .. +15, of a tile whose rows are B's columns.
__device__ __forceinline__ void load_b(uint32_t (&b)[2][2], const bf16* tile, int col, int k) {
    int lane = int(threadIdx.x) % warp;
    uint32_t r[4];
    ldmatrix_x4(r, tile + at(col + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}
// The same of a tile that holds B as it is.
__device__ __forceinline__ void load_b_turned(uint32_t (&b)[2][2], const bf16* tile, int col, int k) {
    int lane = int(threadIdx.x) % warp;
    uint32_t r[4];
    ldmatrix_x4_trans(r, tile + at(k * 16 + lane % 16, col / 8 + lane / 16));
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

} // namespace DD_CUDA
