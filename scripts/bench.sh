#!/bin/bash
# Measures the whole and every kernel on this machine and writes bench/RESULTS.md. Nothing else should run meanwhile:
# repetitions beside a busy process are dropped, and said. About five minutes; 1.3 GB of disk for a random Qwen3-0.6B,
# whose folder, with the outputs, is build/bench/measured.
set -e
cd "$(dirname "$0")/.."
temp=build/bench/measured          # what is there already is not measured again: rm it to begin anew
mkdir -p $temp
step() {                           # NAME COMMAND: its output in a file that takes its name when it is whole
    [ -f $temp/"$1" ] && return
    echo "bench: $1: ${*:2}" >&2
    "${@:2}" > $temp/part 2>/dev/null && mv $temp/part $temp/"$1"
}
step 135m ./dd bench --reps 5
[ -d $temp/qwen3-0.6b ] || ./dd init --preset qwen3-0.6b --out $temp/qwen3-0.6b 2>/dev/null
step 600m ./dd bench --reps 5 --model $temp/qwen3-0.6b --only prefill,decode,batch,train,start --types bf16,q8_0,q4_1
step avx2 env DD_ISA=avx2 ./dd bench --reps 5 --only prefill --types bf16
step kernels.json build/bench/all --benchmark_format=json
python3 - "$temp" "$(./dd env --json)" <<'PY'
import datetime, json, sys
temp, env = sys.argv[1], json.loads(sys.argv[2])
text = lambda name: open(f"{temp}/{name}").read().rstrip("\n")
out = f"""# What was measured

Written by `make bench` on {datetime.date.today()}: {env["processor"]}, {env["threads"]} threads, kernels {env["kernels"]},
compiler {env["compiler"]}, version {env["version"]}. Every share is of a probe read in the same second (bf16 or f32
arithmetic in registers, or streaming bandwidth); medians, with the spread of the repetitions that counted; those beside a
busy process were dropped. Other machines give other numbers: compare shares, not tokens.

## The whole, SmolLM2-135M's sizes, random weights: `./dd bench`
```
{text("135m")}
```

## The whole, Qwen3-0.6B's sizes, random weights: `./dd init --preset qwen3-0.6b --out M`, `./dd bench --model M`
```
{text("600m")}
```

## The AVX2 path, SmolLM2-135M's sizes: `DD_ISA=avx2 ./dd bench --only prefill`
```
{text("avx2")}
```

## Every kernel: `build/bench/all`

Shares over 1 are of data that stay in the caches. `disturbed`: the probe moved by more than 10 % beside it.

| kernel | shape | reached | share | |
| --- | --- | --- | --- | --- |
"""
for b in json.load(open(f"{temp}/kernels.json"))["benchmarks"]:
    kernel, shape = b["name"].split("/min_time")[0].split("/", 1)
    unit = "GFLOP/s" if "GFLOP/s" in b else "GB/s"
    out += f"| {kernel} | {shape} | {b[unit]:.0f} {unit} | {b['share']:.2f} | {'disturbed' if b['disturbed'] else ''} |\n"
# What other scripts measured stays, from its heading on.
try:
    old = open("bench/RESULTS.md").read()
    out += "\n" + old[min(at for at in map(old.find, ("## Every preset ", "## Against ")) if at >= 0):]
except (FileNotFoundError, ValueError):
    pass
open("bench/RESULTS.md", "w").write(out)
PY
echo "bench: written to bench/RESULTS.md" >&2
