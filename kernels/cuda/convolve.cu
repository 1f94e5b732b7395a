// convolve.cu - the short convolution of linear attention: a thread a number, and where several sums meet, columns.h.
#include "columns.h"
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

struct Convolution {
    Numbers x, tail;
    const float* w; // [channel][taps]
    Rows b;
    int taps;
};
Convolution convolution(const Tensor& x, const Tensor& w, const Tensor& tail, const Rows& b) {
    return {numbers(x), numbers(tail), w.f(), b, int(w.count() / size_t(x.cols))};
}

// Number c of the row `back` positions before row i of sequence s: of the pass, of the tail, or zero.
__device__ __forceinline__ float before(const Convolution& v, int s, int i, int back, int c) {
    if (i - back >= v.b.first[s]) return read(v.x, size_t(i - back) * v.x.cols + c);
    int pos = v.b.pos[i] - back;
    if (pos < 0 || !v.tail.data) return 0;
    return read(v.tail, size_t(v.b.slot[s] * (v.taps - 1) + pos % (v.taps - 1)) * v.x.cols + c);
}
// What the gate is given.
__device__ __forceinline__ float filtered(const Convolution& v, int s, int i, int c) {
    float u = 0;
    for (int j = 0; j < v.taps; j++) u = fmaf(v.w[c * v.taps + j], before(v, s, i, v.taps - 1 - j, c), u);
    return u;
}

__global__ void __launch_bounds__(256) convolve_kernel(Numbers y, Convolution v) {
    int i = int(blockIdx.x), c = int(blockIdx.y * 256 + threadIdx.x);
    if (c >= y.cols) return;
    float u = filtered(v, sequence_of(v.b, i), i, c);
    write(y, size_t(i) * y.cols + c, u * sigmoid(u));
}
// The last rows of every sequence, for the passes to come.
__global__ void __launch_bounds__(256) tail_kernel(Convolution v) {
    int s = int(blockIdx.x) / (v.taps - 1), i = v.b.first[s + 1] - 1 - int(blockIdx.x) % (v.taps - 1);
    int c = int(blockIdx.y * 256 + threadIdx.x);
    if (i < v.b.first[s] || c >= v.x.cols) return;
    size_t row = size_t(v.b.slot[s] * (v.taps - 1) + v.b.pos[i] % (v.taps - 1));
    write(v.tail, row * v.x.cols + c, read(v.x, size_t(i) * v.x.cols + c));
}
void convolve(Tensor y, Tensor x, Tensor w, Tensor tail, const Rows& b) {
    if (!b.n) return;
    Convolution v = convolution(x, w, tail, b);
    unsigned across = groups_of(size_t(x.cols), 256);
    launch<convolve_kernel>(dim3(unsigned(b.n), across), 256, 0, numbers(y), v);
    if (tail) launch<tail_kernel>(dim3(unsigned(b.seqs * (v.taps - 1)), across), 256, 0, v);
}

// The gradient of what the gate is given.
__device__ __forceinline__ float gate_back(const Convolution& v, const Numbers& dy, int s, int i, int c) {
    float u = filtered(v, s, i, c), g = sigmoid(u);
    return read(dy, size_t(i) * v.x.cols + c) * (g * (1 + u * (1 - g)));
}
__global__ void __launch_bounds__(256) convolve_back_kernel(Numbers dx, Numbers dy, Convolution v) {
    int i = int(blockIdx.x), c = int(blockIdx.y * 256 + threadIdx.x);
    if (c >= dx.cols) return;
    int s = sequence_of(v.b, i), left = v.b.first[s + 1] - i;
    float d = 0;
    for (int j = 0; j < v.taps && j < left; j++)
        d = fmaf(v.w[c * v.taps + v.taps - 1 - j], gate_back(v, dy, s, i + j, c), d);
    size_t at = size_t(i) * dx.cols + c;
    write(dx, at, dx.fresh ? d : read(dx, at) + d);
}
// Of the filter, whose numbers are the columns: the taps of a channel side by side.
struct FilterTerm {
    Convolution v;
    Numbers dy;
    __device__ void operator()(Four& sum, size_t row, int first, int left) const {
        int i = int(row), s = sequence_of(v.b, i), last = -1;
        float d = 0;
        for (int n = 0; n < 4 && n < left; n++) {
            int c = (first + n) / v.taps, tap = (first + n) % v.taps;
            if (c != last) d = gate_back(v, dy, s, i, c), last = c;
            sum.v[n] = fmaf(d, before(v, s, i, v.taps - 1 - tap, c), sum.v[n]);
        }
    }
};
void convolve_back(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, const Rows& b) {
    if (!b.n) return;
    Convolution v = convolution(x, w, {}, b);
    if (dw) sum_columns(numbers(dw), size_t(b.n), int(w.count()), 1, 1, FilterTerm{v, numbers(dy)});
    if (dx)
        launch<convolve_back_kernel>(dim3(unsigned(b.n), groups_of(size_t(x.cols), 256)), 256, 0, numbers(dx),
                                     numbers(dy), v);
}

} // namespace

void convolution(Kernels& k) { k.convolve = convolve, k.convolve_back = convolve_back; }

} // namespace DD_CUDA
