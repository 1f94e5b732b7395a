// faults.h - makes the system say no: in the test program, the calls below go through faults.cpp, which can let the
// n-th of them fail, write a few bytes at a time, or be interrupted.
#pragma once

namespace faults {

// While it lives, the calls pwrite, write, fsync, ftruncate, posix_fallocate, close and rename are counted, and call
// number `fail_at` (from 0; -1: none) fails with `error`. A close that fails has closed all the same.
struct Armed {
    Armed(int fail_at, int error, bool trickle = false);    // trickle: short writes, each after an interrupted one
    ~Armed();
    int calls() const;                                      // how many so far
};

}  // namespace faults
