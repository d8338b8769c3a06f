#!/usr/bin/env python3
"""Write tests/parity/fixtures: tiny random models of every family, and what transformers computes with them.

For each model: config.json as transformers writes it, official.json with the keys of the official release where they differ,
model.safetensors with official per-expert names, and expected.safetensors with ids, logits, loss, gradients of every parameter, the
experts chosen per layer, and a greedy continuation with cache. Needs torch and transformers; run it to change the fixtures:
    python scripts/make_parity_fixtures.py [NAME...]
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "parity"))

import numpy as np
from oracle import MODELS, build, expectations, official_weights
from safetensors.numpy import save_file

FIXTURES = ROOT / "tests" / "parity" / "fixtures"


def write(name: str) -> None:
    spec = MODELS[name]
    model, ids = build(name)
    folder = FIXTURES / name
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_diff_dict() if hasattr(model.config, "to_diff_dict") else model.config.to_dict()
    config["model_type"] = model.config.model_type
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True, default=str) + "\n")
    if "official" in spec:
        (folder / "official.json").write_text(json.dumps(spec["official"], indent=1, sort_keys=True) + "\n")
    save_file(official_weights(model), folder / "model.safetensors")
    expected = expectations(model, ids, new_tokens=12)
    flat = {"ids": ids.numpy().astype(np.int32), "logits": expected.logits, "loss": np.array([expected.loss]), "generated": expected.generated}
    flat |= {f"experts.{i}": e for i, e in enumerate(expected.experts)}
    flat |= {f"grad.{k}": v for k, v in expected.grads.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in flat.items()}, folder / "expected.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir()) / 1024
    print(f"{name:24} {size:7.0f} KiB  loss {expected.loss:.5f}  narrowest choice {expected.margin:.2e}  layers with experts {len(expected.experts)}")


for name in sys.argv[1:] or MODELS:
    write(name)
