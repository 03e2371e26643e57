"""Products of bfloat16: bench_gemm beside the oneDNN inside torch, in turns, and a heat map of the share of this machine's limit.

usage: gemm.py BENCH_GEMM [--rounds 2] [--threads 2] [--isa auto] [--format bfloat16] [--plot gemm.svg]

bench_gemm runs every shape and number of rows, torch the same (torch.nn.functional.linear in bfloat16, no bias), each over 1 GiB of
weights in turn so that none is found in a cache; the best of the rounds counts. Other formats of weights (int8, Q4_0, ...) have no
torch column: the map alone. The limit is bench_gemm's own, measured in the same run. Needs torch.
"""
import argparse
import re
import subprocess
import sys
import time

LINE = re.compile(r"^(\S.*?)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+(\d+)%$")
MEMORY, PASS_SECONDS = 1 << 30, 0.02


def run_ours(options):
    """{(name, n, k, m): (microseconds, share of the limit)} and the line that names the limits."""
    command = [options.bench, options.isa, str(options.threads), options.format]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cells, limits = {}, ""
    for line in text.splitlines():
        if "limits" in line:
            if limits:
                sys.exit(f"gemm.py: {options.format!r} names several formats, need one of: see bench_gemm's own output")
            limits = line
        elif found := LINE.match(line):
            name, n, k, m, us, _, _, share = found.groups()
            cells[name, int(n), int(k), int(m)] = float(us), int(share)
    if not cells:
        sys.exit(f"gemm.py: no rows from {' '.join(command)}")
    return cells, limits


def run_torch(shapes, threads):
    """Microseconds of the best pass of a fiftieth of a second at least, over other weights each call."""
    import torch

    torch.set_num_threads(threads)
    times, weights, at = {}, {}, 0
    with torch.inference_mode():
        for name, n, k, m in shapes:
            if (n, k) not in weights:
                weights.clear()
                weights[n, k] = [torch.randn(n, k, dtype=torch.bfloat16) for _ in range(max(2, MEMORY // (2 * n * k)))]
            copies, x, best = weights[n, k], torch.randn(m, k, dtype=torch.bfloat16), float("inf")
            for _ in range(3):
                begun, calls = time.perf_counter(), 0
                while time.perf_counter() - begun < PASS_SECONDS or calls < 2:
                    torch.nn.functional.linear(x, copies[at % len(copies)])
                    at, calls = at + 1, calls + 1
                best = min(best, (time.perf_counter() - begun) / calls)
            times[name, n, k, m] = best * 1e6
    return times


def colour(share):
    """Dark red at 0, yellow at 50, dark green at 100 %."""
    t = max(0.0, min(1.0, share / 100))
    low, middle, high = (165, 30, 45), (250, 220, 130), (20, 110, 70)
    first, last, u = (low, middle, 2 * t) if t < 0.5 else (middle, high, 2 * t - 1)
    return "#" + "".join(f"{round(a + (b - a) * u):02x}" for a, b in zip(first, last))


def svg(cells, title):
    shapes, rows = list(dict.fromkeys(key[:3] for key in cells)), sorted({key[3] for key in cells})
    cell, left, top = 58, 190, 70
    width, height = left + cell * len(rows) + 20, top + 30 * len(shapes) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
             f'<rect width="{width}" height="{height}" fill="white"/>', f'<text x="12" y="24">{title}</text>',
             '<text x="12" y="58" fill="#555">shape (N x K), rows:</text>']
    parts += [f'<text x="{left + cell * (i + 0.5)}" y="58" text-anchor="middle">{m}</text>' for i, m in enumerate(rows)]
    for j, (name, n, k) in enumerate(shapes):
        y = top + 30 * j
        parts.append(f'<text x="12" y="{y + 19}">{name} ({n} x {k})</text>' if name != str(n) else f'<text x="12" y="{y + 19}">{n} x {k}</text>')
        for i, m in enumerate(rows):
            share = cells[name, n, k, m][1]
            ink = "white" if share < 22 or share > 78 else "#222"
            parts.append(f'<rect x="{left + cell * i}" y="{y}" width="{cell - 2}" height="28" fill="{colour(share)}"/>')
            parts.append(f'<text x="{left + cell * (i + 0.5) - 1}" y="{y + 19}" text-anchor="middle" fill="{ink}">{share} %</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--format", default="bfloat16")
    parser.add_argument("--plot")
    options = parser.parse_args()
    best, torch_best, limits = {}, {}, ""
    for _ in range(options.rounds):
        cells, limits = run_ours(options)
        for key, (us, share) in cells.items():
            if key not in best or us < best[key][0]:
                best[key] = us, share
        if options.format == "bfloat16":
            for key, us in run_torch(list(cells), options.threads).items():
                torch_best[key] = min(us, torch_best.get(key, us))
    print(limits)
    print("| shape | N | K | rows | us | of the limit |" + (" oneDNN us | times |" if torch_best else ""))
    print("|---|---:|---:|---:|---:|---:|" + ("---:|---:|" if torch_best else ""))
    for key, (us, share) in best.items():
        name, n, k, m = key
        row = f"| {name} | {n} | {k} | {m} | {us:.1f} | {share} % |"
        print(row + (f" {torch_best[key]:.1f} | {torch_best[key] / us:.2f} |" if torch_best else ""))
    if options.plot:
        with open(options.plot, "w", encoding="utf-8") as file:
            file.write(svg(best, f"Share of the machine's limit: {limits.split(', limits')[0]}"))
        print(f"heat map: {options.plot}")


if __name__ == "__main__":
    main()
