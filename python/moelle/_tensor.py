"""The methods of Tensor, with PyTorch's names. The class itself, its storage and its gradients are C++."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from . import _operators, _shapes  # noqa: F401  (they gather methods)
from ._core import Parameter, Tensor, dtype, ops
from ._grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled  # noqa: F401
from ._method import _METHODS, method
from ._numpy import np

if TYPE_CHECKING:
    import numpy

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
