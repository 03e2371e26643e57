"""One oracle a tokenizer file: HF tokenizers, sentencepiece or tiktoken behind the same four calls, and the path to give pagoda."""

import json
import os
import pathlib
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_folders = []  # temporary folders live as long as the program


def folder_of(**files):
    """A folder in which each file has the name that HF gives it: folder_of(**{"vocab.json": path, ...})."""
    made = tempfile.TemporaryDirectory(prefix="tokenizer-")
    _folders.append(made)
    for name, path in files.items():
        (pathlib.Path(made.name) / name).symlink_to(path)
    return pathlib.Path(made.name)


class HfOracle:
    kind, has_offsets, has_special = "tokenizers", True, True

    def __init__(self, name, path, tokenizer):
        self.name, self.path, self.tokenizer = name, path, tokenizer
        self.tokenizer.no_padding()  # padding is of batches; one line has none
        added = tokenizer.get_added_tokens_decoder()
        self.added_tokens = [token.content for _, token in sorted(added.items())]
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1
        self.ids = sorted(set(tokenizer.get_vocab().values()))

    def encodings(self, texts, special):
        """One encoding a text, or {"error": ...} where HF raises (a WordPiece vocabulary without its unknown token)."""
        try:
            return self.tokenizer.encode_batch(texts, add_special_tokens=special)
        except Exception:
            return [self.encoding(text, special) for text in texts]

    def encoding(self, text, special):
        try:
            return self.tokenizer.encode(text, add_special_tokens=special)
        except Exception as error:
            return {"error": str(error)}

    def encode(self, texts, special=True):
        return [each if isinstance(each, dict) else each.ids for each in self.encodings(texts, special)]

    def encode_offsets(self, texts, special=True):
        return [each if isinstance(each, dict) else {"ids": each.ids, "offsets": [list(pair) for pair in each.offsets]}
                for each in self.encodings(texts, special)]

    def decode(self, lists, skip_special=False):
        return [self.tokenizer.decode(ids, skip_special_tokens=skip_special) for ids in lists]


class SentencePieceOracle:
    """A bare .model: SentencePiece's own ids, nothing added before or behind."""

    kind, has_offsets, has_special = "sentencepiece", False, False

    def __init__(self, name, path, given):
        import sentencepiece

        self.name, self.path = name, given
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.vocab_size = self.model.get_piece_size()
        self.ids = list(range(self.vocab_size))
        self.added_tokens = [self.model.id_to_piece(index) for index in self.ids
                             if self.model.is_control(index) or self.model.is_unknown(index)]
        self.added_tokens += [piece for piece in map(self.model.id_to_piece, self.ids[:1000]) if piece.startswith(("[", "<"))][:40]

    def encode(self, texts, special=True):
        return [self.model.encode(text) for text in texts]

    def decode(self, lists, skip_special=False):
        return [self.model.decode(ids) for ids in lists]


class TiktokenOracle:
    """Bare ranks: the pattern of the vocabulary of that size, no special tokens."""

    kind, has_offsets, has_special = "tiktoken", False, False

    def __init__(self, name, path):
        import tiktoken
        import tiktoken_ext.openai_public as public
        from tiktoken.load import load_tiktoken_bpe

        self.name, self.path = name, path
        ranks = load_tiktoken_bpe(str(path))
        public.load_tiktoken_bpe = lambda *_, **__: {}  # the patterns, without their files from the network
        pattern = {100256: public.cl100k_base, 199998: public.o200k_base, 50280: public.p50k_base, 50256: public.r50k_base}[len(ranks)]()["pat_str"]
        self.model = tiktoken.Encoding(name=name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self.vocab_size, self.ids = len(ranks), sorted(ranks.values())
        self.added_tokens = ["<|endoftext|>", "<|fim_prefix|>"]

    def encode(self, texts, special=True):
        return [self.model.encode_ordinary(text) for text in texts]

    def decode(self, lists, skip_special=False):
        return [self.model.decode(ids) for ids in lists]


def hf_file(name, path):
    from tokenizers import Tokenizer

    return HfOracle(name, path, Tokenizer.from_file(str(path)))


def hf_class(name, folder):
    import transformers

    transformers.logging.set_verbosity_error()
    kind = transformers.BertTokenizerFast if (folder / "vocab.txt").exists() else transformers.GPT2Tokenizer
    return HfOracle(name, folder, kind.from_pretrained(folder).backend_tokenizer)


def all_oracles(data):
    """name -> a function that makes the oracle (loading is slow), in a fixed order; what HF refuses is not among them."""
    root, found = data / "tokenizers", {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.name.endswith("tokenizer.json") and path.parent.name != "added-tokens":
            found[name] = lambda name=name, path=path: hf_file(name, path)
        elif ".model" in path.name:
            # Mistral's files are called X.model.v3: the name that a model folder would give them
            given = path if path.suffix == ".model" else folder_of(**{"tokenizer.model": path}) / "tokenizer.model"
            found[name] = lambda name=name, path=path, given=given: SentencePieceOracle(name, path, given)
        elif path.suffix == ".tiktoken":
            found[name] = lambda name=name, path=path: TiktokenOracle(name, path)
        elif path.name.endswith("vocab.txt") and path.parent.name != "rwkv":
            found[name] = lambda name=name, path=path: hf_class(name, folder_of(**{"vocab.txt": path}))
    pairs = {"gpt2": ("encoder.json", "vocab.bpe"), "hf_fixtures": ("vocab.json", "merges.txt")}
    for folder, (vocab, merges) in pairs.items():
        if (root / folder / vocab).exists():
            files = {"vocab.json": root / folder / vocab, "merges.txt": root / folder / merges}
            found[f"{folder}/vocab.json+merges.txt"] = lambda name=folder, files=files: hf_class(f"{name}/vocab.json+merges.txt", folder_of(**files))
    for path in (data / "checkpoints/llama2c/hf/tokenizer.json", data / "text/stories/tiny_tokenizer.model"):
        if path.exists():
            name = path.relative_to(data).as_posix()
            found[name] = lambda name=name, path=path: (hf_file(name, path) if path.suffix == ".json" else SentencePieceOracle(name, path, path))
    return found


# A GGUF holds the vocabulary, not the tokenizer: the twin is right where neither added tokens nor normalisation come in.
GGUF_TWINS = {
    "ggml-vocab-gpt-2.gguf": "gpt2/vocab.json+merges.txt",
    "ggml-vocab-llama-spm.gguf": "llama2/tokenizer.model",
    "ggml-vocab-phi-3.gguf": "llama2/tokenizer.model",
    "ggml-vocab-gpt-neox.gguf": "gpt-neox-20b/tokenizer.json",
    "ggml-vocab-bert-bge.gguf": "bert/bert-base-uncased-vocab.txt",
}


def read_json(path):
    return json.loads(pathlib.Path(path).read_text())
