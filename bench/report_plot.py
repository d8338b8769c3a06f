"""The picture of report.py: for each work, what share of the machine's limit moelle and the yardsticks reach."""
from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import MultipleLocator, PercentFormatter  # noqa: E402

OWN_COLOR, BAR_COLOR, INK, PALE, GRID, MET, MISSED = "#0b6e99", "#cfe4ee", "#2b2b2b", "#777777", "#dddddd", "#2f7d4f", "#c0392b"
OTHERS = [("#e07b39", "D"), ("#7a5195", "s"), ("#5b8c3a", "^"), ("#b23a5e", "v"), ("#8a6d3b", "P"), ("#555555", "X")]  # colour, marker
WIDTH, ROW, TOP, BOTTOM = 11.0, 0.23, 0.95, 0.75  # inches
LEFT, RIGHT = 0.26, 0.765  # of the figure: works stand left of the bars, figures right of them
FURTHEST = 1.25  # data from caches can be read faster than any limit: an arrow says so, and the other rows keep their scale


def place(sections):
    """[(y, row)] and [(y, section)], from the top down: a line for each heading, a gap between works of several thread counts."""
    rows, headings, y = [], [], 0.0
    for name, group in sections.items():
        headings.append((y, name))
        y += 1.0
        for i, row in enumerate(group):
            rows.append((y, row))
            last = i + 1 == len(group) or group[i + 1]["work"] != row["work"]
            y += 1.25 if last and i > 0 and group[i - 1]["work"] == row["work"] else 1.0
        y += 0.4
    return rows, headings, y


def draw_row(axes, y, row, styles):
    share, rate = row["shares"][row["own"]], row["rates"][row["own"]]
    low, high = (min(rate[end] / row["limit_rate"], FURTHEST) for end in ("min", "max"))
    axes.barh(y, min(share, FURTHEST), height=0.7, color=BAR_COLOR, zorder=1)
    axes.hlines(y, low, high, color=OWN_COLOR, linewidth=1.4, zorder=3)
    for name, theirs in [*((n, s) for n, s in row["shares"].items() if n != row["own"]), (row["own"], share)]:
        color, marker, size = (OWN_COLOR, "o", 6.5) if name == row["own"] else (*styles[name], 5.0)
        beyond = theirs > FURTHEST
        axes.plot(min(theirs, FURTHEST), y, marker=">" if beyond else marker, color=color, markersize=size, markeredgecolor="white", markeredgewidth=0.6,
                  zorder=4, clip_on=False)
    against = row.get("against")
    if row["reached"] is not None:  # where moelle's marker should stand at least
        goal = row["target"] * (row["shares"][against] if against else 1.0)
        axes.vlines(min(goal, FURTHEST), y - 0.42, y + 0.42, color=MET if row["met"] else MISSED, linewidth=2.0, zorder=2)


def annotate(axes, y, row):
    """Right of the axes: rate, share of the limit, ratio to the yardstick that counts; the one that has a target in colour."""
    at, own, against = axes.get_yaxis_transform(), row["own"], row.get("against")
    judged = INK if row["met"] is None else MET if row["met"] else MISSED
    rate, share = row["rates"][own]["median"], row["shares"][own]

    def write(x, text, color=INK, **more):
        axes.text(x, y, text, transform=at, va="center", **{"ha": "right", "fontsize": 7.5, "color": color, **more})

    write(1.085, f"{rate:.{0 if rate >= 100 else 1}f}")
    write(1.092, row["unit"], PALE, ha="left", fontsize=6.5)
    write(1.21, f"{share:.0%}", *([judged] if against is None else []), weight="normal" if against or row["met"] is None else "bold")
    name = against if against in row["ratios"] else next(iter(row["ratios"]), None)
    if name:
        counts = name == against and row["met"] is not None
        write(1.285, f"{row['ratios'][name]['median']:.2f}", judged if counts else INK, weight="bold" if counts else "normal")
        write(1.292, f"× {name}", PALE, ha="left", fontsize=6.5)


def label(axes, rows, headings):
    """Left of the axes: sections, works (once for all thread counts) and thread counts; above them what the columns are."""
    at, left = axes.get_yaxis_transform(), (0.02 - LEFT) / (RIGHT - LEFT)
    for y, name in headings:
        axes.text(left, y, name, transform=at, ha="left", va="center", fontsize=9, weight="bold", color=INK)
    before = None
    for y, row in rows:
        if (row["section"], row["work"]) != before:
            size = 7.5 * min(1.0, 40 / len(row["work"]))  # forty characters reach the thread counts
            axes.text(left, y, row["work"], transform=at, ha="left", va="center", fontsize=size, color=INK)
        before = row["section"], row["work"]
        axes.text(-0.012, y, str(row["threads"]), transform=at, ha="right", va="center", fontsize=7.5, color=INK)
    for x, text, side in ((-0.012, "threads", "right"), (1.085, "rate", "right"), (1.21, "of limit", "right"), (1.285, "ratio", "right")):
        axes.text(x, -0.9, text, transform=at, ha=side, va="center", fontsize=6.5, color=PALE)


def subtitle(machines):
    cpu = next((m["cpu"] for m in machines.values() if "cpu" in m), "")
    names = {"fp32_gflops": ("fp32", "GF/s"), "bf16_gflops": ("bf16", "GF/s"), "int8_gops": ("int8", "GOP/s"), "read_gbs": ("read", "GB/s")}
    limits = [f"{t} thread{'s' if t > 1 else ''}: " + ", ".join(f"{what} {m[key]['median']:.0f} {unit}" for key, (what, unit) in names.items() if key in m)
              for t, m in sorted(machines.items())]
    return "\n".join(([cpu] if cpu else []) + limits)


def legend(figure, own, styles, rows):
    handles = [Line2D([], [], marker="o", color=OWN_COLOR, linewidth=1.4, markersize=6.5, markeredgecolor="white", label=f"{own} [min .. max]")]
    handles += [Line2D([], [], marker=marker, color=color, linestyle="", markersize=5, label=name) for name, (color, marker) in styles.items()]
    judged = {row["met"] for _, row in rows}
    handles += [Line2D([], [], marker="|", color=color, linestyle="", markersize=9, markeredgewidth=2.0, label=text)
                for met, color, text in ((True, MET, "target, met"), (False, MISSED, "target, missed")) if met in judged]
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 8), frameon=False, fontsize=7.5, handletextpad=0.5, columnspacing=1.6)


def draw_shares(sections, machines, path):
    """Draws the rows of `sections` ({name: rows of report.summarize}, all with shares) to `path`; says whether there were any."""
    rows, headings, height = place(sections)
    if not rows:
        return False
    others = list(dict.fromkeys(name for _, row in rows for name in row["shares"] if name != row["own"]))
    styles = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}
    inches = (height + 0.5) * ROW + TOP + BOTTOM
    figure, axes = plt.subplots(figsize=(WIDTH, inches))
    figure.subplots_adjust(left=LEFT, right=RIGHT, top=1 - TOP / inches, bottom=BOTTOM / inches)
    for y, row in rows:
        draw_row(axes, y, row, styles)
        annotate(axes, y, row)
    label(axes, rows, headings)
    furthest = max(max(row["shares"].values()) for _, row in rows)
    axes.set_xlim(0, min(max(1.02, 1.02 * furthest), FURTHEST))
    axes.set_ylim(height, -0.5)
    axes.axvline(1.0, color=INK, linewidth=1.0, zorder=0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MultipleLocator(0.1))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(axis="x", length=0, labelsize=7.5, labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.text(0.02, 1 - 0.3 / inches, "Share of what the machine can do", fontsize=13, weight="bold", color=INK, ha="left", va="center")
    figure.text(0.98, 1 - 0.16 / inches, subtitle(machines), fontsize=7, color=PALE, ha="right", va="top", linespacing=1.4)
    legend(figure, rows[0][1]["own"], styles, rows)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True
