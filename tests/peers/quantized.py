"""Quantised models against the original libraries: what `pagoda quantize` writes is loaded by transformers with compressed-tensors and
gives the logits that Pagoda gives; `pagoda perplexity` equals Hugging Face's loop; a GGUF file gives what llama.cpp gives.

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


def loads_elsewhere(program, count, source, scratch, ids, *flags):
    """Quantises `source` and compares logits; activations in int8 are transformers' affair, so they are turned off there."""
    name = "-".join([pathlib.Path(source).name, *(flag.strip("-") for flag in flags)])
    folder = scratch / name
    done = run([program, "quantize", source, "--to", *flags, "--out", folder, "--quiet"])
    if not count.check(done.returncode == 0, name, done.stderr[-300:]):
        return
    config = json.loads((folder / "config.json").read_text())
    for group in config["quantization_config"]["config_groups"].values():
        group["input_activations"] = None
    with_activations = load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    model = load(folder)
    need = model(torch.tensor([ids]), use_cache=False).logits[0].detach()
    got, error = pagoda_logits(program, folder, ids, scratch / f"{name}.safetensors")
    count.check(got is not None and distance(got, need) < 1e-4, name, lambda: error or f"logits differ by {distance(got, need)}")
    full = with_activations(torch.tensor([ids]), use_cache=False).logits[0].detach()
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
    files = sorted((data / "text" / "stories").glob("*[Tt]iny*"))
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


def like_llama_cpp(program, count, scratch):
    try:
        import llama_cpp
    except ImportError:
        return count.skip("llama.cpp", "llama-cpp-python is not installed")
    for path in sorted((FIXTURES / "gguf").glob("llama_q8_0.gguf")):
        model = llama_cpp.Llama(str(path), logits_all=True, n_ctx=32, verbose=False)
        ids = [1, 40, 41, 60, 7, 9, 33]
        model.eval(ids)
        need = torch.tensor(model.scores[:len(ids)])
        got, error = pagoda_logits(program, path, ids, scratch / "llama_cpp.safetensors")
        # llama.cpp rounds activations to 8 bits.
        count.check(got is not None and distance(got, need) < 0.05, path.name, lambda: error or f"logits differ by {distance(got, need)}")
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
    like_llama_cpp(program, count, scratch)
    data = data_folder()
    prices(program, count, data, scratch) if data else count.skip("prices", "PAGODA_TEST_DATA is not set")
    count.finish()


if __name__ == "__main__":
    main()
