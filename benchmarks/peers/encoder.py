"""Latency of encoders: `pagoda bench encoder` beside PyTorch, ONNX Runtime and OpenVINO on the same random weights, in turns.

usage: encoder.py PAGODA [--models distilbert,bert,roberta,albert,bert-large] [--lengths 8,16,...,512] [--seconds 3] [--rounds 3]
                  [--threads 2] [--engines torch-f32,torch-bf16,onnxruntime-f32,openvino-f32,openvino-bf16] [--json FILE]

Shapes are those of the published base and large models (DistilBERT, BERT, RoBERTa, ALBERT v2, BERT-large), without a head; `pagoda init` writes
the weights, which all engines load. A figure is the median of a round's runs, the best of the rounds. PyTorch runs eagerly with its own attention,
in float32 and under bfloat16 autocast; OpenVINO compiles each length and batch anew (its best), from the ONNX file that ONNX Runtime runs. All
get ids alone: nothing is padded. Needs torch, transformers, onnx, onnxscript, onnxruntime, openvino; an engine that is missing is left out by name.
"""

import argparse
import gc
import json
import logging
import pathlib
import statistics
import subprocess
import tempfile
import time
import warnings

import numpy as np
import torch
import transformers

ENGINES = ["torch-f32", "torch-bf16", "onnxruntime-f32", "openvino-f32", "openvino-bf16"]
RAGGED = [8, 12, 14, 16, 16, 18, 20, 24]  # 16 on average


def configs():
    return {
        "distilbert": transformers.DistilBertConfig(),
        "bert": transformers.BertConfig(),
        "roberta": transformers.RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
        "albert": transformers.AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072, embedding_size=128),
        "bert-large": transformers.BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
    }


CLASSES = {"distilbert": "DistilBertModel", "bert": "BertModel", "roberta": "RobertaModel", "albert": "AlbertModel", "bert-large": "BertModel"}


def make_model(binary, name, folder):
    config = json.loads(configs()[name].to_json_string(use_diff=False))
    config["architectures"] = [CLASSES[name]]
    path = folder / name
    source = folder / f"{name}.json"
    source.write_text(json.dumps(config))
    subprocess.run([binary, "init", source, "--out", path, "--dtype", "float32", "--seed", "0", "--quiet"], check=True)
    return path


class Wrapped(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model(input_ids=input_ids).last_hidden_state


class Torch:
    def __init__(self, model, bf16):
        self.model, self.bf16 = model, bf16

    def prepare(self, batch, length):
        return None

    def run(self, _, ids):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(torch.from_numpy(ids)).float().numpy()


class OnnxRuntime:
    def __init__(self, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def prepare(self, batch, length):
        return None

    def run(self, _, ids):
        return self.session.run(None, {"input_ids": ids})[0]


class OpenVino:
    def __init__(self, path, threads, precision, cache):
        import openvino

        self.core = openvino.Core()
        self.core.set_property({"CACHE_DIR": str(cache)})
        self.path = path
        self.options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}

    def prepare(self, batch, length):
        model = self.core.read_model(str(self.path))
        model.reshape([batch, length])
        return self.core.compile_model(model, "CPU", self.options).create_infer_request()

    def run(self, request, ids):
        return request.infer({0: ids}, share_inputs=True, share_outputs=True)[0]


def export(model, path):
    ids = torch.randint(100, 1000, (2, 16))
    shapes = {"input_ids": {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", max=512)}}
    torch.onnx.export(Wrapped(model), (ids,), str(path), input_names=["input_ids"], output_names=["hidden"], dynamo=True, dynamic_shapes=shapes,
                      external_data=True, verbose=False)


def open_engines(names, path, folder, threads):
    model = transformers.AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    engines = {}
    for name in names:
        try:
            if name.startswith("torch"):
                engines[name] = Torch(Wrapped(model), name.endswith("bf16"))
                continue
            onnx = folder / f"{path.name}.onnx"
            if not onnx.exists():
                export(model, onnx)
            if name.startswith("onnxruntime"):
                engines[name] = OnnxRuntime(onnx, threads)
            else:
                engines[name] = OpenVino(onnx, threads, name.split("-")[1], folder / f"cache-{path.name}")
        except Exception as error:  # a peer that cannot run is named, not silently left out
            print(f"{path.name}: {name} left out: {type(error).__name__}: {str(error).splitlines()[0][:160]}", flush=True)
    return engines


def measure(engine, batch, length, seconds):
    """The median of the runs of `seconds`, after a fifth of that to warm up."""
    random = np.random.default_rng(0)
    ids = [random.integers(100, 20000, (batch, length)) for _ in range(4)]
    state = engine.prepare(batch, length)
    begun, times, i = time.perf_counter(), [], 0
    while True:
        start = time.perf_counter()
        engine.run(state, ids[i % 4])
        end = time.perf_counter()
        i += 1
        if i > 3 and end - begun > seconds / 5:
            times.append(end - start)
        if end - begun > seconds and times:
            return 1e3 * statistics.median(times)


def pagoda(binary, path, args, dtype, lengths, batch, ragged=()):
    command = [binary, "bench", "encoder", path, "--lengths", *map(str, lengths), "--batch-sizes", str(batch), "--max-seconds", str(args.seconds),
               "--num-iters", "1000000", "--dtype", dtype, "--threads", str(args.threads), "--json", "--quiet"]
    if ragged:
        command += ["--ragged", *map(str, ragged)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["cells"]


def check(binary, path, engines, args, folder):
    """Cosines of the last hidden states with PyTorch's in float32: the same work is timed."""
    ids = np.random.default_rng(1).integers(100, 20000, (1, 16))
    (folder / "ids.jsonl").write_text(json.dumps(ids[0].tolist()) + "\n")
    with torch.inference_mode():
        want = Wrapped(transformers.AutoModel.from_pretrained(path, dtype=torch.float32).eval())(torch.from_numpy(ids)).numpy().ravel()
    found = {name: engine.run(engine.prepare(1, 16), ids) for name, engine in engines.items()}
    subprocess.run([binary, "logits", path, "--ids", folder / "ids.jsonl", "--out", folder / "hidden.safetensors", "--hidden", "--dtype", "bfloat16",
                    "--threads", str(args.threads), "--quiet"], check=True)
    from safetensors.numpy import load_file

    found["pagoda-bf16"] = load_file(folder / "hidden.safetensors")["hidden.0"]
    print(f"{path.name}: cosines with torch-f32: " + ", ".join(
        f"{name} {float(np.dot(want, got.ravel()) / np.linalg.norm(want) / np.linalg.norm(got)):.6f}" for name, got in found.items()), flush=True)


def rounds_of(binary, path, engines, args, lengths, batch, ragged=()):
    best = {}
    for _ in range(args.rounds):
        for cell in pagoda(binary, path, args, "bfloat16", lengths, batch, ragged):
            key = cell.get("length", "ragged")
            row = best.setdefault(key, {})
            if "pagoda" not in row or cell["p50_ms"] < row["pagoda"]:
                row["pagoda"], row["share"] = cell["p50_ms"], (cell["limit_ms"] or 0) / cell["p50_ms"]
        for name, engine in engines.items():
            for length in lengths:
                took = measure(engine, batch, length, args.seconds)
                best[length][name] = min(best[length].get(name, took), took)
            gc.collect()
    return best


def show(name, batch, best, engines):
    names = list(engines)
    print(f"\n{name}, batch {batch}: ms, median, best of the rounds")
    print(f"{'length':>8}{'pagoda':>10}{'of limit':>10}" + "".join(f"{each:>17}" for each in names) + f"{'fastest peer / pagoda':>24}")
    for length, row in best.items():
        line = f"{length:>8}{row['pagoda']:>10.3f}{row['share']:>10.0%}"
        if length == "ragged":
            print(line)
            continue
        fastest = min(row[each] for each in names) if names else 0
        print(line + "".join(f"{row[each]:>17.3f}" for each in names) + f"{fastest / row['pagoda']:>24.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("--models", default="distilbert,bert,roberta,albert,bert-large")
    parser.add_argument("--lengths", default="8,16,32,64,128,256,512")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--no-batches", action="store_true", help="batch 1 alone (BERT-base has batch 8 at 16 and 128, and a ragged one, too)")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    lengths = [int(each) for each in args.lengths.split(",")]
    everything = {}
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {args.threads} threads")
    for name in args.models.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            path = make_model(args.pagoda, name, folder)
            engines = open_engines(args.engines.split(","), path, folder, args.threads)
            check(args.pagoda, path, engines, args, folder)
            everything[f"{name} 1"] = rounds_of(args.pagoda, path, engines, args, lengths, 1)
            show(name, 1, everything[f"{name} 1"], engines)
            if name == "bert" and not args.no_batches:
                everything["bert 8"] = rounds_of(args.pagoda, path, engines, args, [16, 128], 8, RAGGED)
                show(name, 8, everything["bert 8"], engines)
                single = everything["bert 1"].get(16)
                if single:
                    print(f"a ragged batch of 8 (16 tokens on average) takes {everything['bert 8']['ragged']['pagoda'] / single['pagoda'] / 8:.0%} of "
                          "eight single calls of 16 tokens")
            del engines
            gc.collect()
    if args.json:
        args.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
