#!/usr/bin/env python3
"""Make the small tokenizers that the tests carry, and the reference rows that go with them.

    python tests/make_mini_tokenizers.py --tokenizers DIR --goldens DIR [--out tests/data] [--configs 60]

Needs Hugging Face's `tokenizers` 0.23.3. DIR of --tokenizers holds {smollm2,qwen3,gemma3}.tokenizer.json, the files of
the models; DIR of --goldens holds tokenizers/FAMILY.jsonl and chat/FAMILY.jsonl.

FAMILY.tokenizer.json   the model's file with only those merges and vocabulary entries that the reference texts touch:
                        every pair of neighbours for which the full list has a merge, at any moment of merging, and all
                        symbols that ever stand in a word. Ids are kept. A text of the reference therefore runs through
                        exactly the same merges as with the full file (checked here for every row).
FAMILY.tokens.jsonl     the golden rows, and rows of the model sheets' own test vectors (kind "sheet"). "decoded" is
                        left out where it is the text itself.
FAMILY.chat.jsonl       the golden conversations.
configs.jsonl           random small tokenizers that use every option that is built, with the library's own answers.
"""
import argparse, json, random, shutil
from pathlib import Path

from tokenizers import Tokenizer

SHEETS = {
    "smollm2": {
        "Hello, we can use": "19556 28 392 416 722", "The capital of France is": "504 3575 282 4649 314", "\n": "198",
        "Hello world! 123": "19556 905 17 216 33 34 35", "Café déjà vu.": "51 1939 2756 32564 90 16739 386 101 30",
        "  multiple   spaces": "216 2701 256 5600", "  12": "256 33 34", "    1. item": "289 33 30 5033",
        "\n\n1": "1116 33", "!\x04!": "10095", " 123": "216 33 34 35", "    1": "289 33",
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face":
            "2683 359 253 5356 5646 11173 3365 3511 308 34519 28 7018 411 407 19712 8182",
    },
    "qwen3": {
        "Hello, we can use": "9707 11 582 646 990", "Hello world! 123": "9707 1879 0 220 16 17 18",
        "  multiple   spaces": "220 5248 256 12621", "user\nHello": "872 198 9707", "Cafe\u0301": "34 2577 963",
        "I'm 2024-05-01, WE'LL see": "40 2776 220 17 15 17 19 12 15 20 12 15 16 11 19677 6 4086 1490",
        "你好，世界": "108386 3837 99489", "🙂 ok": "145080 5394",
        "<think>\n\n</think>\n\n": "151667 271 151668 271",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n": "151644 872 198 13048 151645 198 151644 77091 198",
        "क्ष": "64704 30484 115", "The capital of France is": "785 6722 315 9625 374", "assistant\n": "77091 198",
        "Café déjà vu.": "34 2577 963 45839 32514 13",
    },
    "gemma3": {
        " Hello": "26352", "Hello, world! 123": "9259 236764 1902 236888 236743 236770 236778 236800",
        "def f(x):\n    return x**2\n": "2063 517 236769 236781 1473 107 140 2060 1123 1018 236778 107",
        "naïve café 日本語 😀": "1789 238527 560 33443 33375 238582 163543", "<td><tr>": "175 173",
        "> </b>": "236813 236743 209", "a> </": "236746 107068", "\U00010300": "478 382 378 366",
        "a  b   c    d": "236746 138 236763 139 236755 140 236753",
        "line1\tcol2\nline2\n\nline4": "1257 236770 255968 1475 236778 107 1257 236778 108 1257 236812",
        "<bos><start_of_turn>user\nBe terse.\n\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n":
            "2 105 2364 107 3912 17514 236761 108 3689 563 236743 236778 236862 236778 236881 106 107 105 4368 107",
        "Hello world": "9259 1902", "It's 3.14!": "1509 236789 236751 236743 236800 236761 236770 236812 236888",
        "a\r\nb": "236746 251 107 236763", "The capital of France is": "818 5279 529 7001 563",
        "<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n":
            "2 105 2364 107 9259 106 107 105 4368 107",
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\n"
        "Bye<end_of_turn>\n<start_of_turn>model\n":
            "2 105 2364 107 10979 106 107 105 4368 107 9259 236888 106 107 105 2364 107 98874 106 107 105 4368 107",
        # What tokenizer.cpp asks of Gemma 4, whose vocabulary and merges are these.
        "user\nWhat is the capital of France?": "2364 107 3689 563 506 5279 529 7001 236881",
        "The capital of France is Paris.": "818 5279 529 7001 563 9079 236761", " describe this ": "9779 672 236743",
        " transcribe this": "226476 672", "thought\n": "45518 107", "system\n": "9731 107", "td": "2004",
    },
}
EXTRA = ["wide margins", "user\nHello there<|im_end|>\n", "e\u0301 te\u0301 \nok\n e\u0301", " " * 40 + "x",
         "ok<|im_end|>"]


def words(tok, spec, text):
    """What the model's merges get to see: the words of a text, special tokens cut out."""
    pieces = [text]
    for token in sorted((a["content"] for a in spec["added_tokens"]), key=len, reverse=True):
        pieces = [q for p in pieces for q in p.split(token)]
    for piece in pieces + [text]:
        normal = tok.normalizer.normalize_str(piece) if tok.normalizer else piece
        for word, _ in tok.pre_tokenizer.pre_tokenize_str(normal):
            yield word


def record(word, vocab, ranks, used, kept):
    """Merge one word as BPE does, keeping all symbols and all pairs that have a merge."""
    symbols = []
    for letter in word:
        symbols += [letter] if letter in vocab else ["<0x%02X>" % b for b in letter.encode()]
    symbols = [s for s in symbols if s in vocab]
    used.update(symbols)
    pair = [ranks.get(p, None) for p in zip(symbols, symbols[1:])]
    none = len(ranks)
    pair = [none if r is None else r for r in pair]
    kept.update(r for r in pair if r < none)
    while pair and (best := min(pair)) < none:
        i = pair.index(best)
        symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        used.add(symbols[i])
        del pair[i]
        for k in (i - 1, i):
            if 0 <= k < len(pair):
                pair[k] = ranks.get((symbols[k], symbols[k + 1]), none)
                if pair[k] < none:
                    kept.add(pair[k])


def mini(spec, tok, texts):
    vocab = spec["model"]["vocab"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in spec["model"]["merges"]]
    ranks = {m: i for i, m in enumerate(merges)}
    used = {t for t in vocab if len(t) == 1 and spec["pre_tokenizer"]["type"] == "Sequence" or t.startswith("<0x")}
    kept = set()
    for word in {w for t in texts for w in words(tok, spec, t)}:
        record(word, vocab, ranks, used, kept)
    everything = "\n".join(texts)
    # Runs of U+2581 stay all: GGUF keeps no merges, and from the runs follows how they merge.
    keep = lambda a: a["special"] or a["content"] in everything or not a["content"].strip("\u2581")
    added = [a for a in spec["added_tokens"] if keep(a)]
    used |= {x for r in kept for x in (*merges[r], "".join(merges[r]))}
    used |= {a["content"] for a in added if a["content"] in vocab}
    model = {**spec["model"], "vocab": {t: i for t, i in vocab.items() if t in used},
             "merges": [spec["model"]["merges"][r] for r in sorted(kept)]}
    return {**spec, "added_tokens": added, "model": model}


def encode(tok, text, special):
    tok.encode_special_tokens = not special
    return tok.encode(text, add_special_tokens=False).ids


def row(tok, kind, text, special, ids):
    r = {"kind": kind, "text": text, "special": special, "ids": ids}
    decoded, plain = (tok.decode(ids, skip_special_tokens=s) for s in (False, True))
    if decoded != text:
        r["decoded"] = decoded
    if plain != decoded:
        r["decoded_plain"] = plain
    return r


def write(path, rows):
    lines = (json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in rows)
    path.write_text("".join(lines), encoding="utf-8")
    print(path, path.stat().st_size)


def family_files(family, args):
    source = (args.tokenizers / f"{family}.tokenizer.json").read_text(encoding="utf-8")
    spec, tok = json.loads(source), Tokenizer.from_str(source)
    golden = [json.loads(line) for line in open(args.goldens / "tokenizers" / f"{family}.jsonl", encoding="utf-8")]
    chats = [json.loads(line) for line in open(args.goldens / "chat" / f"{family}.jsonl", encoding="utf-8")]
    rows = [row(tok, r["kind"], r["text"], r["special"], r["ids"]) for r in golden]
    assert all(encode(tok, r["text"], r["special"]) == r["ids"] for r in rows)
    for text, ids in SHEETS[family].items():
        rows.append(row(tok, "sheet", text, True, list(map(int, ids.split()))))
        assert encode(tok, text, True) == rows[-1]["ids"], text
    rendered = [c["text"] for c in chats if c["text"]]
    small = mini(spec, tok, [r["text"] for r in rows] + rendered + EXTRA)
    # The library gives added tokens that are no vocabulary entries the next free ids; the originals are put back.
    text = json.dumps(small, ensure_ascii=False, separators=(",", ":"))
    check = Tokenizer.from_str(text)
    back = {check.token_to_id(a["content"]): a["id"] for a in small["added_tokens"]}
    for r in rows:
        assert [back.get(i, i) for i in encode(check, r["text"], r["special"])] == r["ids"], r["text"]
    (args.out / f"{family}.tokenizer.json").write_text(text + "\n", encoding="utf-8")
    print(args.out / f"{family}.tokenizer.json", len(text.encode()), len(small["model"]["merges"]), "merges")
    write(args.out / f"{family}.tokens.jsonl", rows)


# --------------------------------------------------------------------------------- random small tokenizers

LETTERS = ["a", "b", "c", " ", "\n", "1", "é", "▁", "_", "-", "日", "\u0301", "E"]


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def random_split(rng):
    behavior = rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
    patterns = [{"String": s} for s in (" ", "a", "ab", "\n")] + [{"Regex": s} for s in (
        r"\s+", r"\p{L}+", r"[^\s\p{L}]+", r"a*", r"(?=b)", r"\S", r"\P{L}", r"\p{N}{1,2}", r"^a|c$", r"\s+(?!\S)|\s+",
        r"\x{61}+", r"[\p{L}\p{M}]+", r"(?i:e)")]
    return {"type": "Split", "pattern": rng.choice(patterns), "behavior": behavior, "invert": rng.random() < 0.3}


def random_config(rng):
    byte_level = rng.random() < 0.5
    fallback = not byte_level and rng.random() < 0.5
    letters = [byte_letters()[b] for c in LETTERS for b in c.encode()] if byte_level else LETTERS
    letters = [c for c in dict.fromkeys(letters) if rng.random() < 0.85]
    tokens = ["<unk>"] * (rng.random() < 0.5) + ["<0x%02X>" % b for b in range(256 * fallback)] + letters
    vocab, merges, parts = {t: i for i, t in enumerate(tokens)}, [], list(letters)
    for _ in range(rng.randint(0, 25)):
        pair = (rng.choice(parts), rng.choice(parts))
        if pair not in merges:
            merges.append(pair)
            vocab.setdefault("".join(pair), len(vocab))
            parts.append("".join(pair))
    added, free = [], len(vocab)
    contents = ["<x>", "<y>", "<xy>", "a b", "ab", "é", "E\u0301", " ", "<s>", "-", "cc", "▁▁"]
    for content in rng.sample(contents, rng.randint(0, 6)):
        special, known = rng.random() < 0.5, vocab.get(content)
        added.append({"id": free if known is None else known, "content": content, "single_word": rng.random() < 0.2,
                      "lstrip": rng.random() < 0.2, "rstrip": rng.random() < 0.2,
                      "normalized": not special and rng.random() < 0.5, "special": special})
        free += known is None
    for a in added:     # the library counts a space twice that one token strips and another one is
        a["rstrip"] &= all(x["content"] != " " for x in added)
    replace = lambda a, b: {"type": "Replace", "pattern": {"String": a}, "content": b}
    both = {"type": "Sequence", "normalizers": [{"type": "NFC"}, replace("ab", "c")]}
    normalizer = rng.choice([None, {"type": "NFC"}, replace(" ", "▁"), replace("a", ""), both])
    digits = {"type": "Digits", "individual_digits": rng.random() < 0.5}
    steps = [rng.choice([digits, random_split(rng)]) for _ in range(rng.randint(0, 2))]
    byte_step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": rng.random() < 0.5}
    steps += [byte_step] if byte_level else []
    decoders = [replace("▁", " ")] + [{"type": "ByteFallback"}] * fallback + [{"type": "Fuse"}]
    decoder = byte_step if byte_level else {"type": "Sequence", "decoders": decoders}
    # In the older form of merges a space parts the two, so that merges of spaces cannot be written in it.
    listed = [list(m) for m in merges] if free % 2 else [" ".join(m) for m in merges if " " not in "".join(m)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": sorted(added, key=lambda a: a["id"]),
            "normalizer": normalizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps} if steps else None,
            "post_processor": None, "decoder": decoder,
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>" if "<unk>" in vocab else None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": rng.random() < 0.5,
                      "byte_fallback": fallback, "ignore_merges": rng.random() < 0.3, "vocab": vocab,
                      "merges": listed}}


def config_row(rng):
    spec = random_config(rng)
    tok = Tokenizer.from_str(json.dumps(spec))
    mix = LETTERS + ["<x>", "<y>", "<xy>", "<s>", "<", "x", "ab", "cc", "Z"]
    texts = ["".join(rng.choice(mix) for _ in range(rng.randint(0, 25))) for _ in range(10)]
    texts += ["a" * 30, " " * 20 + "a"]
    size = tok.get_vocab_size() + 2
    return {"tokenizer": spec, "texts": [[t, encode(tok, t, True)] for t in texts],
            "decoded": [[ids, tok.decode(ids, skip_special_tokens=False), tok.decode(ids, skip_special_tokens=True)]
                        for ids in ([rng.randrange(size) for _ in range(8)] for _ in range(5))]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokenizers", type=Path, required=True)
    p.add_argument("--goldens", type=Path, required=True)
    p.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    p.add_argument("--configs", type=int, default=60)
    args = p.parse_args()
    for family in SHEETS:
        family_files(family, args)
    for chat in sorted((args.goldens / "chat").glob("*.jsonl")):
        shutil.copyfile(chat, args.out / f"{chat.stem}.chat.jsonl")
    rng = random.Random(1)
    write(args.out / "configs.jsonl", [config_row(rng) for _ in range(args.configs)])


if __name__ == "__main__":
    main()
