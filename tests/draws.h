// draws.h - rows of logits of every kind, and the ways to draw from them, for the tests of kernels.
#pragma once
#include "kernels.h"

inline float scale_of(double temperature) { return float(std::min(1.4426950408889634 / temperature, 1e30)); }

// The tokens that are drawn from 9 rows of so many logits, in every way and at two places, as an output.
inline void draw_all(const Kernels& k, Bench& b, int cols) {
    constexpr int rows = 9;
    Tensor z = b.in(rows, cols, Type::f32, 3);
    for (int i = 0; i < cols; i++) {
        auto of = [&](int row) -> float& { return z.f()[row * cols + i]; };
        of(1) = std::round(of(1));                                      // many equals, 0 and -0 among them
        of(2) = NAN;
        if (i % 2) of(3) = NAN;
        of(4) = -INFINITY;
        if (i % 100 == 3) of(5) = INFINITY;
        of(6) = std::round(of(6)) / 8 - 50;                             // equals, all of them negative
        if (i % 3) of(7) = -INFINITY;
        of(8) = i % 2 ? 0.0f : -0.0f;
    }
    struct Way { double temperature; int top_k; double top_p, min_p; };
    const Way ways[] = {{1, 0, 1, 0},     {0.7, 1, 1, 0},   {1, 40, 1, 0},   {5, 0, 0.5, 0},    {1, 0, 0.9, 0},
                        {1, 0, 0, 0},     {2, 0, 1, 0.05},  {1, 0, 1, 1},    {3, 60, 0.8, 0.01}, {0.01, 3, 0.999, 0},
                        {1e-30, 0, 1, 0}, {100, 7, 0.45, 0}, {100, 0, 0.3, 0}};
    const uint64_t streams[rows] = {0, 1, 2, 3, 4, 1ull << 63, 6, 7, 8};
    auto* stream = (uint64_t*)b.room(rows, 2, Type::f32).data;
    for (int i = 0; i < rows; i++) stream[i] = streams[i];
    const int *pos = b.ids({0, 1, 17, 3, 4, 5, 6, 7, 8}), *row = b.ids({8, 1, 2, 3, 4, 5, 6, 2, 0});
    Tensor out = b.zeros(2 * int(std::size(ways)), rows);
    int* next = b.ids(std::vector<int>(rows));
    for (int w = 0; w < out.rows; w++) {
        const Way& way = ways[size_t(w) / 2];
        k.sample(next, z, {scale_of(way.temperature), way.top_k, way.top_p, way.min_p, uint64_t(w) << 40 | 9, stream,
                           pos, row});
        wait_for(k);
        for (int i = 0; i < rows; i++) out.f()[w * rows + i] = float(next[i]);
    }
}

// Logits under a penalty, as outputs: four sequences in slots of their own, taken in in three passes, each bringing
// tokens that were there before, in this pass and in earlier ones; in the last a slot begins anew with a shorter one.
inline void penalise_all(const Kernels& k, Bench& b, float penalty) {
    constexpr int cols = 40, places = 700;
    Tensor seen = b.room(6, places, Type::i32);
    memset(seen.data, 0, seen.bytes());                 // other sequences, of token 0, were there before
    struct Part { int slot, from, n; };
    const std::vector<Part> passes[] = {{{4, 0, 9}, {0, 0, 300}, {2, 0, 1}},
                                        {{0, 300, 280}, {4, 9, 1}, {5, 0, 3}, {2, 1, 30}},
                                        {{2, 0, 5}, {5, 3, 1}, {0, 580, 1}}};
    for (const std::vector<Part>& parts : passes) {
        std::vector<int> ids, pos, first{0}, slot, last;
        for (const Part& part : parts) {
            for (int i = 0; i < part.n; i++) ids.push_back(int(b.below(cols))), pos.push_back(part.from + i);
            first.push_back(int(ids.size())), slot.push_back(part.slot);
            last.insert(last.begin(), int(ids.size()) - 1);
        }
        const Rows r{int(ids.size()), int(slot.size()), b.ids(ids), b.ids(pos), b.ids(first), b.ids(slot)};
        k.penalise({}, {}, seen, r, nullptr, penalty);  // of a prompt that goes on
        Tensor z = b.in(int(last.size()), cols, Type::f32, 3), y = b.out(z.rows, cols), same = b.out(z.rows, cols);
        z.f()[3] = 0, z.f()[5] = -0.0f, z.f()[7] = -INFINITY, z.f()[cols + 2] = INFINITY;
        const int* rows = b.ids(last);
        k.penalise(y, z, seen, r, rows, penalty);
        k.penalise(same, same, seen, r, rows, penalty);
        wait_for(k);
    }
}
