"""The training step: optimisers, schedules, the guard, the balance of experts; checkpoints that resume to the same bits.

``Trainer`` is the loop that most runs want; ``AdamW``, ``Muon``, ``schedule``, ``Guard`` and ``MetricLog`` are its parts, for loops of
one's own.

>>> import moelle
>>> from moelle import models, training
>>> model = models.CausalLM(models.Config.preset("pilot").replace(num_hidden_layers=2), seed=0)
>>> trainer = training.Trainer(model, lr=1e-3, steps=10, optimizer="adamw")
>>> report = trainer.step([training.Batch(moelle.ones(2, 8, dtype="int32"), moelle.zeros(2, 8, dtype="int32"))])
>>> report.tokens, report.skipped
(16, '')
"""

from __future__ import annotations

from collections.abc import Callable
from os import fspath

from . import nn  # noqa: F401  (gives modules their methods)
from ._core import Batch, Guard, MetricLog, StepReport, Trainer, rate_at
from ._core import evaluate as _evaluate
from ._optimizers import AdamW, Muon, Optimizer, param_groups

__all__ = ["AdamW", "Batch", "Guard", "MetricLog", "Muon", "Optimizer", "StepReport", "Trainer", "evaluate", "param_groups", "schedule"]

FIELDS = [n for n in vars(StepReport) if not n.startswith("_")]


def schedule(kind: str, *, steps: int, warmup_steps: int = 0, min_ratio: float = 0.1, decay_fraction: float = 0.2) -> Callable[[int], float]:
    """The learning rate as a part of its peak, a function of the step (the first is 0).

    ``kind``: constant; cosine (arXiv:1608.03983); wsd, stable and then 1 - sqrt over the last ``decay_fraction`` (arXiv:2404.06395);
    deepseek_v3 (arXiv:2412.19437, section 4.2). All warm up linearly over ``warmup_steps``.

    >>> from moelle import training
    >>> rate = training.schedule("cosine", steps=100, warmup_steps=10)
    >>> rate(4), rate(10), round(rate(100), 3)
    (0.5, 1.0, 0.1)
    """
    rate_at(kind, 0, steps, warmup_steps, min_ratio, decay_fraction)  # refuses impossible settings here and not in the first step
    return lambda step: rate_at(kind, step, steps, warmup_steps, min_ratio, decay_fraction)


def evaluate(model, documents, *, batch_size: int = 16, seq_len: int = 128, max_windows: int = 0) -> float:
    """Mean next-token cross-entropy in nats over windows of the documents, in order: all of them, or whole batches up to ``max_windows``
    (at least one batch)."""
    return _evaluate(model, documents, batch_size=batch_size, seq_len=seq_len, max_windows=max_windows)


def save(self, folder, extra: str = "{}", *, keep: int = 2) -> None:
    """Writes a checkpoint of everything that training goes on from under ``folder``; ``extra`` is a JSON text of the caller's own.

    It appears whole or not at all; the newest ``keep`` stay.
    """
    self._save(fspath(folder), extra, keep)


def load(self, folder) -> str | None:
    """Goes on from the newest whole checkpoint under ``folder``; returns its ``extra``, or None if there is no checkpoint.

    Everything is checked before anything is changed. What comes after has the same bits as if training had never stopped.
    """
    found, path, extra, skipped = self._load(fspath(folder))
    if skipped:
        import warnings

        warnings.warn(f"went on from {path}; damaged checkpoints were passed over: {'; '.join(skipped)}", stacklevel=2)
    return extra if found else None


def write(self, step: int, metrics: dict) -> None:
    """One line: ``metrics`` maps names to numbers. A table (a path that ends in ``.csv``) must get the same names in every line."""
    self._write(step, [(name, float(value)) for name, value in metrics.items()])


def log_metrics(self) -> dict[str, float]:
    """The numbers of the report, for ``MetricLog.write``."""
    return {n: float(getattr(self, n)) for n in FIELDS if n not in ("step", "skipped", "load")} | {"skipped": float(bool(self.skipped))}


Trainer.save, Trainer.load, MetricLog.write, StepReport.metrics = save, load, write, log_metrics
Trainer.__doc__ = """One optimiser step after another on a ``CausalLM``: gradients of all micro-batches, guard, clipping, update, balance of the experts.

Matrices take ``optimizer`` ("muon" or "adamw"), everything else AdamW. ``schedule``: constant, cosine, wsd, deepseek_v3. It trains
the parameters that the model has now: replace parts before."""
Guard.__doc__ = """Decides whether a step may be applied: ``Guard(limit=8.0, window=64, patience=8).refuse(loss, grad_norm)`` is "" or the reason why not.

NaN and infinities never may; nor, once ``window`` steps are known, may a loss or norm ``limit`` standard deviations above their
mean, at most ``patience`` times in a row."""
MetricLog.__doc__ = """Metrics of a run, one line per step: JSON lines or, for a path that ends in ``.csv``, a table.

``MetricLog(path, resume_step=0)``: opening for a resumed run keeps the lines of the steps before ``resume_step``."""
StepReport.__doc__ = "What happened in one step: loss in nats, gradient norm, tokens, seconds, balance of the experts, and why it was skipped."
StepReport.to_dict = lambda self: {n: getattr(self, n) for n in FIELDS}
StepReport.__repr__ = lambda self: f"StepReport(step={self.step}, loss={self.loss:.4f}, tokens={self.tokens}, seconds={self.seconds:.3f}, skipped={self.skipped!r})"
for _c in [Guard, MetricLog, StepReport, Trainer]:
    _c.__module__ = "moelle.training"
