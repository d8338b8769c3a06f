"""Operations of your own with a gradient of your own, and the check that the gradient is right.

>>> import moelle
>>> class Scale(moelle.autograd.Function):
...     @staticmethod
...     def forward(ctx, x, factor):
...         ctx.factor = factor
...         return x * factor
...     @staticmethod
...     def backward(ctx, grad):
...         return grad * ctx.factor, None
>>> x = moelle.ones(2, requires_grad=True)
>>> Scale.apply(x, 3.0).sum().backward()
>>> x.grad.tolist()
[3.0, 3.0]
"""

from __future__ import annotations

import dataclasses

from . import _core
from ._core import Tensor, dtype, ops
from ._tensor import enable_grad, is_grad_enabled, no_grad, set_grad_enabled

__all__ = ["Function", "GradcheckResult", "checkpoint", "enable_grad", "gradcheck", "is_grad_enabled", "no_grad", "set_grad_enabled"]


class Context:
    """Carries what backward needs from forward. Any attribute may be set; tensors go through ``save_for_backward``."""

    def __init__(self):
        self._saved: tuple = ()
        self._versions: tuple = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors) -> None:
        """Keeps tensors; reading them after they were changed in place is an error."""
        self._saved = tensors
        self._versions = tuple(None if t is None else t._version for t in tensors)

    @property
    def saved_tensors(self) -> tuple:
        for t, version in zip(self._saved, self._versions):
            if t is not None and t._version != version:
                raise _core.Error(f"backward: a tensor needed for the gradient must not be changed in place before backward; got shape={list(t.shape)}")
        return self._saved


class Function:
    """An operation with static methods ``forward(ctx, *args)`` and ``backward(ctx, *grads)``; call it with ``apply``.

    ``forward`` sees tensors without recording and returns one new tensor or a tuple of them. ``backward`` gets one gradient per
    output and returns one gradient, or None, per argument of ``forward``. All tensors that take part share one dtype, float32
    or float64.
    """

    @staticmethod
    def forward(ctx, *args):
        raise NotImplementedError("Function: forward(ctx, ...) must be defined")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("Function: backward(ctx, ...) must be defined")

    @classmethod
    def apply(cls, *args):
        ctx = Context()
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dtype in (dtype.float32, dtype.float64)]
        ctx.needs_input_grad = tuple(i in places and args[i].requires_grad for i in range(len(args)))
        with no_grad():
            result = cls.forward(ctx, *args)
        if not (is_grad_enabled() and any(ctx.needs_input_grad)):
            return result
        single = not isinstance(result, tuple)
        # Handles of their own: what forward kept in ctx must not refer to the graph that refers to ctx.
        outputs = tuple(y.detach() for y in ((result,) if single else result))

        def backward(needs, grads):
            given = cls.backward(ctx, *grads)
            given = given if isinstance(given, tuple) else (given,)
            if len(given) != len(args):
                raise _core.Error(f"{cls.__name__}: backward must return one gradient or None per argument; got {len(given)} for arguments={len(args)}")
            return tuple(given[i] for i in places)

        record = ops.record_float64 if args[places[0]].dtype == dtype.float64 else ops.record_float32
        record(cls.__name__, [args[i] for i in places], list(outputs), backward)
        return outputs[0] if single else outputs


@dataclasses.dataclass(frozen=True)
class GradcheckResult:
    """What ``gradcheck`` found; true if the gradient agrees."""

    ok: bool
    worst: float
    compared: int
    where: str

    def __bool__(self) -> bool:
        return self.ok


def gradcheck(function, inputs, *, step: float = 1e-3, tolerance: float = 1e-7, seed: int = 0) -> GradcheckResult:
    """Compares the gradient of ``function(*inputs)`` with four-point differences of the function itself.

    Every element of every input that requires a gradient is checked; all tensors are float64. The error of a derivative is
    taken relative to max(1, |derivative|).

    >>> import moelle
    >>> x = moelle.randn(3, seed=1, dtype="float64", requires_grad=True)
    >>> bool(moelle.autograd.gradcheck(lambda x: (x * x).sum(), [x]))
    True
    """
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    for x in inputs:
        if not isinstance(x, Tensor) or x.dtype != dtype.float64:
            raise TypeError(f"gradcheck: inputs must be float64 tensors; got {getattr(x, 'dtype', type(x).__name__)}")
    return GradcheckResult(**ops.gradcheck(function, inputs, step, tolerance, seed))


def checkpoint(function, *inputs):
    """``function(*inputs)`` without keeping its activations: it runs again during backward.

    Source: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost" (arXiv:1604.06174).
    """
    outputs = ops.checkpoint(function, list(inputs))
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
