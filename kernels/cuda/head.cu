// head.cu - what is done to logits.
#include <climits>
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

struct Softcap {
    Numbers y;
    float c;
    __device__ void operator()(size_t i, int left) const {
        Four f = read4(y, i, left);
        for (int j = 0; j < 4; j++) f.v[j] = c * exact_tanh(f.v[j] / c);
        write4(y, i, f, left);
    }
};
void softcap(Tensor y, float c) { each(y.count(), Softcap{numbers(y), c}); }

constexpr int pick_threads = 1024;

// The largest logit so far and the sum of 2^(log2 e (z - top)) beside it, carried along together (Milakov and
// Gimelshein 2018), so that a row is read once for log p and once more for its gradient.
struct Softmax {
    float top = -INFINITY, sum = 0;
    __device__ void add(float z) {
        if (z > top) sum *= exact_exp2((top - z) * log2_e), top = z;
        sum += exact_exp2((z - top) * log2_e);
    }
};

// One block a row.
__global__ void __launch_bounds__(pick_threads)
    pick_kernel(float* logp, Numbers dz, Numbers z, const int* want, const float* s, float cap) {
    size_t row = size_t(blockIdx.x) * z.cols;
    int first = int(threadIdx.x) * 4;
    Softmax mine;
    for (int j = first; j < z.cols; j += pick_threads * 4) {
        Four f = read4(z, row + j, z.cols - j);
        for (int n = 0; n < 4; n++)
            if (j + n < z.cols) mine.add(f.v[n]);
    }
    float top = block_max<pick_threads, 0>(mine.top);
    float own = mine.sum > 0 ? mine.sum * exact_exp2((mine.top - top) * log2_e) : 0;
    float total = block_sum<pick_threads, 1>(own), inverse = 1 / total;
    int wanted = want[blockIdx.x];
    if (threadIdx.x == 0) logp[blockIdx.x] = (read(z, row + wanted) - top) - logf(total);
    if (!dz.data) return;
    float scale = s ? s[blockIdx.x] : 1;
    for (int j = first; j < z.cols; j += pick_threads * 4) {
        Four f = read4(z, row + j, z.cols - j);
        for (int n = 0; n < 4; n++) {
            float d = float(j + n == wanted) - exact_exp2((f.v[n] - top) * log2_e) * inverse;
            if (cap > 0) d *= 1 - (f.v[n] / cap) * (f.v[n] / cap);
            f.v[n] = scale * d;
        }
        write4(dz, row + j, f, z.cols - j);
    }
}
void pick(Tensor logp, Tensor dz, Tensor z, const int* want, const float* s, float cap) {
    if (z.rows)
        launch<pick_kernel>(unsigned(z.rows), pick_threads, 0, logp.f(), numbers(dz, true), numbers(z, true), want, s,
                            cap);
}

// The larger, or of equals the earlier; NaN is none.
struct Best {
    float value;
    int at;
    __device__ void take(float v, int j) {
        if (v > value || (v == value && j < at)) value = v, at = j;
    }
};
struct BestShared {
    Best part[pick_threads / warp];
};
__device__ __forceinline__ Best warp_best(Best b) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        float value = __shfl_xor_sync(all_lanes, b.value, step);
        b.take(value, __shfl_xor_sync(all_lanes, b.at, step));
    }
    return b;
}
// One block a row.
__global__ void __launch_bounds__(pick_threads) argmax_kernel(int* best, Numbers z) {
    Best(&part)[pick_threads / warp] = static_shared<BestShared>().part;
    size_t row = size_t(blockIdx.x) * z.cols;
    Best b{-INFINITY, INT_MAX};
    for (int j = int(threadIdx.x) * 4; j < z.cols; j += pick_threads * 4) {
        Four f = read4(z, row + j, z.cols - j);
        for (int n = 0; n < 4; n++)
            if (j + n < z.cols && f.v[n] > b.value) b = {f.v[n], j + n};
    }
    b = warp_best(b);
    if (threadIdx.x % warp == 0) part[threadIdx.x / warp] = b;
    __syncthreads(); // every warp's best is there
    b = warp_best(part[threadIdx.x % warp]);
    if (threadIdx.x == 0) best[blockIdx.x] = b.at == INT_MAX ? 0 : b.at;
}
void argmax(int* best, Tensor z) {
    if (z.rows) launch<argmax_kernel>(unsigned(z.rows), pick_threads, 0, best, numbers(z, true));
}

} // namespace

void head(Kernels& k) { k.softcap = softcap, k.pick = pick, k.argmax = argmax; }

} // namespace DD_CUDA
