"""The main job: a mixture of experts and its dense twin, trained on the same bytes, side by side.

Both models read the same batches in the same order for the same number of steps; the dense twin has the same attention and the
same active FLOPs per token. A run lives in a folder of its own, named by its options: the same command goes on where an
interrupted run stopped, and shows the result again once it is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sysconfig
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from . import data, estimate, functional, get_num_threads, isa_name, models, nn, training

BITS = 1 / math.log(2)  # nats to bits
VALIDATION_BYTES = 256 * 1024
SAVE_EVERY = 50
LOAD_STEPS = 50  # over which the balance of the experts is reported at the end

@dataclasses.dataclass
class Options:
    """What a run is made of; a run can only be continued with the same options."""

    data: list[str]
    optimizer: str = "muon"
    precision: str = "f32"
    steps: int = 600
    batch_size: int = 16
    seq_len: int = 128
    lr: float = 6e-3
    seed: int = 1

    def name(self) -> str:
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{self.optimizer}-{self.steps}-seed{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Arm:
    """One of the two models with its trainer and its history."""

    def __init__(self, name, title, config, options, documents, folder):
        self.name, self.title, self.config, self.options, self.folder = name, title, config, options, folder / name
        self.model = nn.set_precision(models.CausalLM(config, seed=options.seed), options.precision)
        self.trainer = training.Trainer(
            self.model, lr=options.lr, steps=options.steps, warmup_steps=min(50, max(1, options.steps // 10)), schedule="cosine", min_ratio=0.1,
            optimizer=options.optimizer, weight_decay=0.1, clip=1.0, bias_update_rate=10.0 / options.steps)
        self.loader = data.ByteLoader(documents, batch_size=options.batch_size, seq_len=options.seq_len, seed=options.seed)
        self.estimate = estimate.model(config, context=options.seq_len)
        self.flops = self.estimate.train_flops_per_token
        self.history, self.seconds, self.validation, self.text = [], 0.0, None, ""
        self.loads = []  # of the last LOAD_STEPS steps: [layer][expert] tokens

    def resume(self):
        found = self.trainer.load(str(self.folder))
        if found is None:
            return False
        saved = json.loads(found)
        self.history, self.seconds, self.loads = saved["history"], saved["seconds"], saved["loads"]
        self.validation, self.text = saved["validation"], saved["text"]
        return True

    def save(self):
        self.trainer.save(str(self.folder), json.dumps(dict(history=self.history, seconds=self.seconds, loads=self.loads, validation=self.validation, text=self.text)))

    @property
    def done(self):
        return self.trainer.steps_done >= self.options.steps

    def step(self):
        report = self.trainer.step(self.trainer.next_batches(self.loader))
        self.seconds += report.seconds
        tokens = self.trainer.tokens_seen
        self.history.append(dict(step=report.step, loss=report.loss, flops=tokens * self.flops, seconds=self.seconds, max_violation=report.max_violation,
                                 dead=report.dead_experts, skipped=report.skipped))
        self.loads = [*self.loads, report.load][-LOAD_STEPS:] if report.load else []
        return report

    def load(self):
        """Tokens of each expert in the last LOAD_STEPS steps: [layer][expert]."""
        return [[sum(step) for step in zip(*layer)] for layer in zip(*self.loads)]

    def finish(self, documents, prompt):
        """Validation loss and a few lines of text."""
        if self.validation is None:
            windows = VALIDATION_BYTES // self.options.seq_len
            self.validation = training.evaluate(self.model, documents, batch_size=32, seq_len=self.options.seq_len, max_windows=windows) * BITS
            ids = [list(prompt.encode())]
            out = self.model.generate(ids, max_new_tokens=240, temperature=0.7, top_p=0.9, seed=self.options.seed)
            self.text = bytes(out.numpy()[0].tolist()).decode(errors="replace")
            self.save()

    def smooth(self):
        """Training loss in bits per byte, the mean of the last 20 steps."""
        losses = [row["loss"] * BITS for row in self.history]
        return [sum(losses[max(0, i - 19) : i + 1]) / min(20, i + 1) for i in range(len(losses))]

    def reached(self, level):
        """FLOPs and seconds after which the smoothed loss first is at or below `level`; None if never."""
        for row, value in zip(self.history, self.smooth()):
            if value <= level:
                return row["flops"], row["seconds"]
        return None


def load_data(paths, console):
    if paths:
        corpus = data.load_corpus(paths, min_validation_bytes=VALIDATION_BYTES)
        what = ", ".join(paths)
    else:
        folder = sysconfig.get_paths()["stdlib"]
        corpus = data.load_corpus([folder], extensions=[".py"], exclude=["site-packages", "dist-packages", "__pycache__"], min_validation_bytes=VALIDATION_BYTES)
        what = "the source files of the Python standard library"
    console.print(f"[bold]Data[/]: {what}: {corpus.files:,} files, {corpus.duplicates} duplicates and {corpus.skipped} others (empty, binary) left out; "
                  f"{corpus.train_bytes:,} bytes to train on, {corpus.validation_bytes:,} bytes of other files to validate")
    return corpus


class Display(Progress):
    """A bar, and under it the figures of the last step."""

    def get_renderables(self):
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["figures"], style="dim")


def figures(arm, report, mean):
    """What is worth watching, in 80 columns."""
    rate = report.tokens / report.seconds
    text = f"  loss {mean:.3f}  {mean * BITS:.3f} bits/byte  {rate:,.0f} tok/s  {rate * arm.flops / 1e9:.0f} GFLOP/s"
    return text + (f"  MaxVio {report.max_violation:.2f}  dead {report.dead_experts}" if report.load else "")


def train(arm, console):
    options = arm.options
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("step {task.completed} of {task.total}"), TimeRemainingColumn(), TextColumn("left"))
    with Display(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{arm.title:<18}", total=options.steps, completed=arm.trainer.steps_done, figures="")
        mean = arm.history[-1]["loss"] if arm.history else None
        try:
            while not arm.done:
                report = arm.step()
                mean = report.loss if mean is None else 0.9 * mean + 0.1 * report.loss
                if report.skipped:
                    console.print(f"step {report.step} not applied: {report.skipped}")
                progress.update(task, completed=arm.trainer.steps_done, figures=figures(arm, report, mean))
                if arm.trainer.steps_done % SAVE_EVERY == 0 or arm.done:
                    arm.save()
                    if not console.is_terminal:
                        print(f"{arm.title}, step {arm.trainer.steps_done} of {options.steps}:{figures(arm, report, mean)}", flush=True)
        except KeyboardInterrupt:
            arm.save()
            raise


def show_result(moe, dense, console):
    level = dense.smooth()[-1]
    table = Table(title=f"{moe.options.steps} steps of {moe.options.batch_size * moe.options.seq_len:,} bytes, {moe.options.optimizer}, {moe.options.precision}, seed {moe.options.seed}, "
                        f"{get_num_threads()} threads, {isa_name()}")
    table.add_column("")
    for arm in (moe, dense):
        table.add_column(arm.title, justify="right")

    def row(name, value):
        table.add_row(name, value(moe), value(dense))

    def reach(i, unit, scale):
        def cell(arm):
            at = arm.reached(level)
            return "not reached" if at is None else f"{at[i] / scale:,.2f} {unit}"
        return cell

    def overload(arm):
        violations = [functional.max_violation(layer) for layer in arm.load()]
        return f"{sum(violations) / len(violations):.2f}, {max(violations):.2f}" if violations else "-"

    row("total parameters", lambda a: f"{a.estimate.total_params:,}")
    row("active parameters", lambda a: f"{a.estimate.active_params:,}")
    row("training FLOPs per token", lambda a: f"{a.flops / 1e6:.3f} M")
    row("validation bits per byte", lambda a: f"{a.validation:.4f}")
    row("training bits per byte (smoothed)", lambda a: f"{a.smooth()[-1]:.4f}")
    row("FLOPs to the dense twin's final loss", reach(0, "TFLOP", 1e12))
    row("seconds to the dense twin's final loss", reach(1, "s", 1))
    row("seconds in all", lambda a: f"{a.seconds:.1f}")
    row("tokens per second", lambda a: f"{a.trainer.tokens_seen / a.seconds:,.0f}")
    row(f"MaxVio, last {LOAD_STEPS} steps: mean, largest", overload)
    row(f"dead experts, last {LOAD_STEPS} steps", lambda a: f"{sum(map(functional.dead_experts, a.load()))} of {sum(map(len, a.load()))}" if a.loads else "-")
    console.print(table)

    gain = dense.validation - moe.validation
    at = moe.reached(level)
    if gain > 0:
        console.print(f"The mixture of experts is [bold]{gain:.3f} bits per byte ahead[/] of its dense twin on files that neither has seen.", highlight=False)
    else:
        console.print(f"The mixture of experts did [bold]not[/] win: it is {-gain:.3f} bits per byte behind its dense twin.", highlight=False)
    if at is None:
        console.print("Its training loss did not reach the dense twin's final one.")
    else:
        last = dense.history[-1]
        console.print(f"It reached the dense twin's final training loss with {at[0] / last['flops']:.2f} of the FLOPs and {at[1] / last['seconds']:.2f} of the seconds.",
                      highlight=False)


def show_cost(moe, console):
    run = estimate.published_run("deepseek-v3")
    v3 = estimate.model(models.preset("deepseek-v3"), context=4096)
    cost = estimate.training_cost(run)
    rate = moe.trainer.tokens_seen * moe.flops / moe.seconds
    years = v3.train_flops_per_token * run.tokens / rate / (365.25 * 24 * 3600)
    console.print(f"\n[bold]The same arithmetic at DeepSeek-V3's size[/]: {v3.total_params / 1e9:.1f} B parameters, {v3.active_params / 1e9:.1f} B active, "
                  f"{v3.train_flops_per_token / 1e9:.1f} GFLOP per token, {run.tokens / 1e12:.1f} T tokens: {cost.hours / 1e3:,.0f} K H800 hours as published, "
                  f"${cost.dollars / 1e6:.3f} M at $2 an hour. This machine, at the {rate / 1e9:.0f} GFLOP/s it just reached, would need {years:,.0f} years.", highlight=False)


def show_text(arms, prompt, console):
    for arm in arms:
        console.print(f"\n[bold]{arm.title} continues {prompt!r}:[/]")
        console.print(arm.text, markup=False, highlight=False)


def plot(moe, dense, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.4), constrained_layout=True, width_ratios=[1, 1, 1.1])
    for axis, key, scale, label in ((left, "flops", 1e12, "training TFLOPs"), (middle, "seconds", 1, "seconds of training")):
        for arm, color in ((dense, "tab:gray"), (moe, "tab:blue")):
            x = [row[key] / scale for row in arm.history]
            axis.plot(x, [row["loss"] * BITS for row in arm.history], color=color, alpha=0.2, lw=0.8)
            axis.plot(x, arm.smooth(), color=color, label=f"{arm.title}, validation {arm.validation:.3f}")
        axis.axhline(dense.smooth()[-1], color="tab:gray", lw=0.8, ls=":")
        axis.set(xlabel=label, ylabel="training loss, bits per byte", ylim=(min(moe.smooth()[-1], dense.smooth()[-1]) - 0.15, 4.5))
        axis.legend(fontsize=8)
    loads = [[count / (sum(layer) / len(layer)) for count in layer] for layer in moe.load()]
    first = moe.config.first_k_dense_replace
    image = right.imshow(loads, aspect="auto", cmap="viridis", vmin=0, vmax=max(2.0, max(map(max, loads))))
    right.set(xlabel="expert", ylabel="layer", title=f"tokens per expert in the last {LOAD_STEPS} steps, relative to an even load", yticks=range(len(loads)),
              yticklabels=[str(first + i) for i in range(len(loads))])
    right.title.set_fontsize(9)
    fig.colorbar(image, ax=right)
    fig.suptitle(f"Mixture of experts against its dense twin: {moe.options.steps} steps, {moe.options.optimizer}, seed {moe.options.seed}", fontsize=11)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def run(options: Options, *, folder: Path, picture: Path, fresh: bool, console: Console) -> int:
    """Train both arms, or go on with them, then show and plot the result. 0, or 130 after Ctrl-C."""
    corpus = load_data(options.data, console)
    folder = folder / options.name()
    if fresh and folder.exists():
        import shutil

        shutil.rmtree(folder)
    config = models.Config.preset("pilot")
    arms = [Arm("moe", "mixture of experts", config, options, corpus.train, folder), Arm("dense", "dense twin", config.dense_twin(), options, corpus.train, folder)]
    console.print(f"[bold]Models[/]: {arms[0].estimate.total_params / 1e6:.2f} M parameters, {arms[0].estimate.active_params / 1e6:.2f} M active, against "
                  f"{arms[1].estimate.total_params / 1e6:.2f} M dense; {arms[0].flops / 1e6:.2f} and {arms[1].flops / 1e6:.2f} MFLOP per token", highlight=False)
    if any([arm.resume() for arm in arms]):
        console.print(f"Going on from {folder} (--fresh starts anew)", highlight=False)
    prompt = "def read_lines(self, path):\n"
    try:
        for arm in arms:
            train(arm, console)
            arm.finish(corpus.validation, prompt)
    except KeyboardInterrupt:
        console.print(f"\nStopped; saved in {folder}. The same command goes on from here.", highlight=False)
        return 130
    moe, dense = arms
    show_result(moe, dense, console)
    show_cost(moe, console)
    show_text(arms, prompt, console)
    try:
        plot(moe, dense, picture)
        console.print(f"\nPlotted in {picture}", highlight=False)
    except ImportError:
        console.print("\nNo plot: it needs matplotlib (pip install 'moelle[plot]')", markup=False)
    return 0
