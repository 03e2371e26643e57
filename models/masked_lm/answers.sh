#!/usr/bin/env bash
# What a masked LM puts into the sentences of a file, one a line: Markdown on stdout.
# usage: models/masked_lm/answers.sh MODEL [SENTENCES.txt]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
echo "# Twenty sentences and what the masked LM of stories puts into them"
echo
echo "The sentences were written for this list and are not in the text it was trained on. Three likeliest tokens with their probabilities."
echo
echo "| sentence | | | |"
echo "|---|---|---|---|"
while IFS= read -r sentence; do
  printf '%s\n' "$sentence" | python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().rstrip("\n")))'
done <"${2:-$here/sentences.txt}" | "$here/../../build/release/pagoda" run fill-mask "$1" --jsonl - --top-k 3 --quiet |
  paste -d '\n' "${2:-$here/sentences.txt}" - | python3 -c '
import json, sys
lines = sys.stdin.read().splitlines()
for sentence, results in zip(lines[::2], lines[1::2]):
    found = " | ".join("%s %.2f" % (each["token_str"], each["score"]) for each in json.loads(results))
    print(f"| {sentence} | {found} |")'
