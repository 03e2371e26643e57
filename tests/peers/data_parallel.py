"""pagoda train under mpirun: ranks equal one process at equal global batch, a killed rank ends the job, and the job resumes.

usage: data_parallel.py PAGODA [--ranks N]
Needs mpirun and libpagoda_mpi.so beside the program (skips without).
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from common import Count, binary, run

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}


def mpirun(ranks, *command):
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *(str(part) for part in command)]


def losses(out):
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    count, program = Count(), binary()
    if not shutil.which("mpirun") or not (pathlib.Path(program).parent / "libpagoda_mpi.so").exists():
        count.skip("data parallel", "no mpirun, or no libpagoda_mpi.so beside the program")
        return count.finish()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rng = random.Random(2)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        with open(folder / "rows.jsonl", "w") as rows:
            for _ in range(240):
                start, step = rng.randrange(300), rng.randrange(1, 4)
                rows.write(json.dumps({"input_ids": [(start + step * t) % 300 for t in range(rng.randrange(8, 60))]}) + "\n")

        def command(out, batch, *more):
            return [program, "train", "clm", folder / "config.json", "--train-file", folder / "rows.jsonl", "--output-dir", folder / out, "--max-steps", 24,
                    "--per-device-train-batch-size", batch, "--logging-steps", 1, "--save-steps", 6, "--learning-rate", "1e-3", "--threads", 1, "--quiet", *more]

        done = run(command("one", 12))
        count.check(done.returncode == 0, "one process", done.stderr[-400:])
        for ranks in (2, 3):
            out = f"ranks{ranks}"
            done = run(mpirun(ranks, *command(out, 12 // ranks)))
            if not count.check(done.returncode == 0, f"{ranks} ranks", done.stderr[-600:]):
                continue
            want, got = losses(folder / "one"), losses(folder / out)
            worst = max(abs(a - b) for a, b in zip(want, got))
            count.check(len(want) == len(got) and worst < 1e-4, f"losses of {ranks} ranks", f"{worst}")
        # A rank that is killed ends the job; the same command resumes it, to the same weights.
        process = subprocess.Popen(mpirun(2, *command("killed", 6, "--resume-from-checkpoint")), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            time.sleep(0.05)
            if (folder / "killed" / "checkpoint-6").exists():
                break
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        if children:
            os.kill(int(children[-1]), signal.SIGKILL)
        begun = time.monotonic()
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            code = None
        count.check(code is not None, "a killed rank ends the job", f"still there after {time.monotonic() - begun:.0f} s")
        done = run(mpirun(2, *command("killed", 6, "--resume-from-checkpoint")))
        same = done.returncode == 0 and (folder / "killed" / "model.safetensors").read_bytes() == (folder / "ranks2" / "model.safetensors").read_bytes()
        count.check(same, "resumed after a killed rank", done.stderr[-400:])
    count.finish()


if __name__ == "__main__":
    main()
