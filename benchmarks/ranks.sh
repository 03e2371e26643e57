#!/usr/bin/env bash
# Two ranks of one core each against one rank of one core, at equal tokens a rank, in turns: the share of twice the one's rate.
# A third turn runs two processes that know nothing of each other, a core each: what the machine leaves of twice the rate where
# both cores want its memory and its clock; only what is missing below that is the ranks' own cost.
# usage: benchmarks/ranks.sh [--rounds N] [--build DIR] [flags of bench_ranks]
#   benchmarks/ranks.sh                                             # RoBERTa-base, bfloat16, 8,192 tokens a step and rank (minutes)
#   benchmarks/ranks.sh --model small --accumulate 2 --rounds 2     # seconds
# RUN='PROGRAM ARG ...' in the environment goes before each run (nice, a lock).
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=2 build=build/release flags=(--model roberta --dtype bfloat16 --sequences 8 --length 128 --accumulate 8 --steps 3 --threads 1)
while (($#)); do
  case $1 in
    --rounds) rounds=$2 && shift 2 ;;
    --build) build=$2 && shift 2 ;;
    -h | --help) sed -n '2,9p' "$0" && exit ;;
    *) flags+=("$1") && shift ;;
  esac
done
bench=$build/bench_ranks
[[ -x $bench ]] || { echo "ranks.sh: $bench is missing: cmake --build --preset release --target bench_ranks" >&2 && exit 3; }
command -v mpirun >/dev/null || { echo "ranks.sh: no mpirun: need openmpi-bin" >&2 && exit 3; }
(($(nproc) >= 2)) || { echo "ranks.sh: got $(nproc) core, need 2" >&2 && exit 3; }
root=() && ((EUID)) || root=(--allow-run-as-root)
results=$(mktemp -d) && trap 'rm -rf "$results"' EXIT
read -ra before <<<"${RUN:-}"

one() { "${before[@]}" taskset -c 0 "$bench" "${flags[@]}"; }
two() { "${before[@]}" mpirun "${root[@]}" -n 2 --bind-to core "$bench" "${flags[@]}"; }
apart() { # the slower of both counts for both, as in a job
  "${before[@]}" bash -c 'taskset -c 1 "$@" >"$0" & taskset -c 0 "$@"; wait; cat "$0"' "$results/second" "$bench" "${flags[@]}"
}
field() { grep -o "\"$1\":[0-9.e+-]*" | cut -d: -f2; }

for ((round = 1; round <= rounds; ++round)); do
  for kind in one two apart; do
    $kind 2>>"$results/errors" >"$results/out" || { cat "$results/errors" >&2 && exit 1; }
    rate=$(field tokens_per_second <"$results/out" | sort -g | head -n 1)
    exchange=$(field exchange <"$results/out" | head -n 1)
    [[ $kind == apart ]] && rate=$(awk "BEGIN { print 2 * $rate }")
    echo "$rate" >>"$results/$kind"
    printf 'round %d, %-5s %8.1f tokens/s, %s s of the best step in the exchange\n' "$round" "$kind" "$rate" "$exchange"
  done
done
best() { sort -g "$results/$1" | tail -n 1; }
awk -v one="$(best one)" -v two="$(best two)" -v apart="$(best apart)" -v flags="${flags[*]}" 'BEGIN {
  printf "%s\none rank %.1f tokens/s; two ranks %.1f = %.1f %% of twice one; two processes apart %.1f = %.1f %%\n", flags, one, two, 50 * two / one, apart, 50 * apart / one
}'
