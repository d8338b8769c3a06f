"""Functions of tensors under the package's own name: moelle.cat, moelle.where, moelle.sum, ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._core import Tensor, ops
from ._creation import as_tensor


def _of_method(name: str) -> Callable[..., Any]:
    f = getattr(Tensor, name)

    def function(input, *args, **kwargs):
        return f(as_tensor(input), *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f.__doc__
    return function


abs = _of_method("abs")
all = _of_method("all")
any = _of_method("any")
argmax = _of_method("argmax")
argmin = _of_method("argmin")
clamp = _of_method("clamp")
cumsum = _of_method("cumsum")
exp = _of_method("exp")
gather = _of_method("gather")
index_select = _of_method("index_select")
isfinite = _of_method("isfinite")
isnan = _of_method("isnan")
log = _of_method("log")
matmul = _of_method("matmul")
max = _of_method("max")
maximum = _of_method("maximum")
mean = _of_method("mean")
min = _of_method("min")
minimum = _of_method("minimum")
nonzero = _of_method("nonzero")
permute = _of_method("permute")
pow = _of_method("pow")
reshape = _of_method("reshape")
rsqrt = _of_method("rsqrt")
scatter_add = _of_method("scatter_add")
sign = _of_method("sign")
sort = _of_method("sort")
split = _of_method("split")
sqrt = _of_method("sqrt")
squeeze = _of_method("squeeze")
sum = _of_method("sum")
tanh = _of_method("tanh")
topk = _of_method("topk")
transpose = _of_method("transpose")
unsqueeze = _of_method("unsqueeze")


def concat(tensors, dim: int = 0) -> Tensor:
    """Tensors one after the other along an axis; all other axes must agree."""
    return ops.concat(list(tensors), dim)


cat = concat


def stack(tensors, dim: int = 0) -> Tensor:
    """Tensors of one shape along a further axis, put before axis ``dim``."""
    return ops.stack(list(tensors), dim)


def where(condition, input, other) -> Tensor:
    """``input`` where the condition holds, else ``other``; all broadcast.

    >>> import moelle
    >>> x = moelle.tensor([-1., 2.])
    >>> moelle.where(x > 0, x, moelle.zeros(1)).tolist()
    [0.0, 2.0]
    """
    if not isinstance(input, Tensor) and isinstance(other, Tensor):
        input = as_tensor(input, dtype=other.dtype)
    if not isinstance(other, Tensor) and isinstance(input, Tensor):
        other = as_tensor(other, dtype=input.dtype)
    return ops.where(condition, input, other)


def one_hot(input, num_classes: int) -> Tensor:
    """1 at the index, 0 elsewhere along a further last axis."""
    return ops.one_hot(input, num_classes)


def bincount(input, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, ... occurs."""
    return ops.bincount(input, minlength)
