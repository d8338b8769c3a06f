"""moelle against what transformers computed once (scripts/make_parity_fixtures.py): needs neither torch nor transformers."""
import json
from pathlib import Path

import moelle
import numpy as np
import pytest
from compare import compare

safetensors = pytest.importorskip("safetensors.numpy")
FIXTURES = Path(__file__).parent / "fixtures"
CASES = [(d.name, c.name) for d in sorted(FIXTURES.iterdir()) for c in sorted(d.glob("*.json"))]


def test_every_family_has_a_fixture():
    assert len({name for name, _ in CASES}) == 7 and len(CASES) == 11


@pytest.mark.parametrize("name,config", CASES)
def test_model_agrees_with_transformers(name, config):
    folder = FIXTURES / name
    model = moelle.models.CausalLM(moelle.models.Config.from_json(str(folder / config)), seed=0)
    weights = safetensors.load_file(folder / "model.safetensors")
    model.load_state_dict(weights, strict=True)
    want = safetensors.load_file(folder / "expected.safetensors")
    experts = [want[k] for k in sorted(k for k in want if k.startswith("experts."))]
    grads = {k[5:]: v for k, v in want.items() if k.startswith("grad.")}
    compare(model, want["ids"], logits=want["logits"], loss=float(want["loss"][0]), grads=grads, experts=experts, generated=want["generated"])
    for key, value in model.state_dict().items():
        if key in weights:
            assert np.array_equal(np.asarray(value), weights[key]), key
    assert set(weights) <= set(model.state_dict())


def test_a_dict_with_wrong_names_is_refused_and_changes_nothing():
    folder = FIXTURES / "moonlight"
    model = moelle.models.CausalLM(moelle.models.Config.from_json(json.loads((folder / "config.json").read_text())), seed=0)
    weights = safetensors.load_file(folder / "model.safetensors")
    before = np.array(model.state_dict()["model.norm.weight"])
    weights["model.norm.wait"] = weights.pop("model.norm.weight")
    with pytest.raises(moelle.Error, match="missing=.*model.norm.weight.*unexpected=.*model.norm.wait"):
        model.load_state_dict(weights)
    assert np.array_equal(np.array(model.state_dict()["model.norm.weight"]), before)
