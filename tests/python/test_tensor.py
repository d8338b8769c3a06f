"""Operators, indexing and methods against NumPy."""
import copy

import pickle

import moelle
import numpy as np
import pytest

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("f", [
    lambda x: x + x, lambda x: x - 2, lambda x: 2 - x, lambda x: x * 0.5, lambda x: 3 * x, lambda x: x / 4, lambda x: 1 / x, lambda x: -x, lambda x: abs(x) if isinstance(x, np.ndarray) else x.abs(),
    lambda x: x + x[:1], lambda x: x * x[:, :1, :1], lambda x: x > 0, lambda x: x <= x[0], lambda x: x == x, lambda x: x != 0, lambda x: x @ x.transpose(0, 2, 1) if isinstance(x, np.ndarray) else x @ x.transpose(1, 2),
])
def test_operators_agree_with_numpy(f):
    got, want = f(moelle.from_numpy(A)).numpy(), f(A)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("index", [
    0, -1, (1, 2), (slice(1, 3),), (slice(None), 2), (..., 0), (0, ..., slice(None, None, 2)), (None, 1), (slice(None), None), (slice(None, None, -1),), (slice(3, 0, -2), ..., slice(-2, None)),
    ([0, 2],), ([-1, 0, 0],), (np.array([[0, 1], [3, 2]]),), (slice(None), [1, 1, 4]), (1, [0, 2]), (slice(1, 3), [0, 3], slice(None, None, 2)), ([0, 1], [2, 3]), (slice(None), [0, 1], [2, 3]),
    ([[0], [1]], [2, 3]), (A > 0,), (A[:, :, 0] > 0,), (A[:, 0, 0] > 0,), (slice(None), A[0] > 0), [0, 1], (slice(5, 2),), ([],), (slice(100),),
], ids=lambda i: str(i).replace("\n", "")[:50])
def test_indexing_and_assignment_agree_with_numpy(index):
    want = A[index]
    x = moelle.from_numpy(A)
    got = x[index]
    assert got.shape == want.shape and np.array_equal(got.numpy(), want)
    for value in (7.0, RNG.normal(size=want.shape).astype(np.float32)):
        b, y = A.copy(), moelle.tensor(A)
        b[index] = value
        y[index] = value
        assert np.array_equal(y.numpy(), b)  # of equal indices the last wins, as in NumPy


def test_an_index_tensor_works_as_an_array_does():
    x, i = moelle.from_numpy(A), np.array([2, 0, 0])
    for index in (moelle.tensor(i), moelle.tensor(i).int(), moelle.from_numpy(i)):
        assert np.array_equal(x[index].numpy(), A[i])
        assert np.array_equal(x[:, index].numpy(), A[:, i])
    assert np.array_equal(x[x > 0].numpy(), A[A > 0])


@pytest.mark.parametrize("index,error", [(4, IndexError), (-5, IndexError), ((0, 0, 0, 0), IndexError), ([9], IndexError), ("a", TypeError), (1.0, TypeError), ([0.5], TypeError),
                                         ((..., ...), IndexError), (np.ones(3, bool), IndexError)])
def test_indices_out_of_range_are_refused(index, error):
    with pytest.raises(error):
        moelle.from_numpy(A)[index]


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "argmax", "argmin"])
@pytest.mark.parametrize("dim", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions_agree_with_numpy(name, dim, keepdim):
    got = getattr(moelle.from_numpy(A), name)(dim, keepdim=keepdim).numpy()
    want = getattr(np, name)(A, axis=dim, keepdims=keepdim)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_several_axes_can_be_reduced_at_once():
    np.testing.assert_allclose(moelle.from_numpy(A).sum(dim=(0, 2)).numpy(), A.sum((0, 2)), rtol=1e-5)
    values, indices = moelle.from_numpy(A).max(1)
    assert np.array_equal(values.numpy(), A.max(1)) and np.array_equal(indices.numpy(), A.argmax(1))


@pytest.mark.parametrize("f,g", [
    (lambda x: x.reshape(20, -1), lambda a: a.reshape(20, -1)), (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)), (lambda x: x.transpose(0, 2), lambda a: a.swapaxes(0, 2)),
    (lambda x: x.flatten(1), lambda a: a.reshape(4, 30)), (lambda x: x.unsqueeze(-1).squeeze(3), lambda a: a), (lambda x: x[:1].expand(3, -1, -1), lambda a: np.broadcast_to(a[:1], (3, 5, 6))),
    (lambda x: moelle.cat([x, x], dim=1), lambda a: np.concatenate([a, a], 1)), (lambda x: moelle.stack([x, x], dim=-1), lambda a: np.stack([a, a], -1)), (lambda x: x.split(2, dim=1)[2], lambda a: a[:, 4:]),
    (lambda x: x.cumsum(1), lambda a: a.cumsum(1)), (lambda x: x.sort(-1)[0], lambda a: np.sort(a, -1)), (lambda x: x.topk(2)[0], lambda a: -np.sort(-a, -1)[..., :2]),
    (lambda x: x.clamp(-0.5, 0.5), lambda a: a.clip(-0.5, 0.5)), (lambda x: moelle.where(x > 0, x, 0.0), lambda a: np.where(a > 0, a, 0)), (lambda x: x.masked_fill(x > 0, -1), lambda a: np.where(a > 0, -1, a)),
    (lambda x: x.exp().log(), lambda a: a), (lambda x: x.T, lambda a: a.T), (lambda x: x.mT, lambda a: a.swapaxes(1, 2)), (lambda x: x ** 2, lambda a: a ** 2),
    (lambda x: x.gather(2, moelle.zeros(4, 5, 1, dtype="int64")), lambda a: a[:, :, :1]),
])
def test_methods_agree_with_numpy(f, g):
    got = f(moelle.from_numpy(A)).numpy()
    assert got.shape == g(A).shape
    np.testing.assert_allclose(got, g(A), rtol=1e-5, atol=1e-5)


def test_numbers_must_fit_the_dtype_that_they_meet():
    i, b = moelle.tensor([1, 2]), moelle.tensor([1, 2], dtype="uint8")
    assert (i + 2).tolist() == [3, 4] and (i * True).tolist() == [1, 2] and (2 - i).tolist() == [1, 0]
    assert (i / 2).tolist() == [0.5, 1.0] and (1 / i).tolist() == [1.0, 0.5] and (b / i).dtype == moelle.float32  # true division, as in PyTorch
    for f in (lambda: i + 0.5, lambda: moelle.tensor([True]) + 1, lambda: i + moelle.tensor([1.0]), lambda: i + "a"):
        with pytest.raises(TypeError):
            f()
    with pytest.raises(moelle.Error, match="uint8; got 300"):
        b + 300


def test_assignment_operators_change_the_tensor_itself():
    x = moelle.ones(3)
    y = x
    y += 1
    y *= moelle.tensor([1.0, 2.0, 3.0])
    y -= 1
    y /= 2
    assert x.tolist() == [0.5, 1.5, 2.5]
    p = moelle.ones(2, requires_grad=True)
    with pytest.raises(moelle.Error, match="NoGrad"):
        p += 1
    with moelle.no_grad():
        p -= 0.5
    assert p.tolist() == [0.5, 0.5] and p.requires_grad


def test_creation_gives_the_dtypes_of_pytorch():
    assert moelle.tensor([1.0]).dtype == moelle.float32 and moelle.tensor([1]).dtype == moelle.int64 and moelle.tensor([True]).dtype == moelle.bool
    assert moelle.tensor(np.zeros(1)).dtype == moelle.float64 and moelle.zeros(2).dtype == moelle.float32 and moelle.arange(3).dtype == moelle.int64
    assert moelle.tensor([0.1], dtype="float64").tolist() == [0.1]
    assert moelle.full((2,), True).dtype == moelle.bool and moelle.full((2,), 7).tolist() == [7, 7]
    assert moelle.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75] and moelle.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert moelle.zeros((2, 3)).shape == moelle.zeros(2, 3).shape == moelle.zeros([2, 3]).shape == (2, 3)
    with pytest.raises(moelle.Error, match="equal lengths|numbers"):
        moelle.tensor(["a"])
    with pytest.raises(TypeError, match="float32.*got dtype=float16"):
        moelle.zeros(2, dtype="float16")


def test_random_numbers_are_functions_of_their_seed():
    assert moelle.randn(5, seed=3).tolist() == moelle.randn(5, seed=3).tolist() != moelle.randn(5, seed=4).tolist()
    moelle.manual_seed(1)
    a, b = moelle.rand(4), moelle.rand(4)
    moelle.manual_seed(1)
    assert moelle.rand(4).tolist() == a.tolist() != b.tolist()
    x = moelle.randint(0, 3, (100,), seed=0)
    assert x.dtype == moelle.int64 and set(x.tolist()) == {0, 1, 2}


def test_tensors_print_their_numbers():
    assert repr(moelle.tensor([[1, 2]])) == "tensor([[1, 2]], shape=[1, 2], dtype=int64)"
    x = moelle.tensor([1.0], requires_grad=True)
    assert repr(x).endswith("requires_grad=True)") and "grad_fn=<mul>" in repr(x * 2)


def test_devices_other_than_the_cpu_are_refused_in_one_sentence():
    assert moelle.ones(1).to("cpu").device == "cpu"
    with pytest.raises(moelle.Error, match="CUDA"):
        moelle.ones(1).to("cuda")
    with pytest.raises(moelle.Error, match="CUDA"):
        moelle.ones(1).cuda()


def test_truth_and_conversion_need_one_element():
    assert float(moelle.tensor([2.0])) == 2.0 and int(moelle.tensor(3)) == 3 and [10, 20][moelle.tensor(1)] == 20 and bool(moelle.tensor([1]))
    with pytest.raises(moelle.Error, match="one element"):
        bool(moelle.ones(2))
    with pytest.raises(moelle.Error, match="one element.*shape=\\[2\\]"):
        moelle.ones(2).item()
    with pytest.raises(TypeError):
        [1, 2][moelle.tensor(1.0)]


def test_tensors_hash_by_identity_and_compare_by_element():
    x, y = moelle.ones(1), moelle.ones(1)
    assert len({x, y}) == 2 and bool(x == y) and (x == None) is False  # noqa: E711



def test_tensors_are_pickled_and_copied_with_their_dtype_and_without_their_graph():
    w = moelle.nn.Parameter(moelle.ones(2))
    for x in (moelle.from_numpy(A)[:, ::2], moelle.tensor([1.5, 2.5]).bfloat16(), w, w * 2, moelle.zeros(0)):
        for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
            assert y.dtype == x.dtype and y.tolist() == x.tolist() and type(y) is type(x) and y.requires_grad == x.requires_grad and y.is_leaf
            assert y.data_ptr() != x.data_ptr() or x.numel() == 0


def test_a_tensor_is_a_sequence_of_its_rows():
    x = moelle.from_numpy(A)
    assert len(x) == 4 and [r.shape for r in x] == [(5, 6)] * 4
    with pytest.raises(TypeError, match="no length"):
        len(moelle.tensor(1))
