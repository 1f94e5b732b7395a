// measure.h - the rows of dd bench: what is run, and what of it is counted.
#pragma once
#include <functional>
#include <string>
#include <vector>
#include "../kernels/probe.h"
#include "../kernels/timed.h"
#include "../models/session.h"

struct Measured {
    std::string part, type;             // type of the weights
    std::string what;
    double tokens = 0;                  // in the time measured
    double counted = 0;                 // operations or bytes that the share is of
    std::string of;                     // which of them, in words
    probe::Limit limit = nullptr;
    probe::Timing t{};
    size_t resident = 0;                // of the process at its highest; 0 where it computes on a device
    std::vector<KernelTime> kernels{};
    std::string why{};                  // it could not be run
};

// How much a row does: more where a device would have done with it before it was under way.
struct Amounts {
    int prompt = 512;                   // prefill: tokens of one prompt
    int alone = 128, together = 64;     // decode: new tokens of one sequence; of each of `batch`
    int batch = 32;
    int rows = 4, length = 512;         // training: of a step
    int reps = 7;
};
Amounts amounts_for(const Session&);

Measured measure_prefill(Session&, const std::string& type, const Amounts&);
// Activations of every block, of every token, to a file on disk, as a share of the same prompts walked plainly.
Measured measure_extract(Session&, const std::string& type, const Amounts&);
Measured measure_decode(Session&, const std::string& type, const Amounts&, int sequences);
Measured measure_training(Session&, const std::string& type, const Amounts&, bool recompute);
// Another process, from its beginning to its first token.
Measured measure_start(const Session&, const SessionOptions&, const Amounts&);

// Every matrix in another type. On a device only from floats, which are fetched for it.
void requantise(Session&, Type);
