"""Writes python/moelle/_core/*.pyi from the installed module: run it after a change of the bindings (pip install pybind11-stubgen)."""

import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

import moelle.data, moelle.estimate, moelle.generation, moelle.models, moelle.nn, moelle.training  # noqa: E401, F401  (they add methods to compiled classes)
import pybind11_stubgen


def tidy(text: str) -> str:
    """Names that the generator could not know, and classes under the names by which users know them."""
    text = re.sub(r"\bmoelle\.(?:nn|models|training|data|estimate)\.(?=[A-Z])", "", text)
    text = re.sub(r"\bmoelle\._core\.(?=[A-Za-z])", "", text).replace("moelle.Tensor", "Tensor").replace("moelle.Parameter", "Parameter").replace("moelle.dtype", "dtype")
    lines = [line for line in text.splitlines() if not re.match(r"(?:import moelle\S*|from moelle import\b.*)$", line.strip())]
    return "# Written by python/make_stubs.py.\n" + "\n".join(lines) + "\n"


def main() -> None:
    target = Path(__file__).parent / "moelle" / "_core"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["pybind11-stubgen", "moelle._core", "-o", folder, "--ignore-all-errors"]
        with contextlib.redirect_stderr(io.StringIO()):
            pybind11_stubgen.main()
        for stub in Path(folder, "moelle", "_core").glob("*.pyi"):
            (target / stub.name).write_text(tidy(stub.read_text()))


if __name__ == "__main__":
    main()
