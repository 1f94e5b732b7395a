#!/bin/bash
# DPO on top of the demo's adapter: preference rows from the gym (the rejected answer has the same style and is wrong in
# substance), the adapter before as the reference, judged as the demo is: before and after, paired.
set -e
cd "$(dirname "$0")/.."
model=${MODEL:-}
if [ -z "$model" ]; then model=$(scripts/fetch_model.sh); fi
start=$(ls -dt demo/run-*/train/adapter 2>/dev/null | head -n 1)
[ -n "$start" ] || { scripts/demo.sh; start=$(ls -dt demo/run-*/train/adapter | head -n 1); }
run=demo/dpo-$(date +%Y%m%d-%H%M%S)
mkdir -p "$run"
rows=200 items=180
[ -z "${DEMO_SHORT:-}" ] || { rows=24 items=36; }
say() { echo; echo "== $*"; }

say "preferences: $rows pairs of answers, alike in style, one of them wrong"
./dd data gym --level 1 --split train --rows $rows --seed 11 --preferences --out "$run/pairs.jsonl"
./dd data gym --level 1 --split test --rows 120 --seed 2 --out "$run/held-out.jsonl"

say "DPO from $start"
./dd train --method dpo --model "$model" --train-file "$run/pairs.jsonl" --adapter-init "$start" --ref-adapter "$start" \
    --precompute-ref --beta 0.1 --epochs 1 --batch-size 4 --lr 1e-4 --seed 1 --out "$run/train"

say "judging $items fresh items, before (against) and after (adapter)"
./dd eval --task loss --model "$model" --adapter "$run/train/adapter" --against "$start" --data "$run/held-out.jsonl" \
    --out "$run/loss" --quiet
./dd eval --task gym --model "$model" --adapter "$run/train/adapter" --against "$start" --level 1 --split test \
    --rows $items --seed 3 --max-tokens 256 --out "$run/gym" --quiet >/dev/null
echo
sed -n '/^style and substance/,$p' "$run/gym/report.txt"
cat "$run/train/speed.txt" "$run/gym/speed.txt"
echo
echo "all of it lies in $run"
