// moving.cu - copies, sums and rows picked by number.
#include "blocks.h"
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

struct Zero {
    Numbers y;
    __device__ void operator()(size_t i, int left) const { write4(y, i, {}, left); }
};
// Whole words where there are some: any type of tensor, in blocks as well.
void zero(Tensor y) {
    require(y.bytes() % 2 == 0, "cuda: zero of an odd number of bytes");
    Tensor words = y;
    words.type = y.bytes() % 4 ? Type::bf16 : Type::f32;
    each(y.bytes() / (y.bytes() % 4 ? 2 : 4), Zero{numbers(words)});
}

struct Copy {
    Numbers y, x;
    __device__ void operator()(size_t i, int left) const { write4(y, i, read4(x, i, left), left); }
};
void copy(Tensor y, Tensor x) { each(y.count(), Copy{numbers(y), numbers(x)}); }

struct Add {
    Numbers y, a, b;
    __device__ void operator()(size_t i, int left) const {
        Four u = read4(a, i, left), v = read4(b, i, left);
        for (int j = 0; j < 4; j++) u.v[j] += v.v[j];
        write4(y, i, u, left);
    }
};
void add(Tensor y, Tensor a, Tensor b) { each(y.count(), Add{numbers(y), numbers(a), numbers(b)}); }

struct AddTo {
    Numbers dx, dy;
    float s;
    __device__ void operator()(size_t i, int left) const {
        Four d = read4(dy, i, left);
        for (int j = 0; j < 4; j++) d.v[j] *= s;
        give4(dx, i, d, left);
    }
};
void add_to(Tensor dx, Tensor dy, float s) {
    if (dx) each(dx.count(), AddTo{numbers(dx), numbers(dy), s});
}

// ---- rows by number: a block of 128 threads a row and 512 columns

constexpr int row_threads = 128, row_columns = row_threads * 4;
dim3 row_grid(int rows, int cols) { return dim3(unsigned(rows), groups_of(size_t(cols), row_columns)); }
__device__ __forceinline__ int first_column() { return (int(blockIdx.y) * row_threads + int(threadIdx.x)) * 4; }

template <Type type>
__global__ void __launch_bounds__(row_threads) gather_kernel(Numbers y, Stored table, const int* ids, float s) {
    size_t i = blockIdx.x, from = size_t(ids[i]) * y.cols;
    int j = first_column();
    if (j >= y.cols) return;
    Four f = weights4<type>(table, from + j, y.cols - j);
    for (int n = 0; n < 4; n++) f.v[n] *= s;
    write4(y, i * y.cols + j, f, y.cols - j);
}
void gather(Tensor y, Tensor table, const int* ids, float s) {
    if (!y.rows) return;
    for_type(table.type, [&]<Type type>() {
        launch<gather_kernel<type>>(row_grid(y.rows, y.cols), row_threads, 0, numbers(y, true), stored(table), ids, s);
    });
}

__global__ void __launch_bounds__(row_threads) select_kernel(Numbers y, Numbers x, const int* rows) {
    size_t i = blockIdx.x, from = size_t(rows[i]) * y.cols;
    int j = first_column();
    if (j < y.cols) write4(y, i * y.cols + j, read4(x, from + j, y.cols - j), y.cols - j);
}
void select(Tensor y, Tensor x, const int* rows) {
    if (y.rows)
        launch<select_kernel>(row_grid(y.rows, y.cols), row_threads, 0, numbers(y, true), numbers(x, true), rows);
}

__global__ void __launch_bounds__(row_threads) columns_kernel(Numbers y, Numbers x, int first) {
    size_t i = blockIdx.x;
    int j = first_column();
    if (j < y.cols) write4(y, i * y.cols + j, read4(x, i * x.cols + first + j, y.cols - j), y.cols - j);
}
// The rows of `part` begin at column `first` of those of `whole`.
bool fours(const Numbers& part, const Numbers& whole, int first) { return part.whole && whole.whole && first % 4 == 0; }
void columns(Tensor y, Tensor x, int first) {
    Numbers to = numbers(y, true), from = numbers(x, true);
    to.whole = from.whole = fours(to, from, first);
    if (y.rows) launch<columns_kernel>(row_grid(y.rows, y.cols), row_threads, 0, to, from, first);
}

__global__ void __launch_bounds__(row_threads) columns_back_kernel(Numbers dx, Numbers dy, int first) {
    size_t i = blockIdx.x;
    int j = first_column(), left = dy.cols - j;
    if (j >= dy.cols) return;
    Four f = read4(dy, i * dy.cols + j, left), before = read4(dx, i * dx.cols + first + j, left);
    for (int n = 0; n < 4; n++) f.v[n] = before.v[n] + f.v[n];
    write4(dx, i * dx.cols + first + j, f, left);
}
void columns_back(Tensor dx, Tensor dy, int first) {
    if (!dx) return;
    if (dx.fresh) zero(dx);
    Numbers to = numbers(dx, true), from = numbers(dy, true);
    to.whole = from.whole = fours(from, to, first);
    if (dy.rows) launch<columns_back_kernel>(row_grid(dy.rows, dy.cols), row_threads, 0, to, from, first);
}

// Where several rows add to one, the first of them does all the additions, in their order. A thread looks for an
// earlier one among its share of the rows; s null: `by` for every row.
__global__ void __launch_bounds__(row_threads)
    scatter_kernel(Numbers to, Numbers from, const int* rows, int n, const float* s, float by, int pad, bool fused) {
    int i = int(blockIdx.x), row = rows[i], j = first_column();
    bool earlier = false;
    for (int other = int(threadIdx.x); other < i; other += row_threads) earlier |= rows[other] == row;
    if (__syncthreads_or(earlier) || row == pad || j >= to.cols) return;
    size_t at = size_t(row) * to.cols + j;
    int left = to.cols - j;
    Four sum = read4(to, at, left);
    for (int k = i; k < n; k++) {
        if (rows[k] != row) continue;
        Four d = read4(from, size_t(k) * to.cols + j, left);
        float factor = s ? s[k] : by;
        for (int c = 0; c < 4; c++) sum.v[c] = fused ? fmaf(factor, d.v[c], sum.v[c]) : sum.v[c] + factor * d.v[c];
        if (to.narrow)
            for (int c = 0; c < 4; c++) sum.v[c] = to_float(to_bf16(sum.v[c]));
    }
    write4(to, at, sum, left);
}
void gather_back(Tensor dtable, Tensor dy, const int* ids, float s, int pad) {
    if (dtable && dy.rows)
        launch<scatter_kernel>(row_grid(dy.rows, dy.cols), row_threads, 0, numbers(dtable, true), numbers(dy, true),
                               ids, dy.rows, (const float*)nullptr, s, pad, false);
}
void select_back(Tensor dx, Tensor dy, const int* rows, const float* s) {
    if (!dx) return;
    if (dx.fresh) zero(dx);
    if (dy.rows)
        launch<scatter_kernel>(row_grid(dy.rows, dy.cols), row_threads, 0, numbers(dx, true), numbers(dy, true), rows,
                               dy.rows, s, 1.0f, -1, true);
}

__global__ void __launch_bounds__(row_threads) follow_kernel(int* ids, int* pos, const int* next, int n) {
    int i = int(blockIdx.x) * row_threads + int(threadIdx.x);
    if (i < n) ids[i] = next[i], pos[i]++;
}
void follow(int* ids, int* pos, const int* next, int n) {
    if (n) launch<follow_kernel>(groups_of(size_t(n), row_threads), row_threads, 0, ids, pos, next, n);
}

} // namespace

void moving(Kernels& k) {
    k.zero = zero, k.copy = copy, k.add = add, k.add_to = add_to;
    k.gather = gather, k.gather_back = gather_back, k.select = select, k.select_back = select_back;
    k.columns = columns, k.columns_back = columns_back, k.follow = follow;
}

} // namespace DD_CUDA
