// data.h - what a run trains on, and in which order.
#pragma once
#include <cstdint>
#include <string>
#include <vector>
#include "../engine/rows.h"

struct Sequence {
    std::vector<int> ids, labels;           // labels[i]: what ids[i] should be; -100: no loss
    int targets() const;                    // labels[1 ..] that count
};

// One unit of the objective: a sequence for SFT; for a preference the chosen and the rejected one.
struct Example {
    std::vector<Sequence> sequences;
    Json id;
    int line = 0;
    double reference[2] = {0, 0};           // summed log-probabilities of the answers under the reference (DPO)
    size_t tokens() const;
    int targets() const;
};

struct LengthRule {
    int max_length = 1024;
    bool truncate = false;                  // cut longer rows (keeping the start) instead of refusing them
};
struct Dataset {
    std::vector<Example> examples;
    std::string path, kind;                 // kind: "sft" or "preferences"
    size_t truncated = 0, without_targets = 0;      // rows cut; rows left out because nothing in them counts
    size_t tokens() const, targets() const;
};
// Exit::bad_input naming file and line for a bad or too long row, or when nothing is left.
Dataset read_sft(const std::string& path, const RowReader&, LengthRule);
Dataset read_preferences(const std::string& path, const RowReader&, LengthRule);

// The order of a run is a pure function of (seed, rows): epoch after epoch, each a permutation of its own, so that a
// position in it is a number and resuming needs nothing else.
class Order {
public:
    Order(size_t examples, bool shuffle, uint64_t seed) : n_(examples), shuffle_(shuffle), seed_(seed) {}
    size_t at(uint64_t position);           // which example
private:
    size_t n_;
    bool shuffle_;
    uint64_t seed_, epoch_ = UINT64_MAX;
    std::vector<uint32_t> permutation_;
};
