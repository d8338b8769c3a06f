"""Where the methods of Tensor are gathered before ``_tensor`` puts them on the class."""

from __future__ import annotations

from typing import Any

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
