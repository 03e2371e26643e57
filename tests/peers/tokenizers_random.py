"""Random Unicode strings through every tokenizer at hand: pagoda against HF tokenizers, sentencepiece and tiktoken.

usage: tokenizers_random.py PAGODA [--count N] [--seed S] [--only PART] [--self]
A third of the strings come from all planes, a third is spliced from corpora, a third mutates added tokens and white space.
--self compares each oracle with itself (no binary needed) and shows what the strings are like.
"""

import argparse
import json
import pathlib
import random
import re
import sys
import unicodedata
import zlib

from common import Count, data_folder, jsonl, run
from oracles import GGUF_TWINS, all_oracles

SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", "\v", "\f", "\x1c", "\x1f", "\x85", "\u00a0", "\u1680", "\u2003", "\u2009",
          "\u200b", "\u200d", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", "\u00ad", "\u180e", "\u2581", "\u0120"]
HARD = ["'s", "'S", "'ll", "'LL", "'Re", "’s", "n't", "'ſ", "1", "12", "123", "1234567890", "٣٤٥", "½", "²", "Ⅷ", "３", "...", "!!!", "?!", "--", "——", "_", "__x__",
        "<", ">", "</", "/>", "[", "]", "{{", "}}", "\\", "\\n", "\"", "`", "#", "@", "$€£", "é", "e\u0301", "ñ", "n\u0303", "ß", "ẞ", "İ", "ı", "ǅ", "ﬁ", "Å", "\u212b", "Ω", "\u2126",
        "한국어", "\u1112\u1161\u11ab", "中文", "日本語", "ｶﾞ", "ไทย", "हिन्दी", "क्\u200dष", "עברית", "שׁ", "العربية", "ﷺ", "👍🏽", "👨‍👩‍👧", "🇩🇪🇫🇷", "❤️", "1️⃣", "\U000e0041", "𝒳", "𝟘",
        "\x00", "\x01", "\x7f", "\x80", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "CamelCaseWord", "ALLCAPS", "http://a.b/c?d=e&f", "a@b.co", "x=1;", "\u0300", "\u0301\u0301", "a\u0328\u0301"]


def any_code_point(rng, letters):
    kind = rng.random()
    if kind < 0.25:
        return chr(rng.randrange(0x20, 0x7f))
    if kind < 0.55:
        return rng.choice(letters)
    if kind < 0.8:
        code = rng.randrange(0x0, 0x3000)
    elif kind < 0.92:
        code = rng.randrange(0x3000, 0x10000)
    else:
        code = rng.randrange(0x10000, 0x110000)
    return chr(code) if not 0xD800 <= code < 0xE000 else "\u00e9"


def planes(rng, letters):
    """Runs from one block as text has them, and single code points from anywhere, assigned or not."""
    parts = []
    for _ in range(rng.randrange(1, 7)):
        if rng.random() < 0.5:
            start = ord(rng.choice(letters)) & ~0x3F
            parts.append("".join(chr(code) for code in (start + rng.randrange(0x40) for _ in range(rng.randrange(1, 9))) if not 0xD800 <= code < 0xE000))
        else:
            parts.append("".join(any_code_point(rng, letters) for _ in range(rng.randrange(1, 7))))
        if rng.random() < 0.3:
            parts.append(rng.choice(SPACES))
    return "".join(parts)


def spliced(rng, corpora):
    parts = []
    for _ in range(rng.randrange(1, 5)):
        text = rng.choice(corpora)
        start = rng.randrange(len(text))
        parts.append(text[start:start + rng.choice((1, 3, 8, 20, 60, 200))])
    return rng.choice(("", "", " ", "\n")).join(parts)


def mutated(rng, added, corpora, letters):
    parts = []
    for _ in range(rng.randrange(1, 8)):
        kind = rng.random()
        if kind < 0.3 and added:
            token = rng.choice(added)
            change = rng.random()
            if change < 0.1 and len(token) > 1:
                token = token[:rng.randrange(1, len(token))]
            elif change < 0.2 and len(token) > 1:
                token = token[rng.randrange(1, len(token)):]
            elif change < 0.25:
                token = token.swapcase()
            elif change < 0.3:
                token = token + token
            elif change < 0.35:
                token = token[0] + rng.choice(SPACES) + token[1:]
            elif change < 0.4:
                token = unicodedata.normalize(rng.choice(("NFD", "NFKC")), token) + "\u0301"
            parts.append(token)
        elif kind < 0.55:
            parts.append("".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 4))))
        elif kind < 0.8:
            parts.append(rng.choice(HARD))
        elif kind < 0.95:
            text = rng.choice(corpora)
            start = rng.randrange(len(text))
            parts.append(text[start:start + rng.randrange(1, 15)])
        else:
            parts.append(any_code_point(rng, letters) * rng.choice((1, 2, 50)))
    return "".join(parts)


def read_corpora(data):
    corpora = []
    for path in sorted((data / "text").rglob("*")):
        if path.is_file() and path.suffix in (".txt", ".json", ".jsonl", ".tsv", ".csv", ".de", ".fr", ".cs", ".en"):
            with open(path, "rb") as file:
                text = file.read(400_000).decode("utf-8", "ignore")
            if path.suffix in (".json", ".jsonl"):  # texts as people wrote them, not their escapes
                found = re.findall(r'"((?:[^"\\\n]|\\[^\n])*)"', text)
                text = "\n".join(json.loads(f'"{each}"', strict=False) for each in found).encode("utf-8", "ignore").decode()
            if text:
                corpora.append(text)
    return corpora


def strings(oracle, count, seed, corpora, letters):
    rng = random.Random(seed ^ zlib.crc32(oracle.name.encode()))
    made = ["", " ", "a", "\n"]
    while len(made) < count:
        made.append((lambda: planes(rng, letters), lambda: spliced(rng, corpora), lambda: mutated(rng, oracle.added_tokens, corpora, letters))[len(made) % 3]())
    return made[:count]


def same(got, expected):
    """Where the oracle raises an error, any error of ours is right."""
    if isinstance(expected, dict) and "error" in expected:
        return isinstance(got, dict) and "error" in got
    return got == expected


def minimised(text, differs, rounds=40):
    """The shortest string found, by taking pieces out, that still differs; `differs` judges a list of candidates at once."""
    for _ in range(rounds):
        candidates, size = [], max(1, len(text) // 2)
        while size:
            candidates += [text[:start] + text[start + size:] for start in range(0, len(text), size)]
            size //= 2
        candidates = sorted({each for each in candidates if len(each) < len(text)}, key=len)[:400]
        worse = next((each for each, bad in zip(candidates, differs(candidates)) if bad), None) if candidates else None
        if worse is None:
            return text
        text = worse
    return text


def special_tokens(path):
    """Tokens of a GGUF that are no ordinary pieces of text: control (3) and user defined (4)."""
    from gguf import GGUFReader

    fields = GGUFReader(str(path)).fields
    types = fields["tokenizer.ggml.token_type"].contents() if "tokenizer.ggml.token_type" in fields else []
    tokens = fields["tokenizer.ggml.tokens"]
    return [str(bytes(tokens.parts[tokens.data[index]]), "utf-8", "replace") for index, kind in enumerate(types) if kind in (3, 4)]


class Tokenizers:
    def __init__(self, program, count):
        self.program, self.count = program, count

    def pagoda(self, verb, path, rows, *flags):
        return jsonl([self.program, verb, path, "--jsonl", *flags], rows, timeout=3000)

    def compare(self, label, path, texts, expected, oracle_again, *flags):
        """Ids (or ids with offsets) of `texts`; first differences are shown as small as they get."""
        got, error = self.pagoda("tokenize", path, texts, *flags)
        if error:
            return self.count.check(False, label, error, len(texts))
        wrong = [index for index in range(len(texts)) if not same(got[index], expected[index])]
        self.count.passed += len(texts) - len(wrong)

        def differs(candidates):
            again, error = self.pagoda("tokenize", path, candidates, *flags)
            return [False] * len(candidates) if error else [not same(a, b) for a, b in zip(again, oracle_again(candidates))]

        for number, index in enumerate(wrong):
            def detail():
                small = minimised(texts[index], differs)
                again, _ = self.pagoda("tokenize", path, [small], *flags)
                return f"{small!r} (of {texts[index]!r})\n  need {oracle_again([small])[0]}\n  got  {again and again[0]}"
            self.count.check(False, label, detail if number < self.count.show else "")

    def one(self, oracle, options, corpora, letters):
        texts = strings(oracle, options.count, options.seed, corpora, letters)
        if self.program is None:
            lists = oracle.encode(texts)
            errors = sum(isinstance(ids, dict) for ids in lists)
            self.count.check(all(isinstance(ids, (list, dict)) for ids in lists), oracle.name)
            oracle.decode([ids for ids in lists if isinstance(ids, list)])
            print(f"{oracle.name}: {oracle.kind}, {oracle.vocab_size} ids, {sum(map(len, lists))} tokens of {len(texts)} strings, {errors} errors, "
                  f"{len(oracle.added_tokens)} added; e.g. {texts[4:7]!r}")
            return
        special = [] if oracle.has_special else ["--no-special-tokens"]
        self.compare(f"encode {oracle.name}", oracle.path, texts, oracle.encode(texts), oracle.encode, *special)
        part = texts[:max(1, options.count // 10)]
        self.compare(f"encode without special tokens {oracle.name}", oracle.path, part, oracle.encode(part, False),
                     lambda again: oracle.encode(again, False), "--no-special-tokens")
        if oracle.has_offsets:
            self.compare(f"offsets {oracle.name}", oracle.path, part, oracle.encode_offsets(part), oracle.encode_offsets, "--offsets")
        rng = random.Random(options.seed + 1)
        lists = [ids for ids in oracle.encode(part[::2]) if isinstance(ids, list)]
        lists += [[rng.choice(oracle.ids) for _ in range(rng.randrange(0, 12))] for _ in range(len(part) - len(lists))]
        for skip in (False, True):
            if skip and not oracle.has_special:
                continue
            label = f"decode{' skipping special tokens' if skip else ''} {oracle.name}"
            got, error = self.pagoda("detokenize", oracle.path, lists, *(["--skip-special-tokens"] if skip else []))
            if error:
                self.count.check(False, label, error, len(lists))
                continue
            for ids, mine, theirs in zip(lists, got, oracle.decode(lists, skip)):
                self.count.check(mine == theirs, label, f"{ids}\n  need {theirs!r}\n  got  {mine!r}")

    def gguf(self, path, twin, options, corpora, letters):
        """Strings without added tokens, and for NeoX in NFC (its GGUF says nothing of the normaliser)."""
        texts = strings(twin, options.count, options.seed + 2, corpora, letters)
        special = {token.strip() for token in [*twin.added_tokens, *special_tokens(path)]} - {""}
        texts = [text for text in texts if not any(token in text for token in special)]
        if "neox" in path.name:
            texts = [text for text in texts if unicodedata.is_normalized("NFC", text)]
        if self.program is None:
            print(f"{path.name}: {len(texts)} strings for its twin {twin.name}")
            return
        self.compare(f"encode {path.name} as {twin.name}", path, texts, twin.encode(texts, False), lambda again: twin.encode(again, False), "--no-special-tokens")

    def refused(self, path):
        """HF refuses it, so must we: by a clear error and not by a guess."""
        done = run([self.program, "tokenize", path, "--jsonl"], '"a"\n')
        self.count.check(done.returncode in (2, 4) and "merges" in done.stderr, "refuses added-tokens", f"exit code {done.returncode}: {done.stderr[-300:]}")

    def bad_lines(self, path):
        """A bad line is answered on its own line, and the rest goes on."""
        rows = ['"a"', "not json", '{"a": 1}', "7", '"\\ud800"', '"b"', '"\\u0000"']
        done = run([self.program, "tokenize", path, "--jsonl"], "\n".join(rows) + "\n")
        lines = done.stdout.split("\n")[:-1]
        good = done.returncode == 0 and len(lines) == len(rows) and all("error" in json.loads(lines[index]) for index in (1, 2, 3)) \
            and all(isinstance(json.loads(lines[index]), list) for index in (0, 5, 6))
        self.count.check(good, "bad lines", f"exit code {done.returncode}: {lines}")
        rows = ["[1, 2]", "[99999999]", "[-1]", '"a"', "[1.5]", "[true]", "[2]", "[]"]
        done = run([self.program, "detokenize", path, "--jsonl"], "\n".join(rows) + "\n")
        lines = done.stdout.split("\n")[:-1]
        good = done.returncode == 0 and len(lines) == len(rows) and all(isinstance(json.loads(lines[index]), str) for index in (0, 6, 7)) \
            and all("error" in json.loads(lines[index]) for index in (3, 4, 5))
        self.count.check(good, "bad lines", f"exit code {done.returncode}: {lines}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=20240726)
    parser.add_argument("--only", default="", help="tokenizers whose name holds this")
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--self", action="store_true")
    options = parser.parse_args()
    count, data = Count(options.show), data_folder()
    if data is None:
        count.skip("tokenizers", "PAGODA_TEST_DATA is not set")
        count.finish()
    tests = Tokenizers(None if options.self else str(pathlib.Path(options.pagoda).resolve()), count)
    corpora = read_corpora(data)
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) not in ("Cn", "Co")]
    print(f"seed {options.seed}, {options.count} strings a tokenizer, {len(corpora)} corpora, {len(letters)} assigned code points")
    makers = all_oracles(data)
    for name, make in makers.items():
        if options.only in name:
            before = (count.passed, count.failed)
            tests.one(make(), options, corpora, letters)
            print(f"{name}: {count.passed - before[0]} passed, {count.failed - before[1]} failed", flush=True)
    for file, twin in GGUF_TWINS.items():
        path = data / "tokenizers/ggml_vocab" / file
        if options.only in file and path.exists():
            before = (count.passed, count.failed)
            tests.gguf(path, makers[twin](), options, corpora, letters)
            print(f"{file}: {count.passed - before[0]} passed, {count.failed - before[1]} failed", flush=True)
    if not options.self and not options.only:
        tests.refused(data / "tokenizers/added-tokens/tokenizer.json")
        tests.bad_lines(data / "tokenizers/llama2/tokenizer.json")
    count.finish()


if __name__ == "__main__":
    sys.exit(main())
