#!/usr/bin/env python3
"""dd's CUDA kernels against PyTorch's (cuBLAS, scaled_dot_product_attention) and Triton's on one GPU.

    build/bench/all --device cuda --benchmark_format=json > kernels.json
    python3 bench/rivals/gpu.py [--ours kernels.json] [--check]

The shapes are those of `build/bench/all --device cuda`: Qwen3-1.7B's, 4 rows of 2048 tokens. PyTorch calls what it has;
the Triton kernels (a product, RMSNorm, causal attention forward) are written here, the way Triton's own users write
them, and are checked against PyTorch before they are timed. One table comes out: microseconds, the median of repeated
runs by CUDA events with the L2 flushed between them, and TFLOP/s or TB/s; with --ours also dd's time of the same shape
(which is timed by runs in a row: what fits into the L2 stays there) and the ratio to the best rival. --check: only
whether the Triton kernels are right, which TRITON_INTERPRET=1 can do without a GPU. Exit 4 where PyTorch or a GPU is
missing.
"""
import argparse
import json
import math
import sys


def missing(why):
    print(f"gpu.py: {why}; nothing is compared", file=sys.stderr)
    sys.exit(4)


try:
    import torch
except ImportError:
    missing("there is no PyTorch here (pip install torch)")
try:
    import triton
    import triton.language as tl
except ImportError:
    missing("there is no Triton here (pip install triton)")

tokens, sequences, dim, hidden, heads, kv_heads, size, vocabulary = 8192, 4, 2048, 6144, 16, 8, 128, 151936


tiles = [triton.Config({"M": m, "N": n, "K": k}, num_warps=w, num_stages=s)
         for m, n, k, w, s in [(128, 256, 64, 8, 3), (128, 128, 64, 8, 4), (64, 128, 64, 4, 4), (128, 128, 32, 4, 4)]]


@triton.autotune(tiles if torch.cuda.is_available() else tiles[2:3], key=["rows", "out", "inner"])
@triton.jit
def product_kernel(y, x, w, rows, out, inner, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """y = x w^T, row-major; bands of eight rows of tiles share w in the L2."""
    wide, tall = tl.cdiv(out, N), tl.cdiv(rows, M)
    i = tl.program_id(0)
    first = i // (8 * wide) * 8
    high = tl.minimum(tall - first, 8)
    r = (first + i % (8 * wide) % high) * M + tl.arange(0, M)
    c = i % (8 * wide) // high * N + tl.arange(0, N)
    k = tl.arange(0, K)
    total = tl.zeros((M, N), tl.float32)
    for at in range(0, inner, K):
        a = tl.load(x + r[:, None] * inner + at + k[None, :], mask=(r[:, None] < rows) & (at + k[None, :] < inner), other=0)
        b = tl.load(w + c[None, :] * inner + at + k[:, None], mask=(c[None, :] < out) & (at + k[:, None] < inner), other=0)
        total = tl.dot(a, b, total)
    tl.store(y + r[:, None] * out + c[None, :], total.to(y.dtype.element_ty), mask=(r[:, None] < rows) & (c[None, :] < out))


def product(x, w):
    y = torch.empty(x.shape[0], w.shape[0], dtype=x.dtype, device=x.device)
    grid = lambda c: (triton.cdiv(y.shape[0], c["M"]) * triton.cdiv(y.shape[1], c["N"]),)
    product_kernel[grid](y, x, w, y.shape[0], y.shape[1], x.shape[1])
    return y


@triton.jit
def rms_norm_kernel(y, x, w, cols, eps, C: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, C)
    v = tl.load(x + row * cols + c, mask=c < cols, other=0).to(tl.float32)
    r = tl.rsqrt(tl.sum(v * v) / cols + eps)
    tl.store(y + row * cols + c, (v * r * tl.load(w + c, mask=c < cols, other=0)).to(y.dtype.element_ty), mask=c < cols)


def rms_norm(x, w):
    y = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
    rms_norm_kernel[(x.shape[0],)](y, x, w, x.shape[1], 1e-5, C=triton.next_power_of_2(x.shape[1]), num_warps=8)
    return y


@triton.jit
def attention_kernel(y, q, k, v, n, scale, group: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """A block of M queries of one head: [batch, head, n, D]; keys in blocks of N up to the diagonal."""
    head, d = tl.program_id(1), tl.arange(0, D)
    r, c = (tl.num_programs(0) - 1 - tl.program_id(0)) * M + tl.arange(0, M), tl.arange(0, N)
    own, shared = head.to(tl.int64) * n * D, (head // group).to(tl.int64) * n * D
    a = tl.load(q + own + r[:, None] * D + d[None, :], mask=r[:, None] < n, other=0)
    most, total = tl.full((M,), -1e30, tl.float32), tl.zeros((M,), tl.float32)
    sums = tl.zeros((M, D), tl.float32)
    for at in range(0, tl.minimum(n, tl.max(r) + 1), N):
        there = at + c < n
        keys = tl.load(k + shared + (at + c)[None, :] * D + d[:, None], mask=there[None, :], other=0)
        s = tl.dot(a, keys) * (scale * 1.44269504)
        s = tl.where((r[:, None] >= at + c[None, :]) & there[None, :], s, -1e30)
        larger = tl.maximum(most, tl.max(s, 1))
        p, less = tl.exp2(s - larger[:, None]), tl.exp2(most - larger)
        total = total * less + tl.sum(p, 1)
        values = tl.load(v + shared + (at + c)[:, None] * D + d[None, :], mask=there[:, None], other=0)
        sums = tl.dot(p.to(v.dtype.element_ty), values, sums * less[:, None])
        most = larger
    tl.store(y + own + r[:, None] * D + d[None, :], (sums / total[:, None]).to(y.dtype.element_ty), mask=r[:, None] < n)


def attention(q, k, v):
    y = torch.empty_like(q)
    batch, many, n, d = q.shape
    attention_kernel[(triton.cdiv(n, 128), batch * many)](y, q, k, v, n, 1 / math.sqrt(d), group=many // k.shape[1], D=d, M=128,
                                                           N=64, num_warps=8, num_stages=3)
    return y


def plain_norm(x, w):
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * w).to(torch.bfloat16)


def sdpa(q, k, v, causal=True):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)


def check(device):
    """The Triton kernels on small, ragged shapes against PyTorch in float32: relative error under 1 %. Triton's interpreter
    cannot multiply bf16."""
    torch.manual_seed(0)
    make = lambda *s: torch.randn(*s, device=device).to(torch.bfloat16 if device == "cuda" else torch.float16)
    x, w = make(150, 96), make(200, 96)
    q, k, v = make(2, 4, 150, 64), make(2, 2, 150, 64), make(2, 2, 150, 64)
    row, gain = torch.randn(5, 100, device=device), torch.randn(100, device=device)
    for name, got, want in [("product", product(x, w), x.float() @ w.float().T),
                            ("rms_norm", rms_norm(row, gain), plain_norm(row, gain)),
                            ("attention", attention(q, k, v), sdpa(q.float(), k.float(), v.float()))]:
        error = ((got.float() - want.float()).norm() / want.float().norm()).item()
        if not error < 1e-2:
            sys.exit(f"gpu.py: the Triton {name} is wrong: relative error {error:.3g}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ours", help="what build/bench/all --device cuda --benchmark_format=json wrote")
    p.add_argument("--check", action="store_true", help="only check the Triton kernels")
    o = p.parse_args()
    gpu = torch.cuda.is_available()
    if o.check:
        check("cuda" if gpu else "cpu")
        return print("the Triton kernels are right")
    if not gpu:
        missing("PyTorch sees no GPU here")
    check("cuda")
    ours = {}
    if o.ours:
        with open(o.ours) as file:
            for b in json.load(file)["benchmarks"]:
                ours[b["name"].split("/min_time")[0]] = b["real_time"] * {"ns": 1e-3, "us": 1, "ms": 1e3}[b["time_unit"]]
    print(f"{torch.cuda.get_device_name()}; PyTorch {torch.__version__}, Triton {triton.__version__}\n")
    print("| kernel | PyTorch us | Triton us | the better | dd us | dd is times as fast |")
    print("| --- | --- | --- | --- | --- | --- |")
    make = lambda *s: torch.randn(*s, device="cuda").to(torch.bfloat16)
    time = lambda f: triton.testing.do_bench(f, warmup=10, rep=60, return_mode="median") * 1e3 if f else math.inf

    def row(name, amount, unit, theirs, triton_one=None):
        a, b = time(theirs), time(triton_one)
        best = min(a, b)
        dd = ours.get(name)
        show = lambda t: f"{t:.1f}" if t and t < math.inf else "-"
        ratio = f"{best / dd:.2f}" if dd else "-"
        print(f"| {name} | {show(a)} | {show(b)} | {amount / best * 1e-6:.1f} {unit} | {show(dd)} | {ratio} |", flush=True)

    for n, out, inner, more in [(tokens, hidden, dim, ""), (tokens, dim, hidden, ""), (32, hidden, dim, ""),
                                (128, hidden, dim, ""), (512, hidden, dim, ""), (256, vocabulary, dim, ", the head")]:
        x, w = make(n, inner), make(out, inner)
        row(f"matmul/{n} x {inner} -> {out}{more}", 2 * n * out * inner, "TFLOP/s", lambda: x @ w.T, lambda: product(x, w))
    for n, more in [(1, ", BF16"), (8, "")]:
        x, w = make(n, dim), make(vocabulary, dim)
        row(f"matmul/{n} x {dim} -> {vocabulary}, the head{more}", 2 * vocabulary * dim, "TB/s", lambda: x @ w.T)
    dy, w, x = make(tokens, hidden), make(hidden, dim), make(tokens, dim)
    row(f"matmul_dx/{tokens} x {hidden} -> {dim}", 2 * tokens * hidden * dim, "TFLOP/s", lambda: dy @ w)
    row(f"matmul_dw/{hidden} x {dim} from {tokens}", 2 * tokens * hidden * dim, "TFLOP/s", lambda: dy.T @ x)
    x, w = torch.randn(tokens, dim, device="cuda"), torch.randn(dim, device="cuda")
    fused = torch.compile(plain_norm)
    row(f"rms_norm/{tokens} x {dim}", 6 * tokens * dim, "TB/s", lambda: fused(x, w), lambda: rms_norm(x, w))
    each = tokens // sequences
    shape = f"{sequences} x {each}, causal, {heads}/{kv_heads} heads of {size}"
    q, k, v = make(sequences, heads, each, size), make(sequences, kv_heads, each, size), make(sequences, kv_heads, each, size)
    pairs = sequences * each * (each + 1) / 2 * heads
    row(f"attend/{shape}", 4 * size * pairs, "TFLOP/s", lambda: sdpa(q, k, v), lambda: attention(q, k, v))
    for t in (q, k, v):
        t.requires_grad_()
    y = sdpa(q, k, v)
    dy = torch.randn_like(y)
    row(f"attend_back/{shape}", 10 * size * pairs, "TFLOP/s", lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True))
    for many in (1, 32):
        q, k, v = make(many, heads, 1, size), make(many, kv_heads, each, size), make(many, kv_heads, each, size)
        row(f"attend/{many} tokens, {each} positions each in the cache", 4 * many * each * kv_heads * size, "TB/s",
            lambda: sdpa(q, k, v, False))


main()
