#!/bin/bash
# The main job offline: a tiny model is trained from scratch, then fine-tuned and judged as the real one is in demo.sh.
# It learns the form of the answers and a little of their substance; the point is that every step runs.
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
./dd data gym --level 1 --rows 480 --seed 1 --arm style --out "$run/base.jsonl"
./dd data gym --level 1 --rows 480 --seed 2 --out "$run/train.jsonl"
./dd data gym --level 1 --split test --rows 60 --seed 3 --out "$run/held-out.jsonl"
./dd init --config-json "$run/sizes.json" --out "$run/init" --seed 1 --type f32
./dd train --model "$run/init" --full --train-file "$run/base.jsonl" --out "$run/base" \
    --steps 60 --batch-size 8 --lr 2e-3 --seed 1 $quick
base=$run/base/model

say "a LoRA adapter on it, on rows with substance"
./dd train --model "$base" --train-file "$run/train.jsonl" --out "$run/train" --lora-rank 16 \
    --steps 60 --batch-size 8 --lr 3e-3 --seed 1 $quick

say "held-out loss, and the gym on fresh items: before and after"
./dd eval --task loss --model "$base" --adapter "$run/train/adapter" --data "$run/held-out.jsonl" --out "$run/loss" $quick
echo
./dd eval --task gym --model "$base" --adapter "$run/train/adapter" --level 1 --rows 60 --seed 4 --max-tokens 300 \
    --out "$run/gym" $quick
echo
echo "all of it lies in $run"
