"""NumPy arrays and tensors share memory, and nothing is converted silently."""
import gc
import sys

import moelle
import numpy as np
import pytest

DTYPES = ["float32", "float64", "int32", "int64", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_numpy_and_back_share_one_memory_in_both_directions(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    x = moelle.from_numpy(a)
    assert x.dtype == moelle.dtype.__members__[dtype] and x.shape == (2, 3)
    b = x.numpy()
    assert np.shares_memory(a, b) and b.dtype == a.dtype
    a[0, 0] = 1
    b[1, 2] = 0
    assert x.tolist() == a.tolist() == b.tolist()
    assert x.data_ptr() == a.__array_interface__["data"][0]


def test_a_tensor_outlives_its_array_and_an_array_its_tensor():
    x = moelle.from_numpy(np.arange(1000.0))
    b = moelle.arange(1000).double().numpy()
    gc.collect()
    junk = [np.ones(1000) for _ in range(20)]
    assert x.tolist() == b.tolist() == list(range(1000)) and len(junk) == 20


def test_the_array_is_released_with_the_last_tensor_that_uses_it():
    a = np.zeros(10, np.float32)
    before = sys.getrefcount(a)
    x = moelle.from_numpy(a)
    y = x.reshape(2, 5)
    del x
    assert sys.getrefcount(a) == before + 1
    del y
    assert sys.getrefcount(a) == before


def test_read_only_arrays_give_tensors_that_refuse_to_be_written_to():
    a = np.zeros(3, np.float32)
    a.flags.writeable = False
    x = moelle.from_numpy(a)
    with pytest.raises(moelle.Error, match="read-only"):
        x.fill_(1)
    assert not x.numpy().flags.writeable
    assert not x[1:].numpy().flags.writeable


def test_arrays_of_tensors_in_a_graph_are_read_only():
    x = moelle.ones(3, requires_grad=True)
    assert not x.numpy().flags.writeable and not (x * 2).numpy().flags.writeable
    assert x.detach().numpy().flags.writeable


@pytest.mark.parametrize("view", [lambda a: a[::-1], lambda a: a[:, ::-2], lambda a: a.T, lambda a: a[1:3, 2:], lambda a: np.broadcast_to(a[:1], (5, 6)),
                                  lambda a: a[None, :, None], lambda a: a[2:2]])
def test_any_strides_are_seen_as_they_are(view):
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    x = moelle.from_numpy(view(a))
    assert np.shares_memory(x.numpy(), a) or view(a).size == 0
    assert np.array_equal(x.numpy(), view(a)) and x.numpy().shape == view(a).shape
    assert np.array_equal((x * 2).numpy(), view(a) * 2)
    assert np.array_equal(x.contiguous().numpy(), view(a))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1, 1, 1, 1)])
def test_arrays_without_axes_and_without_elements_keep_their_shape(shape):
    a = np.ones(shape, np.float32)
    x = moelle.from_numpy(a)
    assert x.shape == shape and x.numpy().shape == shape and np.array_equal(x.numpy(), a)
    assert np.from_dlpack(x).shape == shape


def test_foreign_byte_order_and_unknown_dtypes_are_refused_by_name():
    with pytest.raises(TypeError, match="byte order.*>f4"):
        moelle.from_numpy(np.zeros(2, ">f4"))
    for dtype in ["float16", "int8", "uint16", "complex64", "O", "U3", "datetime64[s]"]:
        with pytest.raises(TypeError, match="dtype must be one of"):
            moelle.from_numpy(np.zeros(2, dtype))
    with pytest.raises(TypeError, match="numpy.ndarray"):
        moelle.from_numpy([1, 2])


def test_arrays_that_no_tensor_can_describe_are_refused():
    with pytest.raises(moelle.Error, match="rank must be at most 6"):
        moelle.from_numpy(np.zeros((1,) * 7, np.float32))
    with pytest.raises(moelle.Error, match="aligned"):
        moelle.from_numpy(np.zeros(9, np.uint8)[1:].view(np.float32))
    records = np.zeros(3, np.dtype([("a", np.uint8), ("b", np.float32)]))
    with pytest.raises(moelle.Error, match="aligned|whole elements"):
        moelle.from_numpy(records["b"])


def test_array_protocol_copies_only_when_asked():
    x = moelle.arange(3).float()
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert not np.shares_memory(np.array(x), x.numpy())
    assert np.asarray(x, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="needs a copy"):
        x.__array__(np.float64, copy=False)


def test_bfloat16_goes_through_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a = np.array([1.5, -2, np.nan, np.inf], ml_dtypes.bfloat16)
    x = moelle.from_numpy(a)
    assert x.dtype == moelle.bfloat16 and np.shares_memory(x.numpy(), a)
    assert x.numpy().dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(x.float().numpy(), a.astype(np.float32))


def test_bfloat16_without_ml_dtypes_says_what_to_do(python):
    r = python("import sys; sys.modules['ml_dtypes'] = None\nimport moelle\nx = moelle.ones(2).bfloat16()\nprint(x.tolist())\ntry: x.numpy()\nexcept TypeError as e: print(e)")
    assert r.returncode == 0, r.stderr
    assert "[1.0, 1.0]" in r.stdout and "ml_dtypes" in r.stdout


def test_arrays_meet_tensors_in_operators_from_both_sides():
    a, x = np.array([1, 2], np.float32), moelle.tensor([3.0, 5.0])
    for got, want in [(a + x, [4, 7]), (x + a, [4, 7]), (a - x, [-2, -3]), (a * x, [3, 10]), (x / a, [3, 2.5]), (np.float32(2) * x, [6, 10])]:
        assert isinstance(got, moelle.Tensor) and got.tolist() == want
    with pytest.raises(TypeError, match="dtype float32; got dtype=float64"):
        x + a.astype(np.float64)
