"""Whether operations record gradients."""

from __future__ import annotations

import functools

from ._core import ops


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
