"""Training: `kill -9` at random moments and other thread counts change no bit; a masked LM against PyTorch on
the batches really used; labels of conversations, and dropout in every family, against transformers.

usage: training.py PAGODA [--kills N] [--steps N] [--seed S]
Needs no data: models are tiny, texts are made up.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from common import Count, binary, run

CONFIG = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 300, "n_embd": 64, "n_layer": 3, "n_head": 4,
          "n_positions": 64}
MASKED = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2,
          "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 64, "hidden_dropout_prob": 0.0,
          "attention_probs_dropout_prob": 0.0}


def write_rows(path, count, vocab, seed):
    rng = random.Random(seed)
    with open(path, "w") as out:
        for _ in range(count):
            start, step = rng.randrange(vocab), rng.randrange(1, 4)
            ids = [(start + step * t) % vocab for t in range(rng.randrange(8, 64))]
            out.write(json.dumps({"input_ids": ids}) + "\n")


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


class Kills:
    def __init__(self, program, count, options, folder):
        self.program, self.count, self.options, self.folder = program, count, options, folder
        self.config, self.rows = folder / "config.json", folder / "rows.jsonl"
        self.config.write_text(json.dumps(CONFIG))
        write_rows(self.rows, 400, CONFIG["vocab_size"], options.seed)

    def command(self, out, threads):
        return [self.program, "train", "clm", self.config, "--train-file", self.rows, "--output-dir", out, "--max-steps",
                self.options.steps, "--per-device-train-batch-size", 4, "--gradient-accumulation-steps", 2, "--save-steps", 3,
                "--save-total-limit", 2, "--logging-steps", 1, "--learning-rate", "1e-3", "--threads", threads,
                "--resume-from-checkpoint", "--quiet"]

    def start(self, out, threads):
        return subprocess.Popen([str(part) for part in self.command(out, threads)], stderr=subprocess.PIPE)

    def run(self):
        whole = self.folder / "whole"
        begun = time.monotonic()
        done = run(self.command(whole, 1))
        seconds = time.monotonic() - begun
        if not self.count.check(done.returncode == 0, "undisturbed", done.stderr):
            return
        rng = random.Random(self.options.seed)
        kills = runs = 0
        while kills < self.options.kills:
            out = self.folder / f"killed{runs}"
            runs += 1
            while True:
                process = self.start(out, rng.choice((1, 2)))
                try:
                    process.wait(timeout=rng.uniform(0.02, seconds * 0.6))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
                finally:
                    errors = process.stderr.read().decode(errors="replace")
                    process.stderr.close()
                self.count.check(process.returncode == 0, "resumed run", lambda: errors[-400:])
                break
            if self.count.check((out / "model.safetensors").is_file(), "model at the end", str(out)):
                self.count.check(weights(out) == weights(whole), "weights to the bit", f"after {kills} kills")
                self.count.check(losses(out) == losses(whole), "losses of all steps", f"after {kills} kills")
            left = [entry.name for entry in out.iterdir() if entry.name.startswith(".tmp")]
            self.count.check(not left, "no leftovers", left)
            shutil.rmtree(out)
        print(f"{kills} kills in {runs} runs of {self.options.steps} steps ({seconds:.1f} s undisturbed)")


def losses(folder):
    state = json.loads((folder / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def masked_against_torch(program, count, options, folder):
    """PyTorch reads our initial weights and the batches that we really used: the same losses, step by step."""
    import torch
    from transformers import AutoModelForMaskedLM, get_scheduler

    (folder / "masked").mkdir()
    (folder / "masked" / "config.json").write_text(json.dumps(MASKED))
    words = [f"w{i}" for i in range(380)]
    rng = random.Random(options.seed)
    text = "\n".join(" ".join(rng.choice(words) for _ in range(12)) for _ in range(400)) + "\n"
    (folder / "text.txt").write_text(text)
    tokenizer = folder / "tokenizer"
    done = run([program, "tokenizer", "train", "--type", "wordpiece", "--files", folder / "text.txt", "--vocab-size", 400, "--out",
                tokenizer, "--quiet"])
    if not count.check(done.returncode == 0, "tokenizer", done.stderr):
        return
    initial = folder / "initial"
    done = run([program, "init", folder / "masked", "--out", initial, "--dtype", "float32", "--seed", 5, "--quiet"])
    count.check(done.returncode == 0, "initial weights", done.stderr)
    out, dump, steps = folder / "mlm", folder / "dump.jsonl", 60
    done = run([program, "train", "mlm", initial, "--tokenizer-name", tokenizer, "--train-file", folder / "text.txt",
                "--validation-split-percentage", 10, "--max-seq-length", 32, "--output-dir", out, "--max-steps", steps,
                "--per-device-train-batch-size", 8, "--learning-rate", "1e-3", "--warmup-steps", 10, "--weight-decay", 0.01,
                "--logging-steps", 1, "--eval-steps", 20, "--dump-batches", dump, "--quiet"])
    if not count.check(done.returncode == 0, "mlm", done.stderr):
        return
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    state = json.loads((out / "trainer_state.json").read_text())
    ours = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    ours_eval = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    model = AutoModelForMaskedLM.from_pretrained(initial).train()
    from transformers.trainer_pt_utils import get_parameter_names
    names = set(get_parameter_names(model, [torch.nn.LayerNorm],
                                    [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]))
    named = dict(model.named_parameters())
    optimizer = torch.optim.AdamW([{"params": [p for n, p in named.items() if n in names], "weight_decay": 0.01},
                                   {"params": [p for n, p in named.items() if n not in names], "weight_decay": 0.0}], lr=1e-3)
    schedule = get_scheduler("linear", optimizer, 10, steps)

    def total(batches):
        summed, labelled = 0, 0
        for ids, labels in batches:
            logits = model(input_ids=torch.tensor([ids])).logits[0]
            summed = summed + torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum")
            labelled += sum(label >= 0 for label in labels)
        return summed / labelled

    validation = [pair for row in rows if row["split"] == "validation" for pair in zip(row["input_ids"], row["labels"])]
    theirs, theirs_eval = [], []
    for row in [row for row in rows if row["split"] == "train"][:steps]:
        loss = total(zip(row["input_ids"], row["labels"]))
        loss.backward()
        theirs.append(float(loss.detach()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if len(theirs) % 20 == 0:
            with torch.no_grad():
                theirs_eval.append(float(total(validation)))
    worst = max(abs(a - b) / b for a, b in zip(ours, theirs))
    count.check(len(ours) == steps and worst < 1e-3, "losses of a masked LM", f"{len(ours)} steps, worst {worst:.2e}")
    worst_eval = max(abs(a - b) / b for a, b in zip(ours_eval, theirs_eval))
    count.check(len(ours_eval) == 3 and worst_eval < 1e-2, "validation of a masked LM", f"worst {worst_eval:.2e}")
    model = AutoModelForMaskedLM.from_pretrained(out)  # what we wrote, as transformers reads it
    with torch.no_grad():
        reloaded = float(total(validation))
    count.check(abs(reloaded - ours_eval[-1]) < 1e-4, "the folder in transformers", f"{reloaded} and {ours_eval[-1]}")
    print(f"masked LM: {steps} steps, losses within {100 * max(abs(a - b) / b for a, b in zip(ours, theirs)):.4f} %, validation within "
          f"{100 * worst_eval:.4f} %: {ours_eval} and {theirs_eval}")


DROPPED = {
    "gpt2": (dict(CONFIG, embd_pdrop=0.2, resid_pdrop=0.3, attn_pdrop=0.25), ["attention", "mlp"]),
    "bert": (dict(MASKED, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.25), ["attention", "mlp"]),
    "roberta": (dict(MASKED, architectures=["RobertaForMaskedLM"], model_type="roberta", pad_token_id=1, type_vocab_size=1,
                     hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.25), ["attention", "mlp"]),
    "distilbert": ({"architectures": ["DistilBertForMaskedLM"], "model_type": "distilbert", "vocab_size": 400, "dim": 64, "n_layers": 2,
                    "n_heads": 4, "hidden_dim": 128, "max_position_embeddings": 64, "dropout": 0.3, "attention_dropout": 0.25}, ["mlp"]),
    "albert": (dict(MASKED, architectures=["AlbertForMaskedLM"], model_type="albert", embedding_size=32, num_hidden_groups=1,
                    inner_group_num=1, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.25), ["attention"]),
    "llama": ({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64,
               "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
               "max_position_embeddings": 64, "attention_dropout": 0.3}, []),
}
DROPOUT_SEED, GOLDEN = 42 ^ 0x64726F70, 0x9E3779B97F4A7C15


def philox(key, low, high):
    """Philox4x32-10 over arrays of counters; low and high are 64 bits each."""
    import numpy as np

    low, high = np.broadcast_arrays(np.asarray(low, np.uint64), np.asarray(high, np.uint64))
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [low & mask, low >> shift, high & mask, high >> shift]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> shift) ^ c[1] ^ np.uint64(k0), p1 & mask, (p0 >> shift) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


class Dropped:
    """Stands in for torch's dropout: keeps what Pagoda keeps. Calls come in the order of the forward pass of one sequence."""

    def __init__(self, outputs):
        self.outputs = outputs

    def begin(self, example):
        self.example, self.layer, self.output, self.embedded = example, -1, 0, False

    def __call__(self, x, p=0.5, training=True, inplace=False):
        import numpy as np
        import torch

        rows = x.shape[-2]
        numbers = (np.uint64(self.example) << np.uint64(24)) + np.arange(rows, dtype=np.uint64)
        if x.dim() == 4:  # attention weights [1, heads, queries, keys]
            self.layer, self.output = self.layer + 1, 0  # they come first in each layer
            site = 16 + 4 * self.layer + 2
            seeds = philox((DROPOUT_SEED + site * GOLDEN) % 2**64, numbers[None, :], np.arange(x.shape[1], dtype=np.uint64)[:, None])[0]
            h = (seeds[:, :, None] + np.arange(x.shape[-1], dtype=np.uint64) * np.uint64(0x9E3779B9)) & np.uint64(0xFFFFFFFF)
            h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
            h = ((h ^ (h >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & np.uint64(0xFFFFFFFF)
            kept = ((h ^ (h >> np.uint64(16))) >> np.uint64(8)) >= np.uint64(int(np.float32(p) * np.float32(16777216)))
            return x * torch.tensor(kept[None].astype(np.float32)) / (1 - p)
        if not self.embedded:
            site, self.embedded = 1, True
        else:
            site = 16 + 4 * self.layer + (0 if self.outputs[self.output] == "attention" else 1)
            self.output += 1
        words, mask = philox(DROPOUT_SEED, numbers, np.uint64(site)), np.uint64(0xFFFFFFFF)
        h = (words[0][:, None] + np.arange(x.shape[-1], dtype=np.uint64) * np.uint64(0x9E3779B9)) & mask
        h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & mask
        h ^= words[1][:, None]
        h = ((h ^ (h >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & mask
        kept = ((h ^ (h >> np.uint64(16))) >> np.uint64(8)) >= np.uint64(int(np.float32(p) * np.float32(16777216)))
        return x * torch.tensor(kept.astype(np.float32)) / (1 - p)


def dropout_against_transformers(program, count, options, folder):
    """Three steps of SGD of every family with dropout everywhere: transformers, dropping what we drop, has our losses."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    for name, (config, outputs) in DROPPED.items():
        masked = "Masked" in config["architectures"][0]
        home = folder / f"dropout_{name}"
        home.mkdir()
        (home / "config.json").write_text(json.dumps(config))
        rows = home / "rows.jsonl"
        rng = random.Random(options.seed)
        with open(rows, "w") as out:
            for _ in range(8):
                ids = [rng.randrange(5, config["vocab_size"]) for _ in range(rng.randrange(5, 40))]
                out.write(json.dumps({"input_ids": ids, "labels": ids if not masked else [rng.randrange(400) for _ in ids]}) + "\n")
        initial, dump = home / "initial", home / "dump.jsonl"
        run([program, "init", home, "--out", initial, "--dtype", "float32", "--seed", 3, "--quiet"])
        done = run([program, "train", "mlm" if masked else "clm", initial, "--train-file", rows, "--output-dir", home / "out", "--max-steps", 3,
                    "--per-device-train-batch-size", 4, "--optim", "sgd", "--learning-rate", "0.5", "--lr-scheduler-type", "constant",
                    "--max-grad-norm", 0, "--logging-steps", 1, "--dump-batches", dump, "--quiet"])
        if not count.check(done.returncode == 0, f"dropout {name}", done.stderr):
            continue
        kind = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        model = kind.from_pretrained(initial, attn_implementation="eager").train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        dropped, original, theirs = Dropped(outputs), torch.nn.functional.dropout, []
        torch.nn.functional.dropout = dropped
        try:
            for line in dump.read_text().splitlines():
                batch = json.loads(line)
                total, labelled = 0, 0
                for example, ids, labels in zip(batch["examples"], batch["input_ids"], batch["labels"]):
                    dropped.begin(example)
                    logits, wanted = model(input_ids=torch.tensor([ids])).logits[0], torch.tensor(labels)
                    if not masked:
                        logits, wanted = logits[:-1], wanted[1:]
                    total = total + torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
                    labelled += len(wanted)
                loss = total / labelled
                loss.backward()
                theirs.append(float(loss.detach()))
                optimizer.step()
                optimizer.zero_grad()
        finally:
            torch.nn.functional.dropout = original
        ours = losses(home / "out")
        worst = max(abs(a - b) / b for a, b in zip(ours, theirs))
        count.check(len(ours) == 3 and worst < 1e-5, f"dropout {name}", f"{ours} and {theirs}")


MARKED = ("{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
          "{% else %}{{ m.content }}<|end|>{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")


def answers_against_transformers(program, count, options, folder):
    """Ids and labelled positions of random conversations: apply_chat_template with its mask of the assistant's tokens."""
    from transformers import AutoTokenizer

    rng = random.Random(options.seed)
    letters = "abc défgh 你好 ß \n,.!?'0123 🙂"

    def text():
        return "".join(rng.choice(letters) for _ in range(rng.randrange(1, 40))).strip() or "x"

    rows = []
    for _ in range(60):
        messages = [{"role": "system", "content": text()}] if rng.random() < 0.3 else []
        for _ in range(rng.randrange(1, 4)):
            messages += [{"role": "user", "content": text()}, {"role": "assistant", "content": text()}]
        rows.append({"messages": messages})
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "chats.txt").write_text("\n".join(message["content"] for row in rows for message in row["messages"]) + "\n")
    (folder / "marked.jinja").write_text(MARKED)
    tokenizer = folder / "chat_tokenizer"
    done = run([program, "tokenizer", "train", "--type", "bpe", "--files", folder / "chats.txt", "--vocab-size", 300, "--out",
                tokenizer, "--quiet"])
    count.check(done.returncode == 0, "chat tokenizer", done.stderr)
    config = dict(CONFIG, n_positions=1024)
    (folder / "chat.json").write_text(json.dumps(config))
    dump = folder / "chats_dump.jsonl"
    done = run([program, "train", "sft", folder / "chat.json", "--tokenizer-name", tokenizer, "--train-file", folder / "chats.jsonl",
                "--chat-template", folder / "marked.jinja", "--output-dir", folder / "sft", "--max-steps", 1,
                "--per-device-train-batch-size", len(rows), "--dump-batches", dump, "--quiet"])
    if not count.check(done.returncode == 0, "sft", done.stderr):
        return
    line = json.loads(dump.read_text().splitlines()[0])
    ours = sorted(zip(line["input_ids"], line["labels"]))
    loaded = AutoTokenizer.from_pretrained(folder / "sft")  # with the template that the folder has
    theirs = []
    for row in rows:
        encoded = loaded.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        theirs.append((ids, [token if inside else -100 for token, inside in zip(ids, mask)]))
    theirs.sort()
    for a, b in zip(ours, theirs):
        count.check(list(a) == list(b), "labels of answers", lambda: f"{a} {b}")
    count.check(len(ours) == len(theirs), "conversations", f"{len(ours)} of {len(theirs)}")


def main():
    program = binary()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    count = Count()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        Kills(program, count, options, folder).run()
        try:
            masked_against_torch(program, count, options, folder)
            answers_against_transformers(program, count, options, folder)
            dropout_against_transformers(program, count, options, folder)
        except ImportError as error:
            count.skip("against torch", f"no {error.name}")
    count.finish()


if __name__ == "__main__":
    main()
