#!/bin/bash
# Builds every fuzz target with clang's libFuzzer and runs each for FUZZ_SECONDS (default 60) under the address and
# undefined-behaviour sanitizers. Prints the number of executions; stops at the first crash and keeps its input.
set -e
cd "$(dirname "$0")/.."
clang=$(command -v clang++ || command -v clang++-14) || { echo "fuzz: clang++ is missing (apt-get install clang libclang-rt-14-dev)" >&2; exit 4; }
mkdir -p build/fuzz
flags="-std=c++20 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
for f in engine/*.cpp kernels/quant.cpp; do
    case $f in engine/ops.cpp | engine/pass.cpp) continue ;; esac
    o=build/fuzz/$(basename "$f" .cpp).o
    [ "$o" -nt "$f" ] || $clang $flags -fsanitize=fuzzer-no-link -c "$f" -o "$o"
done
for target in fuzz/*.cpp; do
    name=$(basename "$target" .cpp)
    $clang $flags -fsanitize=fuzzer "$target" build/fuzz/*.o -o "build/fuzz/fuzz-$name" -lpcre2-8 -lutf8proc
    mkdir -p "build/fuzz/corpus-$name"
    echo "fuzz: $name, ${FUZZ_SECONDS:-60} s"
    "build/fuzz/fuzz-$name" -max_total_time="${FUZZ_SECONDS:-60}" -runs="${FUZZ_RUNS:--1}" -max_len=4096 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crash-$name-" "build/fuzz/corpus-$name" 2> "build/fuzz/$name.log" || { tail -n 30 "build/fuzz/$name.log"; exit 1; }
    grep -E 'number_of_executed_units|average_exec' "build/fuzz/$name.log"
done
