#include "speed.h"
#include <algorithm>
#include "../kernels/parallel.h"

probe::Limit compute_limit(const Session& s) {
    if (s.k.bf16 && s.operand == Type::bf16) return probe::bf16;
    return std::string(s.k.name).starts_with("avx512") ? probe::f32 : probe::f32_256;
}

std::string against_machine(const Session& s, double tokens, double flops, double seconds) {
    if (seconds <= 0) return "";
    std::string line = format("%.0f tokens/s, %.0f GFLOP/s", tokens / seconds, flops / seconds * 1e-9);
    probe::Limit limit = compute_limit(s);
    double peak = 0;
    for (int i = 0; i < 5 && seconds >= 2; i++) peak = std::max(peak, limit());
    if (peak > 0)
        line += format(": %.0f %% of the %.0f that this machine does (%s, %s, %d threads)",
                       flops / seconds * 1e-7 / peak, peak, probe::name(limit), s.k.name, threads());
    return line;
}
