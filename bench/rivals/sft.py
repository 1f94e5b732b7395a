#!/usr/bin/env python3
"""LoRA fine-tuning, dd against PyTorch + transformers + peft, on the same machine in the same minutes.

    pip install torch transformers peft
    python3 bench/rivals/sft.py [--preset smollm2-135m] [--batch 4] [--length 512] [--steps 6] [--rounds 3]

Both train the same random checkpoint of the preset's sizes (`dd init`) on the same rows of token ids in the same order:
rank 16 on all seven projections, AdamW, bf16, nothing padded (every row has the same length). They take turns, so that a
neighbour's noise or a changed clock meets both; the first step of each is left out (PyTorch's costs several times a later
one). Printed: tokens a second of each round, their medians, the ratio, resident memory, and the first losses, which must
agree within 1 % or the comparison is refused.
"""
import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def torch_side(model, rows, batch, steps):
    """One run of PyTorch in this process; prints {"loss": [...], "tokens_per_second": x, "gigabytes": y}."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    net = get_peft_model(net, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    net.train()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=2e-4, weight_decay=0)
    with open(rows) as file:
        data = [json.loads(line)["input_ids"] for line in file]
    losses, seconds = [], []
    for step in range(steps):
        ids = torch.tensor(data[step * batch:(step + 1) * batch])
        begun = time.perf_counter()
        loss = net(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begun)
        losses.append(loss.item())
    print(json.dumps({"loss": losses, "tokens_per_second": ids.numel() / statistics.median(seconds[1:]),
                      "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-9,
                      "versions": {"torch": torch.__version__.split("+")[0]}, "threads": torch.get_num_threads()}))


def dd_side(dd, model, rows, batch, steps, folder):
    subprocess.run([dd, "train", "--quiet", "--model", model, "--train-file", rows, "--out", folder, "--no-shuffle",
                    "--batch-size", str(batch), "--steps", str(steps), "--lora-rank", "16", "--lora-alpha", "32"],
                   check=True)
    with open(folder + "/log.jsonl") as file:
        log = [json.loads(line) for line in file]
    steps = [line for line in log if "loss" in line]
    return {"loss": [s["loss"] for s in steps],
            "tokens_per_second": statistics.median(s["tokens_per_s"] for s in steps[1:]),
            "gigabytes": max(s["peak_bytes"] for s in steps) * 1e-9}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dd", default="./dd")
    p.add_argument("--preset", default="smollm2-135m")
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--length", type=int, default=512)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--torch-side", nargs=4, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.torch_side:
        model, rows, batch, steps = o.torch_side
        return torch_side(model, rows, int(batch), int(steps))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as t:
        model, rows = t + "/model", t + "/rows.jsonl"
        subprocess.run([o.dd, "init", "--preset", o.preset, "--out", model], check=True)
        with open(model + "/config.json") as file:
            config = json.load(file)
        vocabulary = config.get("text_config", config)["vocab_size"]
        pick = random.Random(1)
        with open(rows, "w") as file:
            for _ in range(o.batch * o.steps):
                file.write(json.dumps({"input_ids": [pick.randrange(vocabulary) for _ in range(o.length)]}) + "\n")
        results = {"dd": [], "torch": []}
        for i in range(o.rounds):
            results["dd"].append(dd_side(o.dd, model, rows, o.batch, o.steps, f"{t}/run{i}"))
            out = subprocess.run([sys.executable, __file__, "--torch-side", model, rows, str(o.batch), str(o.steps)],
                                 check=True, stdout=subprocess.PIPE, text=True).stdout
            results["torch"].append(json.loads(out.splitlines()[-1]))
            ours, theirs = results["dd"][-1], results["torch"][-1]
            print(f"round {i + 1}: dd {ours['tokens_per_second']:.0f} tokens/s, {ours['gigabytes']:.2f} GB; PyTorch "
                  f"{theirs['tokens_per_second']:.0f} tokens/s, {theirs['gigabytes']:.2f} GB; ratio "
                  f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}", flush=True)
    ours, theirs = results["dd"][0]["loss"][0], results["torch"][0]["loss"][0]
    print(f"first loss: dd {ours:.4f}, PyTorch {theirs:.4f}")
    if abs(ours - theirs) > 0.01 * abs(theirs):
        sys.exit("sft.py: the first losses differ by more than 1 %: not the same work, no ratio")
    ratios = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(results["dd"], results["torch"])]
    print(f"{o.preset}, {o.batch} x {o.length}: dd is {statistics.median(ratios):.2f} times PyTorch "
          f"{results['torch'][0]['versions']['torch']} + peft (rounds {min(ratios):.2f} to {max(ratios):.2f})")


main()
