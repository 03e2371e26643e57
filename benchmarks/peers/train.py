"""Optimiser steps of RoBERTa-base (masked LM) and GPT-2 in PyTorch and in Pagoda's bench_train, in turns on the same threads.

usage: train.py BENCH_TRAIN [--model roberta|gpt2] [--rounds N] [--steps N] [--threads N] [--sequences N] [--length N]
"""
import argparse
import re
import subprocess
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel, RobertaConfig, RobertaForMaskedLM


def torch_rate(args, half):
    """Tokens a second, best of the steps: forward, backward, AdamW; bfloat16 is torch.autocast."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.model == "roberta":
        config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        model = RobertaForMaskedLM(config)
    else:
        model = GPT2LMHeadModel(GPT2Config(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(10, 50000, (args.sequences, args.length))
    labels = ids.clone()
    if args.model == "roberta":
        labels[torch.rand(labels.shape) >= 0.15] = -100
    best = 1e9
    for step in range(args.steps + 1):
        begin = time.time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if step > 0:
            best = min(best, time.time() - begin)
    return args.sequences * args.length / best


def pagoda_rate(args, dtype):
    out = subprocess.run([args.bench, "--model", args.model, "--dtype", dtype, "--steps", str(args.steps), "--threads",
                          str(args.threads), "--sequences", str(args.sequences), "--length", str(args.length)],
                         capture_output=True, text=True, check=True).stdout
    return float(re.search(r": (\d+) tokens/s", out).group(1)), out.strip().splitlines()[-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--model", default="roberta", choices=["roberta", "gpt2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--dtypes", default="bfloat16,float32")
    args = parser.parse_args()
    for dtype in args.dtypes.split(","):
        ours, theirs = [], []
        for _ in range(args.rounds):
            rate, line = pagoda_rate(args, dtype)
            ours.append(rate)
            theirs.append(torch_rate(args, dtype == "bfloat16"))
            print(f"{args.model} {dtype}: pagoda {ours[-1]:.0f} tokens/s, PyTorch {torch.__version__} {theirs[-1]:.0f}", flush=True)
        print(f"{args.model} {dtype}, best of {args.rounds}: pagoda {max(ours):.0f} tokens/s ({line}), PyTorch {max(theirs):.0f}: "
              f"{max(ours) / max(theirs):.2f} times")


if __name__ == "__main__":
    sys.exit(main())
