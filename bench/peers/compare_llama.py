#!/usr/bin/env python3
"""Experts (bench_gemm_packed) and decoding over a latent cache (bench_attention_attention) in turns with llama.cpp's operators.

llama.cpp's mul_mat_id gets the type of the same width, in the layout that is the fastest: f32 F32, bf16 BF16, int8 Q8_0, int4 Q4_0 as it comes or
repacked. Needs llama-cpp-python, which compiles llama.cpp for this machine; --help and bench/run.sh say how to name another interpreter.
"""
from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import turns  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--moelle", required=True, help="the program bench_gemm_packed or bench_attention_attention")
parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
parser.add_argument("--filter", required=True, help="regular expression on SECTION/WORK")
parser.add_argument("--json", help="append rows for bench/report.py to this file")
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()
try:
    from peers import ggml
except ImportError as missing:
    ggml = None
    print(f"no llama.cpp, moelle alone: {missing}; MOELLE_LLAMA_PYTHON may name an interpreter that has it")

KINDS = {"f32": "F32", "bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
# experts, of which a token sees how many, output and input features, whether the experts of a token see the same row
LAYERS = {"V2-Lite gate+up": (64, 6, 2816, 2048, True), "V2-Lite down": (64, 6, 2048, 1408, False), "V3 gate+up": (8, 1, 4096, 7168, True)}
TARGETS = {"experts": 4.0, "decoding": 6.0}
held = []  # the operators of the work that is being measured
threads = 1


def release():
    while held:
        held.pop().close()


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def experts(kind, layer, rows):
    """The fastest layout's call, and which part of moelle's work it does: tokens are whole, rows per expert are a mean."""
    E, top, m, k, shared = LAYERS[layer]
    tokens = -(-rows * E // top)
    ids = np.arange(tokens * top).reshape(tokens, top) % E
    weights = np.random.default_rng(0).standard_normal((m, k), dtype=np.float32) * np.float32(0.02)
    layouts = [False, True] if kind in ggml.REPACKED and ggml.repacked_buffers else [False]
    calls = [ggml.experts(kind, repacked, weights, ids, shared, threads) for repacked in layouts]
    best = min(calls, key=lambda call: min(seconds(call) for _ in range(2)))
    for call in calls:
        held.append(call) if call is best else call.close()
    return best, tokens * top / (rows * E)


def yardsticks(section, work):
    release()
    if ggml is None:
        return {}
    if found := re.fullmatch(r"(\w+) (.*), (\d+) rows per expert", work):
        return {"llama.cpp": experts(KINDS[found[1]], found[2], int(found[3]))} if found[1] in KINDS and found[2] in LAYERS else {}
    if found := re.fullmatch(r"latent bf16 T(\d+) H(\d+)", work):
        held.append(ggml.latent_attention(int(found[2]), int(found[1]), threads))
        return {"llama.cpp": held[-1]}
    return {}


def finish(row):
    if "llama.cpp" in row["who"]:
        row["targets"] = {**({row["against"]: row["target"]} if row["target"] else {}), "llama.cpp": TARGETS[row["section"]]}
    return [row]


for threads in options.threads:
    turns.run(options.moelle, threads=threads, yardsticks=yardsticks, finish=finish, json_path=options.json, pattern=options.filter, quick=options.quick)
