#!/bin/bash
# What the house promises and a machine can check. Prints each breach; exits 1 if there is one.
cd "$(dirname "$0")/.." || exit 1
bad=0
breach() { echo "lint: $*"; bad=1; }
code=$(git ls-files --cached --others --exclude-standard -- '*.cpp' '*.h' '*.inl' '*.cu' '*.cuh')

# Lines and characters.
for f in $code; do
    awk -v f="$f" 'length > 120 && f !~ /kernels\/list\.h/ {print "lint: " f ":" FNR ": longer than 120 columns"; n++} /\t/ {print "lint: " f ":" FNR ": a tab"; n++}
                   /[ \t]+$/ {print "lint: " f ":" FNR ": white space at the end"; n++} END {exit n > 0}' "$f" || bad=1
    [ -z "$(tail -c1 "$f")" ] || breach "$f: no newline at the end"
done

# Sizes: a model file is a page or two; others are read in one go.
for f in $code; do
    n=$(wc -l < "$f")
    case $f in
        models/llama.cpp | models/qwen*.cpp | models/gemma*.cpp) [ "$n" -le 150 ] || breach "$f: $n lines; a model file has at most 150" ;;
        tests/* | bench/*) [ "$n" -le 800 ] || breach "$f: $n lines; a test file has at most 800" ;;
        *) [ "$n" -le 400 ] || breach "$f: $n lines; a file has at most 400" ;;
    esac
done

# Includes go one way: kernels <- engine <- models <- train, eval <- verbs <- dd.cpp.
upward() { grep -nE "#include \"(\.\./)*($2)/" $(echo "$code" | grep "^$1/") /dev/null | while read -r line; do echo "lint: $line: $1 includes upward"; done; }
up=$(upward kernels 'engine|models|train|eval|verbs'; upward engine 'models|train|eval|verbs'; upward models 'train|eval|verbs'; upward train 'eval|verbs'; upward eval 'verbs')
[ -z "$up" ] || { echo "$up"; bad=1; }
for f in $(echo "$code" | grep -E '^(eval|verbs)/'); do
    grep -nE '#include "(\.\./)*kernels/(kernels|list)\.h"' "$f" | sed "s|^|lint: $f:|; s|$|: eval and verbs see sessions, not kernels|" | grep . && bad=1
done
grep -nE '^\s*#\s*(if|ifdef|ifndef|elif)\b' $(echo "$code" | grep -vE '^(kernels|tests|bench|fuzz)/|^engine/sha256.cpp') /dev/null | sed 's/^/lint: preprocessor branch outside kernels: /' | grep . && bad=1

# A model file asks about the architecture and about nothing else.
grep -nE '\b(tape|cache|operand|bf16|Type::|lora|device|edits)\b' models/llama.cpp models/qwen*.cpp models/gemma*.cpp | sed 's/^/lint: a model file asks about a feature: /' | grep . && bad=1

# Nothing unfinished, nothing of one machine.
git grep -nIE 'TODO|FIXME|\bXXX\b|not implemented' -- ':!*.md' ':!scripts/lint.sh' | sed 's/^/lint: unfinished: /' | grep . && bad=1
git grep -nIE '/work/|/home/[a-z]' -- ':!scripts/lint.sh' | sed 's/^/lint: a path of one machine: /' | grep . && bad=1

# Objects of one instruction set must not lend inline functions to the others.
for o in build/kernels/cpu/avx*.o; do
    [ -f "$o" ] || continue
    nm -C "$o" | grep -E ' [WV] ' | sed "s|^|lint: $o defines a weak symbol: |" | grep . && bad=1
done
exit $bad
