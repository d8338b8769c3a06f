"""The picture of report.py: for each group of works, what share of the machine's limit moelle and the yardsticks reach, one column for each
number of threads."""
from __future__ import annotations

import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import MultipleLocator, PercentFormatter  # noqa: E402
from matplotlib.transforms import ScaledTranslation, blended_transform_factory  # noqa: E402

OWN_COLOR, BAR_COLOR, INK, PALE, GRID, MET, MISSED = "#0b6e99", "#cfe4ee", "#2b2b2b", "#777777", "#dddddd", "#2f7d4f", "#c0392b"
OTHERS = [("#e07b39", "D"), ("#7a5195", "s"), ("#5b8c3a", "^"), ("#b23a5e", "v"), ("#8a6d3b", "P"), ("#555555", "X")]  # colour, marker
LINE, TOP, BOTTOM, WIDTH = 0.165, 1.0, 0.6, 13.0  # inches
LABELS, FIGURES, GAP = 2.8, 2.15, 0.15            # inches: left of the first column, right of each, between them
FURTHEST = 1.2  # data from caches can be read faster than any limit: an arrow says so, and the other lines keep their scale


def place(lines):
    """[(y, (section, group))] and [(y, section)], from the top down."""
    rows, headings, y = [], [], 0.0
    for key in lines:
        if not headings or headings[-1][1] != key[0]:
            y += 0.5 if headings else 0.0
            headings.append((y, key[0]))
            y += 1.05
        rows.append((y, key))
        y += 1.0
    return rows, headings, y


def median_share(members, name):
    shares = [row["shares"][name] for row in members if name in row["shares"]]
    return statistics.median(shares) if shares else None


def yardsticks(members):
    """Those with targets; without any the first."""
    judged = list(dict.fromkeys(name for row in members for name in row["targets"] if name in row["ratios"]))
    return judged or list(dict.fromkeys(name for row in members for name in row["ratios"]))[:1]


def family(name):
    """oneDNN bf16 is oneDNN."""
    return name.split()[0]


def draw_line(axes, y, members, styles):
    own = members[0]["own"]
    shares = [row["shares"][own] for row in members]
    low, high = (pick(row["shares"][own] * row["rates"][own][end] / row["rates"][own]["median"] for row in members) for pick, end in ((min, "min"), (max, "max")))
    middle = statistics.median(shares)
    axes.barh(y, min(middle, FURTHEST), height=0.72, color=BAR_COLOR, zorder=1)
    axes.hlines(y, min(low, FURTHEST), min(high, FURTHEST), color=OWN_COLOR, linewidth=1.1, zorder=3)
    marks = [(median_share(members, name), *styles[family(name)], 4.0) for name in yardsticks(members)] + [(middle, OWN_COLOR, "o", 5.0)]
    for share, color, marker, size in marks:
        axes.plot(min(share, FURTHEST), y, marker=">" if share > FURTHEST else marker, color=color, markersize=size, markeredgecolor="white",
                  markeredgewidth=0.5, zorder=4, clip_on=False)


def annotate(axes, y, members):
    """Right of a column: share of the limit, then the ratios to the yardsticks, coloured where there is a target; how many works meet it if not all do."""
    at, own = axes.get_yaxis_transform(), members[0]["own"]

    def judged(name):
        verdicts = [row["met"][name] for row in members if name in row["met"]]
        missing = f" ({sum(verdicts)}/{len(verdicts)})" if not all(verdicts) and len(verdicts) > 1 else ""
        return INK if not verdicts else MET if all(verdicts) else MISSED, "bold" if verdicts else "normal", missing

    color, weight, _ = judged("limit")
    axes.text(1.10, y, f"{median_share(members, own):.0%}", transform=at, va="center", ha="right", fontsize=6.8, color=color, weight=weight)
    for i, name in enumerate(yardsticks(members)[:2]):
        ratio = statistics.median(row["ratios"][name]["median"] for row in members if name in row["ratios"])
        color, weight, missing = judged(name)
        text = f"{ratio:.{1 if ratio >= 10 else 2}f} {name}{missing}"
        axes.text(1.14 + 0.35 * i, y, text, transform=at, va="center", ha="left", fontsize=6.3, color=color, weight=weight)


def subtitle(machines):
    cpu = next((m["cpu"] for m in machines.values() if "cpu" in m), "")
    names = {"fp32_gflops": ("fp32", "GF/s"), "bf16_gflops": ("bf16", "GF/s"), "int8_gops": ("int8", "GOP/s"), "read_gbs": ("read", "GB/s")}
    limits = [f"{t} thread{'s' if t > 1 else ''}: " + ", ".join(f"{what} {m[key]['median']:.0f} {unit}" for key, (what, unit) in names.items() if key in m)
              for t, m in sorted(machines.items())]
    return "\n".join(([cpu] if cpu else []) + limits)


def legend(figure, own, styles, y):
    handles = [Line2D([], [], marker="o", color=OWN_COLOR, linewidth=1.1, markersize=5, markeredgecolor="white", label=f"{own}: median of the works [least .. most]")]
    handles += [Line2D([], [], marker=marker, color=color, linestyle="", markersize=4.5, label=name) for name, (color, marker) in styles.items()]
    handles += [Line2D([], [], marker="s", color=color, linestyle="", markersize=4, label=text) for color, text in ((MET, "target met"), (MISSED, "missed (met/works)"))]
    figure.legend(handles=handles, loc="center", bbox_to_anchor=(0.5, y), ncols=len(handles), frameon=False, fontsize=7, handletextpad=0.4, columnspacing=1.3)


def style_column(axes, threads, height):
    axes.set_xlim(0, 1.02)
    axes.set_ylim(height, -0.5)
    axes.axvline(1.0, color=INK, linewidth=0.9, zorder=0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(axis="x", length=0, labelsize=7, labelcolor=INK, labeltop=True)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)  # figures of the column before may reach below
    axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=9, weight="bold", color=INK, loc="left", pad=14)
    for side in axes.spines.values():
        side.set_visible(False)


def draw_shares(lines, machines, path):
    """Draws the groups of works `lines` ({(section, group): rows of report.summarize}, all with shares) to `path`; says whether there were any."""
    rows, headings, height = place(lines)
    if not rows:
        return False
    threads = sorted({row["threads"] for members in lines.values() for row in members})
    others = list(dict.fromkeys(family(name) for members in lines.values() for name in yardsticks(members)))
    styles = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}
    inches = (height + 0.5) * LINE + TOP + BOTTOM
    figure, columns = plt.subplots(1, len(threads), figsize=(WIDTH, inches), squeeze=False)
    column = (WIDTH - LABELS - GAP * (len(threads) - 1)) / len(threads) - FIGURES
    for i, (axes, count) in enumerate(zip(columns[0], threads)):
        axes.set_position([(LABELS + i * (column + FIGURES + GAP)) / WIDTH, BOTTOM / inches, column / WIDTH, 1 - (TOP + BOTTOM) / inches])
        style_column(axes, count, height)
        for y, key in rows:
            members = [row for row in lines[key] if row["threads"] == count]
            if members:
                draw_line(axes, y, members, styles)
                annotate(axes, y, members)
    first = columns[0][0]
    for y, name in headings:
        first.text(0.15 - LABELS, y, name, transform=inch_transform(figure, first), ha="left", va="center", fontsize=8.2, weight="bold", color=INK)
    for y, (section, group) in rows:
        works = len({row["work"] for row in lines[section, group]})
        text = group + (f"  ({works} works)" if works > 1 else "")
        first.text(0.25 - LABELS, y, text, transform=inch_transform(figure, first), ha="left", va="center", fontsize=6.8, color=INK)
    figure.text(0.15 / WIDTH, 1 - 0.3 / inches, "Share of what the machine can do", fontsize=13, weight="bold", color=INK, ha="left", va="center")
    figure.text(0.15 / WIDTH, 1 - 0.52 / inches, "and ratios to the yardsticks, medians over the works of a line", fontsize=8, color=PALE, ha="left", va="center")
    figure.text(1 - 0.15 / WIDTH, 1 - 0.14 / inches, subtitle(machines), fontsize=7, color=PALE, ha="right", va="top", linespacing=1.4)
    legend(figure, lines[rows[0][1]][0]["own"], styles, 0.15 / inches)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def inch_transform(figure, axes):
    """x in inches from the left edge of the axes, y in their data."""
    left = axes.get_position().x0
    return blended_transform_factory(figure.dpi_scale_trans + ScaledTranslation(left * WIDTH, 0, figure.dpi_scale_trans), axes.transData)
