"""What the stored and the live parity tests compare, and how closely.

Both sides compute in float32 in different orders: logits agree to about 4e-6 of the largest logit, gradients to about 2e-5 of the
largest of their tensor. The bounds are about five times that; a wrong formula is off by far more.
"""
from __future__ import annotations

import numpy as np

LOGITS, LOSS, GRADIENTS = 2e-5, 1e-5, 1e-4


def relative(got, want) -> float:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, (got.shape, want.shape)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def compare(model, ids, *, logits, loss, grads, experts, generated) -> None:
    """ids [B, T] int32; grads by official names; experts per layer [B T, K] with sorted rows; generated [B, T + new]."""
    import moelle

    ids = np.ascontiguousarray(ids, np.int32)
    got = model(ids).numpy()
    error = relative(got, logits)
    print(f"logits {error:.1e} of the largest")
    assert error < LOGITS
    assert np.array_equal(got.argmax(-1), np.asarray(logits).argmax(-1))

    chosen = model.last_routing()
    assert len(chosen) == len(experts)
    for mine, theirs in zip(chosen, experts):
        assert np.array_equal(np.sort(np.asarray(mine), axis=1), theirs)

    model.zero_grad()
    value = model.loss(ids)
    assert abs(value.item() - loss) < LOSS * abs(loss)
    value.backward()
    mine = model.grad_dict()
    worst = 0.0
    for name, want in grads.items():
        worst = max(worst, relative(np.zeros_like(want) if mine.get(name) is None else np.asarray(mine[name]), want) if np.abs(want).max() > 0 else 0.0)
        assert worst < GRADIENTS, name
    print(f"gradients of {len(grads)} parameters, worst {worst:.1e}")

    new = generated.shape[1] - ids.shape[1]
    assert np.array_equal(np.asarray(model.generate(ids, max_new_tokens=new, temperature=0)), generated)
    assert isinstance(value, moelle.Tensor)
