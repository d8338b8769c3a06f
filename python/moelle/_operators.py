"""Tensor's operators and its changes in place, which record no gradient."""

from __future__ import annotations

import functools

from . import _core
from ._core import Tensor, dtype, ops
from ._method import _METHODS, method
from ._numpy import np


def _operand(x) -> bool:
    return isinstance(x, (Tensor, int, float, np.ndarray, np.number, np.bool_))


def _operator(name, f, swapped=False):
    @functools.wraps(f)
    def operator(self, other):
        if not _operand(other):
            return NotImplemented
        return f(other, self) if swapped else f(self, other)

    operator.__name__ = name
    operator.__doc__ = None
    _METHODS[name] = operator


def _reversed(f, number):
    """f for an array or a number on the left."""
    return lambda a, b: f(Tensor(a), b) if isinstance(a, np.ndarray) else number(a, b)


def _inexact(x):
    """Whole numbers as float32, for a true division."""
    return _core.to_type(x, dtype.float32) if isinstance(x, Tensor) and x.dtype in (dtype.int32, dtype.int64, dtype.uint8, dtype.bool) else x


def _true_divide(a, b):
    return ops.div(_inexact(a), _inexact(b))


for _name, _f in dict(__add__=ops.add, __sub__=ops.sub, __mul__=ops.mul, __truediv__=_true_divide, __lt__=ops.lt, __le__=ops.le, __gt__=ops.gt, __ge__=ops.ge,
                      __eq__=ops.eq, __ne__=ops.ne).items():
    _operator(_name, _f)
_operator("__radd__", lambda a, b: ops.add(b, a), swapped=True)
_operator("__rmul__", lambda a, b: ops.mul(b, a), swapped=True)
_operator("__rsub__", _reversed(ops.sub, ops.rsub), swapped=True)
_operator("__rtruediv__", _reversed(_true_divide, lambda a, b: ops.rdiv(a, _inexact(b))), swapped=True)
_operator("__matmul__", ops.matmul)
_operator("__rmatmul__", lambda a, b: ops.matmul(Tensor(a), b), swapped=True)
_operator("__pow__", ops.pow)


@method
def __neg__(self):
    return ops.neg(self)


@method
def __and__(self, other):
    return ops.logical_and(self, other)


@method
def __or__(self, other):
    return ops.logical_or(self, other)


@method
def __invert__(self):
    return ops.logical_not(self)


def _inplace(name, f):
    """``x += y`` changes x, as in PyTorch: an assignment would leave the model's own parameter as it was."""

    def operator(self, other):
        if not _operand(other):
            return NotImplemented
        ops.copy_(self, f(self.detach(), other.detach() if isinstance(other, Tensor) else other))
        return self

    operator.__name__ = name
    _METHODS[name] = operator


for _name, _f in dict(__iadd__=ops.add, __isub__=ops.sub, __imul__=ops.mul, __itruediv__=ops.div).items():
    _inplace(_name, _f)

# NumPy leaves `array + tensor` to the tensor.
Tensor.__array_ufunc__ = None

# --- changes in place (no gradient) ---------------------------------------------------------------------------------------


@method
def add_(self, other, *, alpha=1):
    """Adds ``alpha * other`` to the elements."""
    if isinstance(other, Tensor):
        ops.add_(self, other.detach(), alpha)
    else:
        ops.copy_(self, ops.add(self.detach(), other * alpha))
    return self


@method
def sub_(self, other, *, alpha=1):
    """Subtracts ``alpha * other`` from the elements."""
    return add_(self, other, alpha=-alpha)


@method
def mul_(self, other):
    """Multiplies the elements."""
    return _METHODS["__imul__"](self, other)


@method
def div_(self, other):
    """Divides the elements."""
    return _METHODS["__itruediv__"](self, other)


@method
def copy_(self, source):
    """Overwrites the elements with those of ``source``, which broadcasts."""
    source = Tensor(source) if isinstance(source, np.ndarray) else source.detach()
    ops.copy_(self, source if source.dtype == self.dtype else _core.to_type(source, self.dtype))
    return self


@method
def fill_(self, value):
    """Overwrites all elements with one number."""
    ops.fill_(self, value)
    return self


@method
def zero_(self):
    """Overwrites all elements with 0."""
    ops.fill_(self, 0)
    return self
