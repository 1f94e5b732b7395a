// replay.h - walks that are walked again and again, each time over other numbers at the same places.
#pragma once
#include <map>
#include "pass.h"

// What a walk depends on besides numbers in device memory is its key. It is walked the first time, recorded the second
// (by when everything it needs has been made), and replayed from then on, where the backend can record.
class Replays {
public:
    Replays(const Kernels& k, Arena& scratch) : recorder_(k.recorder), scratch_(scratch) {}
    ~Replays() {
        for (auto& [key, w] : walks_)
            if (w.recorded) recorder_->drop(w.recorded);
    }
    Replays(const Replays&) = delete;
    Replays& operator=(const Replays&) = delete;

    // What walk() returns. It takes its memory from the scratch, which must be where it was the times before.
    template <class F> Tensor operator()(int key, F walk) {
        if (!recorder_) return walk();
        Walk& w = walks_[key];
        if (++w.times == 1) return walk();
        size_t begin = scratch_.used;
        if (w.times == 2) {
            w.begin = begin;
            recorder_->begin();
            w.result = walk();
            w.recorded = recorder_->end();
            w.end = scratch_.used;
        }
        require(w.begin == begin, "replay: the walk began at %zu bytes of its scratch, now at %zu", w.begin, begin);
        scratch_.used = w.end;
        recorder_->replay(w.recorded);
        return w.result;
    }

private:
    struct Walk {
        int times = 0;
        void* recorded = nullptr;
        Tensor result;
        size_t begin = 0, end = 0;
    };
    const Recorder* recorder_;
    Arena& scratch_;
    std::map<int, Walk> walks_;
};
