// edits.cu - what interventions do to rows.
#include "columns.h"
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

struct ScaleHeads {
    Numbers y, x;
    const float* s;
    int head, heads;
    bool add; // to y: as a gradient
    __device__ void operator()(size_t i, int left) const {
        Four f = read4(x, i, left);
        for (int j = 0; j < 4; j++) f.v[j] *= s[(i + j) / head % heads];
        if (add) give4(y, i, f, left);
        else write4(y, i, f, left);
    }
};
void scale_heads(Tensor y, Tensor x, Tensor s) {
    each(x.count(), ScaleHeads{numbers(y), numbers(x), s.f(), x.cols / s.cols, s.cols, false});
}

struct Product2 {
    Numbers a, b;
    __device__ void operator()(Four& sum, size_t i, int j, int left) const {
        Four u = read4(a, i * a.cols + j, left), v = read4(b, i * a.cols + j, left);
        for (int n = 0; n < 4; n++) sum.v[n] = fmaf(u.v[n], v.v[n], sum.v[n]);
    }
};
void scale_heads_back(Tensor dx, Tensor ds, Tensor dy, Tensor x, Tensor s) {
    int head = x.cols / s.cols;
    if (dx) each(x.count(), ScaleHeads{numbers(dx), numbers(dy), s.f(), head, s.cols, true});
    if (ds && x.rows)
        sum_columns(numbers(ds), size_t(x.rows), x.cols, head, 1, Product2{numbers(dy, true), numbers(x, true)});
}

// v is one row: its column of number i is i mod cols.
struct AddRow {
    Numbers y, x;
    const float* v;
    float s;
    __device__ void operator()(size_t i, int left) const {
        Four f = read4(x, i, left);
        for (int j = 0; j < 4; j++) f.v[j] = fmaf(s, v[(i + j) % x.cols], f.v[j]);
        write4(y, i, f, left);
    }
};
void add_row(Tensor y, Tensor x, Tensor v, float s) { each(x.count(), AddRow{numbers(y), numbers(x), v.f(), s}); }

struct Itself {
    Numbers a;
    __device__ void operator()(Four& sum, size_t i, int j, int left) const {
        Four u = read4(a, i * a.cols + j, left);
        for (int n = 0; n < 4; n++) sum.v[n] += u.v[n];
    }
};
void sum_rows(Tensor dv, Tensor dy, float s) {
    if (dv && dy.rows) sum_columns(numbers(dv), size_t(dy.rows), dy.cols, 1, s, Itself{numbers(dy, true)});
}

constexpr int project_threads = 256;
__global__ void __launch_bounds__(project_threads) project_out_kernel(Numbers y, Numbers x, Numbers v) {
    size_t row = size_t(blockIdx.x) * x.cols;
    float dot = 0, norm = 0;
    for (int j = int(threadIdx.x) * 4; j < x.cols; j += project_threads * 4) {
        Four f = read4(x, row + j, x.cols - j), d = read4(v, j, x.cols - j);
        for (int n = 0; n < 4; n++) dot = fmaf(f.v[n], d.v[n], dot), norm = fmaf(d.v[n], d.v[n], norm);
    }
    float along = block_sum<project_threads, 0>(dot) / block_sum<project_threads, 1>(norm);
    for (int j = int(threadIdx.x) * 4; j < x.cols; j += project_threads * 4) {
        Four f = read4(x, row + j, x.cols - j), d = read4(v, j, x.cols - j);
        for (int n = 0; n < 4; n++) f.v[n] = fmaf(-along, d.v[n], f.v[n]);
        write4(y, row + j, f, x.cols - j);
    }
}
void project_out(Tensor y, Tensor x, Tensor v) {
    if (x.rows)
        launch<project_out_kernel>(unsigned(x.rows), project_threads, 0, numbers(y, true), numbers(x, true),
                                   numbers(v, true));
}

} // namespace

void edits(Kernels& k) {
    k.scale_heads = scale_heads, k.scale_heads_back = scale_heads_back, k.add_row = add_row, k.sum_rows = sum_rows;
    k.project_out = project_out;
}

} // namespace DD_CUDA
