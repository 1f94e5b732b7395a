// limits.cu - what the device can do at this moment, read on the device: every speed is reported as a share of it.
//
// Reading: 16 bytes a thread, four of them in flight, over more than any L2 holds. bf16: a big square product, by the
// library or by our own tiles, whichever was the faster at the first reading; so a share says how far a product is from
// the best that this program knows to do here, not from a data sheet. f32: chains of fused multiply-adds in registers.
// Numbers are random: zeros are multiplied faster.
#include <chrono>
#include "../probe.h"
#include "families.h"
#include "library.h"
#include "products.h"

namespace DD_CUDA {
namespace {

constexpr int readers = 256, in_flight = 4;

__global__ void __launch_bounds__(readers) read_kernel(const uint4* from, size_t n, uint32_t* to) {
    uint32_t sum = 0;
    size_t each = readers * in_flight;
    for (size_t at = blockIdx.x * each + threadIdx.x; at + (in_flight - 1) * readers < n; at += gridDim.x * each) {
        uint4 v[in_flight];
#pragma unroll
        for (int j = 0; j < in_flight; j++) move<uint4>(&v[j], from + at + j * readers);
#pragma unroll
        for (int j = 0; j < in_flight; j++) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (sum == 0x9e3779b9u) *to = sum; // hardly ever; but the compiler cannot know
}

constexpr int chains = 16;
__global__ void __launch_bounds__(256) chains_kernel(float x, float y, int steps, float* to) {
    float a[chains];
#pragma unroll
    for (int i = 0; i < chains; i++) a[i] = float(i) + float(threadIdx.x);
    for (int s = 0; s < steps; s++)
#pragma unroll
        for (int i = 0; i < chains; i++) a[i] = fmaf(a[i], x, y);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < chains; i++) sum += a[i];
    if (sum == 0.1f) *to = sum;
}

// Numbers between -1 and 1 that look random.
struct Scatter {
    Numbers y;
    __device__ void operator()(size_t i, int left) const {
        Four f{};
        for (int j = 0; j < left; j++) {
            uint32_t h = uint32_t(i + j) * 0x9e3779b9u;
            h = (h ^ h >> 15) * 0x85ebca6bu;
            f.v[j] = float((h ^ h >> 13) & 0xffff) / 32768 - 1;
        }
        write4(y, i, f, left);
    }
};

// Billions a second of `amount` a run.
template <class F> double rate(double amount, int runs, F run) {
    auto now = [] {
        memory.download(nullptr, nullptr, 0);
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
    run();
    double start = now();
    for (int i = 0; i < runs; i++) run();
    return amount * runs / (now() - start) * 1e-9;
}

Arena& room() {
    static Arena* arena = new Arena(2 * probe_sizes.bytes, memory); // kept while the process lives
    return *arena;
}

double read_bandwidth() {
    static Tensor data = [] {
        Tensor t = room().make(1, int(probe_sizes.bytes / 4));
        each(t.count(), Scatter{numbers(t)});
        return t;
    }();
    return rate(double(probe_sizes.bytes), 8, [] {
        launch<read_kernel>(unsigned(probe_sizes.blocks), readers, 0, static_cast<const uint4*>(data.data),
                            probe_sizes.bytes / 16, static_cast<uint32_t*>(data.data));
    });
}

double read_f32() {
    static float* to = room().make(1, 1).f();
    double flops = 2.0 * chains * 256 * probe_sizes.blocks * probe_sizes.steps;
    return rate(flops, 8, [] {
        launch<chains_kernel>(unsigned(probe_sizes.blocks), 256, 0, 0.999f, 0.001f, probe_sizes.steps, to);
    });
}

double read_bf16();
probe::Probe bf16_probe{"a square product by own tiles", read_bf16, false, false};

struct Square {
    Tensor x, y;
    Matrix w;
    Kernels k;
    Square(bool library) : k(table("a probe", !library, library)) {
        static Tensor t[3];
        int side = probe_sizes.side;
        for (Tensor& i : t)
            if (!i) {
                i = room().make(side, side, Type::bf16);
                each(i.count(), Scatter{numbers(i)});
            }
        x = t[0], y = t[1], w.out = w.in = side, w.w = t[2];
    }
    double read() {
        Product p{y, &w, {}, nullptr};
        return rate(2.0 * w.out * w.out * w.out, 8, [&] { k.matmul(&p, 1, x); });
    }
};
double read_bf16() {
    static Square best = [] {
        Square own(false), library(true);
        if (!*library_name() || own.read() > library.read()) return own;
        bf16_probe.name = "a square product by cuBLASLt";
        return library;
    }();
    return best.read();
}

const probe::Probe f32_probe{"f32", read_f32, false, false}, bandwidth_probe{"bandwidth", read_bandwidth, true, false};

} // namespace

const Limits limits = {&bf16_probe, &f32_probe, &bandwidth_probe};

} // namespace DD_CUDA
