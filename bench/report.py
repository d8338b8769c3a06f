#!/usr/bin/env python3
"""Tables and a picture of what the benchmarks measured, beside what the machine can do.

    report.py --machine machine.1.json machine.2.json --name all --out bench/results rows.jsonl ...

A row is one work by several contenders, whose samples (seconds per call) were taken in turns:
    {"section": "products", "work": "bf16 128x2816x2048", "threads": 1, "who": {"moelle": [..], "oneDNN": [..]}, "flops": 1.47e9,
     "bytes": null, "limit": "bf16_gflops", "target": 0.97, "against": "oneDNN"}
`limit` names what binds the work in the machine's JSON (bench_machine); `target` is a ratio to the rate of `against`, or a share of the limit
where `against` is null. Flops, bytes, limit, target and against may be null. Ratios are formed sample by sample: what slows the machine
down for a while slows both, so the ratio holds where the rates do not. All figures are medians [least .. most].
"""
from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from pathlib import Path

OWN = "moelle"
UNITS = {"fp32_gflops": "GF/s", "bf16_gflops": "GF/s", "int8_gops": "GOP/s", "read_gbs": "GB/s", "read_4k_gbs": "GB/s"}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def read_rows(path):
    """Rows of a file: one JSON object per line, or one list."""
    text = Path(path).read_text()
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def read_machines(paths):
    """{threads: limits}"""
    machines = [json.loads(Path(p).read_text()) for p in paths]
    return {m["threads"]: m for m in machines}


def amount_of(row):
    """What one call does, and the unit of its rate: what the limit counts; without a limit flops, bytes or calls, whichever is known first."""
    limit, flops, bytes_ = row.get("limit"), row.get("flops"), row.get("bytes")
    if limit is not None:
        if limit not in UNITS:
            raise ValueError(f"report: limit must be one of {', '.join(UNITS)}; got work={row['work']!r} limit={limit!r}")
        amount = bytes_ if limit.startswith("read") else flops
        if not amount:
            raise ValueError(f"report: a row with a limit must say its flops or bytes; got work={row['work']!r} limit={limit!r} flops={flops} bytes={bytes_}")
        return amount * 1e-9, UNITS[limit]
    if flops:
        return flops * 1e-9, "GF/s"
    return (bytes_ * 1e-9, "GB/s") if bytes_ else (1.0, "1/s")


def summarize(row, machines):
    """The row, and besides: unit, who the report is about, rates, ratios of its rate to the others', shares of the limit, whether the target is met."""
    who, own = row["who"], OWN if OWN in row["who"] else next(iter(row["who"]), None)
    counts = {name: len(seconds) for name, seconds in who.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(f"report: contenders must have as many samples as each other, and some; got work={row['work']!r} samples={counts}")
    amount, unit = amount_of(row)
    rates = {name: spread([amount / s for s in seconds]) for name, seconds in who.items()}
    ratios = {name: spread([theirs / ours for ours, theirs in zip(who[own], seconds)]) for name, seconds in who.items() if name != own}
    limit = machines.get(row["threads"], {}).get(row.get("limit"), {}).get("median")
    shares = {name: rate["median"] / limit for name, rate in rates.items()} if limit else {}
    target, against, reached = row.get("target"), row.get("against"), None
    if target is not None:
        reached = shares.get(own) if against is None else ratios.get(against, {}).get("median")
    return {**row, "own": own, "unit": unit, "rates": rates, "ratios": ratios, "limit_rate": limit, "shares": shares, "reached": reached,
            "met": None if reached is None else reached >= target}


def by_section(rows):
    """{section: rows}, both in the order of first appearance; a work's rows for several thread counts stand together."""
    sections = {}
    for row in rows:
        sections.setdefault(row["section"], {}).setdefault(row["work"], []).append(row)
    return {name: [row for group in works.values() for row in sorted(group, key=lambda r: r["threads"])] for name, works in sections.items()}


# --- the tables --------------------------------------------------------------------------------------------------------------


def number(x):
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def target_text(row):
    if row.get("target") is None:
        return ""
    goal = f"{row['target']:.2f} of {row.get('against') or 'limit'}"
    return f"{goal}: {'not measured' if row['met'] is None else 'met' if row['met'] else 'MISSED'}"


def cells(row, others):
    rate = row["rates"][row["own"]]
    out = [row["work"], str(row["threads"]), number(rate["median"]), f"[{number(rate['min'])} .. {number(rate['max'])}]", row["unit"],
           f"{row['shares'][row['own']]:.2f}" if row["shares"] else "-"]
    for name in others:
        r = row["ratios"].get(name)
        out.append(f"{r['median']:.2f} [{r['min']:.2f} .. {r['max']:.2f}]" if r else "-")
    return [*out, target_text(row)]


def table(section, rows):
    """Lines of text: one per row, columns for the yardsticks of this section."""
    others = list(dict.fromkeys(name for row in rows for name in row["ratios"]))
    own = rows[0]["own"]
    lines = [[section, "threads", own, "[min .. max]", "", "of limit", *(f"/ {name}" for name in others), "target"], *(cells(row, others) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    left = {0, 4, len(widths) - 1}  # words to the left, figures to the right
    text = ["  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in lines]
    return [text[0], "-" * max(map(len, text)), *text[1:]]


def disturbed(machine):
    """Peaks of arithmetic that came out much higher at times than in the median: something else was running, and shares come out too high."""
    return [key for key in UNITS if not key.startswith("read") and key in machine and machine[key]["max"] > 1.1 * machine[key]["median"]]


def print_report(rows, machines, file=None):
    for threads, machine in sorted(machines.items()):
        limits = "  ".join(f"{key} {number(machine[key]['median'])}" for key in UNITS if key in machine)
        print(f"{machine.get('cpu', 'this machine')}, {threads} thread{'s' if threads > 1 else ''}: {limits}", file=file)
        if disturbed(machine):
            print(f"  the machine was not idle while {', '.join(disturbed(machine))} were measured: shares of them are too high", file=file)
    for section, group in by_section(rows).items():
        print("", *table(section, group), sep="\n", file=file)
    judged = [row for row in rows if row["met"] is not None]
    if judged:
        print(f"\n{sum(row['met'] for row in judged)} of {len(judged)} targets met", file=file)


# --- files -------------------------------------------------------------------------------------------------------------------


def draw(rows, machines, path):
    """The picture, if matplotlib is there and a limit is known; says whether it was drawn."""
    try:
        from report_plot import draw_shares
    except ImportError:
        print("no picture: matplotlib must be installed", file=sys.stderr)
        return False
    return draw_shares(by_section([row for row in rows if row["shares"]]), machines, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="files of rows: JSON lines or lists")
    parser.add_argument("--machine", nargs="*", default=[], help="bench_machine's JSON, one file for each number of threads")
    parser.add_argument("--name", default="all", help="what the results are called")
    parser.add_argument("--out", default=str(Path(__file__).resolve().parent / "results"), help="folder for NAME.json and NAME.png")
    options = parser.parse_args(arguments)
    machines = read_machines(options.machine)
    rows = [summarize(row, machines) for path in options.rows for row in read_rows(path)]
    print_report(rows, machines)
    if not rows:
        return
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    results = {"name": options.name, "date": datetime.datetime.now().isoformat(timespec="seconds"), "machines": list(machines.values()), "rows": rows}
    (out / f"{options.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    drawn = draw(rows, machines, out / f"{options.name}.png")
    print(f"written: {out / options.name}.json" + (f", {out / options.name}.png" if drawn else ""))


if __name__ == "__main__":
    main()
