#!/usr/bin/env python3
"""Fail if an object compiled for one instruction set exports a mergeable symbol that does not name it.

Weak symbols are merged by name across a program: one compiled for AVX-512 could replace the baseline's copy and crash an older
processor. Objects are compiled with the namespace xsimd renamed to xsimd_<isa>, so the name shows where a symbol comes from.
Usage: check_isa_symbols.py ISA OBJECT...
"""
import re
import subprocess
import sys

isa, objects = sys.argv[1], sys.argv[2:]
if not objects:
    sys.exit("check_isa_symbols: no objects given")
harmless = re.compile(r"^DW\.ref\.|^vtable for|^typeinfo")
bad = symbols = 0
for path in objects:
    out = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        kind, name = line[17:18], line[19:]
        symbols += 1
        if kind in "WVu" and not harmless.search(name) and not re.search(rf"\b(xsimd_|Eigen_)?{isa}\b", name):
            print(f"{path}: mergeable symbol compiled for {isa}: {name}")
            bad += 1
print(f"{isa}: {symbols} symbols in {len(objects)} objects, {bad} that could be taken for another instruction set's")
sys.exit(bad != 0 or symbols == 0)
