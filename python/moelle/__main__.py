"""``python -m moelle --includes --cmakedir``: flags for compilers; anything else goes to the command line ``moelle``."""

from __future__ import annotations

import sys

import moelle


def main(arguments: list[str]) -> int:
    options = {"--includes": lambda: f"-I{moelle.get_include()}", "--cmakedir": moelle.get_cmake_dir, "--version": lambda: moelle.__version__}
    if arguments and all(a in options for a in arguments):
        print("\n".join(options[a]() for a in arguments))
        return 0
    from moelle.cli import main as command_line

    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
