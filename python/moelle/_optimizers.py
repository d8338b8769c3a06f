"""AdamW and Muon over parameter groups, with PyTorch's ways: ``param_groups`` may be changed between steps."""

from __future__ import annotations

import math

from . import _core
from ._core import GroupOptimizer, Module, ParameterGroup, Tensor, dtype


def param_groups(module: Module, optimizer: str = "muon", weight_decay: float = 0.1) -> list[dict]:
    """The groups that ``Trainer`` makes: hidden matrices; embedding, head and router matrices; norms and biases, without decay.

    The first takes ``optimizer``, the others AdamW. Fused matrices (all experts of a layer, gate and up) are told apart, so that
    Muon makes each orthogonal by itself.
    """
    groups = _core.parameter_groups(module, optimizer, weight_decay)
    return [dict(method=g.method, entries=g.entries, weight_decay=g.weight_decay) for g in groups if g.entries]


def _entry(name: str, tensor, method: str) -> tuple:
    if not isinstance(tensor, Tensor) or tensor.dtype != dtype.float32:
        got = f"dtype={tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"optimizer: params must be float32 tensors, (name, tensor) pairs, dicts or a Module; got {got}")
    if method == "adamw":
        return name, tensor, 1, 0, 0
    if tensor.ndim not in (2, 3):
        raise _core.Error(f"Muon: a parameter must be a matrix [rows, cols] or matrices [count, rows, cols], or the whole Module be given; got {name} of shape={list(tensor.shape)}")
    return (name, tensor, *(tensor.shape if tensor.ndim == 3 else (1, *tensor.shape)))


def _group(given: dict, defaults: dict) -> dict:
    unknown = set(given) - {"params", "entries", "lr", "weight_decay", "method"}
    if unknown:
        name = sorted(unknown)[0]
        raise _core.Error(f"optimizer: unknown key of a group; got {name!r}{_core.did_you_mean(name, ['params', 'lr', 'weight_decay', 'method'])}")
    group = defaults | given
    if "entries" not in group:
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        pairs = [p if isinstance(p, tuple) else (f"param.{i}", p) for i, p in enumerate(params)]
        group["entries"] = [_entry(name, tensor, group["method"]) for name, tensor in pairs]
    group["params"] = [entry[1] for entry in group["entries"]]
    return group


class Optimizer:
    """What AdamW and Muon share. ``param_groups`` is a list of dicts; ``lr`` and ``weight_decay`` may be changed between steps.

    It moves the tensors that it was given: a module put into a model later is not among them.
    """

    def __init__(self, params, method: str, lr: float, weight_decay: float, **options):
        defaults = dict(method=method, lr=lr, weight_decay=weight_decay)
        if isinstance(params, Module):
            given = param_groups(params, method, weight_decay)
        else:
            params = [params] if isinstance(params, (Tensor, dict)) else list(params)
            given = params if params and isinstance(params[0], dict) else [dict(params=params)]
        self.param_groups = [_group(g, defaults) for g in given]
        names = [entry[0] for g in self.param_groups for entry in g["entries"]]
        if not names:
            raise _core.Error("optimizer: params must hold at least one parameter; got none")
        places = [entry[1].data_ptr() for g in self.param_groups for entry in g["entries"] if entry[1].numel()]
        if len(set(places)) != len(places):
            raise _core.Error("optimizer: a parameter must be in one place of one group; got the same tensor twice")
        if len(set(names)) != len(names) and all("params" in g and "entries" not in g for g in given):
            self._number(names)
        for g in self.param_groups:
            if not (0 <= g["lr"] < math.inf and 0 <= g["weight_decay"] < math.inf):
                raise _core.Error(f"optimizer: lr and weight_decay must be finite and not negative; got lr={g['lr']} weight_decay={g['weight_decay']}")
        self._core = GroupOptimizer([ParameterGroup(g["method"], g["entries"], g["weight_decay"]) for g in self.param_groups], **options)

    def __repr__(self) -> str:
        groups = ", ".join(f"{g['method']}: {len(g['params'])} tensors, lr={g['lr']:g}, weight_decay={g['weight_decay']:g}" for g in self.param_groups)
        return f"{type(self).__name__}({groups})"

    def _number(self, names) -> None:
        """Parameters without names of their own are counted over all groups."""
        count = iter(range(len(names)))
        for g in self.param_groups:
            g["entries"] = [(f"param.{next(count)}", *entry[1:]) for entry in g["entries"]]

    def step(self, grad_scale: float = 1.0) -> None:
        """One update of all parameters that have a gradient; gradients are multiplied by ``grad_scale`` first."""
        self._core.step([g["lr"] for g in self.param_groups], [g["weight_decay"] for g in self.param_groups], grad_scale)

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for g in self.param_groups:
            for p in g["params"]:
                p.zero_grad()

    def grad_norm(self) -> float:
        """The global norm of the gradients, summed in double precision in a fixed order."""
        return _core.grad_norm([p for g in self.param_groups for p in g["params"]])

    def state_dict(self) -> dict:
        """``steps`` and the moments by name; the tensors share memory with the optimiser."""
        return dict(self._core.state()) | dict(steps=self._core.steps)

    def load_state_dict(self, state_dict: dict) -> None:
        """Takes what ``state_dict`` gave. Names and shapes are checked before anything is changed."""
        own = dict(self._core.state())
        given = {name: value for name, value in state_dict.items() if name != "steps"}
        if set(given) != set(own) or "steps" not in state_dict:
            missing, unexpected = sorted({*own, "steps"} - set(state_dict)), sorted(set(given) - set(own))
            raise _core.Error(f"optimizer: state_dict must have the optimiser's names; got missing={missing[:5]} unexpected={unexpected[:5]}")
        for name, value in given.items():
            if tuple(value.shape) != tuple(own[name].shape):
                raise _core.Error(f"optimizer: shapes must agree; got {name} of shape={list(value.shape)} wanted={list(own[name].shape)}")
        for name, value in given.items():
            own[name].copy_(value if isinstance(value, Tensor) else Tensor(value))
        self._core.steps = int(state_dict["steps"])


class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101), the decay scaled by the learning rate as in PyTorch.

    ``params``: tensors, (name, tensor) pairs, dicts with ``params`` and their own ``lr`` or ``weight_decay``, or a Module, of which only
    matrices decay. Float32.

    >>> import moelle
    >>> from moelle import training
    >>> w = moelle.ones(2, requires_grad=True)
    >>> optimizer = training.AdamW([w], lr=0.5, weight_decay=0.0)
    >>> (w * w).sum().backward(); optimizer.step(); w.tolist()
    [0.5, 0.5]
    """

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8, weight_decay: float = 0.1):
        super().__init__(params, "adamw", lr, weight_decay, beta1=betas[0], beta2=betas[1], eps=eps, muon_steps="deepseek_v4", momentum=0.95, nesterov=True, rms=0.18)


class Muon(Optimizer):
    """Muon (Jordan et al., 2024; Liu et al., arXiv:2502.16982): momentum, made orthogonal by ``muon_steps``.

    ``muon_steps``: deepseek_v4 (eight steps and two, arXiv:2606.19348, section 2.4) or jordan (five). The update has root mean square
    ``lr * rms``. ``params`` as for AdamW: matrices [rows, cols], or [count, rows, cols] made orthogonal one by one; groups with
    ``method="adamw"`` take AdamW with ``betas`` and ``eps``. A Module is split as ``param_groups`` does.
    """

    def __init__(self, params, lr: float = 6e-3, momentum: float = 0.95, nesterov: bool = True, weight_decay: float = 0.1, muon_steps: str = "deepseek_v4",
                 rms: float = 0.18, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8):
        super().__init__(params, "muon", lr, weight_decay, beta1=betas[0], beta2=betas[1], eps=eps, muon_steps=muon_steps, momentum=momentum, nesterov=nesterov, rms=rms)


for _c in [AdamW, Muon, Optimizer, param_groups]:
    _c.__module__ = "moelle.training"
