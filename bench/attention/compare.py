#!/usr/bin/env python3
"""Attention beside PyTorch's scaled_dot_product_attention in float32 at the same shapes, in turns with bench_attention_attention.

Training sizes are causal; PyTorch gets its own layout [B, H, T, D] in contiguous memory. Works that PyTorch has no operator for are measured
alone; over a latent cache it takes a hundred times as long, which says little. Before a shape is timed, PyTorch's result is checked against attention written out.
"""
from __future__ import annotations

import argparse
import functools
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import turns  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--moelle", required=True, help="the program bench_attention_attention")
parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
parser.add_argument("--filter", default="^(attention|decoding)/", help="regular expression on SECTION/WORK")
parser.add_argument("--json", help="append rows for bench/report.py to this file")
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()
try:
    import torch
except ImportError:
    torch = None
    print("no PyTorch: moelle alone (pip install torch)")


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


def check(q, k, v, causal):
    """Says so if the yardstick does not compute what it should."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    expected = scores.softmax(-1) @ v
    torch.testing.assert_close(sdpa(q, k, v, causal), expected, atol=1e-3, rtol=1e-3)


def sdpa(q, k, v, causal):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def training(q, k, v, g):
    for x in (q, k, v):
        x.grad = None
    sdpa(q, k, v, True).backward(g)


def yardsticks(section, work):
    if torch is None:
        return {}
    if found := re.fullmatch(r"(forward|training) B(\d+) T(\d+) H(\d+) D(\d+)/(\d+)", work):
        B, T, H, D, V = map(int, found.groups()[1:])
        q, k, v, g = random(B, H, T, D), random(B, H, T, D), random(B, H, T, V), random(B, H, T, V)
        if T <= 512:
            check(q[:1], k[:1], v[:1], True)
        if found[1] == "forward":
            return {"PyTorch": functools.partial(torch.no_grad()(sdpa), q, k, v, True)}
        return {"PyTorch": functools.partial(training, *(x.requires_grad_() for x in (q, k, v)), g)}
    if found := re.fullmatch(r"grouped f32 B(\d+) T(\d+) H(\d+) J(\d+) D(\d+)", work):
        B, T, H, J, D = map(int, found.groups())
        q, k, v = random(B, H, 1, D), random(B, J, T, D), random(B, J, T, D)
    else:
        return {}
    check(q, k, v, False)
    return {"PyTorch": functools.partial(torch.no_grad()(sdpa), q, k, v, False)}


def finish(row):
    if row["section"] == "attention":
        row["targets"] = {**({row["against"]: row["target"]} if row["target"] else {}), **({"PyTorch": 1.3} if "PyTorch" in row["who"] else {})}
    return [row]


for threads in options.threads:
    if torch is not None:
        torch.set_num_threads(threads)
    turns.run(options.moelle, threads=threads, yardsticks=yardsticks, finish=finish, json_path=options.json, pattern=options.filter, quick=options.quick)
