"""Tokenizer training and data preparation: HF tokenizers' trainers, the published TensorFlow scripts, and TensorFlow itself.

usage: training_data.py PAGODA [--count N] [--seed S] [--tensorflow PYTHON]
Corpora come from PAGODA_TEST_DATA. TensorFlow may live in another environment: --tensorflow names its python.
"""

import argparse
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

from common import Count, binary, data_folder, jsonl, run
from tokenizers_random import planes, read_corpora, spliced

READ_WITH_TENSORFLOW = """
import json, sys
import tensorflow as tf
rows = []
for path in sys.argv[1:]:
    for record in tf.data.TFRecordDataset(path):
        example = tf.train.Example.FromString(record.numpy())
        rows.append({name: list(feature.int64_list.value) for name, feature in example.features.feature.items()})
print(json.dumps(rows))
"""
WRITE_WITH_TENSORFLOW = """
import json, sys
import tensorflow as tf
with tf.io.TFRecordWriter(sys.argv[1]) as out:
    for row in json.load(sys.stdin):
        features = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=values)) for name, values in row.items()}
        out.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
"""


def train(program, folder, kind, files, *flags):
    done = run([program, "tokenizer", "train", "--type", kind, "--files", *files, "--out", folder, "--quiet", *flags], timeout=1800)
    return done.returncode == 0, done.stderr.strip()


def strings(count, seed, corpora):
    letters = [chr(code) for code in range(0x21, 0x3000) if chr(code).isalnum()]
    rng = random.Random(seed)
    return [planes(rng, letters) if index % 2 else spliced(rng, corpora) for index in range(count)]


class Peers:
    def __init__(self, program, count, options, folder):
        self.program, self.count, self.options, self.folder = program, count, options, folder
        data = data_folder()
        self.data = data / "text" if data else None
        self.corpora = read_corpora(data) if data else ["The quick brown fox.\nZwölf Boxkämpfer.\n" * 50]

    # ---- tokenizers

    def agree(self, label, folder):
        """HF loads what we wrote, and both encode and decode the same."""
        import tokenizers
        import transformers

        path = folder / "tokenizer.json"
        theirs = tokenizers.Tokenizer.from_file(str(path))
        loaded = transformers.AutoTokenizer.from_pretrained(folder)
        self.count.check(len(loaded) == theirs.get_vocab_size(), f"{label}: transformers loads it")
        texts = strings(self.options.count, self.options.seed, self.corpora)
        expected = [encoding.ids for encoding in theirs.encode_batch(texts)]
        got, error = jsonl([self.program, "tokenize", path, "--jsonl"], texts, timeout=3000)
        if error:
            return self.count.check(False, f"{label}: encode", error)
        for text, need, have in zip(texts, expected, got):
            self.count.check(have == need, f"{label}: encode", lambda: f"{text!r}: need {need}, got {have}")
        part = expected[::10]
        got, error = jsonl([self.program, "detokenize", path, "--jsonl"], part, timeout=3000)
        for ids, have in zip(part, got or []):
            need = theirs.decode(ids, skip_special_tokens=False)
            self.count.check(have == need, f"{label}: decode", lambda: f"{ids}: need {need!r}, got {have!r}")
        return self.count.check(not error, f"{label}: decode", error)

    def bpe(self):
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        file = self.data / "tinyshakespeare.txt"
        cases = [
            ("byte_level", {}, [], lambda: pre_tokenizers.ByteLevel(add_prefix_space=False), None, pre_tokenizers.ByteLevel.alphabet()),
            ("byte_level min_frequency max_token_length", {"min_frequency": 20, "max_token_length": 6},
             ["--min-frequency", "20", "--max-token-length", "6"], lambda: pre_tokenizers.ByteLevel(add_prefix_space=False), None,
             pre_tokenizers.ByteLevel.alphabet()),
            ("whitespace nfkc lowercase", {}, ["--pre-tokenizer", "whitespace", "--normalizer", "nfkc", "--normalizer", "lowercase"],
             pre_tokenizers.Whitespace, lambda: normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), []),
            ("metaspace byte_fallback", {}, ["--pre-tokenizer", "metaspace", "--byte-fallback"], pre_tokenizers.Metaspace, None, []),
        ]
        for name, options, flags, pre_tokenizer, normalizer, alphabet in cases:
            for path in (file, self.data / "instruct" / "wiki_demo.txt"):
                label = f"bpe {name} {path.name}"
                folder = self.folder / label.replace(" ", "_")
                specials = ["<unk>", "<s>", "</s>"]
                good, error = train(self.program, folder, "bpe", [path], "--vocab-size", "3000", "--special-tokens", ",".join(specials), *flags)
                if not self.count.check(good, label, error):
                    continue
                theirs = Tokenizer(models.BPE())
                theirs.pre_tokenizer = pre_tokenizer()
                if normalizer:
                    theirs.normalizer = normalizer()
                bytes_too = [f"<0x{byte:02X}>" for byte in range(256)] if "--byte-fallback" in flags else []
                theirs.train([str(path)], trainers.BpeTrainer(vocab_size=3000, show_progress=False, special_tokens=specials + bytes_too,
                                                              initial_alphabet=alphabet, **options))
                need = json.loads(theirs.to_str())["model"]
                have = json.loads((folder / "tokenizer.json").read_text())["model"]
                self.count.check(have["vocab"] == need["vocab"], f"{label}: vocabulary equal to HF's trainer's",
                                 lambda: str(set(have["vocab"].items()) ^ set(need["vocab"].items()))[:300])
                self.count.check(have["merges"] == need["merges"], f"{label}: merges equal to HF's trainer's")
                self.agree(label, folder)

    def wordpiece(self):
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        file = self.data / "instruct" / "wiki_demo.txt"
        folder = self.folder / "wordpiece"
        good, error = train(self.program, folder, "wordpiece", [file], "--vocab-size", "4000")
        if not self.count.check(good, "wordpiece", error):
            return
        theirs = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        theirs.normalizer, theirs.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        theirs.train([str(file)], trainers.WordPieceTrainer(vocab_size=4000, show_progress=False,
                                                            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
        ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
        text = file.read_text()
        mine, hers = (len(each.encode(text, add_special_tokens=False).ids) for each in (ours, theirs))
        shared = len(set(ours.get_vocab()) & set(theirs.get_vocab())) / 4000
        print(f"wordpiece: {mine} tokens, HF's trainer {hers}; {shared:.1%} of the vocabulary shared")
        # HF numbers its ##-characters in the order of a hash table, so ties differ from run to run.
        self.count.check(abs(mine / hers - 1) < 0.01, "wordpiece: tokens within 1 % of HF's trainer's", f"{mine} {hers}")
        self.count.check(shared > 0.97, "wordpiece: vocabulary shared", shared)
        self.agree("wordpiece", folder)

    @staticmethod
    def bits_per_character(tokenizer, text_lines):
        model = json.loads(tokenizer.to_str())["model"]
        scores = dict(model["vocab"])
        lowest = min(scores.values()) - 10
        bits = characters = 0
        for encoding, line in zip(tokenizer.encode_batch(text_lines, add_special_tokens=False), text_lines):
            bits -= sum(scores[token] if token in scores and index != model["unk_id"] else lowest for token, index in zip(encoding.tokens, encoding.ids))
            characters += len(line)
        return bits / characters / math.log(2)

    def unigram(self):
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

        replace = '{"type": "Replace", "pattern": {"String": "%s"}, "content": "\\""}'
        for path, size in ((self.data / "tinyshakespeare.txt", 2000), (self.data / "instruct" / "wiki_demo.txt", 10048)):
            label = f"unigram {path.name}"
            folder = self.folder / label.replace(" ", "_")
            good, error = train(self.program, folder, "unigram", [path], "--vocab-size", size, "--normalizer", replace % "``", "--normalizer",
                                replace % "''")
            if not self.count.check(good, label, error):
                continue
            theirs = Tokenizer(models.Unigram())
            theirs.normalizer = normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"')])
            theirs.pre_tokenizer = pre_tokenizers.Metaspace()
            theirs.train([str(path)], trainers.UnigramTrainer(vocab_size=size, show_progress=False, unk_token="<unk>",
                                                              special_tokens=["[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]"]))
            ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
            lines = path.read_text().splitlines(keepends=True)
            mine, hers = self.bits_per_character(ours, lines), self.bits_per_character(theirs, lines)
            print(f"{label}: {mine:.4f} bits per character, HF's trainer {hers:.4f}")
            self.count.check(mine < hers * 1.01, f"{label}: loss within 1 % of HF's trainer's", f"{mine} {hers}")
            self.count.check(ours.get_vocab_size() == size, f"{label}: size", ours.get_vocab_size())
            self.agree(label, folder)
        folder = self.folder / "unigram_bytes"
        good, error = train(self.program, folder, "unigram", [path], "--vocab-size", "2000", "--byte-fallback", "--limit-alphabet", "80")
        self.count.check(good, "unigram byte_fallback", error)
        self.agree("unigram byte_fallback", folder)

    # ---- shards

    def prepare(self, folder, *flags):
        done = run([self.program, "data", "prepare", "--output-dir", folder, "--json", "--quiet", *flags], timeout=1800)
        self.count.check(done.returncode == 0, f"prepare {folder.name}", done.stderr.strip())
        return json.loads(done.stdout) if done.returncode == 0 else None

    @staticmethod
    def published(tokenizer, rows, block, group=1000):
        """What the published script's map over groups of rows gives."""
        examples = []
        for start in range(0, len(rows), group):
            ids = [one for encoding in tokenizer.encode_batch(rows[start:start + group]) for one in encoding.ids]
            examples += [ids[at:at + block] for at in range(0, len(ids) // block * block, block)]
        return examples

    def shards(self):
        from tokenizers import Tokenizer

        file = self.data / "instruct" / "wiki_demo.txt"
        tokenizer = self.folder / "unigram_wiki_demo.txt"
        if not (tokenizer / "tokenizer.json").exists():
            return
        rows = [line for line in file.read_text().split("\n") if line.strip()]
        expected = self.published(Tokenizer.from_file(str(tokenizer / "tokenizer.json")), rows, 128)
        folder = self.folder / "published"
        report = self.prepare(folder, "--files", file, "--tokenizer", tokenizer, "--block-size", "128", "--group-size", "1000", "--shard-size", "500")
        if report is None:
            return
        files = [folder / "train" / name for name in report["splits"]["train"]["shards"]]
        counts = [int(path.stem.split("-")[2]) for path in files]
        self.count.check(counts == [500] * (len(expected) // 500) + [len(expected) % 500], "shards: names and counts", counts)
        total = f"Total train records: {len(expected)}\n"
        self.count.check((folder / "split-train-records-count.txt").read_text() == total, "shards: count file")
        self.native(file, tokenizer, expected)
        python = self.options.tensorflow
        if subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode != 0:
            return self.count.skip("tensorflow", f"{python} has none (--tensorflow PYTHON)")
        done = run([python, "-c", READ_WITH_TENSORFLOW, *files])
        records = json.loads(done.stdout or "[]")
        need = [{"input_ids": ids, "attention_mask": [1] * 128} for ids in expected]
        self.count.check(records == need, "TensorFlow reads our shards as the published script's", done.stderr[-400:])
        self.from_tensorflow(python)

    def native(self, file, tokenizer, expected):
        from safetensors.numpy import load_file

        folder = self.folder / "native"
        report = self.prepare(folder, "--files", file, "--tokenizer", tokenizer, "--block-size", "128", "--group-size", "1000",
                              "--output-format", "native")
        examples = []
        for name in report["splits"]["train"]["shards"]:
            tensors = load_file(folder / "train" / name)
            for begin, end in zip(tensors["offsets"], tensors["offsets"][1:]):
                examples.append(tensors["input_ids"][begin:end].tolist())
        self.count.check(examples == expected, "native shards hold the same, read by safetensors")

    def from_tensorflow(self, python):
        rng = random.Random(self.options.seed)
        rows = []
        for _ in range(300):
            length = rng.randrange(1, 40)
            rows.append({"input_ids": [rng.randrange(0, 1 << 31) for _ in range(length)], "labels": [rng.randrange(-100, 50000) for _ in range(length)]})
        path = self.folder / "theirs.tfrecord"
        done = run([python, "-c", WRITE_WITH_TENSORFLOW, path], json.dumps(rows))
        if not self.count.check(done.returncode == 0, "TensorFlow writes", done.stderr[-400:]):
            return
        folder = self.folder / "again"
        report = self.prepare(folder, "--files", path, "--shard-size", "1000")
        done = run([python, "-c", READ_WITH_TENSORFLOW, folder / "train" / report["splits"]["train"]["shards"][0]])
        self.count.check(json.loads(done.stdout or "[]") == rows, "we read TensorFlow's shards, and TensorFlow ours of them", done.stderr[-400:])


def main():
    program = binary()
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tensorflow", default=sys.executable)
    options = parser.parse_args()
    count = Count()
    if data_folder() is None:
        count.skip("all", "PAGODA_TEST_DATA names no folder")
        count.finish()
    with tempfile.TemporaryDirectory() as folder:
        peers = Peers(program, count, options, pathlib.Path(folder))
        peers.bpe()
        peers.wordpiece()
        peers.unigram()
        peers.shards()
    count.finish()


if __name__ == "__main__":
    main()
