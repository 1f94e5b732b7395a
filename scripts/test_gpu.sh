#!/bin/bash
# The CUDA kernels on a GPU: against the reference, every golden and the battery, then compute-sanitizer over the small
# shapes. Everything goes into one file, with the device's name.
build=${1:-build}
out=$build/gpu.txt
export DD_THREADS=${DD_THREADS:-$(nproc)}
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
    echo "test-gpu: there is no GPU here, or no driver" >&2
    exit 4
fi
bad=0
{
    date -u
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    git describe --always --dirty 2>/dev/null
    echo "== kernels, goldens and battery"
    timeout 300 "$build/tests/gpu" --gtest_brief=1 || bad=1
    for tool in memcheck racecheck initcheck; do
        echo "== compute-sanitizer $tool"
        if command -v compute-sanitizer >/dev/null; then
            timeout 120 compute-sanitizer --tool $tool --error-exitcode 9 "$build/tests/gpu" --gtest_brief=1 \
                --gtest_filter='CudaKernel.*:-*pick*' || bad=1
        else
            echo "not run: there is no compute-sanitizer"
        fi
    done
    [ $bad = 0 ] && echo "all good" || echo "FAILED"
} >"$out" 2>&1
cat "$out"
exit $bad
