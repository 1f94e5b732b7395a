#include "speed.h"
#include <algorithm>
#include "../kernels/parallel.h"

probe::Limit compute_limit(const Session& s) {
    bool bf16 = s.k.bf16 && s.operand == Type::bf16;
    if (s.k.limits) return bf16 ? s.k.limits->bf16 : s.k.limits->f32;
    if (bf16) return &probe::bf16;
    return std::string(s.k.name).starts_with("avx512") ? &probe::f32 : &probe::f32_256;
}
probe::Limit bandwidth_limit(const Session& s) { return s.k.limits ? s.k.limits->bandwidth : &probe::bandwidth; }

std::string against_machine(const Session& s, double tokens, double flops, double seconds) {
    if (seconds <= 0) return "";
    std::string line = format("%.0f tokens/s, %.0f GFLOP/s", tokens / seconds, flops / seconds * 1e-9);
    probe::Limit limit = compute_limit(s);
    double peak = 0;
    for (int i = 0; i < 5 && seconds >= 2; i++) peak = std::max(peak, limit->read());
    if (peak > 0)
        line += format(": %.0f %% of the %.0f that this machine does (%s, %s%s)", flops / seconds * 1e-7 / peak, peak,
                       limit->name, s.k.name, limit->host ? format(", %d threads", threads()).c_str() : "");
    return line;
}
