"""Safetensors files and checkpoints: strict readers, writers that leave all or nothing."""

from __future__ import annotations

from os import fspath

from . import _core
from ._core import Tensor
from ._numpy import np

__all__ = ["list_checkpoints", "load_checkpoint", "load_file", "load_metadata", "save_checkpoint", "save_file"]


def _tensors(d) -> dict:
    return {k: Tensor(v) if isinstance(v, np.ndarray) else v for k, v in d.items()}


def save_file(tensors, path, metadata: dict[str, str] | None = None) -> None:
    """Writes tensors or arrays by name as a safetensors file."""
    _core.save_file(_tensors(tensors), fspath(path), dict(metadata or {}))


def load_file(path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. The file is checked before anything of it is used."""
    return _core.load_file(fspath(path))


def load_metadata(path) -> dict[str, str]:
    """The free-form metadata of a safetensors file."""
    return _core.load_metadata(fspath(path))


def save_checkpoint(root, step: int, parts, *, state: str = "{}", config: str = "", keep: int = 2) -> str:
    """Writes ``parts`` (names -> tensors by name) with a JSON ``state`` under a temporary name, syncs, renames; returns the folder."""
    return _core.save_checkpoint(fspath(root), step, {k: _tensors(v) for k, v in parts.items()}, state, config, keep)


def load_checkpoint(root) -> dict:
    """The newest checkpoint that is whole: step, parts, state, config, path, and the damaged ones that were skipped."""
    return _core.load_checkpoint(fspath(root))


def list_checkpoints(root) -> list[tuple[int, str]]:
    """Steps and folders of the checkpoints under ``root``, oldest first."""
    return _core.list_checkpoints(fspath(root))
