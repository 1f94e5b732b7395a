// columns.h - sums over rows, without atomics: the rows in a fixed number of shares, each share by one chain of
// additions, the shares by another. The order depends on the number of rows alone.
#pragma once
#include "device.h"

namespace DD_CUDA {

constexpr int column_threads = 64, row_shares = 64;

// term(sum, row, column, left) adds one row's numbers to four columns.
template <class Term>
__global__ void __launch_bounds__(column_threads) share_kernel(float* shares, Term term, size_t rows, int cols) {
    int j = int(blockIdx.x * column_threads + threadIdx.x) * 4;
    if (j >= cols) return;
    Four sum{};
    for (size_t i = rows * blockIdx.y / row_shares; i < rows * (blockIdx.y + 1) / row_shares; i++)
        term(sum, i, j, cols - j);
    for (int n = 0; n < 4; n++)
        if (j + n < cols) shares[size_t(blockIdx.y) * cols + j + n] = sum.v[n];
}
// A thread a result: the shares of `fold` neighbouring columns.
static __global__ void __launch_bounds__(column_threads)
    fold_kernel(Numbers to, const float* shares, int cols, int fold, float s) {
    int i = int(blockIdx.x * column_threads + threadIdx.x);
    if (i >= cols / fold) return;
    float sum = 0;
    for (int share = 0; share < row_shares; share++)
        for (int j = 0; j < fold; j++) sum += shares[size_t(share) * cols + i * fold + j];
    write(to, size_t(i), fmaf(s, sum, read(to, size_t(i))));
}

// to[i] += s times the sum over rows of `fold` neighbouring columns. shares: room for shares_size(cols) numbers, where
// the workspace holds something that the term reads.
inline size_t shares_size(int cols) { return size_t(row_shares) * size_t(cols); }
template <class Term>
void sum_columns(Numbers to, size_t rows, int cols, int fold, float s, Term term, float* shares = nullptr) {
    if (!shares) shares = static_cast<float*>(workspace(shares_size(cols) * 4));
    launch<share_kernel<Term>>(dim3(groups_of(size_t(cols), column_threads * 4), row_shares), column_threads, 0, shares,
                               term, rows, cols);
    launch<fold_kernel>(groups_of(size_t(cols / fold), column_threads), column_threads, 0, to, shares, cols, fold, s);
}

} // namespace DD_CUDA
