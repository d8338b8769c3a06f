#!/usr/bin/env python3
"""Compile every public header alone, without warnings.

Usage: check_headers.py [-j JOBS] [--compiler CXX]
"""
import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

INCLUDE = Path(__file__).resolve().parent.parent / "include"
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-x", "c++"]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("-j", type=int, default=2)
parser.add_argument("--compiler", default="g++")
options = parser.parse_args()


def compile_alone(header):
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as unit:
        unit.write(f"#include <{header}>\n#include <{header}>\n")  # twice: guarded
        unit.flush()
        run = subprocess.run([options.compiler, *FLAGS, f"-I{INCLUDE}", unit.name], capture_output=True, text=True)
    return header, run.returncode, run.stderr


what = sorted(p.relative_to(INCLUDE).as_posix() for p in INCLUDE.rglob("*.hpp"))
if len(what) < 40:
    sys.exit(f"check_headers: only {len(what)} files found under {INCLUDE}")
bad = 0
with ThreadPoolExecutor(options.j) as pool:
    for name, status, errors in pool.map(compile_alone, what):
        if status != 0:
            bad += 1
            print(f"{name} does not compile:\n{errors[:1500]}")
print(f"{options.compiler}: {len(what) - bad} of {len(what)} headers, each alone, compile without warnings")
sys.exit(bad != 0)
