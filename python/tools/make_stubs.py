"""Writes python/moelle/_core/*.pyi from the installed module: run it after a change of the bindings (pip install pybind11-stubgen)."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import moelle.data, moelle.estimate, moelle.generation, moelle.models, moelle.nn, moelle.training  # noqa: E401, F401  (they add methods to compiled classes)
import pybind11_stubgen


def claim_classes() -> None:
    """The package gives compiled classes the names of its modules; here they belong to the module that defines them."""
    for module in (moelle._core, moelle._core.ops):
        for value in vars(module).values():
            if isinstance(value, type):
                value.__module__ = module.__name__


def main() -> None:
    target = Path(__file__).resolve().parents[1] / "moelle" / "_core"
    target.mkdir(exist_ok=True)
    claim_classes()
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["pybind11-stubgen", "moelle._core", "-o", folder, "--ignore-all-errors"]
        with contextlib.redirect_stderr(io.StringIO()):
            pybind11_stubgen.main()
        for stub in Path(folder, "moelle", "_core").glob("*.pyi"):
            lines = [line.rstrip() for line in stub.read_text().splitlines() if not line.startswith("__version__")]
            (target / stub.name).write_text("# Written by python/tools/make_stubs.py.\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
