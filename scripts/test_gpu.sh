#!/bin/bash
# The CUDA kernels on a GPU: small shapes against the reference, a thousand random ones of attention and of products, every
# golden and the battery (the same bits however a prompt is cut, recorded or not), the ladder, cuBLASLt, then
# compute-sanitizer over the small shapes. At most eight minutes; everything goes into one file, with the device's name.
cd "$(dirname "$0")/.." || exit 1
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
    part() { # SECONDS FILTER
        echo "== $2"
        timeout -k 5 "$1" "$build/tests/gpu" --gtest_brief=1 --gtest_filter="$2" || bad=1
    }
    part 75 'CudaKernel.*:CudaLibrary.*:CudaLimits.*'
    part 80 'CudaRandom.*'
    part 100 'Cuda*:LongCuda*:-CudaKernel.*:CudaLibrary.*:CudaLimits.*:CudaRandom.*:CudaLadder.*'
    part 30 'CudaLadder.*'
    # What comes beside the repository, where it is there: the reference models, through the program itself.
    if [ -f ../shared/goldens/check.py ] && [ -x ./dd ]; then
        echo "== goldens/check.py --device cuda"
        timeout 50 python3 ../shared/goldens/check.py ./dd $(ls -d ../shared/goldens/models/*/) --device cuda || bad=1
    fi
    # Every kernel, one shape in seven of its tests. It refuses some virtual machines.
    refused=
    command -v compute-sanitizer >/dev/null || refused="there is no compute-sanitizer"
    [ -z "$refused" ] && timeout 20 compute-sanitizer "$build/tests/gpu" --gtest_filter=CudaKernel.zero 2>&1 |
        grep -q 'Device not supported' && refused="compute-sanitizer does not support this device"
    for tool in memcheck racecheck initcheck; do
        echo "== compute-sanitizer $tool"
        if [ -n "$refused" ]; then
            echo "not run: $refused"
        else
            DD_EVERY=7 timeout -k 5 40 compute-sanitizer --tool $tool --error-exitcode 9 "$build/tests/gpu" \
                --gtest_brief=1 --gtest_filter='CudaKernel.*' || bad=1
        fi
    done
    [ $bad = 0 ] && echo "all good" || echo "FAILED"
} >"$out" 2>&1
cat "$out"
exit $bad
