"""What a model costs, from its configuration alone.

Conventions: a product of a vector with a matrix costs 2 FLOPs per weight; training costs three forward passes; attention is causal;
the input embedding costs nothing, the head does.

>>> import moelle
>>> e = moelle.estimate.model("deepseek-v3", context=4096)
>>> e.total_params, round(e.train_flops_per_token / 1e9, 1), e.cache_bytes_per_token
(671026419200, 250.5, 70272.0)
"""

from __future__ import annotations

import os

from . import _core
from ._core import Estimate, Part, TrainingCost, TrainingRun

__all__ = ["Estimate", "Part", "TrainingCost", "TrainingRun", "config_of", "model", "published_run", "saving", "training_cost"]

FIELDS = [n for n in vars(Estimate) if not n.startswith("_") and n not in ("parts", "to_dict")]


def config_of(source):
    """A configuration from a Config, a dict, a path, or the name of a preset."""
    from .models import Config

    if isinstance(source, Config):
        return source
    if isinstance(source, str) and not source.lstrip().startswith("{") and not os.path.exists(source):
        return _core.preset(source)
    return Config.from_json(source)


def model(cfg, context: int = 4096, *, tokens_in_flight: int = 0, cache_bytes_per_element: float = 2, weight_bytes: float = 4, gradient_bytes: float = 4,
          moment_bytes: float = 8, activation_bytes: float = 4, mtp_modules: int = 0) -> Estimate:
    """Parameters, FLOPs per token and memory of a configuration (Config, dict, path, or name of a preset)."""
    return _core.estimate_model(config_of(cfg), context=context, tokens_in_flight=tokens_in_flight, cache_bytes_per_element=cache_bytes_per_element,
                                weight_bytes=weight_bytes, gradient_bytes=gradient_bytes, moment_bytes=moment_bytes, activation_bytes=activation_bytes,
                                mtp_modules=mtp_modules)


def training_cost(run: TrainingRun | None = None, **fields) -> TrainingCost:
    """Hours and money of a run: ``TrainingRun`` or its fields (tokens, train_flops_per_token, utilisation, ...)."""
    return _core.training_cost(run if run is not None else TrainingRun(**fields))


def published_run(name: str) -> TrainingRun:
    """What was published about a real run: deepseek-v3, deepseek-v2 or deepseek-67b, in H800 hours."""
    return _core.published_run(name)


def saving(a: TrainingRun, b: TrainingRun) -> float:
    """The share of machine hours per token that ``a`` saves against ``b``."""
    return _core.saving(a, b)


def to_dict(self) -> dict:
    """The fields by name, parts included."""
    return {n: getattr(self, n) for n in FIELDS} | {"parts": [dict(name=p.name, params=p.params, active_params=p.active_params) for p in self.parts]}


Estimate.to_dict = to_dict
Estimate.__doc__ = "Parameters, FLOPs per token, cache and memory of a model; bytes where the name says memory or bytes."
Part.__doc__ = "A part of a model: its parameters, and those that one token passes through."
TrainingCost.__doc__ = "FLOPs, machine hours, days, dollars, and the utilisation reached."
TrainingRun.__doc__ = "A run: tokens, FLOPs per token or hours per trillion tokens, machine and price."
Estimate.__repr__ = lambda self: f"Estimate({', '.join(f'{n}={getattr(self, n)!r}' for n in FIELDS)})"
for _c in [Estimate, Part, TrainingCost, TrainingRun]:
    _c.__module__ = "moelle.estimate"
