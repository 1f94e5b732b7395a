// optimizer.cu - the norm of gradients, and AdamW.
#include <cmath>
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

// Shares of 65536 numbers, each by a block's tree in double; then one after another onto *sum.
constexpr int share = 65536, square_threads = 256;
struct SquaresShared {
    double part[square_threads];
};

__global__ void __launch_bounds__(square_threads) squares_kernel(double* shares, Numbers x, size_t n) {
    double(&part)[square_threads] = static_shared<SquaresShared>().part;
    size_t begin = size_t(blockIdx.x) * share, end = n < begin + share ? n : begin + share;
    double sum = 0;
    for (size_t i = begin + threadIdx.x * 4; i < end; i += square_threads * 4) {
        Four f = read4(x, i, end - i < 4 ? int(end - i) : 4);
        for (float v : f.v) sum += double(v) * double(v);
    }
    part[threadIdx.x] = sum;
    for (int half = square_threads / 2; half; half /= 2) {
        __syncthreads(); // the level below is there
        if (int(threadIdx.x) < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) shares[blockIdx.x] = part[0];
}
__global__ void __launch_bounds__(warp) shares_kernel(double* sum, const double* shares, int n) {
    if (threadIdx.x) return;
    double total = *sum;
    for (int i = 0; i < n; i++) total += shares[i];
    *sum = total;
}
void sum_squares(double* sum, Tensor x) {
    size_t n = x.count();
    if (!n) return;
    unsigned blocks = groups_of(n, share);
    double* shares = static_cast<double*>(workspace(blocks * sizeof(double)));
    launch<squares_kernel>(blocks, square_threads, 0, shares, numbers(x), n);
    launch<shares_kernel>(1, warp, 0, sum, shares, int(blocks));
}

struct Update {
    Numbers w, m, v, g;
    float gs, beta1, beta2, eps, keep, rate, root;
    __device__ void operator()(size_t i, int left) const {
        Four a = read4(w, i, left), b = read4(m, i, left), c = read4(v, i, left), d = read4(g, i, left);
        for (int j = 0; j < 4; j++) {
            float x = gs * d.v[j];
            b.v[j] = fmaf(beta1, b.v[j], (1 - beta1) * x);
            c.v[j] = fmaf(beta2, c.v[j], (1 - beta2) * x * x);
            a.v[j] = keep * a.v[j] - rate * (b.v[j] / (sqrtf(c.v[j]) * root + eps));
        }
        write4(w, i, a, left), write4(m, i, b, left), write4(v, i, c, left);
    }
};
void adamw(Tensor w, Tensor m, Tensor v, Tensor g, float gs, const AdamW& a) {
    float keep = 1 - a.lr * a.decay, rate = float(a.lr / (1 - std::pow(double(a.beta1), a.step)));
    float root = float(1 / std::sqrt(1 - std::pow(double(a.beta2), a.step)));
    each(w.count(),
         Update{numbers(w), numbers(m), numbers(v), numbers(g), gs, a.beta1, a.beta2, a.eps, keep, rate, root});
}

} // namespace

void optimizer(Kernels& k) { k.sum_squares = sum_squares, k.adamw = adamw; }

} // namespace DD_CUDA
