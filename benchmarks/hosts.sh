#!/usr/bin/env bash
# A training job on four simulated hosts: network namespaces joined by a bridge, each link as fast as tbf lets it, latency by
# bench_ranks itself, ranks started through an agent that enters the namespaces. First that the job is right: its losses are those
# of one process with four times the sequences, and all ranks have the same weights to the bit. Then a step's time against the
# links' rate: gradients sent while the backward pass goes on, after it, and as bfloat16. All hosts share this machine's cores:
# the figures show what overlap saves, not how fast four machines are.
# usage: benchmarks/hosts.sh [--rates "MBIT ..."] [--latency-us N] [--out DIR] [--build DIR] [flags of bench_ranks]
# Writes DIR/hosts.tsv and DIR/hosts.svg (default: build/hosts). Needs root, iproute2 (ip, tc), util-linux (unshare) and openmpi-bin.
# RUN='PROGRAM ARG ...' in the environment goes before each job (nice, a lock).
set -euo pipefail
cd "$(dirname "$0")/.."
rates="100 200 400 800 1600 3200" latency=0 out=build/hosts build=build/release
flags=(--model small --sequences 8 --length 128 --steps 4 --threads 1 --bucket-cap-mb 2)
while (($#)); do
  case $1 in
    --rates) rates=$2 && shift 2 ;;
    --latency-us) latency=$2 && shift 2 ;;
    --out) out=$2 && shift 2 ;;
    --build) build=$2 && shift 2 ;;
    -h | --help) sed -n '2,10p' "$0" && exit ;;
    *) flags+=("$1") && shift ;;
  esac
done
die() { echo "hosts.sh: $*" >&2 && exit 3; }
for tool in ip tc unshare mpirun; do command -v "$tool" >/dev/null || die "no $tool: need iproute2, util-linux and openmpi-bin"; done
((EUID == 0)) || die "network namespaces need root"
bench=$PWD/$build/bench_ranks
[[ -x $bench ]] || die "$bench is missing: cmake --build --preset release --target bench_ranks"
mkdir -p "$out"

hosts=4 bridge=pagoda_br
scratch=$(mktemp -d)
clean() {
  for ((h = 1; h <= hosts; ++h)); do ip netns del "pagoda_h$h" 2>/dev/null || true; done
  ip link del $bridge 2>/dev/null || true
  rm -rf "$scratch"
}
clean 2>/dev/null && scratch=$(mktemp -d) # what a run that was killed left
trap clean EXIT

ip link add $bridge type bridge 2>/dev/null || die "this kernel or container makes no bridge"
ip link set $bridge up
for ((h = 1; h <= hosts; ++h)); do
  ip netns add "pagoda_h$h" || die "this kernel or container makes no network namespaces"
  ip link add "pagoda_v$h" type veth peer name eth0 netns "pagoda_h$h"
  ip link set "pagoda_v$h" master $bridge up
  ip -n "pagoda_h$h" addr add "10.77.0.$h/24" dev eth0
  ip -n "pagoda_h$h" link set eth0 up
  ip -n "pagoda_h$h" link set lo up
done

# Both directions of every link, in Mbit/s. A bucket of 10 ms: timers of the kernel are coarse.
set_rate() {
  local burst=$(($1 * 1250))
  ((burst > 131072)) || burst=131072
  for ((h = 1; h <= hosts; ++h)); do
    tc qdisc replace dev "pagoda_v$h" root tbf rate "$1mbit" burst $burst latency 100ms || die "this kernel has no tbf"
    ip netns exec "pagoda_h$h" tc qdisc replace dev eth0 root tbf rate "$1mbit" burst $burst latency 100ms
  done
}

# What mpirun calls instead of ssh: HOST COMMAND ...; a host is a namespace with a name of its own.
cat >"$scratch/agent" <<'AGENT'
#!/bin/bash
host=${1##*.}
shift
exec ip netns exec "pagoda_h$host" unshare --uts bash -c "hostname pagoda-h$host; $*"
AGENT
chmod +x "$scratch/agent"
list=$(for ((h = 1; h <= hosts; ++h)); do printf '10.77.0.%d:1,' "$h"; done)
read -ra before <<<"${RUN:-}"
job() {
  "${before[@]}" ip netns exec pagoda_h1 unshare --uts bash -c 'hostname pagoda-h1; exec "$@"' _ mpirun --allow-run-as-root -n $hosts \
    --host "${list%,}" --bind-to none --mca plm_rsh_agent "$scratch/agent" --mca plm_rsh_no_tree_spawn 1 \
    --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    "$bench" "${flags[@]}" --latency-us "$latency" "$@" 2>"$scratch/errors" || { cat "$scratch/errors" >&2 && exit 1; }
}
field() { sed -E "s/.*\"$1\":(\[[^]]*\]|[^,}]*).*/\1/"; }

# Right?
sequences=8
for ((i = 0; i + 1 < ${#flags[@]}; ++i)); do [[ ${flags[i]} == --sequences ]] && sequences=${flags[i + 1]}; done
set_rate 1000
alone=$("$bench" "${flags[@]}" --sequences $((sequences * hosts)) 2>/dev/null)
together=$(job)
[[ $(field ranks_equal <<<"$together") == true ]] || die "the ranks' weights differ: $together"
echo "losses of one process: $(field losses <<<"$alone")"
echo "losses of $hosts hosts:    $(field losses <<<"$together")"
paste <(field losses <<<"$alone" | tr -d '[]' | tr ',' '\n') <(field losses <<<"$together" | tr -d '[]' | tr ',' '\n') |
  awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; n++ } END {
    printf "all ranks have the same weights; losses of %d steps differ by at most %.2g\n", n, worst; exit !(n > 0 && worst < 2e-3) }' ||
  die "the losses differ"

# How fast?
: >"$out/hosts.tsv"
for kind in overlap after bf16; do
  case $kind in
    overlap) name=during_the_backward_pass more=() ;;
    after) name=after_it more=(--no-overlap) ;;
    bf16) name=during_it,_as_bfloat16 more=(--bf16-reduction) ;;
  esac
  for rate in $rates; do
    set_rate "$rate"
    result=$(job "${more[@]}")
    printf '%s\t%s\t%s\t%s\n' "$name" "$rate" "$(field seconds <<<"$result")" "$(field exchange <<<"$result")" | tee -a "$out/hosts.tsv"
  done
done
cut -f1-3 "$out/hosts.tsv" | "$bench" --plot "Gradients of $hosts simulated hosts travel ..." "$out/hosts.svg"
echo "$out/hosts.svg"
