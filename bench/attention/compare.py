#!/usr/bin/env python3
"""Attention of moelle and PyTorch's scaled_dot_product_attention in float32 at the same shapes, taken in turns on the same machine.

GF/s counts what causal attention needs, half of all pairs of queries and keys; decoding counts every key. PyTorch gets its own layout [B, H, T, D]
in contiguous memory, moelle [B, T, H, D]. Of every round the best of a few calls counts; the ratio is that of the medians.
"""
from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

import moelle

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--threads", nargs="+", type=int, default=[1])
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=float, default=0.3, help="per measurement")
options = parser.parse_args()

# B, T, H, Dk, Dv; B, Tk, H, J, D; B, Tk, H, C, R
TRAINING = [(16, 128, 4, 48, 32), (32, 256, 8, 48, 32), (16, 512, 8, 96, 64), (64, 128, 8, 64, 64), (16, 256, 8, 64, 64), (8, 256, 16, 128, 128),
            (16, 256, 8, 192, 128), (1, 2048, 8, 128, 128), (1, 2048, 16, 192, 128)]
DECODING = [(1, 4096, 32, 8, 128), (1, 4096, 16, 16, 128), (8, 1024, 16, 4, 64)]
LATENT = [(1, 4096, 16, 512, 64), (1, 4096, 128, 512, 64)]


def best(call):
    call()
    times, end = [], time.perf_counter() + options.seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def pair(ours, theirs):
    """Milliseconds of both, taken in turns."""
    a, b = [], []
    for _ in range(options.rounds):
        a.append(best(ours) * 1e3)
        b.append(best(theirs) * 1e3)
    return statistics.median(a), statistics.median(b)


def report(name, shape, flops, ours, theirs):
    a, b = pair(ours, theirs)
    print(f"{name:9} {str(shape):28} {a:9.3f} ms {flops / a / 1e6:7.1f} GF/s   {b:9.3f} ms {flops / b / 1e6:7.1f} GF/s   {b / a:5.2f}x", flush=True)


def tensors(*shapes):
    """The same numbers for moelle, and for PyTorch with heads before tokens."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s, dtype=np.float32) for s in shapes]
    return [moelle.from_numpy(x) for x in arrays], [torch.from_numpy(x).transpose(1, 2).contiguous() for x in arrays]


def sdpa(q, k, v, causal):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def training(B, T, H, Dk, Dv):
    (q, k, v, g), (tq, tk, tv, tg) = tensors((B, T, H, Dk), (B, T, H, Dk), (B, T, H, Dv), (B, T, H, Dv))
    pairs = B * H * T * (T + 1) / 2
    forward, backward = pairs * 2 * (Dk + Dv), pairs * 2 * (3 * Dk + 2 * Dv)
    np.testing.assert_allclose(moelle.functional.attention(q, k, v).numpy(), sdpa(tq, tk, tv, True).transpose(1, 2).numpy(), atol=1e-4)
    report("forward", (B, T, H, Dk, Dv), forward, lambda: moelle.functional.attention(q, k, v), lambda: sdpa(tq, tk, tv, True))
    for x in (q, k, v):
        x.requires_grad = True
    for x in (tq, tk, tv):
        x.requires_grad_(True)

    def ours():
        for x in (q, k, v):
            x.grad = None
        moelle.functional.attention(q, k, v).backward(g)

    def theirs():
        for x in (tq, tk, tv):
            x.grad = None
        sdpa(tq, tk, tv, True).backward(tg)

    report("training", (B, T, H, Dk, Dv), forward + backward, ours, theirs)


def decoding(B, T, H, J, D):
    (q, k, v), (tq, tk, tv) = tensors((B, 1, H, D), (B, T, J, D), (B, T, J, D))
    np.testing.assert_allclose(moelle.functional.attention(q, k, v).numpy(), sdpa(tq, tk, tv, False).transpose(1, 2).numpy(), atol=1e-4)
    report("decoding", (B, T, H, J, D), B * T * H * 4 * D, lambda: moelle.functional.attention(q, k, v), lambda: sdpa(tq, tk, tv, False))


def latent(B, T, H, C, R):
    """One key of C + R channels for all heads, of which the first C are the value."""
    (q, rows), (tq, trows) = tensors((B, 1, H, C + R), (B, T, 1, C + R))
    values, tvalues = rows[:, :, :, :C], trows[..., :C]
    np.testing.assert_allclose(moelle.functional.attention(q, rows, values).numpy(), sdpa(tq, trows, tvalues, False).transpose(1, 2).numpy(), atol=1e-4)
    report("latent", (B, T, H, C, R), B * T * H * 2 * (2 * C + R), lambda: moelle.functional.attention(q, rows, values), lambda: sdpa(tq, trows, tvalues, False))


for threads in options.threads:
    moelle.set_num_threads(threads)
    torch.set_num_threads(threads)
    print(f"{threads} threads, {moelle.isa_name()}, PyTorch {torch.__version__}; moelle, then PyTorch, then how many times faster moelle is")
    with torch.no_grad():
        for shape in DECODING:
            decoding(*shape)
        for shape in LATENT:
            latent(*shape)
    for shape in TRAINING:
        training(*shape)
