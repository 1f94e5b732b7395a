#!/usr/bin/env python3
"""What is known of every CUDA kernel on sm_90a without running it there: from the compiler registers, static shared memory,
spills and threads of a block; from the tests, which execute each on the CPU, the most dynamic shared memory that it was
launched with; and how many blocks and warps of it a multiprocessor can hold (65,536 registers, 227 KiB of shared memory,
1 KiB of it for each block's own use, 64 warps, 32 blocks). Nothing here is a measurement.

cuda_report.py [BUILD]: wants BUILD/tests/all, and nvcc; some minutes."""
import os
import re
import subprocess
import sys

build = sys.argv[1] if len(sys.argv) > 1 else "build"
nvcc = os.environ.get("NVCC") or "nvcc"
flags = "-std=c++20 -O3 -fmad=false -arch=sm_90a --resource-usage".split()


def short(name):
    """gpu::_GLOBAL__N__x::tile_kernel<gpu::..::Plan<(int)64, ..>> -> tile_kernel<Plan<64, ..>>"""
    name = subprocess.run(["c++filt", name], capture_output=True, text=True).stdout.strip()
    name = re.sub(r"^void ", "", name)
    name = re.sub(r"gpu::|_GLOBAL__N__\w+::|\(anonymous namespace\)::|\(int\)|\(bool\)", "", name)
    depth = end = 0
    for end, c in enumerate(name):              # up to the arguments
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            break
    types = "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k".split()
    return re.sub(r"\(Type\)(\d+)", lambda m: types[int(m[1])], name[:end])


def asked():
    """short name -> bytes of dynamic shared memory, as the tests launched it"""
    program, file = f"{build}/tests/all", f"{build}/shared.txt"
    if not os.path.exists(program):
        sys.exit(f"cuda_report: {program} is not there: make test")
    subprocess.run([program, "--gtest_brief=1", "--gtest_filter=CudaKernel.*:Cuda.*"], check=True, stdout=subprocess.DEVNULL,
                   env=dict(os.environ, DD_CUDA_SHARED=file))
    out = {}
    for line in open(file):
        size, name = line.rstrip("\n").split(" ", 1)
        name = re.sub(r"cuda_on_cpu::|\{anonymous\}::|\(anonymous namespace\)::|Type::", "", name)
        out[key(name)] = int(size)
    return out


def key(name):
    return name.replace(" ", "").replace("false", "0").replace("true", "1")


def kernels(file):
    ptx = f"{build}/report.ptx"
    subprocess.run([nvcc, *flags[:-1], "-ptx", file, "-o", ptx], check=True)
    threads = {}
    for entry in re.split(r"\.entry ", open(ptx).read())[1:]:
        m = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", entry[:20000])
        threads[re.match(r"\w+", entry)[0]] = int(m[1]) * int(m[2] or 1) * int(m[3] or 1) if m else 0
    made = subprocess.run([nvcc, *flags, "-cubin", file, "-o", f"{build}/report.cubin"], check=True, capture_output=True, text=True)
    name = spill = None
    for line in made.stderr.splitlines():
        if m := re.search(r"entry function '(\w+)'", line):
            name = m[1]
        elif m := re.search(r"(\d+) bytes spill stores", line):
            spill = int(m[1])
        elif name and (m := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            yield short(name), threads.get(name, 0), int(m[1]), int(shared[1]) if shared else 0, spill or 0
            name = spill = None


# An H100 SXM: what its maker says of its memory, and of its tensor cores what is reached at best; f32 without them.
bandwidth, tensor, plain = 3.35e12, 798e12, 67e12


def predictions():
    """(kernel, of what, bytes that must be read or written, operations, at which rate)"""
    for name, dim, hidden, heads, kv, size, layers, words in [("Qwen3-0.6B", 1024, 3072, 16, 8, 128, 28, 151936),
                                                             ("Qwen3-1.7B", 2048, 6144, 16, 8, 128, 28, 151936)]:
        weights = layers * (dim * size * (2 * heads + 2 * kv) + 3 * dim * hidden) + words * dim
        for stored, each in ("bf16", 2), ("q8_0", 34 / 32), ("q4_0", 18 / 32):
            yield "matmul, one row", f"{name}, all weights as {stored}", weights * each, 2 * weights, tensor
        n = 2048
        body = weights - words * dim
        yield "matmul", f"{name}, a prompt of {n}", 2 * body, 2 * n * body, tensor
        flops = 2 * n * n * size * heads * layers           # two products, half of each behind the mask
        moved = 2 * n * size * (2 * heads + 2 * kv) * layers
        yield "attend", f"{name}, {n} tokens, all layers", moved, flops, tensor
        yield "attend_back", f"{name}, {n} tokens, all layers", 2 * moved, 3.5 * flops, tensor
        yield "attend, one row", f"{name}, {n} keys, all layers", 2 * n * size * 2 * kv * layers, 4 * n * size * heads * layers, tensor
        yield "rms_norm", f"{name}, {n} x {dim}", 2 * n * dim * 2, 4 * n * dim, plain
        yield "gated", f"{name}, {n} x {hidden}", 3 * n * hidden * 2, 10 * n * hidden, plain
        yield "pick, with its gradient", f"256 x {words}", 256 * words * 10, 256 * words * 30, plain
    heads, size, n = 16, 128, 2048
    rule = n * heads * (6 * size * size + 2 * 16 * size * 3)  # state read twice and written, pairs, writes
    # three products of tf32 for one of f32, at half the rate of bf16; not the walk from chunk to chunk, which takes longer
    yield "delta", f"{heads} heads of {size} by {size}, {n} tokens", n * heads * size * 4 * 2, rule, tensor / 6
    yield "adamw", "10,000,000 weights", 10_000_000 * 28, 10_000_000 * 15, plain


def main():
    os.makedirs(build, exist_ok=True)
    dynamic = asked()
    print("| kernel | threads | registers | static shared | dynamic shared | spilled | blocks | warps | bound by |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for file in sorted(f"kernels/cuda/{f}" for f in os.listdir("kernels/cuda") if f.endswith(".cu")):
        for name, threads, registers, shared, spill in kernels(file):
            warps = max(1, (threads or 1024) // 32)
            each = -(-registers * 32 // 256) * 256 * warps      # allocated 256 at a time
            more = dynamic.pop(key(name), 0)
            limits = {"blocks": 32, "registers": 65536 // each, "warps": 64 // warps,
                      "shared memory": 227 * 1024 // (-(-(shared + more) // 128) * 128 + 1024)}
            bound = min(limits, key=limits.get)
            print(f"| {name} | {threads or '?'} | {registers} | {shared} | {more} | {spill} | {limits[bound]} | "
                  f"{limits[bound] * warps} | {bound} |", flush=True)
    if dynamic:
        sys.exit(f"cuda_report: launched by the tests, but not compiled under that name: {', '.join(dynamic)}")
    print("\nPREDICTED for an H100 from bytes and operations alone, the longer of the two; no kernel has been timed there.")
    print("\n| kernel | of what | MB | GFLOP | predicted us, at least | bound by |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kernel, what, moved, flops, rate in predictions():
        by_memory, by_arithmetic = moved / bandwidth * 1e6, flops / rate * 1e6
        bound = "memory" if by_memory > by_arithmetic else "arithmetic"
        print(f"| {kernel} | {what} | {moved * 1e-6:.1f} | {flops * 1e-9:.2f} | {max(by_memory, by_arithmetic):.1f} | {bound} |")


main()
