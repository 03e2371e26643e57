"""The masked-LM system end to end, then PyTorch from our initial weights on our batches with our masks: two validation curves.

usage: masked_lm.py PAGODA [--steps N] [--every N] [--threads N] [--work DIR] [--out DIR]
models/masked_lm/train.py on the Wikinews text of PAGODA_TEST_DATA (skips without), float32, pushed to the local hub and pulled back
equal. The published size is --steps 3000 --every 250; without options a short run. Curves must lie within 1 % at every evaluation.
--work keeps everything, and a run with the same --work goes on where it stopped, PyTorch too. --out: curves.svg and curves.md.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from common import Count, binary, data_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 0.01


def our_run(program, plan, texts, work, threads):
    """Initial weights, batches and our curve: {step: held-out loss}."""
    path = work / "plan.json"
    path.write_text(json.dumps(plan, indent=2))
    command = [sys.executable, ROOT / "models" / "masked_lm" / "train.py", path, *texts, "--work", work, "--pagoda", program, "--push",
               "pagoda-tests/wikinews-mlm", "--", "--dump-batches", work / "batches.jsonl", "--threads", threads]
    begun = time.monotonic()
    done = subprocess.run([str(part) for part in command])
    history = json.loads((work / "model" / "trainer_state.json").read_text())["log_history"] if done.returncode == 0 else []
    return done.returncode == 0, {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}, time.monotonic() - begun


class Torch:
    """BertForMaskedLM with the same AdamW, schedule and clipping. Rows are whole, so that a batch is a rectangle."""

    def __init__(self, initial, flags, threads, saved):
        import torch
        from transformers import AutoModelForMaskedLM, get_scheduler

        torch.set_num_threads(threads)
        self.torch, self.saved, self.step, self.curve = torch, saved, 0, {}
        self.model = AutoModelForMaskedLM.from_pretrained(initial, dtype=torch.float32).train()
        named = list(self.model.named_parameters())
        plain = [p for n, p in named if p.ndim < 2]  # norms and biases
        decayed = [p for n, p in named if p.ndim >= 2]
        self.optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": flags["weight-decay"]}, {"params": plain, "weight_decay": 0.0}],
                                           lr=flags["learning-rate"])
        self.schedule = get_scheduler("linear", self.optimizer, flags["warmup-steps"], flags["max-steps"])
        if saved.exists():
            state = torch.load(saved, weights_only=False)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.step, self.curve = state["step"], state["curve"]

    def save(self):
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
                 "step": self.step, "curve": self.curve}
        part = self.saved.with_suffix(".part")
        self.torch.save(state, part)
        part.replace(self.saved)

    def loss(self, batch, reduction="mean"):
        """Vocabulary logits where there is a label alone, as Pagoda does: the mean over labels is the same."""
        torch = self.torch
        ids, labels = torch.tensor(batch["input_ids"]), torch.tensor(batch["labels"])
        hidden = self.model.bert(input_ids=ids).last_hidden_state
        wanted = labels >= 0
        return torch.nn.functional.cross_entropy(self.model.cls(hidden[wanted]), labels[wanted], reduction=reduction), int(wanted.sum())

    def train(self, batch):
        loss, _ = self.loss(batch)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1

    def evaluate(self, batches):
        total = labels = 0
        with self.torch.no_grad():
            for batch in batches:
                loss, count = self.loss(batch, "sum")
                total, labels = total + float(loss), labels + count
        return total / labels


def their_curve(peer, dump, every, steps):
    validation = [row for row in batches_of(dump) if row["split"] == "validation"]
    for batch in batches_of(dump):
        place = batch["examples"][0] // len(batch["examples"])
        # A run that was killed and went on dumped some batches twice.
        if batch["split"] != "train" or place != peer.step or peer.step == steps:
            continue
        peer.train(batch)
        if peer.step % every == 0:
            peer.curve[peer.step] = peer.evaluate(validation)
            peer.save()
            print(f"PyTorch after {peer.step} steps: {peer.curve[peer.step]:.4f}", flush=True)
    return peer.curve


def batches_of(dump):
    with open(dump, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def table(ours, theirs):
    rows = ["| steps | Pagoda | PyTorch | difference |", "|---:|---:|---:|---:|"]
    rows += [f"| {step} | {ours[step]:.4f} | {theirs[step]:.4f} | {100 * (ours[step] / theirs[step] - 1):+.3f} % |" for step in sorted(theirs)]
    return "\n".join(rows) + "\n"


def svg(ours, theirs):
    width, height, margin = 640, 400, 60
    steps, values = sorted(theirs), [*ours.values(), *theirs.values()]
    low, high = min(values), max(values)
    spread = max(high - low, 1e-6)
    x = lambda step: margin + (width - 2 * margin) * step / max(steps)
    y = lambda loss: height - margin - (height - 2 * margin) * (loss - low) / spread
    line = lambda curve: " ".join(f"{x(step):.1f},{y(curve[step]):.1f}" for step in steps)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<polyline points="{line(theirs)}" fill="none" stroke="#d95f02" stroke-width="5" stroke-opacity="0.5"/>',
             f'<polyline points="{line(ours)}" fill="none" stroke="#1b4f9c" stroke-width="1.5"/>']
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="{margin - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for step in (steps[0], steps[-1]):
        parts.append(f'<text x="{x(step):.1f}" y="{height - margin + 20}" text-anchor="middle">{step}</text>')
    parts += [f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">optimiser steps</text>',
              f'<text x="{margin}" y="24">Held-out loss of the masked LM: <tspan fill="#1b4f9c">Pagoda</tspan> and '
              '<tspan fill="#d95f02">PyTorch</tspan> on the same batches</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def main():
    program = binary()
    parser = argparse.ArgumentParser()
    parser.add_argument("pagoda")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    count, data = Count(), data_folder()
    if data is None:
        count.skip("masked LM", "PAGODA_TEST_DATA is not set")
        count.finish()
    texts = sorted((data / "text" / "wikinews").glob("*.jsonl"))
    plan = json.loads((ROOT / "models" / "masked_lm" / "news.json").read_text())
    flags = plan["stages"][-1]["flags"]
    flags |= {"max-steps": options.steps, "eval-steps": options.every, "save-steps": options.every,
              "warmup-steps": options.steps * flags["warmup-steps"] // flags["max-steps"]}
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        good, ours, seconds = our_run(program, plan, texts, work, options.threads)
        if not count.check(good, "the system", "see above"):
            count.finish()
        count.check(True, "pushed and pulled back equal")
        begun = time.monotonic()
        peer = Torch(work / "initial", flags, options.threads, work / "torch.pt")
        theirs = their_curve(peer, work / "batches.jsonl", options.every, options.steps)
        print(f"{options.steps} steps: the system {seconds:.0f} s, PyTorch {time.monotonic() - begun:.0f} s (what this run did of them)")
    count.check(sorted(ours) == sorted(theirs) and theirs, "evaluations", f"{sorted(ours)} and {sorted(theirs)}")
    for step in sorted(set(ours) & set(theirs)):
        count.check(abs(ours[step] / theirs[step] - 1) <= TOLERANCE, "curves", f"step {step}: {ours[step]} and {theirs[step]}")
    print(table(ours, theirs))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "curves.md").write_text(table(ours, theirs))
        (options.out / "curves.svg").write_text(svg(ours, theirs))
    count.finish()


if __name__ == "__main__":
    main()
