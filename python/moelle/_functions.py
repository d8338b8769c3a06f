"""Functions of tensors under the package's own name: moelle.cat, moelle.where, moelle.sum, ..."""

from __future__ import annotations

from ._core import Tensor, ops
from ._creation import as_tensor


def _of_method(name: str):
    f = getattr(Tensor, name)

    def function(input, *args, **kwargs):
        return f(as_tensor(input), *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f.__doc__
    return function


for _name in ["abs", "all", "any", "argmax", "argmin", "clamp", "cumsum", "exp", "gather", "index_select", "isfinite", "isnan", "log", "matmul", "max", "mean",
              "min", "nonzero", "permute", "pow", "reshape", "rsqrt", "scatter_add", "sign", "sort", "split", "sqrt", "squeeze", "sum", "tanh", "topk", "transpose",
              "unsqueeze", "maximum", "minimum"]:
    globals()[_name] = _of_method(_name)


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
