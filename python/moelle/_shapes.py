"""Tensor's methods for shapes, reductions, order and choice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import _core
from ._core import Tensor, dtype, ops
from ._indexing import get_item, set_item
from ._method import _METHODS, _dims, _sizes, method
from ._numpy import np


@method
def reshape(self, *shape):
    """The same elements under another shape; one size may be -1. A view where the tensor is contiguous."""
    return ops.reshape(self, _sizes(shape))


@method
def view(self, *shape):
    """As ``reshape``, but only where no copy is needed."""
    if not self.is_contiguous():
        raise _core.Error(f"view: tensor must be contiguous; use reshape; got shape={list(self.shape)} strides={list(self.stride())}")
    return ops.reshape(self, _sizes(shape))


@method
def flatten(self, start_dim: int = 0, end_dim: int = -1):
    """Axes ``start_dim`` to ``end_dim``, both included, as one."""
    return ops.flatten(self, start_dim, end_dim)


@method
def unflatten(self, dim: int, sizes):
    """One axis as several."""
    return ops.unflatten(self, dim, list(sizes))


@method
def transpose(self, dim0: int, dim1: int):
    """Two axes exchanged; a view."""
    return ops.transpose(self, dim0, dim1)


@method
def permute(self, *dims):
    """Axis i of the result is axis ``dims[i]``; a view."""
    return ops.permute(self, _sizes(dims))


@method
def squeeze(self, dim: int | None = None):
    """Without an axis of size 1, or without all of them."""
    if dim is not None:
        return ops.squeeze(self, dim)
    return ops.reshape(self, [n for n in self.shape if n != 1])


@method
def unsqueeze(self, dim: int):
    """With an axis of size 1 before axis ``dim`` of the result."""
    return ops.unsqueeze(self, dim)


@method
def expand(self, *sizes):
    """Repeated along axes of size 1 without being copied; -1 keeps a size."""
    return ops.expand(self, _sizes(sizes))


@method
def narrow(self, dim: int, start: int, length: int):
    """``x[start : start + length]`` along one axis; a view."""
    return ops.narrow(self, dim, start, length)


@method
def contiguous(self):
    """The tensor itself if its elements lie in row-major order, else a copy."""
    return ops.contiguous(self)


@method
def clone(self):
    """A copy, with gradient."""
    return ops.clone(self)


@method
def split(self, split_size, dim: int = 0) -> list[Tensor]:
    """Views of the given size, or sizes, along one axis."""
    if isinstance(split_size, int):
        if split_size <= 0:
            raise _core.Error(f"split: split_size must be positive; got split_size={split_size}")
        n = self.size(dim)
        split_size = [min(split_size, n - i) for i in range(0, n, split_size)]
    return ops.split(self, list(split_size), dim)


@method
def chunk(self, chunks: int, dim: int = 0) -> list[Tensor]:
    """Views of ``chunks`` parts whose sizes differ by at most one."""
    return ops.chunk(self, chunks, dim)


# --- reductions and order -------------------------------------------------------------------------------------------------


def _reduction(name, f, doc):
    def reduction(self, dim=None, keepdim: bool = False):
        return f(self, _dims(dim), keepdim)

    reduction.__name__ = name
    reduction.__doc__ = doc + " Over all axes, or those in ``dim``."
    return method(reduction)


for _name, _f, _doc in [("sum", ops.sum, "Sum, kept in double and rounded once; int64 for integers and bool."), ("mean", ops.mean, "Mean."),
                        ("argmax", ops.argmax, "Place of the first largest element."), ("argmin", ops.argmin, "Place of the first smallest element."),
                        ("amax", ops.max, "Largest element."), ("amin", ops.min, "Smallest element."), ("any", ops.any, "Whether any element holds."),
                        ("all", ops.all, "Whether all elements hold.")]:
    _reduction(_name, _f, _doc)


def _extreme(name, value, place):
    def extreme(self, dim=None, keepdim: bool = False) -> Any:
        if dim is None:
            return value(self, [], False)
        from collections import namedtuple

        return namedtuple(name, "values indices")(value(self, [dim], keepdim), place(self, [dim], keepdim))

    extreme.__name__ = name
    extreme.__doc__ = f"The {name}imum of all elements; with ``dim``, a pair of values and indices."
    return method(extreme)


_extreme("max", ops.max, ops.argmax)
_extreme("min", ops.min, ops.argmin)


@method
def sort(self, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Values and indices in order along one axis; equal elements keep their order."""
    return tuple(ops.sort(self, dim, descending))


@method
def topk(self, k: int, dim: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest along one axis, largest first: values and indices."""
    return tuple(ops.topk(self, k, dim))


@method
def cumsum(self, dim: int):
    """Running sums along one axis."""
    return ops.cumsum(self, dim)

# --- element by element, choice -------------------------------------------------------------------------------------------

for _name in ["exp", "log", "sqrt", "rsqrt", "tanh", "abs", "sign", "isnan", "isfinite", "sigmoid", "relu", "logical_not"]:
    _METHODS[_name] = (lambda f: lambda self: f(self))(getattr(ops, _name))
    _METHODS[_name].__name__ = _name
for _name in ["add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge", "matmul", "maximum", "minimum", "logical_and", "logical_or"]:
    _METHODS[_name] = (lambda f: lambda self, other: f(self, other))(getattr(ops, _name))
    _METHODS[_name].__name__ = _name


@method
def pow(self, exponent: float):
    """The elements raised to a number."""
    return ops.pow(self, exponent)


@method
def clamp(self, min=None, max=None):
    """The elements, moved into [min, max]."""
    return ops.clamp(self, -np.inf if min is None else min, np.inf if max is None else max)


@method
def softmax(self, dim: int = -1):
    """exp(x) / sum(exp(x)) along one axis."""
    return ops.softmax(self, dim)


@method
def log_softmax(self, dim: int = -1):
    """log(softmax(x)) along one axis."""
    return ops.log_softmax(self, dim)


@method
def gather(self, dim: int, index):
    """``y[i, j] = x[index[i, j], j]`` for dim 0."""
    return ops.gather(self, dim, index)


@method
def scatter_add(self, dim: int, index, src):
    """A copy with ``y[index[i, j], j] += src[i, j]`` for dim 0."""
    return ops.scatter_add(self, dim, index, src)


@method
def index_select(self, dim: int, index):
    """Slices along one axis, chosen by a list of indices."""
    return ops.index_select(self, dim, index)


@method
def index_add(self, dim: int, index, source):
    """A copy with slices added at the given indices."""
    return ops.index_add(self, dim, index, source)


@method
def masked_fill(self, mask, value):
    """``value`` where the mask holds."""
    return ops.masked_fill(self, mask, value)


@method
def masked_select(self, mask):
    """The elements where the mask holds, as a list."""
    return ops.masked_select(self, mask)


@method
def nonzero(self):
    """Indices of the elements that differ from 0: [N, ndim]."""
    return ops.nonzero(self if self.dtype == dtype.bool else _core.to_type(self, dtype.bool))


@method
def __getitem__(self, index):
    return get_item(self, index)


@method
def __setitem__(self, index, value) -> None:
    set_item(self, index, value)


@method
def __iter__(self) -> Iterator[Tensor]:
    if self.ndim == 0:
        raise TypeError("iter: a tensor without axes cannot be iterated over")
    return (ops.select(self, 0, i) for i in range(self.shape[0]))
