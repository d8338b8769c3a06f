"""How tensors are made."""

from __future__ import annotations

from . import _core
from ._core import Tensor, dtype, ops
from ._numpy import np

_DEFAULT = dtype.float32
_random = {"seed": 0, "draws": 0}


def _shape(args) -> list[int]:
    return list(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else list(args)


def _finish(x: Tensor, requires_grad: bool) -> Tensor:
    return x.requires_grad_() if requires_grad else x


def tensor(data, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of ``data``: numbers, nested lists, an array, or a tensor.

    Python floats become float32, ints int64, bools bool; arrays and tensors keep their dtype.

    >>> import moelle
    >>> moelle.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]], shape=[2, 2], dtype=int64)
    """
    if isinstance(data, Tensor):
        x = ops.clone(data.detach())
    elif isinstance(data, (np.ndarray, np.generic)):
        x = Tensor(np.array(data, order="C"))
    else:
        a = np.array(data)
        if a.dtype == object or a.dtype.kind not in "bifu":
            raise _core.Error(f"tensor: data must be numbers in nested lists of equal lengths; got {type(data).__name__}")
        x = Tensor(a.astype({"f": np.float32, "b": np.bool_}.get(a.dtype.kind, np.int64)))
        if dtype is not None and a.dtype == np.float64:
            x = Tensor(a)
    return _finish(x if dtype is None else _core.to_type(x, dtype), requires_grad)


def as_tensor(data, *, dtype=None) -> Tensor:
    """``data`` itself if it is a tensor, its memory if it is an array, else a new tensor."""
    x = data if isinstance(data, Tensor) else Tensor(data) if isinstance(data, np.ndarray) else tensor(data)
    return x if dtype is None else _core.to_type(x, dtype)


def from_numpy(array) -> Tensor:
    """A tensor on the array's memory, which it keeps alive; read-only if the array is.

    Any strides. TypeError for a dtype that no tensor has, and for foreign byte order: nothing is converted silently.

    >>> import moelle, numpy as np
    >>> a = np.zeros(2, np.float32)
    >>> x = moelle.from_numpy(a)
    >>> a[0] = 5
    >>> x
    tensor([5., 0.], shape=[2], dtype=float32)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: array must be a numpy.ndarray; got {type(array).__name__}")
    return ops.from_numpy(array)


def from_dlpack(source) -> Tensor:
    """A tensor on the memory of anything with ``__dlpack__`` (PyTorch, JAX, NumPy), or of a DLPack capsule."""
    if not hasattr(source, "__dlpack__"):
        return ops.from_dlpack_capsule(source)
    device = source.__dlpack_device__()
    if int(device[0]) != 1:
        raise BufferError(f"from_dlpack: memory must be the CPU's; got device={tuple(int(d) for d in device)}")
    try:
        capsule = source.__dlpack__(max_version=(1, 0))
    except TypeError:  # a producer from before DLPack 1.0
        capsule = source.__dlpack__()
    return ops.from_dlpack_capsule(capsule)


def empty(*size, dtype=None, requires_grad: bool = False) -> Tensor:
    """Uninitialised."""
    return _finish(_core.empty(_shape(size), dtype or _DEFAULT), requires_grad)


def full(size, fill_value, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """One value everywhere."""
    size = [size] if isinstance(size, int) else list(size)
    if dtype is None:
        dtype = {bool: "bool", int: "int64"}.get(type(fill_value), _DEFAULT)
    return _finish(_core.full(size, fill_value, dtype), requires_grad)


def zeros(*size, dtype=None, requires_grad: bool = False) -> Tensor:
    """Zeros.

    >>> import moelle
    >>> moelle.zeros(2, 3).shape
    (2, 3)
    """
    return full(_shape(size), 0, dtype=dtype or _DEFAULT, requires_grad=requires_grad)


def ones(*size, dtype=None, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return full(_shape(size), 1, dtype=dtype or _DEFAULT, requires_grad=requires_grad)


def empty_like(input, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """Uninitialised, with the shape of another tensor."""
    return empty(*input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def full_like(input, fill_value, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """One value everywhere, with the shape of another tensor."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


def zeros_like(input, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape of another tensor."""
    return full_like(input, 0, dtype=dtype, requires_grad=requires_grad)


def ones_like(input, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape of another tensor."""
    return full_like(input, 1, dtype=dtype, requires_grad=requires_grad)


def arange(start, end=None, step=1, *, dtype=None) -> Tensor:
    """start, start + step, ... below end; int64 unless a dtype is given or a bound is a fraction.

    >>> import moelle
    >>> moelle.arange(3).tolist()
    [0, 1, 2]
    """
    if end is None:
        start, end = 0, start
    if all(isinstance(v, (int, np.integer)) for v in (start, end, step)):
        return _core.arange(start, end, step, dtype or "int64")
    return _core.to_type(Tensor(np.arange(start, end, step, dtype=np.float64)), dtype or _DEFAULT)


def manual_seed(seed: int) -> None:
    """Starts the numbers that ``rand``, ``randn`` and ``randint`` draw without a seed of their own again from ``seed``."""
    _random.update(seed=int(seed), draws=0)


def _stream(seed):
    if seed is not None:
        return seed, "python"
    _random["draws"] += 1
    return _random["seed"], f"python/{_random['draws']}"


def rand(*size, low: float = 0.0, high: float = 1.0, seed: int | None = None, dtype=None, requires_grad: bool = False) -> Tensor:
    """Uniform in [low, high): a function of the seed and the place alone."""
    return _finish(_core.rand(_shape(size), *_stream(seed), low, high, dtype or _DEFAULT), requires_grad)


def randn(*size, mean: float = 0.0, std: float = 1.0, seed: int | None = None, dtype=None, requires_grad: bool = False) -> Tensor:
    """Normal: a function of the seed and the place alone."""
    return _finish(_core.randn(_shape(size), *_stream(seed), mean, std, dtype or _DEFAULT), requires_grad)


def randint(low: int, high: int, size, *, seed: int | None = None, dtype=None) -> Tensor:
    """Whole numbers, uniform in [low, high); int64 unless a dtype is given."""
    return _core.randint(list(size), *_stream(seed), low, high, dtype or "int64")
