#!/bin/bash
# What dd does for a GPU, on a machine without: every verb that computes with --device cuda, on tiny models, by a dd whose
# CUDA runtime computes nothing and minds the rules (kernels/cuda/gpu/pretend.cpp). Numbers mean nothing here; that each
# run ends well does, and that decoding was recorded and replayed.
dd=${1:-build/pretend/dd}
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
bad=0
export DD_PRETEND=1 DD_THREADS=1 DD_CUBLASLT=
run() { # PATTERN ARGUMENTS..: what it says at the end matches
    local pattern=$1
    shift
    timeout 100 "$dd" "$@" >"$t/out" 2>"$t/err"
    local code=$?
    if [ $code = 0 ] && tail -1 "$t/err" | grep -Eq "$pattern"; then return; fi
    bad=1
    echo "test-pretend: dd $*: exit $code: $(tail -2 "$t/err" | tr '\n' ' ')"
}
sizes() { # NAME JSON
    echo "$2" >"$t/$1.json"
    "$dd" init --config-json "$t/$1.json" --out "$t/$1" >/dev/null 2>&1 || { echo "test-pretend: no model $1"; exit 1; }
}
common='"hidden_size":64,"intermediate_size":96,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,
    "vocab_size":300,"max_position_embeddings":4096,"rms_norm_eps":1e-6,"rope_theta":10000,"tie_word_embeddings":true'
sizes qwen3 "{\"model_type\":\"qwen3\",\"num_hidden_layers\":2,$common}"
sizes gemma3 "{\"model_type\":\"gemma3_text\",\"num_hidden_layers\":6,\"sliding_window\":64,\"sliding_window_pattern\":6,
    \"query_pre_attn_scalar\":16,\"rope_local_base_freq\":1000,$common}"
sizes qwen3_5 "{\"model_type\":\"qwen3_5_text\",\"num_hidden_layers\":4,\"full_attention_interval\":2,
    \"partial_rotary_factor\":0.25,\"linear_num_key_heads\":2,\"linear_num_value_heads\":4,
    \"linear_key_head_dim\":16,\"linear_value_head_dim\":16,\"linear_conv_kernel_dim\":4,$common}"
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"id\":$i,\"input_ids\":[1,2,$i,5,6,7,$i,9]}"
done >"$t/rows.jsonl"
for i in 1 2 3 4; do echo "{\"prompt_ids\":[1,$i],\"chosen_ids\":[5,6,$i],\"rejected_ids\":[7,$i]}"; done >"$t/pairs.jsonl"
replayed='launches, [1-9][0-9]* recorded ones in [1-9][0-9]* replays' launched='[1-9][0-9]* launches'
for m in qwen3 gemma3 qwen3_5; do
    on="--model $t/$m --device cuda"
    run "$replayed" generate $on --input "$t/rows.jsonl" --max-tokens 40 --slots 3 --ignore-eos
    run "$replayed" generate $on --input "$t/rows.jsonl" --max-tokens 40 --ignore-eos --temp 1 --top-k 5 --repeat-penalty 1.2
    run "$launched" score $on --input "$t/rows.jsonl"
    run "$launched" extract $on --input "$t/rows.jsonl" --points 'resid_post.*,final,logits' --out "$t/$m.safetensors"
    run "$launched" train $on --train-file "$t/rows.jsonl" --valid-file "$t/rows.jsonl" --out "$t/$m-lora" --steps 3
    run "$launched" train $on --train-file "$t/rows.jsonl" --out "$t/$m-full" --steps 2 --full --recompute
    run "$launched" train $on --train-file "$t/pairs.jsonl" --method dpo --out "$t/$m-dpo" --steps 2
done
[ $bad = 0 ] && echo "test-pretend: all good"
exit $bad
