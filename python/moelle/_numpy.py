"""NumPy, imported when it is first used: ``import moelle`` does not wait for it."""

from __future__ import annotations


class _NumPy:
    def __getattr__(self, name: str):
        import numpy

        value = getattr(numpy, name)
        setattr(self, name, value)
        return value


np = _NumPy()
