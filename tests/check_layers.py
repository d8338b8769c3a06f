#!/usr/bin/env python3
"""Fail if an include points against the layers of CONTRIBUTING.md, or a third-party header stands where it may not."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "include" / "moelle"

# Folder: folders that it may include, besides itself.
CORE = {"core"}
TENSOR = CORE | {"autograd"}
DOMAIN = TENSOR | {"tensor", "cpu", "cuda"}
MATHS = {"gemm", "norm", "activation", "rope", "embedding", "loss", "attention", "moe"}
MAY = {
    "core": set(),
    "cpu": CORE,
    "cuda": CORE,
    "autograd": CORE,
    "tensor": TENSOR,
    "quant": CORE,
    "gemm": DOMAIN | {"quant", "activation"},
    "norm": DOMAIN | {"activation"},
    "activation": DOMAIN,
    "rope": DOMAIN,
    "embedding": DOMAIN,
    "loss": DOMAIN | {"gemm", "activation", "norm"},
    "attention": DOMAIN | {"gemm"},
    "moe": DOMAIN | {"gemm", "activation", "norm"},
    "nn": DOMAIN | MATHS,
    "models": DOMAIN | MATHS | {"nn", "io"},
    "io": CORE | {"models"},
    "text": CORE | {"io"},
    "estimate": CORE | {"models", "io"},
    "training": DOMAIN | MATHS | {"nn", "models", "io"},
    "generation": DOMAIN | MATHS | {"nn", "models"},
}
# What models may take from io, and io and estimate from models: configurations and names, never tensors of a model.
ONLY = {("models", "io"): r"io/(json|suggest)\.hpp", ("io", "models"): r"models/config\w*\.hpp", ("estimate", "models"): r"models/(config\w*|presets)\.hpp",
        ("estimate", "io"): r"io/suggest\.hpp"}
THIRD_PARTY = {
    r"xsimd/": r"cpu/xsimd\.hpp",
    r"nlohmann/": r"(io|text)/.*|.*_json\.hpp",
    r"Eigen/": r".*_eigen\.hpp",
    r"pybind11/": r"$^",
    r"(immintrin|arm_neon)\.h": r".*_simd\.hpp",
}


def problems():
    for path in sorted(ROOT.rglob("*")):
        if path.suffix not in {".hpp", ".cuh"}:
            continue
        name = path.relative_to(ROOT).as_posix()
        folder = name.split("/")[0] if "/" in name else None
        text = path.read_text()
        if folder is not None and folder not in MAY:
            yield f"{name}: folder {folder} has no place in the layers"
            continue
        for included in re.findall(r'#\s*include\s*[<"]([^>"]+)[>"]', text):
            if included == "moelle/moelle.hpp":
                yield f"{name}: no header of ours includes moelle.hpp"
            for pattern, where in THIRD_PARTY.items():
                if re.match(pattern, included) and not re.fullmatch(where, name):
                    yield f"{name}: {included} must not be included here"
            inner = re.match(r"moelle/(([a-z_]+)/.+)", included)
            if folder is None or inner is None or inner[2] == folder:
                continue
            if inner[2] not in MAY[folder]:
                yield f"{name}: {folder} must not see {inner[2]} ({included})"
            elif (folder, inner[2]) in ONLY and not re.fullmatch(ONLY[folder, inner[2]], inner[1]):
                yield f"{name}: {folder} may see of {inner[2]} only {ONLY[folder, inner[2]]} (got {included})"
        if re.search(r"_simd\.hpp$", name) and re.search(r"#\s*include\s*<(vector|string|functional|memory|map|algorithm)>", text):
            yield f"{name}: kernels use no std containers or algorithms"


bad = list(problems())
print("\n".join(bad) or "layers: every include points the right way")
sys.exit(bool(bad))
