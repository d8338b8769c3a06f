"""Yardsticks in Python and a benchmark program on samples.hpp that take turns: rows for report.py whose samples are pairs.

    def yardsticks(section, work):                       # for a work that the program is about to do
        return {"PyTorch": call}                         # or {"llama.cpp": (call, part)}: part of the work that one call does
    turns.run(program, threads=2, yardsticks=yardsticks, finish=finish, json_path="rows.jsonl", pattern="^attention/")

`finish(row)` gets the row with all contenders and gives back the rows to be kept: it can add targets, {"PyTorch": 1.3, "limit": 0.9}.
Samples are taken as in samples.hpp: the mean of as many calls as take 30 ms, program and yardsticks in turns, seven rounds.
"""
from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SECONDS, QUICK_SECONDS = 0.03, 0.005


def settle():
    """Waits until this process uses no time any more: OpenMP's threads spin for milliseconds after their last region."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.0005:
            return


class Yardstick:
    def __init__(self, name, call, part=1.0):
        self.name, self.call, self.part, self.calls, self.seconds = name, call, part, 1, []

    def timed(self, calls):
        begin = time.perf_counter()
        for _ in range(calls):
            self.call()
        return time.perf_counter() - begin

    def prepare(self, wanted):
        """Finds how many calls make a sample; the calls on the way warm up."""
        self.timed(1)
        while (taken := self.timed(self.calls)) < wanted:
            self.calls = min(max(int(1.1 * self.calls * wanted / max(taken, 1e-7)), self.calls + 1), 10 * self.calls)

    def sample(self):
        settle()
        if self.calls > 1:
            self.timed(1)
        self.seconds.append(self.timed(self.calls) / self.calls / self.part)


def described(name, seconds):
    return f"{name} {statistics.median(seconds) * 1e3:.3f} ms [{min(seconds) * 1e3:.3f} .. {max(seconds) * 1e3:.3f}]"


def ratios(own, other):
    return statistics.median(theirs / ours for ours, theirs in zip(own, other))


def run(program, *, threads, yardsticks, json_path=None, finish=lambda row: [row], pattern="", quick=False):
    """Rows of all works of the program whose SECTION/WORK matches `pattern`; each is printed and appended to `json_path` as soon as it is there."""
    kept, others = [], []

    def close(rows_file):
        """The work is done: its row has been written by the program, the yardsticks' samples are added."""
        lines = Path(rows_file).read_text().splitlines()
        row = json.loads(lines[-1])
        row["who"].update({y.name: y.seconds for y in others})
        for kept_row in finish(row):
            kept.append(kept_row)
            (own, seconds), *rest = kept_row["who"].items()
            print(f"{kept_row['section']}/{kept_row['work']}, {threads} thread{'s' if threads > 1 else ''}: {described(own, seconds)}"
                  + "".join(f"; {described(name, s)} {ratios(seconds, s):.2f} x" for name, s in rest), flush=True)
            if json_path:
                with open(json_path, "a") as out:
                    out.write(json.dumps(kept_row) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        rows_file = f"{folder}/rows.jsonl"
        command = [str(program), f"--threads={threads}", f"--filter={pattern}", f"--json={rows_file}", "--paced", *(["--quick"] if quick else [])]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        rounds, open_work = 0, False

        def leave_round():
            for y in others if rounds else []:
                y.sample()
            settle()

        for line in child.stdout:
            if not line.startswith("await "):
                continue
            leave_round()
            if line.startswith("await work "):
                if open_work:
                    close(rows_file)
                section, work = line[len("await work "):].rstrip("\n").split("/", 1)
                others = [Yardstick(name, *(call if isinstance(call, tuple) else (call,))) for name, call in yardsticks(section, work).items()]
                rounds, open_work = 0, True
            else:
                if rounds == 0:
                    for y in others:
                        y.prepare(QUICK_SECONDS if quick else SECONDS)
                    settle()
                rounds += 1
            child.stdin.write("\n")
            child.stdin.flush()
        leave_round()
        if child.wait() != 0:
            raise RuntimeError(f"turns: {Path(program).name} ended with status {child.returncode}")
        if open_work:
            close(rows_file)
    return kept
