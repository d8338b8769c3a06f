"""The methods of Tensor, with PyTorch's names. The class itself, its storage and its gradients are C++."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import _core
from ._core import Parameter, Tensor, dtype, ops
from ._indexing import get_item, set_item
from ._numpy import np

if TYPE_CHECKING:
    import numpy

_METHODS: dict[str, Any] = {}


def method(f):
    """Adds a function to Tensor under its own name."""
    _METHODS[f.__name__] = f
    return f


def _sizes(args) -> list[int]:
    """``(2, 3)`` or ``((2, 3),)``."""
    return list(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else list(args)


def _dims(dim) -> list[int]:
    return [] if dim is None else [dim] if isinstance(dim, int) else list(dim)


# --- description --------------------------------------------------------------------------------------------------------


@method
def size(self, dim: int | None = None) -> Any:
    """The shape, or the size of one axis."""
    if dim is None:
        return self.shape
    if not -self.ndim <= dim < self.ndim:
        raise _core.Error(f"size: dim must be in [{-self.ndim}, {self.ndim}); got dim={dim}")
    return self.shape[dim]


@method
def dim(self) -> int:
    """The number of axes."""
    return self.ndim


@method
def __len__(self) -> int:
    if self.ndim == 0:
        raise TypeError("len: a tensor without axes has no length")
    return self.shape[0]


@method
def __bool__(self) -> bool:
    if self.numel() != 1:
        raise _core.Error(f"bool: tensor must have one element; use any() or all(); got shape={list(self.shape)}")
    return bool(self.item())


@method
def __float__(self) -> float:
    return float(self.item())


@method
def __int__(self) -> int:
    return int(self.item())


@method
def __index__(self) -> int:
    if self.dtype in (dtype.int32, dtype.int64, dtype.uint8):
        return self.item()
    raise TypeError(f"index: dtype must be an integer type; got dtype={self.dtype}")


@method
def __repr__(self) -> str:
    text = ops.text(self)
    if self._producer:
        return text.replace("requires_grad=true", f"grad_fn=<{self._producer}>")
    return text.replace("requires_grad=true", "requires_grad=True")


@method
def tolist(self) -> Any:
    """The elements as nested lists of Python numbers."""
    x = self.float() if self.dtype == dtype.bfloat16 else self
    return ops.to_numpy(x.detach()).tolist()


@method
def __hash__(self) -> int:
    return object.__hash__(self)


# --- other libraries ----------------------------------------------------------------------------------------------------


@method
def numpy(self) -> numpy.ndarray:
    """The elements as a NumPy array on the same memory, which the array keeps alive.

    The array is read-only if the tensor is, or if it takes part in gradients (``x.detach().numpy()`` can be written to).
    bfloat16 needs the package ``ml_dtypes``.
    """
    return ops.to_numpy(self)


@method
def __array__(self, dtype=None, copy=None) -> numpy.ndarray:
    a = ops.to_numpy(self)
    if dtype is not None and np.dtype(dtype) != a.dtype:
        if copy is False:
            raise ValueError(f"__array__: another dtype needs a copy; got dtype={a.dtype}, asked for {np.dtype(dtype)} with copy=False")
        return a.astype(dtype)
    return a.copy() if copy else a


@method
def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None) -> Any:
    if stream is not None:
        raise BufferError(f"__dlpack__: stream must be None on the CPU; got stream={stream}")
    if dl_device is not None and tuple(dl_device) != (1, 0):
        raise BufferError(f"__dlpack__: device must be the CPU, (1, 0); got dl_device={dl_device}")
    if self.requires_grad:
        raise BufferError("__dlpack__: a tensor that requires a gradient must be detached first: x.detach()")
    return ops.to_dlpack(self, max_version is not None and max_version[0] >= 1, bool(copy))


@method
def __dlpack_device__(self) -> tuple[int, int]:
    return (1, 0)


# --- types and copies ---------------------------------------------------------------------------------------------------


def _rebuild(array, name: str, requires_grad: bool, parameter: bool):
    x = _core.to_type(Tensor(array), name)
    x = x.requires_grad_() if requires_grad else x
    return Parameter(x, requires_grad) if parameter else x


@method
def __reduce__(self) -> Any:
    x = self.detach()
    array = ops.to_numpy(x.float() if x.dtype == dtype.bfloat16 else x).copy()
    return _rebuild, (array, self.dtype.name, self.requires_grad, isinstance(self, Parameter))


@method
def to(self, target):
    """The tensor with another dtype (itself if it has it already). ``"cpu"`` is the only device of tensors in Python."""
    if isinstance(target, str) and (target in ("cpu",) or target.startswith("cuda")):
        _core.require_device(target.split(":")[0])
        return self
    return _core.to_type(self, target)


@method
def type_as(self, other):
    """The tensor with the dtype of another."""
    return _core.to_type(self, other.dtype)


def _cast(name, target):
    def cast(self):
        return _core.to_type(self, target)

    cast.__name__ = name
    cast.__doc__ = f"The tensor as {target.name}."
    return method(cast)


for _name, _dtype in dict(float=dtype.float32, double=dtype.float64, bfloat16=dtype.bfloat16, int=dtype.int32, long=dtype.int64, byte=dtype.uint8,
                          bool=dtype.bool).items():
    _cast(_name, _dtype)


@method
def cpu(self):
    """The tensor itself."""
    return self


@method
def cuda(self):
    """Raises: tensors of Python live on the CPU."""
    return self.to("cuda")


@method
def requires_grad_(self, requires_grad: bool = True):
    """Sets whether gradients are collected; returns the tensor."""
    self.requires_grad = requires_grad
    return self


@method
def zero_grad(self) -> None:
    """Forgets the gradient."""
    self.grad = None


# --- operators ----------------------------------------------------------------------------------------------------------


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


# --- shapes -------------------------------------------------------------------------------------------------------------


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


for _name, _f in _METHODS.items():
    _f.__qualname__ = f"Tensor.{_name}"
    _f.__annotations__.setdefault("return", "Tensor")
    setattr(Tensor, _name, _f)


def _reversed_axes(self) -> Tensor:
    """All axes in reverse order; a view."""
    return ops.permute(self, list(reversed(range(self.ndim))))


def _matrix_transpose(self) -> Tensor:
    """The last two axes exchanged; a view."""
    return ops.transpose(self, -2, -1)


def _data(self) -> Tensor:
    """The elements without the graph."""
    return self.detach()


Tensor.T, Tensor.mT = property(_reversed_axes), property(_matrix_transpose)
Tensor.data = property(_data, lambda self, value: self.detach().copy_(value))
Tensor.__module__ = Parameter.__module__ = dtype.__module__ = "moelle"
dtype.__str__ = lambda self: self.name
dtype.__repr__ = lambda self: f"moelle.{self.name}"
Parameter.__repr__ = lambda self: "Parameter containing:\n" + _METHODS["__repr__"](self)


# --- gradient mode --------------------------------------------------------------------------------------------------------


def is_grad_enabled() -> bool:
    """Whether operations on this thread record gradients."""
    return ops.is_grad_enabled()


class set_grad_enabled:
    """Sets whether operations on this thread record gradients: a call, a context manager, or a decorator."""

    def __init__(self, mode: bool):
        self.mode, self._before = mode, [ops.set_grad_enabled(mode)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        ops.set_grad_enabled(self._before.pop())


class _Mode:
    _mode = False

    def __init__(self):
        self._before = []

    def __enter__(self):
        self._before.append(ops.set_grad_enabled(self._mode))

    def __exit__(self, *exception):
        ops.set_grad_enabled(self._before.pop())

    def __call__(self, f):
        @functools.wraps(f)
        def wrapper(*args, **kwargs):
            with type(self)():
                return f(*args, **kwargs)

        return wrapper


class no_grad(_Mode):
    """Operations inside record no gradients: a context manager or a decorator.

    >>> import moelle
    >>> x = moelle.ones(2, requires_grad=True)
    >>> with moelle.no_grad():
    ...     (x * 2).requires_grad
    False
    """


class enable_grad(_Mode):
    """Operations inside record gradients even within ``no_grad``."""

    _mode = True
