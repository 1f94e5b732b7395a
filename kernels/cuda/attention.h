// attention.h - what the attention kernels share: which rows a block takes, where keys lie, products of whole heads.
//
// Heads of up to `head` numbers, a multiple of 64, lie in tiles of 64 columns side by side; shorter ones are filled up
// with zeros.
#pragma once
#include "tiles.h"

namespace DD_CUDA {

// Rows of a pass on the device. A sequence begins at row first[s]; blocks of `size` rows never span two, and number
// first[s] / size + s is the first of sequence s: there is room for all, and no more than rows / size + seqs.
struct Block {
    int sequence, begin, rows;
}; // begin: within the sequence; rows: of the sequence; < 0: no work
inline unsigned blocks_of_rows(const Rows& b, int size) { return unsigned(b.n / size + b.seqs); }
__device__ __forceinline__ Block block_of_rows(const Rows& b, int number, int size) {
    int low = 0, high = b.seqs - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (b.first[middle] / size + middle <= number) low = middle;
        else high = middle - 1;
    }
    int begin = (number - b.first[low] / size - low) * size, rows = b.first[low + 1] - b.first[low];
    return {low, begin, begin < rows ? rows : -1};
}

// The device keeps a panel of 16 positions of a head as 16 rows: keys `size` apart, values a multiple of 16.
__device__ __forceinline__ size_t panel_number(const KeyValues& kv, const Rows& b, int s, int panel) {
    return kv.room ? size_t(b.slot[s]) * kv.room + panel % kv.room : size_t(b.first[s] / 16 + s + panel);
}
__device__ __forceinline__ int value_stride(const KeyValues& kv) { return (kv.size + 15) / 16 * 16; }
__device__ __forceinline__ size_t panel_row(const KeyValues& kv, const Rows& b, int s, int head, int pos, int stride) {
    return ((panel_number(kv, b, s, pos / 16) * kv.heads + head) * 16 + pos % 16) * stride;
}

// A whole head's rows, `rows` of them: head / 64 tiles side by side, each of `high` rows.
template <int head, int rows, int high, int threads, class Row>
__device__ __forceinline__ void load_head(bf16* to, const bf16* any, bool wide, int size, Row row_at) {
#pragma unroll
    for (int i = 0; i < head / tile_cols; i++)
        load_rows<rows, threads>(to + i * high * tile_cols, any, wide, size - i * tile_cols, [&](int r) {
            const bf16* row = row_at(r);
            return row ? row + i * tile_cols : nullptr;
        });
}

// sum += a b^T over a whole head: 16 rows of a from `row` on, all `cols` rows of b.
template <int head, int rows_a, int cols>
__device__ __forceinline__ void multiply_heads(float (&sum)[cols / 8][4], const bf16* a, const bf16* b, int row) {
#pragma unroll(head > 256 ? 4 : head / 16)
    for (int k = 0; k < head / 16; k++) {
        uint32_t fa[4];
        load_a(fa, a + k / 4 * rows_a * tile_cols, row, k % 4);
#pragma unroll
        for (int j = 0; j < cols / 8; j += 2) {
            uint32_t fb[2][2];
            load_b(fb, b + k / 4 * cols * tile_cols, j * 8, k % 4);
            mma_bf16(sum[j], fa, fb[0]);
            mma_bf16(sum[j + 1], fa, fb[1]);
        }
    }
}

// Sums of 16 rows, as they lie in registers, are the A of the next product: columns 16 i .. +15.
__device__ __forceinline__ void as_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = two_bf16(left[0], left[1]), a[1] = two_bf16(left[2], left[3]);
    a[2] = two_bf16(right[0], right[1]), a[3] = two_bf16(right[2], right[3]);
}

// sum += p b: p 16 x depth in registers, b `depth` rows of a head, of whose columns those from `col` on.
template <int depth, int width>
__device__ __forceinline__ void multiply_back(float (&sum)[width][4], const float (&p)[depth / 8][4], const bf16* b,
                                              int col) {
#pragma unroll
    for (int k = 0; k < depth / 16; k++) {
        uint32_t fa[4];
        as_a(fa, p[2 * k], p[2 * k + 1]);
#pragma unroll
        for (int j = 0; j < width; j += 2) {
            uint32_t fb[2][2];
            int c = col + j * 8;
            load_b_turned(fb, b + c / tile_cols * depth * tile_cols, c % tile_cols, k);
            mma_bf16(sum[j], fa, fb[0]);
            mma_bf16(sum[j + 1], fa, fb[1]);
        }
    }
}

void plain_attend(const Tensor& y, const Tensor& l, const Tensor& q, const KeyValues&, const Rows&, float scale,
                  int window);
void plain_attend_back(const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& dy, const Tensor& y,
                       const Tensor& l, const Tensor& q, const Tensor& k, const Tensor& v, const Rows&, int head,
                       float scale, int window);
// D_i = dy_i.y_i of every head: [heads, rows] in the workspace.
float* row_products(const Tensor& dy, const Tensor& y, int head);

// body.template operator()<head>() for the smallest size of head that holds `size` numbers.
template <class F> void for_head(int size, F body) {
    if (size <= 64) body.template operator()<64>();
    else if (size <= 128) body.template operator()<128>();
    else if (size <= 256) body.template operator()<256>();
    else if (size <= 512) body.template operator()<512>();
    else fail(Exit::no_resource, "cuda: attention heads of %d numbers; 512 is the most", size);
}

} // namespace DD_CUDA
