// run.cu - what every rung reaches on this machine's GPU (make ladder): the fastest of some runs, as TFLOP/s.
#include <algorithm>
#include <cstdio>
#include <functional>
#include "../../kernels/kernels.h"
#include "../../kernels/random.h"
#include "ladder.h"

namespace {

using namespace DD_CUDA::ladder;

bf16* numbers(Arena& mem, size_t n, uint64_t stream) {
    Random random(1, stream, 0);
    std::vector<bf16> v(n);
    for (bf16& x : v) x = to_bf16(2 * random.uniform() - 1);
    auto* to = static_cast<bf16*>(mem.take(n * sizeof(bf16)));
    mem.memory.upload(to, v.data(), n * sizeof(bf16));
    return to;
}

double fastest(const std::function<void()>& run) {
    cudaEvent_t begin, end;
    cuda_check(cudaEventCreate(&begin), "an event");
    cuda_check(cudaEventCreate(&end), "an event");
    double least = 1e9;
    for (int i = 0; i < 12; i++) {
        cuda_check(cudaEventRecord(begin, work), "an event");
        run();
        cuda_check(cudaEventRecord(end, work), "an event");
        cuda_check(cudaEventSynchronize(end), "a rung");
        float ms = 0;
        cuda_check(cudaEventElapsedTime(&ms, begin, end), "an event");
        if (i >= 2) least = std::min(least, double(ms) * 1e-3);
    }
    return least;
}

void report(const char* name, double flops, const std::function<void()>& run) {
    printf("| %s | %.1f |\n", name, flops / fastest(run) * 1e-12);
    fflush(stdout);
}

} // namespace

int main() {
    try {
        const Kernels& k = cuda(0);
        Arena mem(size_t(4) << 30, *k.memory);
        printf("%s\n\n| rung | TFLOP/s |\n| --- | --- |\n", k.name);
        Matmul m{nullptr, nullptr, nullptr, 4096, 4096, 4096};
        size_t square = size_t(4096) * 4096;
        m.y = numbers(mem, square, 1), m.x = numbers(mem, square, 2), m.w = numbers(mem, square, 3);
        for (const auto& rung : matmuls) report(rung.name, 2.0 * 4096 * double(square), [&] { rung.run(m); });
        Attention a{nullptr, nullptr, nullptr, nullptr, 2048, 32, 0.125f};
        size_t n = size_t(a.n) * size_t(a.heads) * head_size;
        a.y = numbers(mem, n, 4), a.q = numbers(mem, n, 5), a.k = numbers(mem, n, 6), a.v = numbers(mem, n, 7);
        // Two products of n x n x 64 a head, of which the mask leaves half.
        double flops = 4.0 * a.n * a.n / 2 * head_size * a.heads;
        for (const auto& rung : attentions) report(rung.name, flops, [&] { rung.run(a); });
    } catch (const Error& e) {
        fprintf(stderr, "ladder: %s\n", e.what());
        return int(e.code);
    }
}
