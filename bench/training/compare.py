#!/usr/bin/env python3
"""Training tokens per second of moelle and of PyTorch's best variant, taken in turns on the same machine: float32 against float32, and
moelle with bfloat16 products against the best of PyTorch's float32 and bfloat16 variants.

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
parser.add_argument("--precision", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
parser.add_argument("--json", help="append rows for bench/report.py to this file")
options = parser.parse_args()
peer = Path(os.environ.get("MOELLE_PEERS", ROOT.parent / "shared" / "peers")) / "torch_train.py"
have_torch = peer.exists() and importlib.util.find_spec("torch") is not None
if not have_torch:
    print(f"no PyTorch yardstick (torch installed: {importlib.util.find_spec('torch') is not None}, {peer.name} found: {peer.exists()}): moelle alone")


VARIANTS = {"f32": ["f32o", "f32o-compile"], "bf16": ["f32o-compile", "bf16", "bf16-compile"]}
TARGETS = {("f32", "moe"): 1.6, ("f32", "dense"): 1.2, ("bf16", "moe"): 1.8, ("bf16", "dense"): 1.3}
STEPS = {"pilot": "12", "demo": "5", "small": "3"}


def moelle(size, model, threads, precision):
    out = subprocess.run([options.moelle, size, model, str(threads), STEPS[size], precision], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def torch(size, model, threads, precision, best):
    """The best of the variants that matter: float32 through oneDNN, bfloat16, compiled or not, experts padded or grouped; `best` alone once known."""
    variants, experts = ([best["variant"]], [best["experts"]]) if best else (VARIANTS[precision], ["bmm", "grouped"])
    rows = ROOT / "build" / "torch_rows.json"
    rows.parent.mkdir(exist_ok=True)
    subprocess.run([sys.executable, str(peer), "--size", size, "--model", model, "--threads", str(threads), "--variant", *variants,
                    "--experts", *experts, "--json", str(rows)], check=True, capture_output=True, text=True)
    return max(json.loads(rows.read_text()), key=lambda r: r["tok_s"])


def spread(values):
    return f"{statistics.median(values):7.0f} [{min(values):.0f}-{max(values):.0f}]"


def record(size, model, threads, precision, ours, theirs, gflops_per_token):
    """A row of bench/report.py: seconds per token."""
    who = {"moelle": [1 / t for t in ours]}
    if theirs:
        who["PyTorch"] = [1 / t for t in theirs]
    row = {"section": f"training {precision}", "work": f"{size} {model}", "threads": threads, "who": who, "flops": gflops_per_token * 1e9, "bytes": None,
           "limit": "bf16_gflops" if precision == "bf16" else "fp32_gflops", "target": TARGETS[precision, model] if theirs else None,
           "against": "PyTorch" if theirs else None}
    with open(options.json, "a") as out:
        out.write(json.dumps(row) + "\n")


def measure(size, model, threads, precision):
    ours, theirs, row, last = [], [], None, {}
    for _ in range(options.rounds):
        last = moelle(size, model, threads, precision)
        ours.append(last["tok_s"])
        if have_torch:
            row = torch(size, model, threads, precision, row)
            theirs.append(row["tok_s"])
    ratios = [a / b for a, b in zip(ours, theirs)]
    ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]" if ratios else "-"
    print(f"{size:6} {model:6} {precision:5} {threads:7}  {spread(ours):>24} {spread(theirs) if theirs else '-':>24}  {ratio:15} {last['gflops']:7.1f}  "
          f"{last['state_bytes'] / last['params']:6.1f} {last['activation_bytes'] / 2**20:8.0f}   {row['variant'] + ' ' + row['experts'] if row else ''}", flush=True)
    if options.json:
        record(size, model, threads, precision, ours, theirs, last["gflops"] / last["tok_s"])
    return statistics.median(ours)


print(f"{'size':6} {'model':6} {'':5} {'threads':>7}  {'moelle tok/s':>24} {'PyTorch tok/s':>24}  ratio [range]   GFLOP/s  B/param  + act. MiB  variant")
rates = {key: measure(*key) for key in ((size, model, threads, precision) for size in options.size for precision in options.precision
                                        for threads in options.threads for model in ("moe", "dense"))}
for size in options.size:
    for precision in options.precision:
        for threads in options.threads:
            share = rates[size, "moe", threads, precision] / rates[size, "dense", threads, precision]
            print(f"{size} {precision}: MoE step at {share:.2f} of its dense twin's tokens/s, {threads} thread(s)")
        if {1, 2} <= set(options.threads):
            for model in ("moe", "dense"):
                print(f"{size} {model} {precision}: 2 threads are {rates[size, model, 2, precision] / rates[size, model, 1, precision]:.2f} x 1 thread")
