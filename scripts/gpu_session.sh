#!/bin/bash
# Everything that a GPU is wanted for, in one command of under ten minutes, for a card that is lent for a quarter of an
# hour: `make gpu-kit` before, where there is nvcc; then, on the card, in the repository's root,
#
#     scripts/gpu_session.sh OUT [KIT]        (KIT: build/kit.tar.xz, or the folder that is in it)
#
# Every step has a time of its own and none may outlast the whole; what has been reached lies in OUT whatever comes
# later: summary.txt (the card, every step, its exit code and seconds), tests.txt, kernels.json, bench.txt, ladder.txt,
# rivals.txt, sanitizer.txt. The order is that of worth: is it right, how fast is it, is all of it right.
out=${1:?usage: scripts/gpu_session.sh OUT [KIT]} kit=${2:-build/kit.tar.xz} limit=${DD_SESSION_SECONDS:-570}
mkdir -p "$out"
export DD_THREADS=${DD_THREADS:-$(nproc)} LC_ALL=C
summary=$out/summary.txt
: >"$summary"
say() { echo "$*" | tee -a "$summary"; }
temp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$temp"' EXIT
if [ -f "$kit" ]; then
    tar -C "$temp" -xf "$kit" 2>/dev/null || python3 -m tarfile -e "$kit" "$temp" || exit 2
    kit=$temp/kit
fi
for program in dd tests bench ladder; do
    [ -x "$kit/$program" ] || { echo "gpu_session: $kit/$program is not there: make gpu-kit" >&2; exit 2; }
done
if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu_session: there is no GPU here, or no driver" >&2
    exit 4
fi
# cuBLASLt, where the loader does not know it: the toolkit's, or the one that came with PyTorch.
if [ -z "${DD_CUBLASLT+set}" ] && ! ldconfig -p 2>/dev/null | grep -q libcublasLt; then
    for f in /usr/local/cuda/lib64/libcublasLt.so.13 $(python3 -c 'import sys; print("\n".join(sys.path))' 2>/dev/null |
        sed 's|$|/nvidia/cu13/lib/libcublasLt.so.13|'); do
        [ -e "$f" ] && export DD_CUBLASLT=$f && break
    done
fi
begun=$SECONDS bad=0
step() { # SECONDS NAME FILE COMMAND..: appended to FILE
    local left=$((limit - (SECONDS - begun))) most=$1 name=$2 file=$out/$3 from=$SECONDS
    shift 3
    [ $left -lt "$most" ] && most=$left
    if [ "$most" -lt 3 ]; then
        say "$(printf '%-28s not run: no time is left' "$name")"
        return 1
    fi
    local talk=$file
    case $file in
        *.json) talk=$summary ;; # data stay alone
        *) echo "== $name: $*" >>"$file" ;;
    esac
    timeout -k 5 "$most" "$@" >>"$file" 2>>"$talk"
    local code=$?
    [ $code = 0 ] || bad=1
    say "$(printf '%-28s exit %-3d %4d s of %d%s' "$name" $code $((SECONDS - from)) "$most" \
        "$([ $code = 124 ] && echo ': it did not end')")"
    return $code
}

say "$(date -u) $(git describe --always --dirty 2>/dev/null)"
say "$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,temperature.gpu --format=csv,noheader)"
models=$temp
for m in qwen3-1.7b qwen3-0.6b; do # meanwhile, on the processors
    ("$kit/dd" init --preset $m --out "$models/$m.part" >/dev/null 2>&1 && mv "$models/$m.part" "$models/$m") &
done
step 45 "it starts" bench.txt "$kit/dd" bench --device cuda --only decode --types bf16 --reps 5
if [ $? = 4 ]; then
    say "$(tail -1 "$out/bench.txt")"
    exit 4
fi
say "$(grep -h '^dd: .*cuda' "$out/bench.txt" | head -1)"
step 90 "kernels, small shapes" tests.txt "$kit/tests" --gtest_brief=1 --gtest_filter='CudaKernel.*:CudaLibrary.*:CudaLimits.*'
for ((i = 0; i < 90 && SECONDS - begun < limit / 2; i++)); do # timing begins when the processors are free
    [ -d "$models/qwen3-1.7b" ] && break
    sleep 1
done
step 60 "every kernel" kernels.json "$kit/bench" --device cuda --benchmark_format=json
step 70 "the whole, 1.7B" bench.txt "$kit/dd" bench --device cuda --model "$models/qwen3-1.7b" --reps 5 --only prefill,decode,batch,train,recompute
step 50 "the whole, 0.6B" bench.txt "$kit/dd" bench --device cuda --model "$models/qwen3-0.6b" --reps 5 --only prefill,decode,batch,train
step 30 "the ladder" ladder.txt "$kit/ladder"
step 100 "the rivals" rivals.txt python3 bench/rivals/gpu.py --ours "$out/kernels.json"
step 90 "random shapes" tests.txt "$kit/tests" --gtest_brief=1 --gtest_filter='CudaRandom.*'
step 80 "promises, battery, goldens" tests.txt "$kit/tests" --gtest_brief=1 --gtest_filter='Cuda*:-CudaKernel.*:CudaLibrary.*:CudaLimits.*:CudaRandom.*:CudaLadder.*'
step 40 "the ladder's rungs" tests.txt "$kit/tests" --gtest_brief=1 --gtest_filter='CudaLadder.*'
step 80 "every architecture" tests.txt "$kit/tests" --gtest_brief=1 --gtest_filter='LongCuda*'
step 40 "the whole, own products" bench.txt "$kit/dd" bench --device cuda --deterministic --model "$models/qwen3-0.6b" --reps 5 --only prefill,batch,train
if ! command -v compute-sanitizer >/dev/null; then say "compute-sanitizer: there is none here"
elif timeout 20 compute-sanitizer "$kit/tests" --gtest_filter=CudaKernel.zero 2>&1 | grep -q 'Device not supported'; then
    say "compute-sanitizer: it does not support this device"
else
    for tool in memcheck racecheck; do # every kernel, one shape in seven of its tests
        step 60 "$tool" sanitizer.txt env DD_EVERY=7 compute-sanitizer --tool $tool --error-exitcode 9 "$kit/tests" \
            --gtest_brief=1 --gtest_filter='CudaKernel.*'
    done
fi
say "$((SECONDS - begun)) s; $([ $bad = 0 ] && echo "every step ended well" || echo "NOT every step ended well")"
grep -h 'FAILED\|Failure' "$out"/tests.txt | sort | uniq -c | head -20 | tee -a "$summary"
exit $bad
