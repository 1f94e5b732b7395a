// rows.h - n rows to train on, of 9 tokens and more, the same ones every time.
#pragma once
#include "../models/session.h"
#include "../train/data.h"

inline Dataset rows_of(const Session& s, int n) {
    Dataset d{{}, "rows", "sft"};
    for (int i = 0; i < n; i++) {
        Sequence q;
        for (int k = 0; k < 9 + i; k++) q.ids.push_back((i * 31 + k * k * 7 + 3) % s.model->vocabulary);
        q.labels = q.ids;
        d.examples.push_back({{q}, i, i + 1});
    }
    return d;
}
