"""Gradients from Python: modes, accumulation, operations of one's own, gradcheck."""
import gc
import weakref

import moelle
import numpy as np
import pytest
from moelle import autograd
from moelle import functional as F


class Cube(autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x * x * factor

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x * x * (3 * ctx.factor), None


class SumAndProduct(autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a + b, a * b

    @staticmethod
    def backward(ctx, gs, gp):
        a, b = ctx.saved_tensors
        return gs + gp * b, gs + gp * a


def test_gradients_add_up_over_backward_calls_until_they_are_dropped():
    x = moelle.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5, 7]
    x.zero_grad()
    assert x.grad is None
    (x * 2).backward(moelle.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]


def test_nothing_is_recorded_under_no_grad_in_any_of_its_forms():
    x = moelle.ones(1, requires_grad=True)

    @moelle.no_grad()
    def f():
        assert not moelle.is_grad_enabled()
        with moelle.enable_grad():
            assert (x * 2).requires_grad
        return x * 2

    assert not f().requires_grad and moelle.is_grad_enabled()
    with moelle.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError):
        with moelle.no_grad():
            1 / 0
    assert moelle.is_grad_enabled()


def test_backward_says_why_it_cannot_run():
    x = moelle.ones(2, requires_grad=True)
    with pytest.raises(moelle.Error, match="one element unless its gradient is given"):
        (x * 2).backward()
    with pytest.raises(moelle.Error, match="depend on a tensor that requires a gradient"):
        moelle.ones(1).backward()
    y = (x * x).sum()
    y.backward()
    with pytest.raises(moelle.Error, match="freed"):
        y.backward()
    with pytest.raises(TypeError, match="int64"):
        moelle.tensor([1]).requires_grad_()


def test_a_value_changed_in_place_before_backward_is_an_error():
    x = moelle.ones(2, requires_grad=True)
    w = moelle.ones(2)
    y = (x * w).sum()
    w.fill_(3)
    with pytest.raises(moelle.Error, match="changed in place"):
        y.backward()


def test_a_function_written_in_python_has_the_gradient_that_it_defines():
    x = moelle.randn(4, seed=1, dtype="float64", requires_grad=True)
    Cube.apply(x, 2.0).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.numpy() ** 2)
    assert autograd.gradcheck(lambda x: Cube.apply(x, 0.5), [x])
    b = moelle.randn(4, seed=2, dtype="float64", requires_grad=True)
    assert autograd.gradcheck(lambda a, b: SumAndProduct.apply(a, b), [x, b])
    assert autograd.gradcheck(lambda a, b: SumAndProduct.apply(a, b)[1] * a, [x, b])


def test_a_wrong_gradient_is_found_and_placed():
    class Wrong(autograd.Function):
        forward = staticmethod(lambda ctx, x: x * x)
        backward = staticmethod(lambda ctx, g: g)

    r = autograd.gradcheck(Wrong.apply, [moelle.tensor([2.0, 3.0], dtype="float64", requires_grad=True)])
    assert not r and r.worst > 0.1 and r.compared == 2 and "input 0" in r.where


def test_errors_of_a_python_backward_arrive_as_they_are():
    class Broken(autograd.Function):
        forward = staticmethod(lambda ctx, x: x * 1)

        @staticmethod
        def backward(ctx, g):
            raise KeyError("mine")

    x = moelle.ones(1, requires_grad=True)
    with pytest.raises(KeyError, match="mine"):
        Broken.apply(x).backward()

    class Short(Broken):
        forward = staticmethod(lambda ctx, x, y: x * 1)
        backward = staticmethod(lambda ctx, g: g)

    with pytest.raises(moelle.Error, match="one gradient or None per argument; got 1 for arguments=2"):
        Short.apply(x, 1).backward()


def test_saved_tensors_changed_in_place_are_refused_in_python_functions_too():
    x = moelle.ones(1, requires_grad=True)
    y = Cube.apply(x, 1.0)
    with moelle.no_grad():
        x += 1
    with pytest.raises(moelle.Error, match="changed in place"):
        y.backward()


def test_a_function_that_keeps_its_output_makes_no_cycle():
    class Exp(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            ctx.token = Token()
            seen.append(weakref.ref(ctx.token))
            return y

        backward = staticmethod(lambda ctx, g: g * ctx.saved_tensors[0])

    class Token:
        pass

    seen = []
    x = moelle.ones(2, requires_grad=True)
    y = Exp.apply(x)
    y.sum().backward()
    del y
    assert seen[0]() is None
    np.testing.assert_allclose(x.grad.numpy(), np.exp(1.0), rtol=1e-6)


def test_a_python_function_is_not_recorded_where_nothing_needs_a_gradient():
    assert not Cube.apply(moelle.ones(1), 1.0).requires_grad
    with moelle.no_grad():
        assert not Cube.apply(moelle.ones(1, requires_grad=True), 1.0).requires_grad


def test_checkpoint_gives_the_same_gradient_with_the_function_run_twice():
    calls = []

    def f(x, w):
        calls.append(1)
        return F.silu(x * w)

    def grads(call):
        x, w = moelle.randn(5, seed=0, requires_grad=True), moelle.randn(5, seed=1, requires_grad=True)
        call(x, w).sum().backward()
        return x.grad.tolist(), w.grad.tolist()

    assert grads(lambda x, w: autograd.checkpoint(f, x, w)) == grads(f) and len(calls) == 3


@pytest.mark.parametrize("f,shapes", [
    (F.linear, [(3, 4), (2, 4), (2,)]), (F.matmul, [(2, 3, 4), (2, 4, 2)]), (lambda x, w: F.rms_norm(x, w), [(3, 4), (4,)]), (F.softmax, [(3, 4)]), (F.swiglu, [(2, 6)]),
    (lambda x: x[1:, [0, 2]], [(3, 4)]), (lambda x: x[x > -9], [(2, 2)]), (lambda a, b: moelle.where(moelle.tensor([True, False, True]), a, b), [(3,), (3,)]), (lambda x: F.cross_entropy(x, moelle.tensor([1, 0])), [(2, 3)]),
    (lambda q, k, v: F.attention(q, k, v), [(1, 3, 2, 4), (1, 3, 1, 4), (1, 3, 1, 2)]), (lambda x: x.reshape(2, 6).transpose(0, 1) * 2 - x.sum(), [(3, 4)]),
    (lambda x: F.gate(x, params=F.GateParams(top_k=2))[1], [(3, 4)]),
])
def test_operations_pass_gradcheck_from_python(f, shapes):
    inputs = [moelle.randn(*s, seed=i, dtype="float64", requires_grad=True) for i, s in enumerate(shapes)]
    r = autograd.gradcheck(f, inputs)
    assert r, r


def test_graphs_are_freed_with_their_outputs():
    a = np.ones(4, np.float32)
    ref = weakref.ref(a)
    x = moelle.from_numpy(a).requires_grad_()
    y = x
    for _ in range(2000):  # a long chain must not overflow the stack when it is dropped
        y = y * 1.0
    del a, x, y
    gc.collect()
    assert ref() is None
