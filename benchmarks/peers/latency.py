"""Prefill of 512 tokens and one stream: `pagoda bench latency` beside llama.cpp on the same weights, in turns, best of each.

usage: latency.py PAGODA MODEL [--rounds 5] [--threads 2] [--formats bf16,f16,q8_0,q4_0,q4_k_m]

MODEL is a folder of the LLaMA family (`pagoda init` makes one). llama.cpp is llama-cpp-python (its version and build are printed), with
the weights written to GGUF files beside each other in a temporary folder: bf16 and f16 as they are, the quantised formats by llama.cpp's
own quantiser, and then both engines run the same file. Needs numpy, safetensors, gguf, llama_cpp and ml_dtypes or torch.
"""

import argparse
import ctypes
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

PREFILL, DECODE, CONTEXT = 512, 64, 1024
PLAIN = ("bf16", "f16")

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def write_gguf(model, path, kind):
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for file in sorted(model.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if tensor.dim() < 2:
                writer.add_tensor(gguf_name(name), tensor.float().numpy())
            elif kind == "f16":
                writer.add_tensor(gguf_name(name), tensor.half().numpy())
            else:
                data = tensor.bfloat16().contiguous().view(torch.uint8).numpy()
                writer.add_tensor(gguf_name(name), data, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source, target, kind):
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) == 0


class LlamaCpp:
    def __init__(self, path, threads):
        import llama_cpp

        self.api = api = llama_cpp
        api.llama_backend_init()
        self.quiet = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, PREFILL, PREFILL
        params.n_threads = params.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, params)
        self.tokens = np.random.default_rng(0).integers(100, 40000, CONTEXT)

    def run(self, first, count):
        api = self.api
        batch = api.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        for i in range(count):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = int(self.tokens[first + i]), first + i, 1, 0
            batch.logits[i] = i == count - 1
        begun = time.perf_counter()
        assert api.llama_decode(self.context, batch) == 0
        api.llama_synchronize(self.context)
        seconds = time.perf_counter() - begun
        api.llama_batch_free(batch)
        return seconds

    def measure(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        prefill = self.run(0, PREFILL)
        decode = sum(self.run(PREFILL + i, 1) for i in range(DECODE - 1))
        return PREFILL / prefill, (DECODE - 1) / decode


def pagoda(binary, model, threads):
    out = subprocess.run([binary, "bench", "latency", str(model), "--input-len", str(PREFILL), "--output-len", str(DECODE), "--batch-size", "1",
                          "--num-iters", "2", "--num-iters-warmup", "1", "--threads", str(threads), "--json", "--quiet"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pagoda")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--formats", default="bf16,f16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds = args.formats.split(",")
        plain = [kind for kind in kinds if kind in PLAIN]
        ours = {"pagoda": args.model} if plain else {}
        peers = {}
        path = {kind: pathlib.Path(folder) / f"{kind}.gguf" for kind in [*plain, *(["f16"] if len(plain) < len(kinds) else []), *kinds]}
        for kind in path:
            if kind in PLAIN:
                write_gguf(args.model, path[kind], kind)
            else:
                quantize(path["f16"], path[kind], kind)
                ours[f"pagoda {kind}"] = path[kind]
            if kind in kinds:
                peers[f"llama.cpp {kind}"] = LlamaCpp(path[kind], args.threads)
        import llama_cpp

        print(f"llama-cpp-python {llama_cpp.__version__}: {llama_cpp.llama_print_system_info().decode()}")
        rows = {name: [] for name in [*ours, *peers]}
        shares = {name: [] for name in ours}
        for round_number in range(args.rounds):
            for name, model in ours.items():
                report = pagoda(args.pagoda, model, args.threads)
                rows[name].append((report["prefill_tokens_per_s"], report["decode_tokens_per_s"]))
                shares[name].append((report["limits"]["prefill_share"], report["limits"]["decode_share"]))
            for name, peer in peers.items():
                rows[name].append(peer.measure())
            print(f"round {round_number + 1}: " + "; ".join(f"{name} {r[-1][0]:.0f} {r[-1][1]:.1f}" for name, r in rows.items()), flush=True)
    print(f"\n{'tokens/s, best of ' + str(args.rounds):<28}{'prefill ' + str(PREFILL):>12}{'(median)':>10}{'one stream':>12}{'(median)':>10}")
    for name, measured in rows.items():
        prefill, decode = zip(*measured)
        print(f"{name:<28}{max(prefill):>12.0f}{statistics.median(prefill):>10.0f}{max(decode):>12.1f}{statistics.median(decode):>10.1f}")
    for name, measured in shares.items():
        prefill, decode = zip(*measured)
        print(f"{name}'s share of the machine's limit, best: prefill {max(prefill):.0%}, one stream {max(decode):.0%}")


if __name__ == "__main__":
    main()
