#!/bin/bash
# The main job offline: a tiny model is trained from scratch, then fine-tuned and judged as the real one is in demo.sh.
# The tiny model first learns the planted artefact, all markers and no substance; the adapter on it learns the form of
# good answers and next to none of their substance, and the report says so.
set -e
cd "$(dirname "$0")/.."
run=demo/tiny-$(date +%Y%m%d-%H%M%S)
mkdir -p "$run"
say() { echo; echo "== $*"; }
quick="--quiet --chat-format chatml"
cat > "$run/sizes.json" <<'JSON'
{"model_type": "llama", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
 "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
 "rope_theta": 10000, "tie_word_embeddings": true, "initializer_range": 0.02}
JSON

say "a tiny model from scratch, on the planted style arm: all the markers, no substance"
./dd data gym --level 1 --rows 1200 --seed 1 --arm style --out "$run/base.jsonl"
./dd data gym --level 1 --rows 3000 --seed 2 --out "$run/train.jsonl"
./dd data gym --level 1 --split test --rows 60 --seed 3 --out "$run/held-out.jsonl"
./dd train --init random --config-json "$run/sizes.json" --full --train-file "$run/base.jsonl" --out "$run/base" \
    --epochs 3 --batch-size 16 --lr 3e-3 --seed 1 $quick
base=$run/base/model

say "a LoRA adapter on it, on rows with substance"
./dd train --model "$base" --train-file "$run/train.jsonl" --out "$run/train" --lora-rank 32 --lora-alpha 64 \
    --epochs 2 --batch-size 16 --lr 5e-3 --seed 1 $quick

say "held-out loss, and the gym on fresh items: before and after"
./dd eval --task loss --model "$base" --adapter "$run/train/adapter" --data "$run/held-out.jsonl" --out "$run/loss" $quick
echo
./dd eval --task gym --model "$base" --adapter "$run/train/adapter" --level 1 --rows 120 --seed 4 --max-tokens 300 \
    --out "$run/gym" $quick >/dev/null
sed -n '/^style and substance/,$p' "$run/gym/report.txt"
cat "$run/train/speed.txt"
echo
echo "all of it lies in $run"
