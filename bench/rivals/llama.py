#!/usr/bin/env python3
"""Running a model, dd against llama.cpp, on the same file on the same machine in the same minutes.

    pip install gguf numpy; pip install --no-binary llama-cpp-python llama-cpp-python     # compiled for this processor
    python3 bench/rivals/llama.py [--preset smollm2-135m] [--types bf16,q8_0,q4_1] [--rounds 5]

Both read one GGUF file a type: random weights of the preset's sizes (`dd init`), with two threads. Timed: a prompt of 512
tokens, one sequence decoding, 32 sequences decoding together; of each round's repetitions the fastest, since a neighbour
only ever makes one slower. They take turns, dd first in every second round; a ratio is one of neighbours in time. Before that, both say how likely a text of 128 tokens is, token by token: if the means differ
by more than a hundredth the work is not the same and the comparison is refused. (llama.cpp rounds activations to eight
bits before it multiplies weights in blocks; dd multiplies them in bf16. llama.cpp's cache is f16, dd's bf16.)
"""
import argparse
import ctypes
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

PROMPT, ALONE, TOGETHER, SEQUENCES = 512, 64, 16, 32


class Llama:
    """llama.cpp by its C interface."""

    def __init__(self, path, threads, cells):
        import llama_cpp as c
        self.c = c
        self.quiet = c.llama_log_callback(lambda *_: None)
        c.llama_log_set(self.quiet, ctypes.c_void_p(0))
        c.llama_backend_init()
        self.model = c.llama_model_load_from_file(path.encode(), c.llama_model_default_params())
        p = c.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = cells, PROMPT, PROMPT, SEQUENCES
        p.n_threads = p.n_threads_batch = threads
        p.kv_unified = True
        self.context = c.llama_init_from_model(self.model, p)
        if not self.model or not self.context:
            sys.exit(f"llama.py: llama.cpp does not load {path}")
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.batch = c.llama_batch_init(PROMPT, 0, 1)

    def clear(self):
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

    def step(self, tokens):
        """tokens: (id, position, sequence, whether its logits are wanted)"""
        b = self.batch
        b.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, position, 1, wanted
            b.seq_id[i][0] = sequence
        if self.c.llama_decode(self.context, b):
            sys.exit("llama.py: llama.cpp does not decode")

    def logits(self, i):
        import numpy
        return numpy.ctypeslib.as_array(self.c.llama_get_logits_ith(self.context, i), (self.vocabulary,))

    def prefill(self, ids):
        self.clear()
        self.step([(t, i, 0, i + 1 == len(ids)) for i, t in enumerate(ids)])
        return int(self.logits(len(ids) - 1).argmax())

    def decode(self, first, steps):
        """As many tokens of each sequence, the likeliest of each step being the next one's."""
        self.clear()
        now = list(first)
        for position in range(steps):
            self.step([(t, position, s, True) for s, t in enumerate(now)])
            now = [int(self.logits(s).argmax()) for s in range(len(now))]

    def log_probabilities(self, ids):
        import numpy
        self.clear()
        self.step([(t, i, 0, True) for i, t in enumerate(ids)])
        out = []
        for i, following in enumerate(ids[1:]):
            row = self.logits(i).astype(numpy.float64)
            out.append(float(row[following] - row.max() - numpy.log(numpy.exp(row - row.max()).sum())))
        return out


def rates(path, threads, reps):
    """Tokens a second of the three parts, the fastest of `reps` after one that does not count."""
    rival = Llama(path, threads, 1024)
    pick = random.Random(1)
    ids = [pick.randrange(rival.vocabulary) for _ in range(PROMPT)]
    parts = {"prefill": (PROMPT, lambda: rival.prefill(ids)),
             "decode": (ALONE, lambda: rival.decode(ids[:1], ALONE)),
             "batch": (SEQUENCES * TOGETHER, lambda: rival.decode(ids[:SEQUENCES], TOGETHER))}
    out = {}
    for name, (tokens, work) in parts.items():
        seconds = []
        for _ in range(reps + 1):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
        out[name] = tokens / min(seconds[1:])
    print(json.dumps(out))


def write_gguf(folder, to, kind):
    """The random checkpoint as GGUF, matrices in `kind`, without a tokenizer."""
    import gguf
    import numpy
    with open(folder + "/config.json") as file:
        config = json.load(file)
    qwen = config["model_type"] == "qwen3"
    if config["model_type"] not in ("llama", "qwen3"):
        sys.exit(f"llama.py: --preset: a {config['model_type']}; llama and qwen3 are what is written as GGUF here")
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    w = gguf.GGUFWriter(to, config["model_type"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(size)
    w.add_value_length(size)
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_freq_base(float(config["rope_theta"]))
    w.add_rope_dimension_count(size)
    w.add_vocab_size(config["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3 if qwen else gguf.MODEL_ARCH.LLAMA,
                                     config["num_hidden_layers"])
    with open(folder + "/model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
        for name, t in header.items():
            if name == "__metadata__":
                continue
            file.seek(begin + t["data_offsets"][0])
            bits = numpy.frombuffer(file.read(t["data_offsets"][1] - t["data_offsets"][0]), numpy.uint16)
            values = (bits.astype(numpy.uint32) << 16).view(numpy.float32).reshape(t["shape"])
            for part, n in (("q_proj", heads), ("k_proj", kv)):  # llama's GGUF has pairs of a rotation side by side
                if part in name and not qwen:
                    values = values.reshape(n, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            as_stored = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType[kind.upper()]
            w.add_tensor(names.get_name(name, (".weight",)), gguf.quants.quantize(values, as_stored), raw_dtype=as_stored)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def dd_rates(dd, path, threads, reps):
    out = subprocess.run([dd, "bench", "--quiet", "--model", path, "--only", "prefill,decode,batch", "--types", "stored",
                          "--threads", str(threads), "--reps", str(reps), "--json"], check=True, stdout=subprocess.PIPE,
                         text=True).stdout
    return {r["part"]: r["tokens"] / r["fastest_seconds"] for r in json.loads(out)["rows"]}


def same_work(dd, path, threads, temp):
    rival = Llama(path, threads, 1024)
    pick = random.Random(2)
    ids = [pick.randrange(rival.vocabulary) for _ in range(128)]
    with open(temp + "/text.jsonl", "w") as file:
        file.write(json.dumps({"input_ids": ids}) + "\n")
    out = subprocess.run([dd, "score", "--quiet", "--model", path, "--input", temp + "/text.jsonl", "--json"], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    ours, theirs = json.loads(out.splitlines()[0])["logprobs"], rival.log_probabilities(ids)
    return statistics.mean(ours), statistics.mean(theirs), max(abs(a - b) for a, b in zip(ours, theirs))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dd", default="./dd")
    p.add_argument("--preset", default="smollm2-135m")
    p.add_argument("--types", default="bf16,q8_0,q4_1")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--reps", type=int, default=5)
    p.add_argument("--llama", metavar="FILE", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.llama:
        return rates(o.llama, o.threads, o.reps)
    import llama_cpp
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as t:
        subprocess.run([o.dd, "init", "--preset", o.preset, "--out", t + "/model"], check=True)
        for kind in o.types.split(","):
            path = f"{t}/{kind}.gguf"
            write_gguf(t + "/model", path, kind)
            ours, theirs, apart = same_work(o.dd, path, o.threads, t)
            print(f"{o.preset} {kind}: mean log-probability of a text: dd {ours:.4f}, llama.cpp {theirs:.4f}; a token differs "
                  f"by {apart:.4f} at most", flush=True)
            if abs(ours - theirs) > 0.01 * abs(theirs):
                sys.exit("llama.py: not the same work, no ratio")
            pairs = {"prefill": [], "decode": [], "batch": []}
            for i in range(o.rounds):
                them = [sys.executable, __file__, "--llama", path, "--threads", str(o.threads), "--reps", str(o.reps)]
                turn = {}
                for who in (("dd", "llama"), ("llama", "dd"))[i % 2]:
                    turn[who] = dd_rates(o.dd, path, o.threads, o.reps) if who == "dd" else json.loads(
                        subprocess.run(them, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
                for part, both in pairs.items():
                    both.append((turn["dd"][part], turn["llama"][part]))
            for part, both in pairs.items():
                ratios = sorted(a / b for a, b in both)
                print(f"{o.preset} {kind} {part}: dd {statistics.median(a for a, _ in both):.0f} tokens/s, llama.cpp "
                      f"{statistics.median(b for _, b in both):.0f}: {statistics.median(ratios):.2f} times "
                      f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} rounds)", flush=True)
            os.unlink(path)
    built = ", ".join(re.findall(r"(\w+) = 1", llama_cpp.llama_print_system_info().decode()))
    print(f"llama-cpp-python {llama_cpp.__version__} ({built}), {o.threads} threads")


main()
