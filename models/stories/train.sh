#!/usr/bin/env bash
# Trains the story model that ships with Pagoda: tokenizer, stories, conversations, int8. Every step goes on where it stopped.
#
# usage: models/stories/train.sh STORIES.txt WORK_DIR
#   STORIES.txt: stories one after another (TinyStories, CDLA-Sharing-1.0). The result replaces models/stories/llama.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
pagoda=$here/../../build/release/pagoda
stories=$1 work=$2
python3 "$here/prepare.py" "$stories" "$work"
"$pagoda" tokenizer train --type bpe --files "$work/stories.train.jsonl" --vocab-size 4096 \
  --special-tokens '<|endoftext|>,<|user|>,<|assistant|>,<|end|>' --out "$work/tokenizer" --overwrite
cp "$here/tokenizer_config.json" "$work/tokenizer/"
"$pagoda" train clm "$here/config.json" --tokenizer-name "$work/tokenizer" --train-file "$work/stories.train.jsonl" \
  --validation-file "$work/stories.valid.jsonl" --output-dir "$work/base" --max-steps 1400 --per-device-train-batch-size 16 \
  --block-size 256 --learning-rate 2e-3 --lr-scheduler-type cosine --warmup-steps 150 --weight-decay 0.1 --adam-beta2 0.95 \
  --logging-steps 25 --eval-steps 250 --save-steps 250 --save-total-limit 2 --bf16 --resume-from-checkpoint
"$pagoda" train sft "$work/base" --tokenizer-name "$work/tokenizer" --train-file "$work/chats.train.jsonl" \
  --validation-file "$work/chats.valid.jsonl" --output-dir "$work/chat" --num-train-epochs 1 --per-device-train-batch-size 16 \
  --max-seq-length 512 --learning-rate 5e-4 --lr-scheduler-type cosine --warmup-steps 20 --weight-decay 0.1 --adam-beta2 0.95 \
  --logging-steps 25 --eval-steps 100 --save-steps 100 --save-total-limit 2 --bf16 --resume-from-checkpoint
cp "$here/generation_config.json" "$work/chat/"
rm -rf "$work/int8"
"$pagoda" quantize "$work/chat" --to int8 --dtype bfloat16 --out "$work/int8"
mkdir -p "$here/llama"
cp "$work/int8"/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json,generation_config.json} "$here/llama/"
"$here/answers.sh" "$here/llama" "$work/questions.txt" > "$here/answers.md"
