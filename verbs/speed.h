// speed.h - what a run reached against this machine: the last line of every long one.
#pragma once
#include "../kernels/probe.h"
#include "../models/session.h"

// The probes that this session's products, and its reading, are limited by.
probe::Limit compute_limit(const Session&);
probe::Limit bandwidth_limit(const Session&);

// "1234 tokens/s, 680 GFLOP/s: 74 % of the 920 that this machine does (bf16, avx512+bf16, 2 threads)". flops: counted
// from shapes (models/work.h). The probe is read now, the best of five: a neighbour that went or came since makes the
// share wrong. Under two seconds of work the share is left out: too short to say.
std::string against_machine(const Session&, double tokens, double flops, double seconds);
