#!/usr/bin/env python3
"""Training tokens per second of moelle and of PyTorch's best float32 variant, taken in turns on the same machine.

The PyTorch step is the yardstick program torch_train.py (found through MOELLE_PEERS, by default ../shared/peers beside the
repository); it builds the same models and does the same work. Without it, or without torch, moelle's own figures are printed alone.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--moelle", required=True, help="the program bench_training_train_step")
parser.add_argument("--size", nargs="+", default=["pilot", "demo"])
parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
peer = Path(os.environ.get("MOELLE_PEERS", ROOT.parent / "shared" / "peers")) / "torch_train.py"
have_torch = peer.exists() and importlib.util.find_spec("torch") is not None
if not have_torch:
    print(f"no PyTorch yardstick (torch installed: {importlib.util.find_spec('torch') is not None}, {peer.name} found: {peer.exists()}): moelle alone")


def moelle(size, model, threads):
    out = subprocess.run([options.moelle, size, model, str(threads)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def torch(size, model, threads, best):
    """The best of the float32 variants that matter: through oneDNN, compiled or not, experts padded or grouped; `best` alone once it is known."""
    variants, experts = ([best["variant"]], [best["experts"]]) if best else (["f32o", "f32o-compile"], ["bmm", "grouped"])
    rows = ROOT / "build" / "torch_rows.json"
    rows.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, str(peer), "--size", size, "--model", model, "--threads", str(threads), "--variant", *variants,
                    "--experts", *experts, "--json", str(rows)], check=True, capture_output=True, text=True)
    return max(json.loads(rows.read_text()), key=lambda r: r["tok_s"])


def spread(values):
    return f"{statistics.median(values):7.0f} [{min(values):.0f}-{max(values):.0f}]"


rates = {}
print(f"{'size':6} {'model':6} {'threads':>7}  {'moelle tok/s':>24} {'PyTorch tok/s':>24}  ratio [range]   GFLOP/s  B/param  + act. MiB  variant")
for size in options.size:
    for threads in options.threads:
        for model in ("moe", "dense"):
            ours, theirs, row, last = [], [], None, {}
            for _ in range(options.rounds):
                last = moelle(size, model, threads)
                ours.append(last["tok_s"])
                if have_torch:
                    row = torch(size, model, threads, row)
                    theirs.append(row["tok_s"])
            rates[size, model, threads] = statistics.median(ours)
            ratios = [a / b for a, b in zip(ours, theirs)]
            ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]" if ratios else "-"
            print(f"{size:6} {model:6} {threads:7}  {spread(ours):>24} {spread(theirs) if theirs else '-':>24}  {ratio:15} {last['gflops']:7.1f}  "
                  f"{last['state_bytes'] / last['params']:6.1f} {last['activation_bytes'] / 2**20:8.0f}   {row['variant'] + ' ' + row['experts'] if row else ''}", flush=True)
for size in options.size:
    for threads in options.threads:
        print(f"{size}: MoE step at {rates[size, 'moe', threads] / rates[size, 'dense', threads]:.2f} of its dense twin's tokens/s, {threads} thread(s)")
    if {1, 2} <= set(options.threads):
        for model in ("moe", "dense"):
            print(f"{size} {model}: 2 threads are {rates[size, model, 2] / rates[size, model, 1]:.2f} x 1 thread")
