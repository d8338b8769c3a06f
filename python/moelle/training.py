"""The training step: optimisers, schedules, the guard, the balance of experts."""

from __future__ import annotations

from . import nn  # noqa: F401
from ._core import StepReport, Trainer, evaluate

__all__ = ["StepReport", "Trainer", "evaluate"]

for _c in [StepReport, Trainer]:
    _c.__module__ = "moelle.training"
