#!/usr/bin/env python3
"""Prefill and decoding of moelle and of llama.cpp at DeepSeek-V2-Lite's true shape with random weights, one after the other on the same machine.

Each holds up to 17 GB, so they cannot take turns sample by sample; the runs follow one another and the spread of each is printed. llama.cpp is the
yardstick program llama_v2lite.py (found through MOELLE_PEERS, by default ../shared/peers beside the repository), run by --python, an
interpreter with llama-cpp-python and gguf; its model files are kept in --dir. Without it moelle's own figures are printed alone.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAIRS = {"int4": "Q4_0", "int8": "Q8_0"}
TARGETS = {"prefill 128": 4.0, "prefill 512": 4.0, "decode": 1.5}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--moelle", required=True, help="the program bench_generation_v2lite")
parser.add_argument("--format", nargs="+", choices=list(PAIRS), default=list(PAIRS))
parser.add_argument("--threads", default="1,2")
parser.add_argument("--repeat", type=int, default=7)
parser.add_argument("--python", default=sys.executable, help="an interpreter with llama-cpp-python and gguf")
parser.add_argument("--dir", default=tempfile.gettempdir(), help="where llama.cpp's model files are kept (9 and 17 GB)")
parser.add_argument("--json", help="append rows for bench/report.py to this file")
options = parser.parse_args()
peer = Path(os.environ.get("MOELLE_PEERS", ROOT.parent / "shared" / "peers")) / "llama_v2lite.py"
have_llama = peer.exists() and subprocess.run([options.python, "-c", "import llama_cpp, gguf"], capture_output=True).returncode == 0
if not have_llama:
    print(f"no llama.cpp yardstick (llama-cpp-python and gguf for {Path(options.python).name}, {peer.name} found: {peer.exists()}): moelle alone")


def moelle(fmt):
    """{(threads, work): tokens per second of each repetition}, and bytes of weights and of the process at its peak."""
    out = subprocess.run([options.moelle, fmt, "--threads", options.threads, "--repeat", str(options.repeat)], check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    rates = {(r["threads"], r["work"]): [r["tokens"] / s for s in r["seconds"]] for r in rows if "work" in r}
    return rates, rows[-1]["weight_bytes"], rows[-1]["peak_bytes"]


def llama(fmt):
    """{(threads, work): [median, lowest, highest]}."""
    out = subprocess.run([options.python, str(peer), "--quant", PAIRS[fmt], "--threads", *options.threads.split(","), "--dir", options.dir, "--repeat",
                          str(options.repeat)], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"(\d+)T (prefill 128|prefill 512|decode) +([\d.]+) tok/s \(min ([\d.]+) max ([\d.]+)\)", out)
    return {(int(t), work): [float(v) for v in values] for t, work, *values in found}


def record(fmt, threads, work, ours, theirs):
    tokens = {"moelle": [1 / rate(ours) for rate in (statistics.median, min, max)]}  # of llama.cpp's samples only these are known
    if theirs:
        tokens["llama.cpp"] = [1 / t for t in theirs]
    row = {"section": "generation, V2-Lite", "work": f"{fmt} {work}", "threads": threads, "who": tokens, "unit": "tok/s", "items": 1, "flops": 4.345e9 if work != "decode" else None, "bytes": None,
           "limit": "int8_gops" if work != "decode" else None, "target": TARGETS[work] if theirs else None, "against": "llama.cpp" if theirs else None}
    with open(options.json, "a") as out:
        out.write(json.dumps(row) + "\n")


print(f"{'':5} {'threads':>7} {'':12} {'moelle tok/s':>24} {'llama.cpp tok/s':>24}  ratio")
for fmt in options.format:
    theirs = llama(fmt) if have_llama else {}
    ours, weights, peak = moelle(fmt)
    for (threads, work), rates in sorted(ours.items()):
        other = theirs.get((threads, work))
        mine = f"{statistics.median(rates):7.2f} [{min(rates):.2f}-{max(rates):.2f}]"
        his = f"{other[0]:7.2f} [{other[1]:.2f}-{other[2]:.2f}]" if other else "-"
        print(f"{fmt:5} {threads:7} {work:12} {mine:>24} {his:>24}  {statistics.median(rates) / other[0]:.2f}" if other else f"{fmt:5} {threads:7} {work:12} {mine:>24}", flush=True)
        if options.json:
            record(fmt, threads, work, rates, other)
    print(f"{fmt}: weights {weights / 1e9:.2f} GB, peak {peak / 1e9:.2f} GB, {peak / weights:.3f} of them")
