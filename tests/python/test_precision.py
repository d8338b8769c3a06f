"""Operands of products: bf16 and fp8 in training, packed weights in inference."""
import numpy as np
import pytest

import moelle
from moelle import nn
from moelle.models import CausalLM


def ids(n):
    return moelle.tensor([[(7 * i) % 256 for i in range(n)]], dtype="int32")


def test_set_precision_reaches_all_layers_and_can_be_taken_back():
    model = CausalLM(moelle.models.Config.preset("pilot"))
    exact = model(ids(12)).numpy()
    assert nn.set_precision(model, "bf16") is model
    assert model.precision == "bf16" and all(m.precision == "bf16" for m in model.modules())
    rounded = model(ids(12)).numpy()
    assert not np.array_equal(rounded, exact)
    assert np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()
    assert np.array_equal(nn.set_precision(model, "f32")(ids(12)).numpy(), exact)
    with pytest.raises(moelle.Error, match="must be f32, bf16 or fp8; got precision=fp16"):
        nn.set_precision(model, "fp16")


@pytest.mark.parametrize("format, bytes_per_weight", [("f32", 4), ("bf16", 2), ("fp8", 1), ("int8", 1), ("int4", 0.6)])
def test_a_packed_layer_is_smaller_and_close(format, bytes_per_weight):
    layer = nn.Linear(512, 480)
    x = moelle.tensor(np.random.default_rng(0).standard_normal((5, 512)).astype(np.float32))
    with moelle.no_grad():
        exact = layer(x).numpy()
        nn.pack(layer, format)
        packed = layer(x).numpy()
    assert layer.packed_bytes < 1.1 * bytes_per_weight * 512 * 480
    assert list(layer.state_dict()) == ["bias"]
    assert np.linalg.norm(packed - exact) < {"f32": 1e-6, "bf16": 1e-2, "fp8": 5e-2, "int8": 2e-2, "int4": 0.15}[format] * np.linalg.norm(exact)
    with pytest.raises(moelle.Error, match="packed twice"):
        nn.pack(layer, format)


def test_a_model_is_packed_as_it_is_built_and_generates_the_same():
    config = moelle.models.Config.preset("pilot")
    later, at_once = CausalLM(config, seed=3), CausalLM(config, seed=3, format="int8")
    nn.pack(later, "int8")
    assert later.packed_bytes == at_once.packed_bytes > 0
    assert later.generate(ids(4), max_new_tokens=8).tolist() == at_once.generate(ids(4), max_new_tokens=8).tolist()
    with pytest.raises(moelle.Error, match="inference"):  # norms and routers would still record a gradient
        at_once(ids(4))
    with pytest.raises(moelle.Error, match="must be f32, bf16, fp8, int8 or int4; got format=q4"):
        CausalLM(config, format="q4")
