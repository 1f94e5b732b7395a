// timed.h - a backend that counts the calls and the seconds of each kernel of another one. Each is waited for, and none
// recorded: on a device the sum is more than what the whole takes otherwise.
#pragma once
#include <string>
#include <vector>
#include "kernels.h"

// Of `k`; one at a time: a second call takes the first one's place.
const Kernels& timed(const Kernels& k);

struct KernelTime { std::string name; double seconds; long calls; };
// Since the last call, most seconds first; from here on it counts anew.
std::vector<KernelTime> take_kernel_times();
