#!/usr/bin/env python3
"""Tables and a picture of what the benchmarks measured, beside what the machine can do.

    report.py --machine machine.1.json machine.2.json --name all --out bench/results rows.jsonl ...

A row is one work by several contenders, whose samples (seconds per call) were taken in turns:
    {"section": "products", "work": "bf16 128x2816x2048", "group": "bf16, 128 rows", "threads": 1, "who": {"moelle": [..], "oneDNN": [..]},
     "flops": 1.47e9, "bytes": null, "limit": "bf16_gflops", "target": 0.97, "against": "oneDNN"}
`limit` names what binds the work in the machine's JSON (bench_machine); `target` is a ratio to the rate of `against`, or a share of the limit
where `against` is null; "targets": {"oneDNN": 0.97, "limit": 0.9} says several. Works of one group share a line of the summary and of the
picture. "unit": "tok/s" with "items" per call shows those instead of flops; "unit": "MiB" says that the samples are bytes of memory. All but
section, work, threads and who may be left out or null. Ratios are formed sample by sample: what slows the machine down for a while slows
both, so the ratio holds where the rates do not. All figures are medians [least .. most].
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
ARITHMETIC = [key for key in UNITS if not key.startswith("read")]
SCALING = 1.9  # what two threads should do in the time of one, where arithmetic binds


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


def rates_of(row):
    """{contender: spread of its rate} and the unit."""
    who = row["who"]
    if row.get("unit") == "MiB":
        return {name: spread([bytes_ / 2**20 for bytes_ in samples]) for name, samples in who.items()}, "MiB"
    amount, unit = (row["items"], row["unit"]) if row.get("items") else amount_of(row)
    return {name: spread([amount / s for s in seconds]) for name, seconds in who.items()}, unit


def targets_of(row):
    """{name of a yardstick or "limit": ratio}"""
    if row.get("targets") is not None:
        return row["targets"]
    return {} if row.get("target") is None else {row.get("against") or "limit": row["target"]}


def summarize(row, machines):
    """The row, and besides: unit, who the report is about, rates, ratios of its rate to the others', shares of the limit, which targets are met."""
    who, own = row["who"], OWN if OWN in row["who"] else next(iter(row["who"]), None)
    counts = {name: len(seconds) for name, seconds in who.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(f"report: contenders must have as many samples as each other, and some; got work={row['work']!r} samples={counts}")
    rates, unit = rates_of(row)
    ratios = {name: spread([theirs / ours for ours, theirs in zip(who[own], seconds)]) for name, seconds in who.items() if name != own}
    limit = machines.get(row["threads"], {}).get(row.get("limit"), {}).get("median")
    shares = {name: amount_of(row)[0] / statistics.median(seconds) / limit for name, seconds in who.items()} if limit else {}
    targets = targets_of(row)
    reached = {name: shares.get(own) if name == "limit" else ratios.get(name, {}).get("median") for name in targets}
    met = {name: reached[name] >= goal for name, goal in targets.items() if reached[name] is not None}
    return {**row, "own": own, "unit": unit, "rates": rates, "ratios": ratios, "limit_rate": limit, "shares": shares, "targets": targets, "reached": reached, "met": met}


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
    verdict = {True: "met", False: "MISSED", None: "not measured"}
    return ", ".join(f"{goal:.2f} of {name}: {verdict[row['met'].get(name)]}" for name, goal in row["targets"].items())


def cells(row, others):
    rate = row["rates"][row["own"]]
    out = [row["work"], str(row["threads"]), number(rate["median"]), f"[{number(rate['min'])} .. {number(rate['max'])}]" if len(row["who"][row["own"]]) > 1 else "", row["unit"],
           f"{row['shares'][row['own']]:.2f}" if row["shares"] else "-"]
    for name in others:
        r = row["ratios"].get(name)
        out.append("-" if not r else f"{r['median']:.2f}" + (f" [{r['min']:.2f} .. {r['max']:.2f}]" if len(row["who"][name]) > 1 else ""))
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


def groups(rows):
    """{(section, group): rows}: lines of the summary and of the picture, section by section."""
    found = {}
    for section, members in by_section(rows).items():
        for row in members:
            found.setdefault((section, row.get("group") or row["work"]), []).append(row)
    return found


def summary(rows):
    """Lines of text: what each target came to, over the works of a group, for every number of threads."""
    lines, section = [], None
    threads = sorted({row["threads"] for row in rows})
    for (name, group), members in groups(rows).items():
        for other in dict.fromkeys(other for row in members for other in row["targets"]):
            judged = {t: [row for row in members if row["threads"] == t and other in row["met"]] for t in threads}
            if not any(judged.values()):
                continue
            goal = min(row["targets"][other] for row in members if other in row["targets"])
            cells_ = []
            for t in threads:
                reached = [row["reached"][other] for row in judged[t]]
                met = sum(row["met"][other] for row in judged[t])
                cells_.append((f"{statistics.median(reached):.2f}" + (f" [{min(reached):.2f} .. {max(reached):.2f}]" if len(reached) > 1 else ""),
                               ("met" if met == len(reached) else f"{met} of {len(reached)} met" if met else "MISSED")) if reached else ("-", ""))
            if name != section:
                lines.append([name, "", *[""] * (2 * len(threads))])
                section = name
            lines.append(["  " + group, f">= {goal:.2f} of {other}", *(c for pair in cells_ for c in pair)])
    if not lines:
        return []
    head = ["targets", "", *(c for t in threads for c in (f"{t} thread{'s' if t > 1 else ''}", ""))]
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in [head, *lines]]
    return [text[0], "-" * max(map(len, text)), *text[1:]]


def scaling(rows, machines):
    """Lines of text: what a second thread brings where arithmetic binds, by section; both thread counts are of this run, not of the same rounds."""
    rates = {(row["section"], row["work"], row["threads"]): row["rates"][row["own"]]["median"] for row in rows if row.get("limit") in ARITHMETIC}
    sections = {}
    for (section, work, threads), rate in rates.items():
        if threads == 2 and (section, work, 1) in rates:
            sections.setdefault(section, []).append((rate / rates[section, work, 1], work))
    lines = [f"  {key:38} {machines[2][key]['median'] / machines[1][key]['median']:.2f} (the machine's own)" for key in ARITHMETIC
             if sections and {1, 2} <= set(machines) and key in machines[1] and key in machines[2]]
    for section, ratios in sections.items():
        values, least = [r for r, _ in ratios], min(ratios)
        lines.append(f"  {section:38} {statistics.median(values):.2f} [{least[0]:.2f} .. {max(values):.2f}]  {sum(v >= SCALING for v in values)} of {len(values)} "
                     f"at {SCALING} or more; least: {least[1]}")
    return [f"two threads over one, where arithmetic binds (target {SCALING})", *lines] if lines else []


def disturbed(machine):
    """Peaks of arithmetic that came out much higher at times than in the median: something else was running, and shares come out too high."""
    return [key for key in ARITHMETIC if key in machine and machine[key]["max"] > 1.1 * machine[key]["median"]]


def print_report(rows, machines, file=None):
    for threads, machine in sorted(machines.items()):
        limits = "  ".join(f"{key} {number(machine[key]['median'])}" for key in UNITS if key in machine)
        print(f"{machine.get('cpu', 'this machine')}, {threads} thread{'s' if threads > 1 else ''}: {limits}", file=file)
        if disturbed(machine):
            print(f"  the machine was not idle while {', '.join(disturbed(machine))} were measured: shares of them are too high", file=file)
    for section, group in by_section(rows).items():
        print("", *table(section, group), sep="\n", file=file)
    for part in (scaling(rows, machines), summary(rows)):
        if part:
            print("", *part, sep="\n", file=file)
    verdicts = [met for row in rows for met in row["met"].values()]
    if verdicts:
        print(f"\n{sum(verdicts)} of {len(verdicts)} targets met", file=file)


# --- files -------------------------------------------------------------------------------------------------------------------


def draw(rows, machines, path):
    """The picture, if matplotlib is there and a limit is known; says whether it was drawn."""
    try:
        from report_plot import draw_shares
    except ImportError:
        print("no picture: matplotlib must be installed", file=sys.stderr)
        return False
    return draw_shares(groups([row for row in rows if row["shares"]]), machines, path)


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
