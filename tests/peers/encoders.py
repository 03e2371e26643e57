"""Tasks of encoders on random texts of many scripts against transformers' pipelines; logits of fresh random models of every head.

usage: encoders.py PAGODA [--count N] [--seed S]
"""

import argparse
import json
import pathlib
import random
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import (AutoModel, AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification,
                          AutoModelForTokenClassification, PreTrainedTokenizerFast, pipeline)

import common
from tokenizers_random import HARD, SPACES, planes

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
ENCODERS = FIXTURES / "encoders"
sys.path.insert(0, str(FIXTURES))
TASKS = {
    "text-classification": (AutoModelForSequenceClassification, [{}, {"top_k": 3}, {"top_k": None, "function_to_apply": "sigmoid"}]),
    "token-classification": (AutoModelForTokenClassification, [{"aggregation_strategy": name}
                                                               for name in ("none", "simple", "first", "average", "max")]),
    "fill-mask": (AutoModelForMaskedLM, [{}, {"top_k": 2, "targets": ["a", "the", "x", "é"]}]),
    "feature-extraction": (AutoModel, [{}]),
    "zero-shot-classification": (AutoModelForSequenceClassification, [{"candidate_labels": ["a", "b c", "東京"]},
                                                                      {"candidate_labels": ["x", "y"], "multi_label": True}]),
}
CORPUS = ("Angela lives in Berlin and flies to Paris. Zürich ist schön! Café, naïve. 東京は日本の首都です。 Привет, мир! "
          "It's 42 degrees - unbelievable, isn't it? 😀 👍🏽 ").split(" ")


def random_text(rng):
    parts = []
    for _ in range(rng.randrange(1, 9)):
        kind = rng.random()
        parts.append(rng.choice(CORPUS) if kind < 0.6 else rng.choice(HARD) if kind < 0.8 else planes(rng, "aeéß中кع"))
        parts.append(rng.choice([" ", " ", " ", "", rng.choice(SPACES)]))
    return "".join(parts).replace("\x00", "")


def near(got, want):
    """Equal but for rounding: numbers within 2e-4, lists of scored results in any order where scores tie."""
    if isinstance(want, float) or hasattr(want, "dtype"):
        return isinstance(got, (int, float)) and abs(got - float(want)) < 2e-4 * max(1, abs(float(want)))
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(near, got, want))
    if isinstance(want, dict):
        return isinstance(got, dict) and list(got) == list(want) and all(near(got[key], want[key]) for key in want)
    return got == want


def close_scores(value):
    """Whether two scores beside each other tie: which comes first is then chance."""
    if isinstance(value, list):
        scores = [item["score"] for item in value if isinstance(item, dict) and "score" in item]
        return any(abs(a - b) < 1e-5 for a, b in zip(scores, scores[1:])) or any(map(close_scores, value))
    if isinstance(value, dict) and "scores" in value:
        return any(abs(a - b) < 1e-5 for a, b in zip(value["scores"], value["scores"][1:]))
    return False


def tasks(count, program, rng, texts):
    for folder in sorted(path for path in ENCODERS.iterdir() if (path / "cases.json").exists()):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        for task, (auto, sets) in TASKS.items():
            pipe = pipeline(task, model=auto.from_pretrained(folder).eval(), tokenizer=tokenizer)
            for parameters in sets:
                inputs = [random_text(rng) for _ in range(texts)]
                if task == "fill-mask":
                    inputs = [text + rng.choice(["", " "]) + tokenizer.mask_token + " " + random_text(rng) for text in inputs]
                room = 62 if task != "zero-shot-classification" else 1000  # which cuts by itself
                inputs = [text for text in inputs if text.strip() and len(tokenizer(text)["input_ids"]) < room]
                got, error = common.jsonl([program, "run", task, folder, "--jsonl", "-", "--threads", "1",
                                           "--parameters", json.dumps(parameters)], inputs)
                if not count.check(error is None, f"{task} runs", lambda: f"{folder.name} {parameters}: {error}"):
                    continue
                for text, result in zip(inputs, got, strict=True):
                    want = pipe(text, **parameters)
                    if close_scores(want):
                        continue
                    count.check(near(result, want), f"{folder.name} {task}",
                                lambda: f"{parameters} {text!r}\n  got  {json.dumps(result)[:600]}\n  need {str(want)[:600]}")


def logits(count, program, rng):
    """Fresh models of the real configuration classes, saved as save_pretrained does."""
    import encoders

    heads = {AutoModelForSequenceClassification: "sequence", AutoModelForTokenClassification: "token",
             AutoModelForMaskedLM: "mlm", AutoModelForQuestionAnswering: "qa", AutoModel: "base"}
    for name, (kind, sizes, _) in encoders.FAMILIES.items():
        for auto, head in heads.items():
            config = encoders.for_head(kind(**sizes, vocab_size=61, num_labels=3), head)
            model = auto.from_config(config).eval()
            encoders.loud(model, torch.Generator().manual_seed(rng.randrange(1 << 30)))
            rows = [{"input_ids": [rng.randrange(61) for _ in range(length)]} for length in (1, 5, 33)]
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                (pathlib.Path(folder) / "ids.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
                done = common.run([program, "logits", folder, "--ids", f"{folder}/ids.jsonl", "--out", f"{folder}/out.safetensors",
                                   "--hidden"])
                if not count.check(done.returncode == 0, "logits runs", lambda: f"{name} {head}: {done.stderr}"):
                    continue
                tensors = load_file(f"{folder}/out.safetensors")
            for index, row in enumerate(rows):
                ids = torch.tensor([row["input_ids"]])
                with torch.no_grad():
                    output = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
                if head == "base":
                    want, got = output.last_hidden_state[0], tensors[f"hidden.{index}"]
                elif head == "qa":
                    want, got = torch.stack([output.start_logits[0], output.end_logits[0]], -1), tensors[f"logits.{index}"]
                else:
                    want, got = output.logits[0], tensors[f"logits.{index}"]
                count.check(got.shape == want.shape and ((got - want).abs().max() / want.abs().max()).item() < 1e-4, "logits",
                            lambda: f"{name} {head} line {index}: {tuple(got.shape)} and {tuple(want.shape)}")


def main():
    program = common.binary()
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=60, help="texts for each set of parameters")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(sys.argv[2:])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    count, rng = common.Count(), random.Random(options.seed)
    logits(count, program, rng)
    tasks(count, program, rng, options.count)
    count.finish()


if __name__ == "__main__":
    main()
