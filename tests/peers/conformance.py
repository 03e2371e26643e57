"""The published tokenizer conformance sets: ggml's 47 strings a vocabulary, Hugging Face's encodings, 83 multilingual strings.

usage: conformance.py PAGODA [--self]
A row whose answer today's HF no longer gives is skipped and counted as such. --self asks the oracles alone (no binary needed).
"""

import sys

from common import Count, binary, data_folder, jsonl
from oracles import all_oracles, read_json

ENCODED_HF = {  # conformance_hf: which file speaks of which tokenizer
    "bert_uncased_encoded.json": "bert/bert-base-uncased-vocab.txt",
    "gpt2_encoded_tokens.json": "gpt2/vocab.json+merges.txt",
    "llama_encoded.json": "llama2/tokenizer.json",
    "whisper_large_v2_encoded.json": "whisper/whisper-tiny-tokenizer.json",
}
TESTS_HF = {  # tokenizer_tests.json: by model
    "bert-base-uncased": "bert/bert-base-uncased-vocab.txt",
    "google-bert/bert-base-uncased": "bert/bert-base-uncased-vocab.txt",
    "distilgpt2": "gpt2/vocab.json+merges.txt",
    "coreml-projects/Llama-2-7b-chat-coreml": "llama2/tokenizer.json",
    "openai/whisper-large-v2": "whisper/whisper-tiny-tokenizer.json",
    "t5-base": "t5/t5-small-tokenizer.json",
}
MULTILINGUAL = {
    "bge_small": "bert/bert-base-uncased-vocab.txt",
    "gpt2": "gpt2/vocab.json+merges.txt",
    "roberta_base": "roberta-base/tokenizer.json",
    "t5_small": "t5/t5-small-tokenizer.json",
    "tinyllama": "llama2/tokenizer.json",
}


class Conformance:
    def __init__(self, program, data, count):
        self.program, self.count, self.root = program, count, data / "tokenizers"
        self.makers, self.made = all_oracles(data), {}

    def oracle(self, name):
        if name not in self.made:
            self.made[name] = self.makers[name]()
        return self.made[name]

    def rows(self, label, oracle, verb, inputs, expected, flags=(), path=None, theirs=None):
        """One verdict a row; `theirs` are today's answers of the oracle, which decide whether a row still holds."""
        rows = [(i, e) for i, e, t in zip(inputs, expected, theirs or expected) if e == t]
        stale = len(inputs) - len(rows)
        if stale:
            self.count.skip(label, f"{stale} of {len(inputs)} rows are not what HF gives today", stale)
        if self.program is None:
            return print(f"{label}: {len(rows)} rows hold")
        got, error = jsonl([self.program, verb, path or oracle.path, "--jsonl", *flags], [i for i, _ in rows])
        if error:
            return self.count.check(False, label, error, len(rows))
        for (given, need), mine in zip(rows, got):
            self.count.check(mine == need, label, f"{given!r}\n  need {need!r}\n  got  {mine!r}")

    def ggml(self):
        folder = self.root / "ggml_vocab/conformance-2025-02"
        for inputs in sorted(folder.glob("*.inp")):
            name = inputs.name.removesuffix(".inp")
            texts = inputs.read_bytes().decode().split("\n__ggml_vocab_test__\n")
            ids = [[int(each) for each in line.split()] for line in (folder / f"{name}.out").read_text().split("\n")]
            ids = ids[:len(texts)]
            paths = {"gguf": self.root / "ggml_vocab" / name}
            twin = {"ggml-vocab-roberta-bpe.gguf": "roberta-base/tokenizer.json", "ggml-vocab-gpt-2.gguf": "gpt2/vocab.json+merges.txt",
                    "ggml-vocab-llama-spm.gguf": "llama2/tokenizer.json", "ggml-vocab-bert-bge.gguf": "bert/bert-base-uncased-vocab.txt",
                    "ggml-vocab-phi-3.gguf": "phi-3-mini/tokenizer.json"}.get(name)
            if len(ids) != len(texts):
                self.count.check(False, name, f"{len(texts)} texts, {len(ids)} id lines")
                continue
            tried = False
            if paths["gguf"].exists():
                self.rows(f"ggml {name}", None, "tokenize", texts, ids, ["--no-special-tokens"], paths["gguf"])
                tried = True
            if twin:
                oracle = self.oracle(twin)
                self.rows(f"ggml {name} by {twin}", oracle, "tokenize", texts, ids, ["--no-special-tokens"], theirs=oracle.encode(texts, False))
                tried = True
            if not tried:
                self.count.skip(f"ggml {name}", "no vocabulary of it here", len(texts))

    def hugging_face(self):
        folder = self.root / "conformance_hf"
        for file in sorted(folder.glob("*_encoded*.json")):
            if file.name not in ENCODED_HF:
                self.count.skip(file.name, "no vocabulary of it here")
                continue
            oracle, row = self.oracle(ENCODED_HF[file.name]), read_json(file)
            self.rows(file.name, oracle, "tokenize", [row["text"]], [row["token_ids"]], theirs=oracle.encode([row["text"]]))
            self.rows(f"{file.name} decoded", oracle, "detokenize", [row["token_ids"]], [row["decoded_text"]], theirs=oracle.decode([row["token_ids"]]))
        for model, tests in read_json(folder / "tokenizer_tests.json").items():
            if model not in TESTS_HF:
                self.count.skip(model, "no vocabulary of it here", 3 * len(tests))
                continue
            oracle = self.oracle(TESTS_HF[model])
            texts, ids = [test["input"] for test in tests], [test["encoded"]["input_ids"] for test in tests]
            self.rows(f"tokenizer_tests {model}", oracle, "tokenize", texts, ids, theirs=oracle.encode(texts))
            for key, skip in (("decoded_with_special", False), ("decoded_without_special", True)):
                self.rows(f"tokenizer_tests {model} {key}", oracle, "detokenize", ids, [test[key] for test in tests],
                          ["--skip-special-tokens"] if skip else [], theirs=oracle.decode(ids, skip))
        oracle = self.oracle("bert/bert-base-uncased-vocab.txt")
        lists = read_json(folder / "squad_dev_question_ids.json")[::5]
        self.rows("squad questions decoded", oracle, "detokenize", lists, oracle.decode(lists))

    def multilingual(self):
        folder = self.root / "conformance_hf/multilingual"
        inputs = {row["id"]: row["text"] for row in read_json(folder / "inputs.json")}
        for file in sorted((folder / "baselines").glob("*.json")):
            name, entries = file.name.removesuffix("_multilingual.json"), read_json(file)["entries"]
            if name not in MULTILINGUAL:
                self.count.skip(f"multilingual {name}", "no vocabulary of it here", len(entries))
                continue
            oracle = self.oracle(MULTILINGUAL[name])
            texts, ids = [inputs[entry["id"]] for entry in entries], [entry["input_ids"] for entry in entries]
            self.rows(f"multilingual {name}", oracle, "tokenize", texts, ids, theirs=oracle.encode(texts))
            for key, skip in (("decoded_with_special", False), ("decoded_skip_special", True)):
                self.rows(f"multilingual {name} {key}", oracle, "detokenize", ids, [entry[key] for entry in entries],
                          ["--skip-special-tokens"] if skip else [], theirs=oracle.decode(ids, skip))


def main():
    count, data = Count(), data_folder()
    if data is None:
        count.skip("conformance", "PAGODA_TEST_DATA is not set")
        count.finish()
    tests = Conformance(None if "--self" in sys.argv else binary(), data, count)
    tests.ggml()
    tests.hugging_face()
    tests.multilingual()
    count.finish()


if __name__ == "__main__":
    main()
