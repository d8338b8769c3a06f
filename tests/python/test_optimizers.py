"""Optimisers, schedules, guard and log as parts of a loop of one's own; PyTorch's optimisers are the oracle where it is installed."""
import json
import math

import moelle
import numpy as np
import pytest
from moelle import models, training

RNG = np.random.default_rng(0)


def leaf(array):
    return moelle.tensor(array, dtype="float32", requires_grad=True)


def set_grad(p, grad):
    (p * moelle.from_numpy(grad)).sum().backward()


def tiny():
    return models.CausalLM(models.Config.preset("pilot").replace(num_hidden_layers=2, n_routed_experts=8), seed=0)


def test_adamw_takes_the_steps_of_pytorch():
    torch = pytest.importorskip("torch")
    start = RNG.standard_normal((5, 7)).astype(np.float32)
    ours, theirs = leaf(start), torch.tensor(start, requires_grad=True)
    options = dict(lr=3e-2, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.2)
    a, b = training.AdamW([ours], **options), torch.optim.AdamW([theirs], **options)
    for _ in range(20):
        g = RNG.standard_normal((5, 7)).astype(np.float32)
        a.zero_grad()
        set_grad(ours, g)
        theirs.grad = torch.from_numpy(g)
        a.step()
        b.step()
    # 20 updates of size lr, each rounded to float32
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=0, atol=20 * 3e-2 * 2e-6)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
def test_muon_takes_the_steps_of_pytorch(shape):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    start = RNG.standard_normal(shape).astype(np.float32)
    ours, theirs = leaf(start), torch.tensor(start, requires_grad=True)
    a = training.Muon([ours], lr=1e-2, muon_steps="jordan", rms=0.2, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        g = RNG.standard_normal(shape).astype(np.float32)
        a.zero_grad()
        set_grad(ours, g)
        theirs.grad = torch.from_numpy(g)
        a.step()
        b.step()
    # PyTorch iterates in bfloat16: each of five updates of size 0.2 * lr is good to a few per cent
    difference = ours.numpy() - theirs.detach().numpy()
    assert np.sqrt(np.mean(difference**2)) < 5 * 0.2e-2 * 0.05


def test_a_loop_by_hand_has_the_bits_of_the_trainer():
    options = dict(lr=2e-3, steps=4, warmup_steps=2, optimizer="muon", clip=0.5, bias_update_rate=0.01)
    batches = [training.Batch(moelle.randint(0, 256, (2, 16), seed=i, dtype="int32"), moelle.randint(0, 256, (2, 16), seed=100 + i, dtype="int32")) for i in range(4)]
    by_trainer, by_hand = tiny(), tiny()
    trainer = training.Trainer(by_trainer, **options)
    losses = [trainer.step([b]).loss for b in batches]

    optimizer, rate = training.Muon(by_hand, weight_decay=0.1), training.schedule("cosine", steps=4, warmup_steps=2)
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * rate(step)
        optimizer.zero_grad()
        for _, moe in by_hand.moe_layers():
            moe.reset_counts()
        out = by_hand.losses(batch.ids, targets=batch.targets)
        assert out.loss.item() == losses[step]
        out.total.backward()
        norm = optimizer.grad_norm()
        optimizer.step(grad_scale=min(1.0, 0.5 / norm))
        for _, moe in by_hand.moe_layers():
            moe.update_bias(0.01)
    theirs = by_trainer.state_dict()
    assert all(np.array_equal(theirs[name].numpy(), value.numpy()) for name, value in by_hand.state_dict().items())


def test_an_optimiser_goes_on_from_its_state():
    first, second = leaf(np.ones(3)), leaf(np.ones(3))
    a, b = training.AdamW([("w", first)]), training.AdamW([("w", second)])
    for _ in range(3):
        a.zero_grad()
        set_grad(first, np.float32([1, -2, 3]))
        a.step()
    second.data = first.detach()
    b.load_state_dict({name: value if name == "steps" else value.numpy().copy() for name, value in a.state_dict().items()})
    for p, o in [(first, a), (second, b)]:
        o.zero_grad()
        set_grad(p, np.float32([3, 2, 1]))
        o.step()
    assert first.tolist() == second.tolist() and a.state_dict()["steps"] == 4


def test_a_state_with_other_names_or_shapes_is_refused_and_changes_nothing():
    w = leaf(np.ones(3))
    optimizer = training.AdamW([("w", w)])
    good = optimizer.state_dict()
    with pytest.raises(moelle.Error, match="missing=.'w.exp_avg'.*unexpected=.'v'"):
        optimizer.load_state_dict({"v": good["w.exp_avg"], "w.exp_avg_sq": good["w.exp_avg_sq"], "steps": 7})
    with pytest.raises(moelle.Error, match=r"w.exp_avg of shape=\[2\] wanted=\[3\]"):
        optimizer.load_state_dict({**good, "w.exp_avg": np.zeros(2, np.float32), "steps": 7})
    assert optimizer.state_dict()["steps"] == 0


def test_groups_have_rates_and_decays_of_their_own():
    a, b = leaf(np.ones(1)), leaf(np.ones(1))
    optimizer = training.AdamW([dict(params=[a], lr=0.25), dict(params=b, weight_decay=0.0)], lr=0.125, weight_decay=0.5)
    for p in (a, b):
        set_grad(p, np.float32([1]))
    optimizer.step()
    assert math.isclose(a.item(), 1 - 0.25 * (1 + 0.5), rel_tol=1e-6) and math.isclose(b.item(), 1 - 0.125, rel_tol=1e-6)


def test_arguments_that_cannot_be_meant_are_refused_by_name():
    w = leaf(np.ones(3))
    for make, message in [
        (lambda: training.AdamW([]), "at least one parameter"),
        (lambda: training.AdamW([dict(params=[w], lrr=1)]), 'lrr.*did you mean "lr"'),
        (lambda: training.Muon([w]), r"shape=\[3\]"),
        (lambda: training.AdamW([w], betas=(1.5, 0.9)), "beta1=1.5"),
        (lambda: training.AdamW([w], lr=math.nan), "lr=nan"),
        (lambda: training.AdamW([w], lr=-1), "lr=-1"),
        (lambda: training.AdamW([dict(params=[w]), dict(params=[w])]), "same tensor twice"),
        (lambda: training.schedule("cosine", steps=3)(-1), "step=-1"),
        (lambda: training.schedule("cosin", steps=3), 'did you mean "cosine"'),
        (lambda: training.schedule("wsd", steps=3, warmup_steps=4), "warmup_steps=4"),
        (lambda: training.param_groups(tiny(), optimizer="mun"), 'did you mean "muon"'),
        (lambda: training.Guard(limit=-1), "limit=-1"),
    ]:
        with pytest.raises(moelle.Error, match=message):
            make()
    for params in ([1.0], [moelle.ones(2, dtype="float64")]):
        with pytest.raises(TypeError, match="float32 tensors"):
            training.AdamW(params)


def test_schedules_take_the_values_of_their_definitions():
    wsd = training.schedule("wsd", steps=100, decay_fraction=0.5)
    assert wsd(49) == 1.0 and math.isclose(wsd(75), 0.1 + 0.9 * (1 - math.sqrt(0.5))) and math.isclose(wsd(100), 0.1)
    v3 = training.schedule("deepseek_v3", steps=148, warmup_steps=2)
    assert v3(0) == 0.5 and v3(99) == 1.0 and math.isclose(v3(145), 0.1) and math.isclose(v3(147), 7.3 / 220)


def test_the_guard_refuses_nan_and_spikes():
    guard = training.Guard(limit=4, window=8)
    assert "nan" in guard.refuse(math.nan, 1.0) and "inf" in guard.refuse(1.0, math.inf)
    assert [guard.refuse(2.0 + 0.01 * (i % 2), 1.0) for i in range(8)] == [""] * 8
    assert "above its mean" in guard.refuse(50.0, 1.0)


def test_the_log_is_json_or_a_table_and_goes_on_where_a_run_resumes(tmp_path):
    path = tmp_path / "log.jsonl"
    log = training.MetricLog(str(path))
    for step in range(3):
        log.write(step, {"loss": 1.0 / (step + 1), "bad": math.nan})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1] == {"step": 1, "loss": 0.5, "bad": None}
    training.MetricLog(str(path), resume_step=2).write(2, {"loss": 9})
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [1.0, 0.5, 9]
    table = training.MetricLog(str(tmp_path / "log.csv"))
    table.write(0, {"loss": 1.5})
    assert (tmp_path / "log.csv").read_text() == "step,loss\n0,1.5\n"
    with pytest.raises(moelle.Error, match="columns must stay the same"):
        table.write(1, {"other": 1})
