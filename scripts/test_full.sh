#!/bin/bash
# Every preset at its real size, with random weights, one after the other: a checkpoint is made, described, asked for 16
# tokens, scored, trained for 3 steps of LoRA by SFT (1 x 512 tokens) and by DPO, timed, and removed. Stops at the first
# thing that does not hold; what was measured goes into bench/RESULTS.md, a row at a time.
#
#   scripts/test_full.sh [PRESET..]         TMPDIR: where the largest model's 10 GB have room
#                                           DD, TIMED: on a shared machine, what runs the program (./dd), and a command
#                                           in front of what is timed
set -e -o pipefail
cd "$(dirname "$0")/.."
dd=${DD:-./dd}
seconds() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(seconds)" 'BEGIN {printf "%.2f", b - a}'; }

# --start MODEL: seconds until it is loaded (the header line), and until a process that makes one token has ended; the
# best of three.
if [ "$1" = --start ]; then
    for i in 1 2 3; do
        begun=$(seconds)
        ./dd generate --model "$2" --prompt The --raw --max-tokens 1 2>&1 >/dev/null |
            { read -r header; since "$begun"; cat >/dev/null; }
        echo " $(since "$begun")"
    done | sort -n | head -1
    exit
fi

presets=${*:-smollm2-135m smollm2-360m smollm2-1.7b qwen3-0.6b qwen3-1.7b qwen3.5-0.8b gemma3-270m gemma3-1b gemma4-e2b}
temp=$(mktemp -d "${TMPDIR:-/tmp}/dd-full-XXXXXX")
trap 'rm -rf "$temp"' EXIT
fail() { echo "test-full: $*" >&2; exit 1; }

# Runs a command and leaves in $anon the most MB of it that were resident and are not pages of a file, which the system
# may drop; its output in $temp/out and $temp/err.
watched() {
    $dd "$@" >"$temp/out" 2>"$temp/err" &
    local pid=$! key kb rest
    anon=0
    while kill -0 $pid 2>/dev/null; do
        while read -r key kb rest; do
            if [ "$key" = RssAnon: ] && [ $((kb * 1024 / 1000000)) -gt $anon ]; then anon=$((kb * 1024 / 1000000)); fi
        done 2>/dev/null </proc/$pid/status || true
        sleep 0.05
    done
    wait $pid || fail "dd $*: $(tail -1 "$temp/err")"
}
number() { sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p" "$2" | head -1; }
# Rows of random ids: `ids N SEED` writes a list of N.
ids() { awk -v n="$1" -v seed="$2" 'BEGIN {srand(seed); for (i = 0; i < n; i++) printf "%s%d", i ? "," : "[", 3 + int(250 * rand()); printf "]"}'; }

for i in 1 2 3 4; do echo "{\"input_ids\":$(ids 512 $i)}"; done >"$temp/sft.jsonl"
for i in 1 2 3 4; do
    echo "{\"prompt_ids\":$(ids 64 $i),\"chosen_ids\":$(ids 64 1$i),\"rejected_ids\":$(ids 64 2$i)}"
done >"$temp/dpo.jsonl"

for preset in $presets; do
    echo "== $preset" >&2
    m=$temp/model
    begun=$(seconds)
    $dd init --preset "$preset" --out "$m" 2>/dev/null
    made=$(since "$begun")
    $dd info --model "$m" --json >"$temp/info"
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
            $TIMED timeout 170 ./dd bench --model "$m" --only $part --reps 5 2>/dev/null >"$temp/line" || true
            if grep -q tok/s "$temp/line"; then break; fi
        done
        cat "$temp/line" >>"$temp/bench"
    done
    prefill=$(sed -n 's/^prefill.* \([0-9.]*\) tok\/s.* \([0-9.]*\) % of.*/\1 | \2 %/p' "$temp/bench")
    decode=$(sed -n 's/^decode.* \([0-9.]*\) tok\/s.* \([0-9.]*\) % of.*/\1 | \2 %/p' "$temp/bench")
    start=$($TIMED "$0" --start "$m")
    awk -v p="$preset" -v n="$parameters" -v b="$bytes" -v s="${start/ / | }" -v f="${prefill:-- | -}" \
        -v d="${decode:-- | -}" -v g="$generate" -v c="$score" -v t="$sft" -v e="$step" -v o="$dpo" -v i="$made" \
        'BEGIN {printf "| %s | %s | %.2f | %s | %s | %s | %d | %d | %d | %.1f | %d | %.0f |\n", p, n, b * 1e-9, s, f, d, g, c, t, e, o, i}' |
        tee "$temp/row" >&2
    python3 - "$temp/row" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) cores, kernels $(./dd env | sed -n 's/^kernels *//p')" <<'PY'
import datetime, sys
row, machine, path = open(sys.argv[1]).read(), sys.argv[2], "bench/RESULTS.md"
head = f"""## Every preset at its real size: `make test-full`

{machine}, {datetime.date.today()}. Random weights in bf16; one preset alone: `scripts/test_full.sh PRESET`. Loaded: until
a process is ready to compute; first token: until it has made one and ended. Shares: of what this machine does in the same
second (`dd bench`). MB: resident at most, without pages of files, which the system may drop. SFT and DPO: LoRA of rank
16, rows of 1 x 512 tokens, pairs of 2 x 128; seconds a step and of making it are as they came, beside whatever else ran.

| preset | parameters | file GB | loaded s | first token s | prefill of 512 tok/s | of compute | decode tok/s | of bandwidth | generate MB | score MB | SFT MB | SFT s a step | DPO MB | made in s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
name = lambda line: line.split("|")[1].strip()
text = open(path).read()
at = text.find("## Every preset at its real size")
before, old, after = (text, "", "") if at < 0 else (text[:at], text[at:], "")
if at < 0 and (against := text.find("## Against ")) >= 0: before, after = text[:against], text[against:]
if (end := old.find("\n## ", 1)) >= 0: old, after = old[:end + 1], old[end + 1:]
rows = {name(line): line for line in old.splitlines() if line.startswith("| ") and name(line) not in ("preset", "---")}
rows[name(row)] = row.rstrip("\n")
open(path, "w").write(before.rstrip("\n") + "\n\n" + head + "".join(r + "\n" for r in rows.values()) +
                      ("\n" + after if after else ""))
PY
    rm -rf "$m" "$temp/sft" "$temp/dpo"
done
