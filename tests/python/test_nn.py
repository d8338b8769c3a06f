"""Modules written in Python, alone and as parts of C++ models."""
import gc
import weakref

import moelle
import numpy as np
import pytest
from moelle import functional as F
from moelle import models, nn

TINY = dict(model_type="deepseek_v3", vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, kv_lora_rank=8, q_lora_rank=None, qk_nope_head_dim=4,
            qk_rope_head_dim=4, v_head_dim=4, intermediate_size=24, moe_intermediate_size=8, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2,
            first_k_dense_replace=1, n_group=1, topk_group=1, max_position_embeddings=64, initializer_range=0.2,
            num_nextn_predict_layers=0)


class MyGate(nn.Gate):
    """Softmax over the logits of the best two experts."""

    def __init__(self, hidden_size, num_experts):
        super().__init__()
        self.weight = nn.Parameter(moelle.randn(num_experts, hidden_size, std=0.2, seed=5))
        self.calls = 0
        self.balanced = []

    def route(self, x):
        self.calls += 1
        logits = F.linear(x, self.weight)
        values, experts = logits.topk(2)
        return experts, values.softmax(-1), logits.softmax(-1)

    def balance(self, counts, rate, rule):
        self.balanced.append((list(counts), rate, rule))


class MyAttention(nn.Attention):
    """Each token sees the mean of its own and all earlier tokens."""

    def __init__(self, hidden_size):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def attend(self, x, context):
        n = moelle.arange(1, x.size(1) + 1).float().reshape(1, -1, 1)
        return self.proj(x.cumsum(1) / n)


class SumCache(nn.LayerCache):
    """The sum of all tokens so far."""

    def __init__(self, capacity):
        super().__init__()
        self.sum, self.held, self.room = None, 0, capacity

    def length(self):
        return self.held

    def capacity(self):
        return self.room

    def truncate(self, length):
        raise NotImplementedError("a sum cannot be cut short")

    def bytes(self):
        return 0 if self.sum is None else 4 * self.sum.numel()


class CachedAttention(MyAttention):
    def attend(self, x, context):
        if context.cache is None:
            return super().attend(x, context)
        cache = context.cache
        n = moelle.arange(cache.held + 1, cache.held + x.size(1) + 1).float().reshape(1, -1, 1)
        sums = x.cumsum(1) if cache.sum is None else x.cumsum(1) + cache.sum
        cache.sum, cache.held = sums[:, -1:].clone(), cache.held + x.size(1)
        return self.proj(sums / n)

    def make_cache(self, batch, capacity):
        return SumCache(capacity)


@pytest.fixture
def model():
    return models.CausalLM(models.Config.from_json(TINY), seed=1)


def train(model, steps=30, lr=0.05):
    ids = moelle.randint(0, 32, (4, 12), seed=9)
    losses = []
    for _ in range(steps):
        model.zero_grad()
        loss = model.loss(ids)
        loss.backward()
        with moelle.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p -= lr * p.grad
        losses.append(loss.item())
    return losses


def test_a_gate_written_in_python_is_trained_inside_a_cpp_model(model):
    gate = MyGate(16, 4)
    before = gate.weight.tolist()
    model.model.layers[1].mlp.gate = gate
    assert model.model.layers[1].mlp.gate is gate
    assert "model.layers.1.mlp.gate.weight" in dict(model.named_parameters())
    losses = train(model, lr=0.2)
    assert gate.calls == 30 and losses[-1] < losses[0] - 0.1
    assert gate.weight.tolist() != before and gate.weight.grad is not None
    assert [r.shape for r in model.last_routing()] == [(48, 2)]


def test_the_gradient_through_a_python_gate_equals_that_of_the_same_gate_in_cpp(model):
    ids = moelle.randint(0, 32, (2, 9), seed=3)
    moe = model.model.layers[1].mlp
    theirs = nn.TopKGate(16, 4, nn.GateParams.greedy(top_k=2, normalize=True))
    mine = MyGate(16, 4)
    mine.weight = nn.Parameter(theirs.weight.detach().clone())
    grads = []
    for gate in (theirs, mine):
        moe.gate = gate
        model.zero_grad()
        model.loss(ids).backward()
        grads.append((gate.weight.grad.numpy().copy(), moe.experts.down_proj.grad.numpy().copy()))
    for a, b in zip(*grads):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_a_python_gate_survives_without_a_python_reference_and_dies_with_the_model(model):
    gate = MyGate(16, 4)
    gone = weakref.ref(gate)
    model.model.layers[1].mlp.gate = gate
    del gate
    gc.collect()
    model([[1, 2, 3]])
    assert gone() is not None and gone().calls == 1
    del model
    gc.collect()


def test_the_trainer_calls_a_python_gates_balance_once_per_step(model):
    gate = MyGate(16, 4)
    model.model.layers[1].mlp.gate = gate
    trainer = moelle.training.Trainer(model, lr=1e-2, steps=2, optimizer="adamw", bias_update_rate=0.5, bias_rule="proportional")
    ids = moelle.randint(0, 32, (2, 8), seed=0)
    trainer.step([moelle.training.Batch(ids, ids)])
    assert len(gate.balanced) == 1
    counts, rate, rule = gate.balanced[0]
    assert sum(counts) == 2 * 8 * 2 and rate == 0.5 and rule.name == "proportional"


def test_an_attention_written_in_python_stands_in_for_the_models_own(model):
    model.model.layers[0].self_attn = MyAttention(16)
    losses = train(model, lr=0.2)
    assert losses[-1] < losses[0] - 0.1
    with pytest.raises(moelle.Error, match="cache"):
        model.generate([[1, 2]], max_new_tokens=2)
    assert model.generate([[1, 2]], max_new_tokens=2, temperature=0, use_cache=False).shape == (1, 4)


def test_an_attention_with_a_cache_of_its_own_decodes_step_by_step(model):
    for layer in model.model.layers:
        layer.self_attn = CachedAttention(16)
    a = model.generate([[1, 2, 3]], max_new_tokens=6, temperature=0)
    assert a.tolist() == model.generate([[1, 2, 3]], max_new_tokens=6, temperature=0, use_cache=False).tolist()


def test_a_feed_forward_written_in_python_stands_in_for_the_experts(model):
    class Double(nn.Module):
        def forward(self, x):
            return x * 2

    model.model.layers[1].mlp = Double()
    assert model([[1, 2]]).shape == (1, 2, 32) and model.last_routing() == []


@pytest.mark.parametrize("result,error,match", [
    (lambda x: 3, TypeError, "route must return"), (lambda x: (moelle.zeros(3, 2), moelle.zeros(3, 2)), TypeError, "int32, int64, uint8; got dtype=float32"),
    (lambda x: (moelle.full((x.size(0), 2), 99), moelle.ones(x.size(0), 2)), moelle.Error, "expert"), (lambda x: (moelle.zeros(1, 2, dtype="int32"), moelle.ones(1, 2)), moelle.Error, "experts:|choice"),
    (lambda x: 1 / 0, ZeroDivisionError, "division"),
])
def test_what_a_python_gate_does_wrong_is_said(model, result, error, match):
    class Bad(nn.Gate):
        def route(self, x):
            return result(x)

    model.model.layers[1].mlp.gate = Bad()
    with pytest.raises(error, match=match):
        model([[1, 2, 3]])


def test_a_gate_without_route_says_so(model):
    class Empty(nn.Gate):
        pass

    model.model.layers[1].mlp.gate = Empty()
    with pytest.raises(moelle.Error, match="route.*must be defined"):
        model([[1, 2, 3]])


def test_a_part_can_only_be_replaced_by_one_of_its_kind(model):
    moe = model.model.layers[1].mlp
    with pytest.raises(moelle.Error, match="kind"):
        moe.gate = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="must be a Module"):
        moe.gate = 3
    with pytest.raises(AttributeError, match="no attribute 'gait'"):
        moe.gait


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4, seed=1)
        self.rest = nn.ModuleList([nn.Linear(4, 4, bias=False, seed=i) for i in range(2)])
        self.scale = nn.Parameter(moelle.ones(4))
        self.register_buffer("steps", moelle.zeros(1))
        self.note = "not a parameter"

    def forward(self, x, shift=0.0):
        x = F.silu(self.first(x))
        for layer in self.rest:
            x = layer(x)
        return x * self.scale + shift


NAMES = ["scale", "first.weight", "first.bias", "rest.0.weight", "rest.1.weight"]


def test_attributes_are_registered_under_their_names_as_in_pytorch():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert sorted(net.state_dict()) == sorted([*NAMES, "steps"])
    assert [n for n, _ in net.named_modules()] == ["", "first", "rest", "rest.0", "rest.1"]
    assert [type(m).__name__ for m in net.children()] == ["Linear", "ModuleList"]
    assert net(moelle.ones(2, 3), shift=1.0).shape == (2, 4)
    assert net.num_parameters() == sum(p.numel() for p in net.parameters()) == 52
    assert isinstance(net.scale, nn.Parameter) and net.scale.requires_grad and not net.steps.requires_grad and net.note == "not a parameter"
    assert "first" in dir(net) and "Linear(weight=[4, 3]" in repr(net)


def test_parameters_read_twice_are_one_tensor():
    net = Net()
    net.scale.copy_(moelle.zeros(4)) if not net.scale.requires_grad else net.scale.detach().fill_(2)
    assert net.scale.tolist() == [2, 2, 2, 2] and net.scale.is_same(net.scale)
    net(moelle.ones(1, 3)).sum().backward()
    assert net.scale.grad is not None and dict(net.named_parameters())["scale"].grad.tolist() == net.scale.grad.tolist()
    net.zero_grad()
    assert net.scale.grad is None


def test_a_parameter_is_replaced_by_a_parameter_only():
    net = Net()
    net.scale = nn.Parameter(moelle.zeros(4))
    assert net.scale.tolist() == [0, 0, 0, 0] and [n for n, _ in net.named_parameters()] == NAMES
    with pytest.raises(TypeError, match="scale must be a Parameter"):
        net.scale = moelle.zeros(4)


def test_state_dicts_are_loaded_whole_or_not_at_all():
    a, b = Net(), Net()
    b.scale.detach().fill_(3)
    state = b.state_dict()
    r = a.load_state_dict({n: t.numpy() for n, t in state.items()})
    assert r.missing == r.unexpected == r.missing_keys == [] and a.scale.tolist() == [3] * 4
    bad = {**state, "scale": moelle.zeros(5)}
    with pytest.raises(moelle.Error, match=r"scale of shape \[5\] for a parameter of shape \[4\]"):
        a.load_state_dict(bad)
    with pytest.raises(TypeError, match="scale of dtype=float64"):
        a.load_state_dict({**state, "scale": np.zeros(4)})
    del bad["scale"]
    bad["more"] = moelle.zeros(1)
    with pytest.raises(moelle.Error, match=r"missing=\[scale\] unexpected=\[more\]"):
        a.load_state_dict(bad)
    r = a.load_state_dict(bad, strict=False)
    assert r.missing == ["scale"] and r.unexpected == ["more"] and a.scale.tolist() == [3] * 4


def test_modes_reach_every_module_below():
    net = Net()
    assert net.eval() is net and not net.rest[1].training
    assert net.train().rest[1].training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_module_lists_index_and_iterate():
    net = Net()
    assert len(net.rest) == 2 and net.rest[-1] is net.rest[1] and [m is n for m, n in zip(net.rest, net.rest[0:])] == [True, True]
    net.rest[0] = nn.Linear(4, 4, bias=False, seed=9)
    net.rest.append(nn.Linear(4, 4))
    assert len(net.rest) == 3 and "rest.2.bias" in dict(net.named_parameters())
    with pytest.raises(IndexError):
        net.rest[3]


def test_super_forward_reaches_the_cpp_layer():
    class Loud(nn.Linear):
        def __init__(self):
            super().__init__(2, 2, bias=False)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * 2

    layer = Loud()
    x = moelle.ones(1, 2)
    assert layer(x).tolist() == (F.linear(x, layer.weight) * 2).tolist() and layer.calls == 1


def test_clipping_scales_to_the_norm_asked_for():
    p = moelle.zeros(2, requires_grad=True)
    p.grad = moelle.tensor([3.0, 4.0])
    assert nn.clip_grad_norm_([p], 1.0) == pytest.approx(5.0)
    assert p.grad.tolist() == pytest.approx([0.6, 0.8])
