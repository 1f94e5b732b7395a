// probe.h - what this machine can do at this moment, and whether it is ours alone: every speed is reported as a share
// of a probe taken in the same second, and a figure measured beside a busy neighbour is dropped.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace probe {

// Something that limits, and what it comes to now.
struct Probe {
    const char* name;
    double (*read)();           // GFLOP/s, or GB/s
    bool bytes = false;         // GB/s
    bool host = true;           // of processors that other processes use too; otherwise of a device that is ours
};
using Limit = const Probe*;

// On threads() threads: 24 independent chains of fused multiply-adds in registers, on 512-bit registers where the
// processor has them (a bf16 dot product counts 64 flops). 0 where it lacks the instruction.
extern const Probe bf16, f32;
extern const Probe f32_256;     // the same on 256-bit registers, 12 chains: the limit of the AVX2 path
// Reading 512 MiB on huge pages on threads() threads. The memory stays until release().
extern const Probe bandwidth;
void release();

// Nanoseconds that a word takes from one thread's core to another's: tens within a core complex, hundreds between two,
// which share no cache but have two ways to memory. Where the cores of a virtual machine lie may change at any time. 0:
// there is one thread, or they did not meet.
double cores_apart();

struct Timing {
    double seconds = 0;         // median of the accepted repetitions
    double limit = 0;           // the probe's reading that goes with it: the median of seconds x probe over seconds
    double fastest = 0;         // seconds of the shortest repetition, accepted or not
    double low = 0, high = 0;   // of seconds x limit over its median, least and most: the spread
    double apart = 0;           // cores_apart(), the median; 0 where the limit is a device's
    int accepted = 0, rejected = 0;
};

// Times f until `wanted` repetitions of at least `least` seconds are accepted, or 20 seconds, or six times what they
// should take, have passed; two more go before, unmeasured. A repetition counts when the probe before and after it
// agree within 10 %, neither fell under 88 % of the best that this process has seen of a compute probe, and nobody
// else used more than 3 % of the processors meanwhile. With one thread the clock is its own processor time, and
// neighbours do not count; nor do they where the limit is a device's.
Timing measure(const std::function<void()>& f, Limit, int wanted = 7, double least = 0.02);

// Of this processor, those that the kernels ask about: "avx2", "avx512bf16" ...
std::vector<std::string> instruction_sets();

double now();                   // seconds of the clock that measure uses on the host
// Seconds of processor time that others have used since the machine started.
double others_seconds();

}  // namespace probe
