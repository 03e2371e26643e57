"""Quantised models against the original libraries: what `pagoda quantize` writes is loaded by transformers with compressed-tensors and
gives the logits that Pagoda gives; `pagoda perplexity` equals Hugging Face's loop; GGUF files give what llama.cpp gives.

usage: quantized.py PAGODA
With PAGODA_TEST_DATA also the price of each precision on the trained LLaMA of 260K parameters: int8 within 1 % of float32, calibrated
int4 at most half the loss of round-to-nearest.
"""

import json
import math
import pathlib
import sys
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
sys.path.insert(0, str(FIXTURES))

import torch
import transformers
from safetensors.torch import load_file

from common import Count, binary, data_folder, run

GROUP = 32


def load(folder, **more):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32, **more).eval()


def pagoda_logits(program, folder, ids, out):
    lines = out.with_suffix(".jsonl")
    lines.write_text(json.dumps(ids) + "\n")
    done = run([program, "logits", folder, "--ids", lines, "--out", out, "--dtype", "float32"])
    return (load_file(out)["logits.0"], "") if done.returncode == 0 else (None, done.stderr[-300:])


def distance(a, b):
    return float((a - b).abs().max() / b.abs().max())


def decompressed(folder, source):
    """`source` with the weights of `folder` as the package decompresses them. transformers 5.24 with compressed-tensors 0.20 loads no packed zero
    points, its own neither: it makes room for unpacked ones."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    quantization = json.loads((folder / "config.json").read_text())["quantization_config"]
    groups = list(quantization["config_groups"].values())

    def scheme_of(module):  # a module's own name goes before its class
        named = [group for group in groups if module in group["targets"]] or groups
        return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**named[0]["weights"]))

    compressor = BaseCompressor.get_value_from_registry(quantization["format"])
    stored, model = load_file(folder / "model.safetensors"), load(source)
    state = {}
    for name, tensor in stored.items():
        module, _, part = name.rpartition(".")
        if part == "weight_packed":
            parts = {key.rpartition(".")[2]: value for key, value in stored.items() if key.rpartition(".")[0] == module}
            state[f"{module}.weight"] = compressor.decompress(parts, scheme_of(module))["weight"]
        elif not part.startswith("weight_"):
            state[name] = tensor
    model.load_state_dict(state)
    return model


def loads_elsewhere(program, count, source, scratch, ids, *flags):
    """Quantises `source` and compares logits; activations in int8 are transformers' affair, so they are turned off there."""
    name = "-".join([pathlib.Path(source).name, *(flag.strip("-") for flag in flags)])
    folder = scratch / name
    done = run([program, "quantize", source, "--to", *flags, "--out", folder, "--quiet"])
    if not count.check(done.returncode == 0, name, done.stderr[-300:]):
        return
    model = decompressed(folder, source) if "--asymmetric" in flags else load(folder)
    with torch.no_grad():
        full = model(torch.tensor([ids]), use_cache=False).logits[0]
        for module in model.modules():
            if getattr(module, "quantization_scheme", None):
                module.quantization_scheme.input_activations = None
        need = model(torch.tensor([ids]), use_cache=False).logits[0]
    got, error = pagoda_logits(program, folder, ids, scratch / f"{name}.safetensors")
    count.check(got is not None and distance(got, need) < 1e-4, name, lambda: error or f"logits differ by {distance(got, need)}")
    count.check(distance(full, need) < 0.1, f"{name}: activations by token", lambda: f"logits move by {distance(full, need)}")


def perplexity(program, folder, text, *flags):
    done = run([program, "perplexity", folder, "-", "--json", "--quiet", *flags], text=text)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-300:])
    return json.loads(done.stdout)


def strided(model, ids, max_length, stride):
    """The loop of Hugging Face's guide."""
    nll_sum, n_tokens, previous = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + max_length, len(ids))
        window = torch.tensor([ids[begin:end]])
        target = window.clone()
        target[:, :-(end - previous)] = -100
        with torch.no_grad():
            loss = model(window, labels=target).loss
        counted = int((target != -100).sum()) - 1
        if counted > 0:
            nll_sum, n_tokens = nll_sum + float(loss) * counted, n_tokens + counted
        previous = end
        if end == len(ids):
            break
    return math.exp(nll_sum / n_tokens)


def prices(program, count, data, scratch):
    model = data / "checkpoints" / "llama2c" / "hf"
    files = sorted((data / "text" / "stories").glob("tinystories*.txt"))
    if not files:
        return count.skip("prices", "no TinyStories text")
    text = files[0].read_bytes()
    shown, calibration = text[:100_000].decode(errors="ignore"), text[100_000:700_000].decode(errors="ignore")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"))
    plain = perplexity(program, model, shown, "--dtype", "float32")
    need = strided(load(model), tokenizer(shown)["input_ids"], plain["max_length"], plain["stride"])
    count.check(abs(plain["perplexity"] / need - 1) < 1e-4, "perplexity", f"got {plain['perplexity']}, need {need}")
    base = plain["perplexity"]
    (scratch / "calibration.txt").write_text(calibration)
    folders = {"int8": ["int8"], "int4, nearest": ["int4", "--group-size", str(GROUP)],
               "int4, calibrated": ["int4", "--group-size", str(GROUP), "--calibrate", scratch / "calibration.txt"]}
    loss = {}
    for name, flags in folders.items():
        folder = scratch / name.replace(", ", "-")
        done = run([program, "quantize", model, "--to", *flags, "--out", folder, "--quiet"])
        if not count.check(done.returncode == 0, name, done.stderr[-300:]):
            return None
        loss[name] = perplexity(program, folder, shown, "--dtype", "float32")["perplexity"] / base - 1
    print(f"perplexity {base:.4f} in float32; " + "; ".join(f"{name} {100 * value:+.2f} %" for name, value in loss.items()))
    count.check(loss["int8"] < 0.01, "int8", f"loses {loss['int8']}")
    count.check(loss["int4, calibrated"] <= loss["int4, nearest"] / 2, "int4", f"{loss}")


LLAMA_CPP = """
import json, sys, llama_cpp
model = llama_cpp.Llama(sys.argv[1], logits_all=True, n_ctx=256, n_threads=2, verbose=False)
ids = json.loads(sys.argv[2])
model.eval(ids)
print(json.dumps(model.scores[:len(ids)].tolist()))
"""


def like_llama_cpp(program, count, data, scratch):
    """The trained LLaMA as GGUF files that `gguf` writes, in a process of its own: llama.cpp ends it where it dislikes a model."""
    try:
        import gguf_models
        import llama_cpp  # noqa: F401
    except ImportError as error:
        return count.skip("llama.cpp", str(error))
    ids = [1, 403, 407, 261, 378, 310, 400, 30, 45, 99]
    for kind in ("F32", "Q8_0", "Q4_0", "Q5_1"):
        gguf_models.write_model(str(scratch / kind), str(data / "checkpoints" / "llama2c" / "hf"), kind, "llama", 0, True)
        path = scratch / f"{kind}.gguf"
        done = run([sys.executable, "-c", LLAMA_CPP, path, json.dumps(ids)])
        if done.returncode != 0:
            count.skip(f"llama.cpp {kind}", f"exit code {done.returncode}: {done.stderr[-100:]}")
            continue
        need = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
        got, error = pagoda_logits(program, path, ids, scratch / "llama_cpp.safetensors")
        # llama.cpp rounds activations to 8 bits where weights are quantised.
        bound = 2e-3 if kind == "F32" else 0.03
        count.check(got is not None and distance(got, need) < bound, f"llama.cpp {kind}", lambda: error or f"logits differ by {distance(got, need)}")
    return None


def main():
    program, count = binary(), Count()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="quantized-"))
    ids = [1, 5, 17, 30, 8, 60, 61, 3, 70, 44, 21]
    try:
        import compressed_tensors  # noqa: F401
    except ImportError:
        count.skip("compressed-tensors", "not installed")
    else:
        for flags in (["int8"], ["int4", "--group-size", "16"], ["int4", "--group-size", "16", "--asymmetric"]):
            loads_elsewhere(program, count, FIXTURES / "llama", scratch, ids, *flags)
        loads_elsewhere(program, count, FIXTURES / "llama_bf16", scratch, ids, "int8")
    data = data_folder()
    if data:
        like_llama_cpp(program, count, data, scratch)
        prices(program, count, data, scratch)
    else:
        count.skip("llama.cpp, prices", "PAGODA_TEST_DATA is not set")
    count.finish()


if __name__ == "__main__":
    main()
