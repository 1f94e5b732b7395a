#!/bin/bash
# Every preset at its real size, with random weights, one after the other: a checkpoint is made, described, asked for 16
# tokens, scored, trained for 3 steps of LoRA by SFT (1 x 512 tokens) and by DPO, timed, and removed. Stops at the first
# thing that does not hold; rows of the table go into bench/RESULTS-FULL.md as they come.
#
#   scripts/test_full.sh [PRESET..]         TMPDIR: where the largest model's 10 GB have room
#                                           TIMED: a command in front of what is timed, on a shared machine
set -e -o pipefail
cd "$(dirname "$0")/.."
presets=${*:-smollm2-135m smollm2-360m smollm2-1.7b qwen3-0.6b qwen3-1.7b qwen3.5-0.8b gemma3-270m gemma3-1b gemma4-e2b}
table=bench/RESULTS-FULL.md
temp=$(mktemp -d "${TMPDIR:-/tmp}/dd-full-XXXXXX")
trap 'rm -rf "$temp"' EXIT
fail() { echo "test-full: $*" >&2; exit 1; }
mkdir -p bench

# Runs a command and leaves in $anon the most MB of it that were resident and are not pages of a file, which the system
# may drop; its output in $temp/out and $temp/err.
watched() {
    ./dd "$@" >"$temp/out" 2>"$temp/err" &
    local pid=$! key kb rest
    anon=0
    while kill -0 $pid 2>/dev/null; do
        while read -r key kb rest; do
            if [ "$key" = RssAnon: ] && [ $((kb / 1000)) -gt $anon ]; then anon=$((kb / 1000)); fi
        done 2>/dev/null </proc/$pid/status || true
        sleep 0.05
    done
    wait $pid || fail "dd $*: $(tail -1 "$temp/err")"
}
seconds() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(seconds)" 'BEGIN {printf "%.1f", b - a}'; }
number() { sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p" "$2" | head -1; }
# Rows of random ids: `ids N` writes a list of N.
ids() { awk -v n="$1" -v seed="$2" 'BEGIN {srand(seed); for (i = 0; i < n; i++) printf "%s%d", i ? "," : "[", 3 + int(250 * rand()); printf "]"}'; }

for i in 1 2 3 4; do echo "{\"input_ids\":$(ids 512 $i)}"; done >"$temp/sft.jsonl"
for i in 1 2 3 4; do
    echo "{\"prompt_ids\":$(ids 64 $i),\"chosen_ids\":$(ids 64 1$i),\"rejected_ids\":$(ids 64 2$i)}"
done >"$temp/dpo.jsonl"

if [ ! -f $table ] || [ $# -eq 0 ]; then
    cat >$table <<MD
# Every preset at its real size

\`make test-full\` on $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) cores,
$(./dd env | sed -n 's/^kernels *//p'), $(date +%F). Random weights in bf16. MB are what was resident at most and is no page
of a file; the files themselves are mapped, and the system may drop their pages. Load and first token: the whole of a
process that answers with one token. Shares: of what this machine does in the same second (\`dd bench\`).

| preset | parameters | file GB | load and first token s | prefill of 512 tok/s | share of compute | decode tok/s | share of bandwidth | generate MB | score MB | SFT 1x512 MB | SFT s a step | DPO MB | made in s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
MD
fi

for preset in $presets; do
    echo "== $preset"
    m=$temp/model
    begun=$(seconds)
    ./dd init --preset "$preset" --out "$m" 2>/dev/null
    made=$(since "$begun")
    ./dd info --model "$m" --json >"$temp/info"
    parameters=$(number parameters "$temp/info")
    bytes=$(stat -c %s "$m/model.safetensors")

    watched generate --model "$m" --prompt "The quick brown fox jumps over the lazy dog." --raw --max-tokens 16 --ignore-eos --json
    generate=$anon
    [ "$(grep -o '"ids":\[[^]]*' "$temp/out" | tr -cd , | wc -c)" = 15 ] || fail "$preset: not 16 tokens"
    watched score --model "$m" --input "$temp/sft.jsonl" --json
    score=$anon
    # Random weights know nothing: about log(vocabulary) a token.
    awk -v v="$(number vocabulary "$temp/info")" -v nll="$(number nll "$temp/out")" \
        'BEGIN {e = nll / 511 / log(v); exit !(e > 0.8 && e < 2)}' || fail "$preset: nll $(number nll "$temp/out")"

    watched train --model "$m" --train-file "$temp/sft.jsonl" --out "$temp/sft" --steps 3 --batch-size 1
    sft=$anon step=$(tail -1 "$temp/sft/log.jsonl" >"$temp/line"; number seconds "$temp/line")
    [ "$(grep -c '"loss"' "$temp/sft/log.jsonl")" = 3 ] || fail "$preset: not 3 steps of SFT"
    watched train --method dpo --model "$m" --train-file "$temp/dpo.jsonl" --out "$temp/dpo" --steps 3 --batch-size 1
    dpo=$anon
    head -1 "$temp/dpo/log.jsonl" >"$temp/line"
    [ "$(number loss "$temp/line" | cut -c1-12)" = 0.6931471805 ] || fail "$preset: DPO does not begin at ln 2: $(cat "$temp/line")"
    [ "$(grep -c '"loss"' "$temp/dpo/log.jsonl")" = 3 ] || fail "$preset: not 3 steps of DPO"

    if [ "$preset" = gemma4-e2b ]; then
        [ "$generate" -le 5500 ] || fail "$preset: generates with $generate MB resident, 5500 at most were promised"
        [ "$sft" -le 16000 ] || fail "$preset: trains with $sft MB resident, 16000 at most were promised"
    fi

    # Columns of `dd bench`: part, weights, what .. tokens tok/s rate unit share %
    : >"$temp/bench"
    for part in prefill decode; do
        for try in 1 2 3; do        # where others compute, no repetition may count
            $TIMED ./dd bench --model "$m" --only $part --reps 5 2>/dev/null >"$temp/line" || fail "$preset: bench"
            if grep -q tok/s "$temp/line"; then break; fi
        done
        cat "$temp/line" >>"$temp/bench"
    done
    prefill=$(sed -n 's/^prefill.* \([0-9.]*\) tok\/s.* \([0-9.]*\) % of.*/\1 | \2 %/p' "$temp/bench")
    decode=$(sed -n 's/^decode.* \([0-9.]*\) tok\/s.* \([0-9.]*\) % of.*/\1 | \2 %/p' "$temp/bench")
    start=$($TIMED bash -c 'TIMEFORMAT=%R; for i in 1 2 3; do time ./dd generate --model "$0" --prompt The --raw --max-tokens 1 --quiet >/dev/null; done' "$m" 2>&1 | sort -n | head -1)
    awk -v p="$preset" -v n="$parameters" -v b="$bytes" -v s="${start:--}" -v f="${prefill:-- | -}" -v d="${decode:-- | -}" \
        -v g="$generate" -v c="$score" -v t="$sft" -v e="$step" -v o="$dpo" -v i="$made" \
        'BEGIN {printf "| %s | %d | %.2f | %s | %s | %s | %d | %d | %d | %.1f | %d | %.0f |\n", p, n, b * 1e-9, s, f, d, g, c, t, e, o, i}' |
        tee -a $table
    rm -rf "$m" "$temp/sft" "$temp/dpo"
done
