"""From text to a masked LM that others can load: split, Unigram tokenizer, TFRecord shards, training from nothing, push, pull.

usage: train.py PLAN.json TEXT... --work DIR [--pagoda FILE] [--push ORG/NAME] [-- FLAGS OF THE LAST STAGE]
  PLAN.json: news.json or stories.json beside this file. TEXT: JSON lines with "text", or a .txt of stories (TinyStories).
  Every step goes on where it stopped. The model lies in DIR/model. --push: to the hub at HF_ENDPOINT with HF_TOKEN, or, without
  HF_ENDPOINT, to a local one that lives as long as this; then it is pulled into an empty cache and compared byte by byte.
"""
import argparse
import collections
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(HERE), str(ROOT / "models" / "stories")]
import first_weights
import prepare  # of the story LLaMA: cuts and cleans the file of stories


def texts_of(path):
    if path.suffix == ".txt":
        yield from (" ".join(story.split()) for story in prepare.stories_of(path.read_text(encoding="utf-8")))
    else:
        with open(path, encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)


def split(paths, every, work):
    """Every N-th text is held out; a text that comes twice counts once, so that none is in both."""
    seen, rows = set(), {"train": [], "validation": []}
    texts = (text for path in paths for text in texts_of(path))
    for number, text in enumerate(texts):
        if text not in seen:
            seen.add(text)
            rows["validation" if number % every == 0 else "train"].append(text)
    for name, kept in rows.items():
        (work / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in kept), encoding="utf-8")
    print(f"{len(rows['train'])} texts to train on, {len(rows['validation'])} held out", flush=True)


def fill_whole_words(path):
    """A mask stands for a word with the space before it, and marks are tokens of their own: "water." is not a piece.

    The marks are split off after training, because Unigram's seeds are parts that several words share: without its marks a
    word that no other word contains would not be one.
    """
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    for token in tokenizer["added_tokens"]:
        token["lstrip"] = token["content"] == "[MASK]"
    marks = {"type": "Punctuation", "behavior": "Isolated"}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [tokenizer["pre_tokenizer"], marks]}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


class System:
    def __init__(self, plan, work, pagoda):
        self.plan, self.work, self.program = plan, work, str(pagoda)

    def pagoda(self, *arguments, **more):
        code = subprocess.run([self.program, *map(str, arguments)], **more).returncode
        if code != 0:  # it has said why
            sys.exit(code)

    def tokenizer(self):
        folder = self.work / "tokenizer"
        if not (folder / "tokenizer.json").exists():
            self.pagoda("tokenizer", "train", "--type", "unigram", "--files", self.work / "train.jsonl", "--vocab-size", self.plan["pieces"],
                        "--out", folder, "--overwrite", *(["--prepend-scheme", "first"] if self.plan.get("whole_words") else []))
            if self.plan.get("whole_words"):
                fill_whole_words(folder / "tokenizer.json")
        return folder

    def counts(self, split):
        """Of the tokens of a split, without those put round a text."""
        lines = (self.work / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        texts = "".join(json.dumps(json.loads(line)["text"]) + "\n" for line in lines)
        command = [self.program, "tokenize", str(self.work / "tokenizer"), "--jsonl", "--no-special-tokens"]
        done = subprocess.run(command, input=texts, capture_output=True, text=True, check=True)
        return collections.Counter(token for line in done.stdout.splitlines() for token in json.loads(line))

    def unigram_entropy(self):
        """Nats a token of the held-out text: what a model reaches that sees no context."""
        counts = self.counts("validation").values()
        return -sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts)

    def shards(self, block_size):
        folder = self.work / f"shards{block_size}"
        if not folder.exists():
            self.pagoda("data", "prepare", "--files", self.work / "train.jsonl", "--validation-files", self.work / "validation.jsonl",
                        "--tokenizer", self.tokenizer(), "--block-size", block_size, "--output-dir", folder)
        return folder

    def initial(self):
        """Step 0: weights as transformers draws them, or those of first_weights.py."""
        folder = self.work / "initial"
        if not (folder / "model.safetensors").exists():
            vocabulary = json.loads((self.tokenizer() / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
            config = self.plan["config"] | {"vocab_size": len(vocabulary)}
            (self.work / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            self.pagoda("init", self.work / "config.json", "--out", folder, "--dtype", "float32", "--seed", self.plan.get("seed", 0), "--force")
            if "first_weights" in self.plan:
                counts = self.counts("train")
                first_weights.apply(folder, [counts[token] for token in range(len(vocabulary))], **self.plan["first_weights"])
        return folder

    def train(self, last_flags):
        model, stages = self.initial(), self.plan["stages"]
        for number, stage in enumerate(stages, 1):
            out = self.work / ("model" if number == len(stages) else f"stage{number}")
            shards = self.shards(stage["block_size"])
            flags = [part for name, value in stage["flags"].items()
                     for part in ([f"--{name}"] if value is True else [f"--{name}", str(value)])]
            self.pagoda("train", "mlm", model, "--tokenizer-name", self.tokenizer(), "--train-file", shards / "train", "--validation-file",
                        self.shards(stages[-1]["block_size"]) / "validation", "--output-dir", out, *flags, "--resume-from-checkpoint",
                        *(last_flags if number == len(stages) else []))
            model = out
        done = subprocess.run([self.program, "evaluate", "mlm", model, "--validation-file", self.shards(stages[-1]["block_size"]) / "validation",
                               "--per-device-eval-batch-size", "32", "--quiet", "--json"], capture_output=True, text=True, check=True)
        print(f"the model on held-out text: {done.stdout.strip()}; the text's unigram entropy: {self.unigram_entropy():.3f}", flush=True)
        return model


def published(model):
    """What a push sends: the folder's files, not its checkpoints and logs."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "README.md")
    return {name: (model / name).read_bytes() for name in names if (model / name).exists()}


def push_and_pull(system, model, name, environment):
    files = published(model)
    with tempfile.TemporaryDirectory() as home:
        folder = pathlib.Path(home) / "folder"
        folder.mkdir()
        for path, data in files.items():
            (folder / path).write_bytes(data)
        system.pagoda("push", folder, name, env=os.environ | environment)
        done = subprocess.run([system.program, "pull", name, "--include", "*", "--quiet"], capture_output=True, text=True, check=True,
                              env=os.environ | environment | {"HF_HOME": str(pathlib.Path(home) / "cache")})
        back = pathlib.Path(done.stdout.strip())
        different = [path for path, data in files.items() if (back / path).read_bytes() != data]
    if different:
        sys.exit(f"pulled back unequal: {', '.join(different)}")
    print(f"pushed as {name}, pulled back equal: {', '.join(files)} ({sum(map(len, files.values()))} bytes)", flush=True)


def push(system, model, name):
    if "HF_ENDPOINT" in os.environ:
        push_and_pull(system, model, name, {})
        return
    with tempfile.TemporaryDirectory() as root:
        hub = subprocess.Popen([sys.executable, str(ROOT / "tests" / "peers" / "hub_server.py"), "--root", root], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
        try:
            endpoint = json.loads(hub.stdout.readline())["endpoint"]
            push_and_pull(system, model, name, {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_good"})
        finally:
            hub.stdin.close()
            hub.wait(timeout=10)


def main():
    arguments, last_flags = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, last_flags = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=pathlib.Path)
    parser.add_argument("texts", type=pathlib.Path, nargs="+")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--pagoda", type=pathlib.Path, default=ROOT / "build" / "release" / "pagoda")
    parser.add_argument("--push")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    plan = json.loads(options.plan.read_text())
    if not (options.work / "validation.jsonl").exists():
        split(options.texts, plan["validation_every"], options.work)
    system = System(plan, options.work, options.pagoda.resolve())
    model = system.train(last_flags)
    if options.push:
        push(system, model, options.push)


if __name__ == "__main__":
    main()
