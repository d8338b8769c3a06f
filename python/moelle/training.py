"""The training step: optimisers, schedules, the guard, the balance of experts; checkpoints that resume to the same bits.

>>> import moelle
>>> from moelle import models, training
>>> model = models.CausalLM(models.Config.preset("pilot").replace(num_hidden_layers=2), seed=0)
>>> trainer = training.Trainer(model, lr=1e-3, steps=10, optimizer="adamw")
>>> report = trainer.step([training.Batch(moelle.ones(2, 8, dtype="int32"), moelle.zeros(2, 8, dtype="int32"))])
>>> report.tokens, report.skipped
(16, '')
"""

from __future__ import annotations

from os import fspath

from . import nn  # noqa: F401  (gives modules their methods)
from ._core import Batch, StepReport, Trainer, evaluate

__all__ = ["Batch", "StepReport", "Trainer", "evaluate"]

FIELDS = [n for n in vars(StepReport) if not n.startswith("_")]


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


Trainer.save, Trainer.load = save, load
Trainer.__doc__ = """One optimiser step after another on a ``CausalLM``: gradients of all micro-batches, guard, clipping, update, balance of the experts.

Matrices take ``optimizer`` ("muon" or "adamw"), everything else AdamW. ``schedule``: constant, cosine, wsd, deepseek_v3."""
StepReport.__doc__ = "What happened in one step: loss in nats, gradient norm, tokens, seconds, balance of the experts, and why it was skipped."
StepReport.to_dict = lambda self: {n: getattr(self, n) for n in FIELDS}
StepReport.__repr__ = lambda self: f"StepReport(step={self.step}, loss={self.loss:.4f}, tokens={self.tokens}, seconds={self.seconds:.3f}, skipped={self.skipped!r})"
for _c in [StepReport, Trainer]:
    _c.__module__ = "moelle.training"
