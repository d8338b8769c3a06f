#!/usr/bin/env python3
"""Fail if an object holds an instruction that the processors of its instruction set lack.

What objdump prints goes back to the assembler, which is told the features of the level: it knows the features of every instruction.
EVEX encodings of AVX instructions read like AVX; they are told by their first byte, 0x62.
Usage: check_isa_instructions.py ISA OBJECT...
"""
import re
import subprocess
import sys
import tempfile

BASELINE = "generic64+nosse3"
AVX2 = "generic64+sse4.2+popcnt+cx16+avx2+fma+f16c+bmi+bmi2+lzcnt+movbe"
AVX512 = AVX2 + "+avx512f+avx512bw+avx512cd+avx512dq+avx512vl"
# Something that each level is there for, lest a check of the wrong objects pass.
OWN = {"baseline": "", "avx2": "%ymm", "avx2_vnni": "{vex} vpdpbusd", "avx512": "%zmm", "avx512_bf16": "vpdpbusd"}
LEVELS = {"baseline": BASELINE, "avx2": AVX2, "avx2_vnni": AVX2 + "+avx_vnni", "avx512": AVX512,
          "avx512_bf16": AVX512 + "+avx512_bf16+avx512_vnni+avx512vbmi+gfni"}

# Branches, whose targets are addresses; what older processors run as a no-op; what is run only where CPUID announces it (cpu/cpuid.hpp).
SKIPPED = re.compile(r"^((bnd|notrack|data16|cs|rex\S*) )*(j\w+|call\w*|nopw|endbr64|xgetbv)\b")


def instructions(path):
    """(function, bytes, text) of every instruction."""
    out = subprocess.run(["objdump", "-d", "-w", "-C", path], capture_output=True, text=True, check=True).stdout
    function = ""
    for line in out.splitlines():
        if line.endswith(">:"):
            function = line[line.index("<") + 1 : -2]
        elif (parts := line.split("\t")) and len(parts) >= 3:
            text = re.sub(r"\s*(#|<).*", "", parts[2]).strip()
            if text:
                yield function, parts[1].split(), text


def main():
    isa, objects = sys.argv[1], sys.argv[2:]
    if isa not in LEVELS or not objects:
        sys.exit(f"check_isa_instructions: wanted one of {', '.join(LEVELS)} and objects; got {sys.argv[1:]}")
    evex_allowed = isa.startswith("avx512")
    seen, total, bad = {}, 0, []
    for path in objects:
        for function, code, text in instructions(path):
            total += 1
            if not evex_allowed and code[0] == "62":
                bad.append((path, function, text + " (EVEX)"))
            if isa == "baseline":
                # The bytes of tzcnt are those of rep bsf, which older processors run as bsf: the same but for 0, and compilers write it only where 0 is ruled out.
                text = text.replace("tzcnt", "rep bsf")
            if not SKIPPED.search(text):
                seen.setdefault(text, (path, function))
    lines = list(seen)
    with tempfile.NamedTemporaryFile("w", suffix=".s") as source:
        source.write("\n".join(lines) + "\n")
        source.flush()
        errors = subprocess.run(["as", "--64", f"-march={LEVELS[isa]}", source.name, "-o", "/dev/null"], capture_output=True, text=True).stderr
    for line in errors.splitlines():
        if m := re.search(r":(\d+): Error: (.*)", line):
            text = lines[int(m[1]) - 1]
            bad.append((*seen[text], f"{text}: {m[2]}"))
        elif "Assembler messages" not in line and "Warning" not in line:
            bad.append(("", "", line))
    if not any(OWN[isa] in text for text in lines):
        bad.append(("", "", f"no {OWN[isa]} in any object"))
    for path, function, what in bad[:20]:
        print(f"{path}: {function}: not an instruction of {isa}: {what}")
    print(f"{isa}: {total} instructions, {len(lines)} different ones, in {len(objects)} objects; {len(bad)} that {isa} lacks")
    sys.exit(bool(bad) or total == 0)


if __name__ == "__main__":
    main()
