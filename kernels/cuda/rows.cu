// rows.cu - what is done to every row on its own: norms, gates, rotations, dropout.
#include "columns.h"
#include "device.h"
#include "families.h"

namespace DD_CUDA {
namespace {

// A chunk of up to 512 numbers is a warp's, a longer one a block's of 256 threads: by its length alone.
constexpr int long_chunk = 512;
template <int threads> constexpr int chunks_a_block = 256 / threads;

template <int threads>
__global__ void __launch_bounds__(256)
    rms_norm_kernel(Numbers y, float* r, Numbers x, Numbers w, size_t chunks, float eps) {
    size_t i = size_t(blockIdx.x) * chunks_a_block<threads> + threadIdx.x / threads;
    if (i >= chunks) return; // a whole warp, or nobody
    int first = int(threadIdx.x % threads) * 4, c = w.cols;
    float sum = 0;
    for (int j = first; j < c; j += threads * 4) {
        Four f = read4(x, i * c + j, c - j);
        for (float v : f.v) sum = fmaf(v, v, sum);
    }
    float s = 1 / sqrtf(block_sum<threads, 0>(sum) / c + eps);
    if (first == 0) r[i] = s;
    for (int j = first; j < c; j += threads * 4) {
        Four f = read4(x, i * c + j, c - j), g = read4(w, j, c - j);
        for (int n = 0; n < 4; n++) f.v[n] = f.v[n] * s * g.v[n];
        write4(y, i * c + j, f, c - j);
    }
}
// The neighbours of a chunk are counted from its beginning.
Numbers chunked(const Tensor& t, int c) {
    Numbers n = numbers(t);
    n.whole = n.whole && c % 4 == 0;
    return n;
}
void rms_norm(Tensor y, Tensor r, Tensor x, Tensor w, float eps) {
    int c = w.cols;
    size_t chunks = size_t(r.rows);
    if (!chunks) return;
    auto args = [&](auto start) { start(chunked(y, c), r.f(), chunked(x, c), chunked(w, c), chunks, eps); };
    if (c <= long_chunk)
        args([&](auto... a) { launch<rms_norm_kernel<warp>>(groups_of(chunks, chunks_a_block<warp>), 256, 0, a...); });
    else args([&](auto... a) { launch<rms_norm_kernel<256>>(unsigned(chunks), 256, 0, a...); });
}

template <int threads>
__global__ void __launch_bounds__(256)
    rms_norm_back_kernel(Numbers dx, Numbers dy, Numbers x, Numbers w, const float* r, size_t chunks) {
    size_t i = size_t(blockIdx.x) * chunks_a_block<threads> + threadIdx.x / threads;
    if (i >= chunks) return;
    int first = int(threadIdx.x % threads) * 4, c = w.cols;
    float dot = 0, s = r[i];
    for (int j = first; j < c; j += threads * 4) {
        Four d = read4(dy, i * c + j, c - j), g = read4(w, j, c - j), f = read4(x, i * c + j, c - j);
        for (int n = 0; n < 4; n++) dot = fmaf(d.v[n] * g.v[n], f.v[n], dot);
    }
    float back = -(s * s * s * block_sum<threads, 0>(dot) / c);
    for (int j = first; j < c; j += threads * 4) {
        Four d = read4(dy, i * c + j, c - j), g = read4(w, j, c - j), f = read4(x, i * c + j, c - j);
        for (int n = 0; n < 4; n++) d.v[n] = fmaf(d.v[n] * g.v[n], s, f.v[n] * back);
        give4(dx, i * c + j, d, c - j);
    }
}
// Of the gain: column sums of dy x / rms over all chunks.
struct GainTerm {
    Numbers dy, x;
    const float* r;
    __device__ void operator()(Four& sum, size_t i, int j, int left) const {
        Four d = read4(dy, i * dy.cols + j, left), f = read4(x, i * dy.cols + j, left);
        for (int n = 0; n < 4; n++) sum.v[n] = fmaf(d.v[n], f.v[n] * r[i], sum.v[n]);
    }
};
void rms_norm_back(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor r) {
    int c = w.cols;
    size_t chunks = size_t(r.rows);
    if (!chunks) return;
    if (dw) {
        GainTerm term{chunked(dy, c), chunked(x, c), r.f()};
        term.dy.cols = c;
        sum_columns(numbers(dw), chunks, c, 1, 1, term);
    }
    if (!dx) return;
    auto args = [&](auto start) { start(chunked(dx, c), chunked(dy, c), chunked(x, c), chunked(w, c), r.f(), chunks); };
    if (c <= long_chunk)
        args([&](auto... a) {
            launch<rms_norm_back_kernel<warp>>(groups_of(chunks, chunks_a_block<warp>), 256, 0, a...);
        });
    else args([&](auto... a) { launch<rms_norm_back_kernel<256>>(unsigned(chunks), 256, 0, a...); });
}

// f(g) and its derivative.
__device__ __forceinline__ void gate(float g, Gate kind, float& f, float& df) {
    if (kind == Gate::silu) {
        float s = sigmoid(g);
        f = g * s;
        df = s * (1 + g * (1 - s));
    } else if (kind == Gate::sigmoid) {
        f = sigmoid(g);
        df = f * (1 - f);
    } else {
        float cube = 0.044715f * g * g, t = exact_tanh(0.79788456f * (g * (1 + cube)));
        f = 0.5f * g * (1 + t);
        df = 0.5f * (1 + t) + 0.5f * g * (1 - t * t) * (0.79788456f * (1 + 3 * cube));
    }
}

struct Gated {
    Numbers y, g, u;
    Gate kind;
    __device__ void operator()(size_t i, int left) const {
        Four a = read4(g, i, left), b = read4(u, i, left);
        for (int j = 0; j < 4; j++) {
            float f, df;
            gate(a.v[j], kind, f, df);
            a.v[j] = f * b.v[j];
        }
        write4(y, i, a, left);
    }
};
void gated(Tensor y, Tensor g, Tensor u, Gate kind) {
    each(y.count(), Gated{numbers(y), numbers(g), numbers(u), kind});
}

struct GatedBack {
    Numbers dg, du, dy, g, u;
    Gate kind;
    __device__ void operator()(size_t i, int left) const {
        Four a = read4(g, i, left), b = read4(u, i, left), d = read4(dy, i, left), e;
        for (int j = 0; j < 4; j++) {
            float f, df;
            gate(a.v[j], kind, f, df);
            e.v[j] = d.v[j] * f;
            d.v[j] = d.v[j] * b.v[j] * df;
        }
        if (dg.data) give4(dg, i, d, left);
        if (du.data) give4(du, i, e, left);
    }
};
void gated_back(Tensor dg, Tensor du, Tensor dy, Tensor g, Tensor u, Gate kind) {
    each(dy.count(), GatedBack{numbers(dg), numbers(du), numbers(dy), numbers(g), numbers(u), kind});
}

// The frequencies are the host's, and few: they travel with the launch.
struct Frequencies {
    float at[512];
};
__global__ void __launch_bounds__(256)
    rotations_kernel(float* t, const int* pos, Frequencies freq, int pairs, size_t n) {
    size_t i = size_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= n) return;
    int j = int(i % pairs);
    float angle = float(pos[i / pairs]) * freq.at[j], *row = t + i / pairs * (2 * pairs);
    row[j] = cosf(angle);
    row[pairs + j] = sinf(angle);
}
void rotations(Tensor t, const int* pos, const float* freq, int pairs) {
    Frequencies f;
    require(pairs <= 512, "cuda: rotations of %d pairs; at most 512", pairs);
    for (int j = 0; j < 512; j++) f.at[j] = j < pairs ? freq[j] : 0;
    size_t n = size_t(t.rows) * pairs;
    if (n) launch<rotations_kernel>(groups_of(n, 256), 256, 0, t.f(), pos, f, pairs, n);
}

// A thread turns four pairs that lie side by side, or copies four numbers of a head beyond its pairs where y is not x.
__global__ void __launch_bounds__(256)
    rope_kernel(Numbers y, Numbers x, Numbers t, int head, int sign, int turning, int resting, size_t n) {
    size_t i = size_t(blockIdx.x) * 256 + threadIdx.x;
    if (i >= n) return;
    int pairs = t.cols / 2, group = int(i % (turning + resting)), j = group * 4, left = pairs - j;
    size_t h = i / (turning + resting), at = h * head, c = h / (x.cols / head) * t.cols;
    if (group >= turning) {
        j = 2 * pairs + (group - turning) * 4;
        return write4(y, at + j, read4(x, at + j, head - j), head - j);
    }
    Four u = read4(x, at + j, left), v = read4(x, at + pairs + j, left), cosine = read4(t, c + j, left),
         sine = read4(t, c + pairs + j, left), a, b;
    for (int k = 0; k < 4; k++) {
        float s = float(sign) * sine.v[k];
        a.v[k] = fmaf(-v.v[k], s, u.v[k] * cosine.v[k]);
        b.v[k] = fmaf(u.v[k], s, v.v[k] * cosine.v[k]);
    }
    write4(y, at + j, a, left);
    write4(y, at + pairs + j, b, left);
}
void rope(Tensor y, Tensor x, Tensor t, int head, int sign) {
    int pairs = t.cols / 2, turning = (pairs + 3) / 4, resting = y.data == x.data ? 0 : (head - 2 * pairs + 3) / 4;
    size_t n = x.count() / size_t(head) * size_t(turning + resting);
    if (!n) return;
    auto fours = [&](const Tensor& t) {
        Numbers f = numbers(t);
        f.whole = f.whole && pairs % 4 == 0 && head % 4 == 0;
        return f;
    };
    launch<rope_kernel>(groups_of(n, 256), 256, 0, fours(y), fours(x), fours(t), head, sign, turning, resting, n);
}

struct Dropout {
    Numbers y, x;
    uint32_t bound;
    float keep;
    uint64_t seed, site;
    __device__ void operator()(size_t i, int left) const {
        uint32_t c[4] = {uint32_t(i / 4), uint32_t(i / 4 >> 32), uint32_t(site), uint32_t(site >> 32)};
        philox4(c, uint32_t(seed), uint32_t(seed >> 32));
        Four f = read4(x, i, left);
        for (int j = 0; j < 4; j++) f.v[j] = c[j] < bound ? 0 : f.v[j] * keep;
        write4(y, i, f, left);
    }
};
void dropout(Tensor y, Tensor x, float rate, uint64_t seed, uint64_t site) {
    each(x.count(), Dropout{numbers(y), numbers(x), uint32_t(double(rate) * 0x1p32), 1 / (1 - rate), seed, site});
}

} // namespace

void rows(Kernels& k) {
    k.rms_norm = rms_norm, k.rms_norm_back = rms_norm_back, k.gated = gated, k.gated_back = gated_back;
    k.rotations = rotations, k.rope = rope, k.dropout = dropout;
}

} // namespace DD_CUDA
