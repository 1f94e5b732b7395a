// probe.h - what this machine can do at this moment, and whether it is ours alone: every speed is reported as a share
// of
// a probe taken in the same second, and a figure measured beside a busy neighbour is dropped.
#pragma once
#include <functional>

namespace probe {

// GFLOP/s on threads() threads: 24 independent chains of fused multiply-adds in registers, on 512-bit registers where
// the processor has them (a bf16 dot product counts 64 flops). 0 where it lacks the instruction.
double bf16();
double f32();
double f32_256();       // the same on 256-bit registers, 12 chains: the limit of the AVX2 path
// GB/s, reading 512 MiB on huge pages on threads() threads.
double bandwidth();

struct Timing {
    double seconds = 0;         // median of the accepted repetitions
    double limit = 0;           // what the probe read beside them
    int accepted = 0, rejected = 0;
};

// Times f, at least `least` seconds a repetition, until `wanted` repetitions are accepted or five times as many were
// tried. A repetition counts when the probe before and after it agree within 10 %, neither fell under 88 % of the best
// that this process has seen of a compute probe, and nobody else used more than 3 % of the processors meanwhile.
// With one thread the clock is its own processor time, and neighbours do not count.
Timing measure(const std::function<void()>& f, double (*limit)(), int wanted = 7, double least = 0.02);

// Seconds of processor time that others have used since the machine started, and that this process has.
double others_seconds();

}  // namespace probe
