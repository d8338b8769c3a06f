"""moelle: mixture-of-experts language models with latent attention, on CPUs.

Tensors with gradients, the operations and modules of the DeepSeek family, training, generation and estimates; the same
library as the C++ headers that this package carries (:func:`get_include`).

>>> import moelle
>>> x = moelle.tensor([[1., 2.], [3., 4.]], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([[2., 4.],
        [6., 8.]], shape=[2, 2], dtype=float32)
"""

from __future__ import annotations

import importlib as _importlib
from pathlib import Path as _Path

from ._core import Error, available_isas, get_num_threads, set_isa, set_num_threads, memory_stats, reset_peak_memory, trim_memory
from ._core import __version__, isa_name
from ._tensor import Parameter, Tensor, dtype, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from ._creation import (
    arange, as_tensor, empty, empty_like, from_dlpack, from_numpy, full, full_like, manual_seed, ones, ones_like, rand, randint, randn, tensor, zeros, zeros_like,
)
from ._functions import (
    abs, all, any, argmax, argmin, bincount, cat, clamp, concat, cumsum, exp, gather, index_select, isfinite, isnan, log, matmul, max, maximum, mean, min, minimum,
    nonzero, one_hot, permute, pow, reshape, rsqrt, scatter_add, sign, sort, split, sqrt, squeeze, stack, sum, tanh, topk, transpose, unsqueeze, where,
)

float32, float64, bfloat16 = dtype.float32, dtype.float64, dtype.bfloat16
int32, int64, uint8, bool = dtype.int32, dtype.int64, dtype.uint8, dtype.bool
float, double, int, long = float32, float64, int32, int64  # PyTorch's other names

_SUBMODULES = frozenset(["autograd", "data", "estimate", "functional", "generation", "io", "models", "nn", "training"])


def get_include() -> str:
    """The folder to pass to a C++ compiler as ``-I``: the headers of this version."""
    here = _Path(__file__).resolve().parent
    for folder in (here / "include", *(p / "include" for p in here.parents)):
        if (folder / "moelle" / "core" / "config.hpp").exists():
            return str(folder)
    raise FileNotFoundError(f"get_include: the headers must lie beside the package; got none near {here}")


def get_cmake_dir() -> str:
    """The folder to pass to CMake as ``-Dmoelle_DIR=``, for ``find_package(moelle)``."""
    folder = _Path(__file__).resolve().parent / "share" / "cmake" / "moelle"
    if not folder.exists():
        raise FileNotFoundError(f"get_cmake_dir: an installed package is needed; got none at {folder}")
    return str(folder)


def __getattr__(name: str):
    if name in _SUBMODULES:
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'moelle' has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | _SUBMODULES)
