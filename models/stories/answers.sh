#!/usr/bin/env bash
# What the story model says to a file of questions, one a line: Markdown on stdout.
# usage: models/stories/answers.sh MODEL QUESTIONS.txt
set -euo pipefail
pagoda=$(cd "$(dirname "$0")" && pwd)/../../build/release/pagoda
echo "# Twenty questions and what the story model says"
echo
echo "Seed 1, otherwise as the model's generation_config.json has it. The questions are those of held-out conversations."
while IFS= read -r question; do
  printf '\n**%s**\n\n' "$question"
  printf '%s\n' "$question" | "$pagoda" chat "$1" --seed 1 --quiet | sed 's/^/> /'
done < "$2"
