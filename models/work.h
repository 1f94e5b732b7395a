// work.h - how much a walk has to compute and to read, from shapes alone: what every speed is a share of.
#pragma once
#include "model.h"

// Floating-point operations, a multiplication and an addition counted apart, and bytes.
struct Work {
    double body = 0, head = 0;          // products with weights: of the blocks; of the head
    double attention = 0;               // q k^T and weights times v, only the pairs that a mask leaves; states
    double adapter = 0;                 // products of low-rank updates
    double weights = 0, cache = 0;      // bytes: every matrix once, as stored; keys and values seen, states
};

// A forward walk of `tokens` more tokens of each of `sequences` sequences that have `from` already; `heads` rows go
// through the head. Per row, 2 out in for every matrix; per pair of positions, 4 size for every query head.
Work forward_work(Model&, int sequences, int from, int tokens, int heads);

// A training step on sequences of `tokens` tokens, `targets` of them with a loss, with adapters of this rank on every
// matrix of the blocks (frozen weights need no gradient of their own): products twice the forward's (4N), attention
// 7/2 of it (two products forward, five back), adapters 6 rank (in + out) a token.
Work adapter_step_work(Model&, int sequences, int tokens, int targets, int rank);
