"""pagoda generate, logits and gradients against the real transformers and torch, on the fixtures and on trained checkpoints.

usage: generate.py PAGODA [--live N] [--seed S] [--only PART] [--self]
The recorded cases first, then N fresh prompts a fixture with parameters drawn at random, answered by transformers on the spot
(only where float64 and slightly shaken weights choose the same ids). --self needs no binary: transformers answers both sides.
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
sys.path.insert(0, str(FIXTURES))

import torch
import transformers
from safetensors.torch import load_file

import oracle
from common import Count, data_folder, run

LOGITS, GRADIENTS = 1e-4, 1e-4
FLAGS = {"num_beams": "--num-beams", "length_penalty": "--length-penalty", "early_stopping": "--early-stopping", "no_repeat_ngram_size": "--no-repeat-ngram-size",
         "num_return_sequences": "--num-return-sequences", "repetition_penalty": "--repetition-penalty", "bad_words_ids": "--bad-words-ids",
         "min_new_tokens": "--min-new-tokens", "max_new_tokens": "--max-new-tokens", "sequence_bias": "--logit-bias"}


def flags_of(case):
    """HF's parameters as flags; a bias of single tokens is --logit-bias."""
    flags = ["--prompt-ids", json.dumps(case["prompt_ids"]), "--dtype", "float32", "--temperature", "0", "--json"]
    if case.get("ignore_eos"):
        flags.append("--ignore-eos")
    for name, flag in FLAGS.items():
        if name in case:
            value = case[name]
            if name == "sequence_bias":
                value = {str(ids[0]): bias for ids, bias in value}
            flags += [flag, value if isinstance(value, str) else json.dumps(value)]
    return flags


def load(folder, **more):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", **{"dtype": torch.float32, **more}).eval()


class Generate:
    def __init__(self, program, count):
        self.program, self.count = program, count
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="generate-"))

    def outputs(self, folder, flags):
        done = run([self.program, "generate", folder, *flags])
        if done.returncode != 0:
            return None, f"exit code {done.returncode}: {done.stderr[-300:]}"
        return json.loads(done.stdout), None

    def case(self, label, folder, case, ends):
        need = case["token_ids"]
        need = need if need and isinstance(need[0], list) else [need]
        flags = flags_of(case)
        if self.program is None:
            return
        found, error = self.outputs(folder, flags)
        if error:
            return self.count.check(False, label, f"{error}\n  {' '.join(map(str, flags))}")
        ids = [output["token_ids"] for output in found["outputs"]]
        self.count.check(ids == need, label, f"{' '.join(map(str, flags))}\n  need {need}\n  got  {ids}")
        reasons = ["stop" if row and row[-1] in ends and not case.get("ignore_eos") else "length" for row in ids]
        good = [output["finish_reason"] for output in found["outputs"]] == reasons and found["prompt_token_ids"] == case["prompt_ids"] \
            and [output["index"] for output in found["outputs"]] == list(range(len(ids)))
        self.count.check(good, f"{label}: frame", json.dumps(found)[:300])

    def tensors(self, verb, folder, lines, *flags):
        ids, out = self.folder / "lines.jsonl", self.folder / "out.safetensors"
        ids.write_text("".join(json.dumps(line) + "\n" for line in lines))
        out.unlink(missing_ok=True)
        done = run([self.program, verb, folder, "--ids", ids, "--out", out, *flags])
        if done.returncode != 0:
            return None, f"exit code {done.returncode}: {done.stderr[-300:]}"
        return load_file(out), None

    def near(self, label, found, need, bound):
        for name, right in need.items():
            mine = found.get(name)
            if mine is None or list(mine.shape) != list(right.shape) or mine.dtype != torch.float32:
                self.count.check(False, label, f"{name}: {None if mine is None else (mine.shape, mine.dtype)}, need {right.shape} float32")
                continue
            distance = float((mine - right).abs().max()) if right.numel() else 0.0
            self.count.check(distance <= bound, label, f"{name}: distance {distance:.2e}, bound {bound:.0e}")

    def forward(self, name, folder, lines, reference):
        if self.program is None:
            return
        need = {key: value for key, value in reference.items() if key.startswith(("logits", "hidden"))}
        for isa in ([], ["--isa", "reference"]):
            # An id list is as good as an object.
            rows = [line["input_ids"] if index % 2 else {"input_ids": line["input_ids"]} for index, line in enumerate(lines)]
            found, error = self.tensors("logits", folder, rows, "--hidden", "--dtype", "float32", *isa)
            label = f"logits {name} {' '.join(isa)}"
            if self.count.check(error is None, label, error):
                self.near(label, found, need, LOGITS)
        if any(key.startswith("grad.") for key in reference):
            found, error = self.tensors("gradients", folder, lines)
            if self.count.check(error is None, f"gradients {name}", error):
                need = {key.removeprefix("grad."): value for key, value in reference.items() if key.startswith("grad.")}
                found = {key.removeprefix("grad."): value for key, value in found.items()}
                found["loss"] = found["loss"].reshape(1)
                self.near(f"gradients {name}", found, need | {"loss": reference["loss"]}, GRADIENTS)

    def fixture(self, folder, options):
        name = folder.name
        cases, reference = json.loads((folder / "cases.json").read_text()), load_file(folder / "reference.safetensors")
        eos = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
        ends = set(eos if isinstance(eos, list) else [eos])
        for kind in ("greedy", "beam", "processors"):
            for case in cases[kind]:
                self.case(f"{kind} {name}", folder, case, ends)
        self.forward(name, folder, cases["lines"], reference)
        if name == "llama_bf16" and self.program is not None:
            found, error = self.tensors("logits", folder, [line["input_ids"] for line in cases["lines"]], "--dtype", "bfloat16")
            if self.count.check(error is None, f"logits {name} bfloat16", error):
                for index in range(len(cases["lines"])):
                    right, half = reference[f"logits.{index}"], reference[f"bf16.logits.{index}"]
                    mine, theirs = (float((each - right).abs().max()) for each in (found[f"logits.{index}"], half))
                    # No worse than twice what transformers itself loses in bfloat16, on the same weights.
                    self.count.check(mine <= 2 * theirs + 0.02, f"logits {name} bfloat16", f"line {index}: {mine:.3f}, transformers {theirs:.3f}")
        if options.live:
            self.live(folder, eos, ends, options)

    def live(self, folder, eos, ends, options):
        rng = random.Random(options.seed ^ sum(map(ord, folder.name)))
        model = load(folder)
        double = oracle.in_double(model)
        models = [model, double, oracle.shaken(double, 3)]
        vocabulary, longest = model.config.vocab_size, 60 if "dynamic" in folder.name or "gpt" in folder.name else 100
        made = tried = 0
        while made < options.live and tried < 5 * options.live:
            tried += 1
            length = rng.choice((1, 2, 15, 16, 17, 31, 32, 33, rng.randrange(1, longest - 30)))
            case = {"prompt_ids": [rng.randrange(vocabulary) for _ in range(length)], "max_new_tokens": rng.randrange(1, 28)}
            if rng.random() < 0.5:
                case |= {"num_beams": rng.randrange(2, 7), "length_penalty": rng.choice((-1.0, 0.0, 0.7, 1.0, 2.0)), "early_stopping": rng.choice((True, False, "never"))}
                case["num_return_sequences"] = rng.randrange(1, case["num_beams"] + 1)
            for name, value in (("repetition_penalty", round(rng.uniform(0.7, 1.6), 2)), ("no_repeat_ngram_size", rng.randrange(1, 5)), ("min_new_tokens", rng.randrange(1, 12)),
                                ("bad_words_ids", [[rng.randrange(vocabulary) for _ in range(rng.choice((1, 1, 2, 3)))] for _ in range(6)]),
                                ("sequence_bias", [[[token], round(rng.uniform(-6, 6), 1)] for token in rng.sample(range(vocabulary), 5)])):
                if rng.random() < 0.25:
                    case[name] = value
            case["ignore_eos"] = rng.random() < 0.15
            if case["ignore_eos"]:
                case.pop("min_new_tokens", None)
            parameters = {key: value for key, value in case.items() if key not in ("prompt_ids", "ignore_eos")}
            answer = oracle.agree(models, case["prompt_ids"], None if case["ignore_eos"] else eos, **parameters)
            if answer:
                made += 1
                case["token_ids"] = answer[0] if "num_beams" in case else answer[0][0]
                self.case(f"live {folder.name}", folder, case, ends)
        if self.program is None:
            print(f"{folder.name}: {made} of {tried} live cases have a margin")

    def version_4(self, folder):
        """A config.json of transformers 4 beside the weights of its twin: the same logits."""
        twin = FIXTURES / folder.name.removesuffix("_v4")
        copy = self.folder / folder.name
        copy.mkdir()
        shutil.copy(folder / "config.json", copy)
        shutil.copy(twin / "model.safetensors", copy)
        cases, reference = json.loads((twin / "cases.json").read_text()), load_file(twin / "reference.safetensors")
        self.forward(folder.name, copy, cases["lines"], {key: value for key, value in reference.items() if key.startswith("logits")})

    def other_weights(self):
        """pytorch_model.bin, one file and sharded, and sharded safetensors."""
        if self.program is None:
            return
        for folder, expected in (("torch_bin/single", "torch_bin"), ("torch_bin/sharded", "torch_bin"), ("llama_sharded", "llama_sharded")):
            need = load_file(FIXTURES / expected / "expected.safetensors")
            found, error = self.tensors("logits", FIXTURES / folder, [need["reference.input_ids"].tolist()], "--dtype", "float32")
            if self.count.check(error is None, f"logits {folder}", error):
                self.near(f"logits {folder}", found, {"logits.0": need["reference.logits"]}, LOGITS)
        for file, why in json.loads((FIXTURES / "torch_bin/hostile/hostile.json").read_text()).items():
            folder = self.folder / file.removesuffix(".bin")
            folder.mkdir()
            shutil.copy(FIXTURES / "torch_bin/single/config.json", folder)
            shutil.copy(FIXTURES / "torch_bin/hostile" / file, folder / "pytorch_model.bin")
            done = run([self.program, "generate", folder, "--prompt-ids", "[1]"], cwd=self.folder, timeout=60)
            good = 1 < done.returncode < 64 and done.stderr.count("[") and not (self.folder / "pwned.txt").exists()
            self.count.check(good, "hostile pytorch_model.bin", f"{file} ({why}): exit code {done.returncode}: {done.stderr[-200:]}")

    def sampling(self, folder):
        """The first token of many draws: only what the cuts leave, about as often as transformers' probabilities say."""
        if self.program is None:
            return
        prompt, draws = [5, 9, 2, 31, 17], 4000
        model = load(folder)
        logits = model(torch.tensor([prompt])).logits[:, -1].double()
        for parameters in ({"temperature": 1.0}, {"temperature": 0.7, "top_k": 5}, {"temperature": 1.5, "top_p": 0.6}, {"temperature": 1.0, "min_p": 0.1}, {"temperature": 1.2, "typical_p": 0.5}):
            config = transformers.GenerationConfig(do_sample=True, **{"top_k": 0, "top_p": 1.0, **parameters})
            config._eos_token_tensor = None
            processors = model._get_logits_processor(config, input_ids_seq_length=len(prompt), device="cpu", model_kwargs={})
            need = torch.softmax(processors(torch.tensor([prompt]), logits), -1)[0]
            flags = [part for key, value in parameters.items() for part in (f"--{key.replace('_', '-')}", str(value))]
            command = ["--prompt-ids", json.dumps(prompt), "--max-new-tokens", "1", "--num-return-sequences", str(draws), "--dtype", "float32", "--json", *flags]
            label = f"sampling {' '.join(flags)}"
            found, error = self.outputs(folder, [*command, "--seed", "1"])
            if not self.count.check(error is None, label, error):
                continue
            tokens = torch.tensor([output["token_ids"][0] for output in found["outputs"]])
            share = torch.bincount(tokens, minlength=len(need)).double() / draws
            self.count.check(not ((share > 0) & (need == 0)).any(), label, "drew a token that was cut")
            spread = float((share - need).abs().sum() / 2)
            usual = float((need * (1 - need) / draws).sqrt().sum() / 2)
            self.count.check(spread < 2.5 * usual + 0.005, label, f"total variation {spread:.3f}, usual {usual:.3f}")
            again, _ = self.outputs(folder, [*command, "--seed", "1"])
            other, _ = self.outputs(folder, [*command, "--seed", "2"])
            self.count.check(again == found and other["outputs"] != found["outputs"], label, "a seed must give the same, another seed another text")

    def trained(self, data):
        """The published text of a real checkpoint, to the byte, and its logits."""
        if self.program is None:
            return
        folder = data / "checkpoints/llama2c"
        need = (folder / "expected_greedy.txt").read_bytes().decode()
        done = run([self.program, "generate", folder / "hf", "--prompt", "", "--temperature", "0", "--max-new-tokens", "256", "--dtype", "float32"])
        self.count.check(done.stdout == need, "llama2c text", f"exit code {done.returncode}: {done.stdout[:200]!r} {done.stderr[-200:]}")
        model = load(folder / "hf")
        ids = json.loads((folder / "reference.json").read_text())["greedy_ids"][:200]
        with torch.no_grad():
            right = model(torch.tensor([ids])).logits[0]
        found, error = self.tensors("logits", folder / "hf", [ids], "--dtype", "float32")
        if self.count.check(error is None, "llama2c logits", error):
            self.near("llama2c logits", found, {"logits.0": right}, LOGITS)
        nano = load(data / "checkpoints/gpt_nano_sort/hf")
        lines = [[2, 1, 0, 1, 2, 0], [0], [2, 2, 1, 0, 0, 1, 0, 0, 0, 1, 1]]
        with torch.no_grad():
            right = {f"logits.{index}": nano(torch.tensor([line])).logits[0] for index, line in enumerate(lines)}
        found, error = self.tensors("logits", data / "checkpoints/gpt_nano_sort/hf", lines, "--dtype", "float32")
        if self.count.check(error is None, "gpt_nano logits", error):
            self.near("gpt_nano logits", found, right, LOGITS)

    def bad_input(self):
        """Ids out of range, prompts over the context, broken flags: an error by kind, never a signal."""
        if self.program is None:
            return
        folder = FIXTURES / "llama"
        for flags in (["--prompt-ids", "[99]"], ["--prompt-ids", "[-1]"], ["--prompt-ids", "[1"], ["--prompt-ids", "[]"], ["--prompt-ids", json.dumps([1] * 129)],
                      ["--prompt-ids", "[1]", "--num-beams", "0"], ["--prompt-ids", "[1]", "--num-beams", "2", "--num-return-sequences", "3"],
                      ["--prompt-ids", "[1]", "--temperature", "-1"], ["--prompt-ids", "[1]", "--temperature", "nan"], ["--prompt-ids", "[1]", "--top-p", "1.5"],
                      ["--prompt-ids", "[1]", "--no-such-flag"], ["--prompt-ids", "[1]", "--max-new-tokens", "x"], ["--prompt-ids", "[1]", "--isa", "nonsense"],
                      ["--prompt-ids", "[1]", "--bad-words-ids", "[[]]"], ["--prompt-ids", "[1]", "--logit-bias", '{"999": 1}'], ["--prompt", "text"]):
            done = run([self.program, "generate", folder, *flags, "--json"], timeout=60)
            self.count.check(done.returncode in (2, 3, 4) and done.stderr.strip(), "bad input", f"{flags}: exit code {done.returncode}: {done.stderr[-200:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("--live", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--self", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, data = Count(options.show), data_folder()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, seed {options.seed}")
    tests = Generate(None if options.self else str(pathlib.Path(options.pagoda).resolve()), count)
    try:
        for folder in sorted(FIXTURES.iterdir()):
            if options.only not in folder.name:
                continue
            if folder.name.endswith("_v4"):
                tests.version_4(folder)
            elif (folder / "cases.json").exists():
                before = (count.passed, count.failed)
                tests.fixture(folder, options)
                print(f"{folder.name}: {count.passed - before[0]} passed, {count.failed - before[1]} failed", flush=True)
        if not options.only:
            tests.other_weights()
            tests.sampling(FIXTURES / "llama")
            tests.bad_input()
            if data is None:
                count.skip("trained checkpoints", "PAGODA_TEST_DATA is not set")
            else:
                tests.trained(data)
    finally:
        shutil.rmtree(tests.folder, ignore_errors=True)
    count.finish()


if __name__ == "__main__":
    main()
