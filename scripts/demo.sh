#!/bin/bash
# The main job on a real model: rows from the gym, a LoRA adapter fine-tuned on them, base and adapter judged on fresh
# items, paired. MODEL=path takes another model than the one that is fetched; DEMO_SHORT=1 does a fraction of it.
set -e
cd "$(dirname "$0")/.."
began=$(date +%s)
model=${MODEL:-}
if [ -z "$model" ]; then model=$(scripts/fetch_model.sh); fi
rows=600 items=180 held_out=120
[ -z "${DEMO_SHORT:-}" ] || { rows=60 items=36 held_out=24; }
run=demo/run-$(date +%Y%m%d-%H%M%S)
mkdir -p "$run"
say() { echo; echo "== $*"; }

say "rows: $rows to train on, $held_out held out (the splits never share an item)"
./dd data gym --level 1 --split train --rows $rows --seed 1 --out "$run/train.jsonl"
./dd data gym --level 1 --split test --rows $held_out --seed 2 --out "$run/held-out.jsonl"

say "training: a LoRA adapter of rank 16 on all seven projections"
./dd train --model "$model" --train-file "$run/train.jsonl" --out "$run/train" --lora-rank 16 --lora-alpha 32 \
    --epochs 1 --batch-size 8 --lr 1e-3 --schedule cosine --seed 1

say "held-out loss, base and adapter"
./dd eval --task loss --model "$model" --adapter "$run/train/adapter" --data "$run/held-out.jsonl" --out "$run/loss" \
    --quiet >/dev/null
say "judging base and adapter on $items fresh items"
./dd eval --task gym --model "$model" --adapter "$run/train/adapter" --level 1 --split test --rows $items --seed 3 \
    --max-tokens 256 --out "$run/gym" >/dev/null

say "held-out loss: $held_out rows of the test split, before and after"
cat "$run/loss/report.txt"
say "the gym: $items items of the test split, before and after (all of it: $run/gym/report.txt)"
sed -n '/^style and substance/,$p' "$run/gym/report.txt"
say "speed"
cat "$run/train/speed.txt"
cat "$run/gym/speed.txt"
echo
echo "all of it lies in $run (report.json and items-*.jsonl under gym/ and loss/, run.json and log.jsonl under train/);"
echo "the whole took $(($(date +%s) - began)) s"
