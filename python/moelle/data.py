"""Bytes of files and folders as training data, in an order that is a function of the seed alone."""

from __future__ import annotations

from os import PathLike, fspath

from ._core import Batch, ByteLoader, Corpus, Documents, load_corpus as _load

__all__ = ["Batch", "ByteLoader", "Corpus", "Documents", "load_corpus"]


def load_corpus(paths, *, extensions=(), exclude=(), validation_fraction: float = 0.05, min_validation_bytes: int = 256 * 1024, max_file_bytes: int = 1 << 24,
                seed: int = 0) -> Corpus:
    """The text files under ``paths``, duplicates and binaries left out, split by file into ``train`` and ``validation``.

    Which file goes where follows from its contents and the seed, not from the file system.
    """
    paths = [paths] if isinstance(paths, (str, PathLike)) else paths
    return _load([fspath(p) for p in paths], extensions=list(extensions), exclude=list(exclude), validation_fraction=validation_fraction,
                 min_validation_bytes=min_validation_bytes, max_file_bytes=max_file_bytes, seed=seed)


Batch.__doc__ = "ids [B, T], targets [B, T] (the next tokens), and segments [B, T] (numbers of documents) or None; int32."
ByteLoader.__doc__ = """Batches of windows over packed documents: ``ByteLoader(documents, batch_size=16, seq_len=128, seed=0)``.

``batch(i)`` is a function of the seed and i alone; the next one is made meanwhile."""
Documents.__iter__ = lambda self: (self.bytes(i) for i in range(len(self)))
Corpus.__doc__ = "``train`` and ``validation`` documents, their bytes, and how many files, duplicates and others there were."
Documents.__doc__ = "Texts with their names; ``Documents([text, ...])`` makes some from str or bytes in memory."
for _c in [Batch, ByteLoader, Corpus, Documents]:
    _c.__module__ = "moelle.data"
