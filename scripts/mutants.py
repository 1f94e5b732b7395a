#!/usr/bin/env python3
"""Plants one bug at a time into the CUDA kernels and expects the tests on the CPU to see it.

tests/mutants.txt holds the bugs, one a line: name :: file :: compiled :: tests :: old text :: new text. The file under
kernels/cuda/ is copied, the old text (which must stand there exactly once) replaced, and what is compiled from it
(`compiled`, a .cu; or the file itself, if =) takes the shipped object's place in a program of its own, which runs the
tests. It must fail.

mutants.py [--sample N] [NAME ...]: all, an even sample, or those of that name. Needs what `make test` has built."""
import glob
import os
import re
import shutil
import subprocess
import sys

build, here = os.environ.get("BUILD", "build"), "kernels/cuda"
cxx = os.environ.get("CXX", "g++").split()
libraries = os.environ.get("LDLIBS", "-lpcre2-8 -lutf8proc -lpthread").split()
flags = "-std=c++20 -O1 -w -ffp-contract=off -pthread -Wno-unknown-pragmas -DDD_CUDA=cuda_on_cpu".split()


def read():
    for n, line in enumerate(open("tests/mutants.txt"), 1):
        if line.strip() and not line.startswith("#"):
            fields = [f.strip().replace("\\n", "\n") for f in line.rstrip("\n").split(" :: ")]
            if len(fields) != 6:
                sys.exit(f"tests/mutants.txt:{n}: {len(fields)} fields; 6 were expected")
            yield fields


def plant(name, file, old, new):
    folder = f"{build}/mutants/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for f in glob.glob(f"{here}/*.h") + glob.glob(f"{here}/*.cu"):
        shutil.copy2(f, folder)
    shutil.copytree(f"{here}/on_cpu", f"{folder}/on_cpu", copy_function=shutil.copy2)
    text = open(f"{folder}/{file}").read()
    if text.count(old) != 1:
        sys.exit(f"mutants.txt: {name}: the old text stands {text.count(old)} times in {file}; once was expected")
    open(f"{folder}/{file}", "w").write(text.replace(old, new))
    return folder


def run(command, **how):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", **how)


def objects(compiled):
    """What the tests of kernels are linked from, without the shipped object of what was compiled anew."""
    lib = [f for room in "kernels kernels/cpu engine models train eval verbs".split() for f in glob.glob(f"{build}/{room}/*.o")]
    lib += sorted(glob.glob(f"{build}/train/mpi/*.o"), key=os.path.getmtime)[-1:]       # with MPI or without: the newest
    gpu = [f for f in glob.glob(f"{build}/kernels/cuda/*.o") if f.endswith("/none.o")]
    tests = glob.glob(f"{build}/tests/cuda*.o") + [f"{build}/tests/kernels_bench.o"]
    on_cpu = glob.glob(f"{build}/on_cpu/{here}/*.o") + glob.glob(f"{build}/on_cpu/{here}/on_cpu/*.o") \
        + glob.glob(f"{build}/on_cpu/bench/ladder/*.o")
    return lib + gpu + tests + [f for f in on_cpu if os.path.basename(f) != compiled.replace(".cu", ".o")]


def caught(name, file, compiled, tests, old, new):
    folder = plant(name, file, old, new)
    compiled = file if compiled == "=" else compiled
    made = run(cxx + flags + ["-iquote", here, "-x", "c++", "-c", f"{folder}/{compiled}", "-o", f"{folder}/mutant.o"])
    if made.returncode:
        sys.exit(f"{name} does not compile:\n{made.stderr}")
    program = f"{folder}/test"
    made = run(cxx + ["-no-pie", f"{folder}/mutant.o", *objects(compiled), "-o", program, "-lgtest", "-lgtest_main",
                      *libraries])
    if made.returncode:
        sys.exit(f"{name} does not link:\n{made.stderr}")
    try:
        ran = run([program, f"--gtest_filter={tests}", "--gtest_brief=1", "--gtest_fail_fast"], timeout=120)
    except subprocess.TimeoutExpired:
        return "it does not end"
    finally:
        shutil.rmtree(folder)
    if ran.returncode == 0:
        return None
    for line in ran.stdout.splitlines():
        for word in ('"output', "kernel ", "bytes around", "bank conflicts", "order of execution", "Which is"):
            if word in line:
                return line.strip().removeprefix("Which is: ")
    return f"exit {ran.returncode}"


def main():
    args, mutants = sys.argv[1:], list(read())
    declared = set(re.findall(r"^ *K\((\w+),", open("kernels/list.h").read(), re.M))
    spared = declared - {m[3].removeprefix("CudaKernel.") for m in mutants}
    if spared:
        sys.exit(f"tests/mutants.txt: no bug is planted into {', '.join(sorted(spared))}")
    if args[:1] == ["--sample"]:
        step = max(1, len(mutants) // int(args[1]))
        mutants = mutants[step // 2::step]
    elif args:
        mutants = [m for m in mutants if m[0] in args]
    missed = 0
    for m in mutants:
        why = caught(*m)
        missed += why is None
        print(f"{'ok  ' if why else 'MISS'} {m[0]:28} {why or 'not seen by ' + m[3]}"[:200], flush=True)
    print(f"{len(mutants) - missed} of {len(mutants)} planted bugs seen")
    sys.exit(missed > 0)


main()
