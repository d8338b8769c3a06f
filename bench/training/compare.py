#!/usr/bin/env python3
"""A training step of moelle and of PyTorch (bench/peers/torch_step.py), in turns: float32 and bfloat16 products, mixture of experts and dense twin.

PyTorch's compiled step with padded experts is what it gets, the best of its variants wherever all were tried; --variants all looks for the
best again (minutes). From the same samples come the mixture beside its dense twin and itself under a load whose largest expert gets five times
the mean. Memory is the resident peak of a process of its own. PyTorch's bfloat16 is compared with moelle's, float32 with float32.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import turns  # noqa: E402

try:
    from peers import torch_step
except ImportError:
    torch_step = None
    print("no PyTorch: moelle alone (pip install torch)")

TARGETS = {("f32", "MoE"): 1.6, ("f32", "dense"): 1.2, ("bf16", "MoE"): 1.8, ("bf16", "dense"): 1.3}
TOKENS = {"pilot": 16 * 128, "demo": 32 * 256, "small": 16 * 512}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--moelle", required=True, help="the program bench_training_train_step")
parser.add_argument("--size", nargs="+", default=["pilot", "demo"], choices=list(TOKENS))
parser.add_argument("--model", nargs="+", default=["MoE", "dense"], choices=["MoE", "dense"])
parser.add_argument("--precision", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
parser.add_argument("--variants", default="usual", choices=["usual", "all"])
parser.add_argument("--no-memory", action="store_true", help="leave out the measurement of memory")
parser.add_argument("--json", help="append rows for bench/report.py to this file")
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()


def best_step(size, kind, precision, threads):
    """PyTorch's fastest step, warm."""
    variants = [(True, "padded")]
    if options.variants == "all":
        variants = [(compiled, experts) for compiled in (True, False) for experts in (("padded", "grouped") if kind == "MoE" else ("padded",))]
    best = None
    for compiled, experts in variants:
        step = torch_step.TrainStep(size, kind, precision, compiled, experts, threads)
        for _ in range(4):
            step()
        seconds = turns.Yardstick("PyTorch", step).timed(2)
        if best is None or seconds < best[0]:
            best = seconds, step, f"{'compiled' if compiled else 'eager'}, {experts} experts"
    if len(variants) > 1:
        print(f"PyTorch's best: {best[2]}", flush=True)
    return best[1]


def split(row):
    """Rows of one comparison each."""
    size, kind, precision = row["work"].split()
    who = row["who"]
    common = {**row, "unit": "tok/s", "items": TOKENS[size], "target": None, "against": None}
    pair = {name: who[name] for name in ("moelle", "PyTorch") if name in who}
    rows = [{**common, "section": f"training, {precision}", "who": pair, "targets": {"PyTorch": TARGETS[precision, kind]} if "PyTorch" in who else {}}]
    if "dense twin" in who:
        common["limit"] = None  # the share of the limit is in the first row
        rows.append({**common, "section": "mixture beside its dense twin", "who": {name: who[name] for name in ("moelle", "dense twin")}, "targets": {"dense twin": 0.95}})
        rows.append({**common, "section": "largest expert at five times the mean", "who": {"moelle": who["skewed load"], "usual load": who["moelle"]},
                     "targets": {"usual load": 0.85}})
    return rows


def speed(threads):
    def yardsticks(section, work):
        return {"PyTorch": best_step(*work.split(), threads)} if torch_step is not None else {}

    works = f"^training/({'|'.join(options.size)}) ({'|'.join(options.model)}) ({'|'.join(options.precision)})$"
    turns.run(options.moelle, threads=threads, yardsticks=yardsticks, finish=split, json_path=options.json, pattern=works, quick=options.quick)


# By a process of its own: a child's ru_maxrss counts what its parent had when it was started.
PEAK = "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); _, s, u = os.wait4(pid, 0); print(u.ru_maxrss * 1024, file=sys.stderr); sys.exit(s != 0)"


def peak_of(command):
    """Largest resident memory of a process, in bytes."""
    return int(subprocess.run([sys.executable, "-c", PEAK, *command], check=True, capture_output=True, text=True).stderr.split()[-1])


def memory(size, kind, precision, threads):
    who = {"moelle": [peak_of([options.moelle, f"--threads={threads}", "--quick", f"--filter=^one model/{size} {kind} {precision}$"])]}
    if torch_step is not None:
        command = [sys.executable, torch_step.__file__, size, kind, precision, str(threads)]
        who["PyTorch"] = [int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)]
    row = {"section": "memory of training", "work": f"{size} {kind} {precision}", "threads": threads, "who": who, "unit": "MiB"}
    print(f"memory of training/{row['work']}: " + ", ".join(f"{name} {bytes_[0] / 2**20:.0f} MiB" for name, bytes_ in who.items()), flush=True)
    if options.json:
        with open(options.json, "a") as out:
            out.write(json.dumps(row) + "\n")


for count in options.threads:
    speed(count)
if not options.no_memory:
    for one_size in options.size:
        for one_kind in options.model:
            memory(one_size, one_kind, options.precision[-1], options.threads[-1])
