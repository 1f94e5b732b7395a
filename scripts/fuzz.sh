#!/bin/bash
# Builds the fuzz targets of fuzz/ with clang's libFuzzer under the address and undefined-behaviour sanitizers, and runs
# each for FUZZ_SECONDS (default 60) or FUZZ_RUNS inputs. Prints how many inputs that was; stops at the first crash and
# keeps its input. Arguments choose targets: scripts/fuzz.sh gguf jsonl.
set -e
cd "$(dirname "$0")/.."
clang=$(command -v clang++ || command -v clang++-14) || { echo "fuzz: clang++ is missing (apt-get install clang libclang-rt-14-dev)" >&2; exit 4; }
build=build/fuzz
names=${*:-$(basename -s .cpp -a fuzz/*.cpp)}
make --no-print-directory -j"${JOBS:-$(nproc)}" BUILD=$build CXX="${CCACHE:-} $clang" LDFLAGS=-fsanitize=address,undefined \
    OPT="-O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all" $(printf "$build/fuzz-%s " $names)
[ -z "$FUZZ_BUILD_ONLY" ] || exit 0
for name in $names; do
    corpus=$build/corpus-$name
    "$build/fuzz-$name" --seeds "$corpus"
    echo "fuzz: $name"
    "$build/fuzz-$name" -max_total_time="${FUZZ_SECONDS:-60}" -runs="${FUZZ_RUNS:--1}" -max_len=4096 -rss_limit_mb=2048 \
        -timeout=5 -print_final_stats=1 -artifact_prefix="$build/crash-$name-" "$corpus" 2> "$build/$name.log" || { tail -n 30 "$build/$name.log"; exit 1; }
    grep -E 'number_of_executed_units|average_exec' "$build/$name.log"
done
