"""DLPack in both directions, with versioned and legacy capsules."""
import gc
import sys

import moelle
import numpy as np
import pytest


def test_numpy_reads_a_tensor_without_copying():
    x = moelle.arange(6).reshape(2, 3)
    a = np.from_dlpack(x)
    assert np.shares_memory(a, x.numpy()) and a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.from_dlpack(x.T).tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_a_tensor_reads_numpy_without_copying(dtype):
    a = np.arange(4).astype(dtype)
    x = moelle.from_dlpack(a)
    assert np.shares_memory(x.numpy(), a) and x.tolist() == a.tolist()


def test_tensors_pass_through_dlpack_with_negative_strides_and_offsets():
    x = moelle.arange(10)[8:2:-2]
    assert moelle.from_dlpack(x).tolist() == [8, 6, 4]
    assert moelle.from_dlpack(x.bfloat16()).dtype == moelle.bfloat16


def test_versioned_capsules_carry_the_read_only_flag_and_legacy_ones_refuse():
    a = np.zeros(3, np.float32)
    a.flags.writeable = False
    x = moelle.from_numpy(a)
    y = moelle.from_dlpack(x)
    with pytest.raises(moelle.Error, match="read-only"):
        y.fill_(1)
    with pytest.raises(BufferError, match="read-only"):
        x.__dlpack__()
    assert moelle.from_dlpack(x.__dlpack__(copy=True)).fill_(2).tolist() == [2, 2, 2]


@pytest.mark.parametrize("options,name", [({}, "dltensor"), (dict(max_version=(1, 0)), "dltensor_versioned"), (dict(max_version=(0, 8)), "dltensor")])
def test_the_capsule_is_of_the_version_asked_for_and_can_be_taken_once(options, name):
    x = moelle.tensor([1.0, 2.0])
    capsule = x.__dlpack__(**options)
    assert f'"{name}"' in repr(capsule)
    y = moelle.from_dlpack(capsule)
    del x, capsule
    gc.collect()
    assert y.tolist() == [1, 2]
    capsule = y.__dlpack__(**options)
    moelle.from_dlpack(capsule)
    with pytest.raises(TypeError, match="nobody has taken"):
        moelle.from_dlpack(capsule)


def test_a_copy_is_a_copy():
    x = moelle.tensor([1.0])
    y = moelle.from_dlpack(x.__dlpack__(max_version=(1, 0), copy=True))
    y.fill_(5)
    assert x.tolist() == [1.0]


def test_other_devices_and_streams_are_refused():
    x = moelle.tensor([1.0])
    assert x.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="device"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="stream"):
        x.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="detached"):
        x.requires_grad_().__dlpack__()


def test_unused_capsules_and_taken_ones_release_their_memory():
    a = np.zeros(4, np.float32)
    before = sys.getrefcount(a)
    x = moelle.from_numpy(a)
    for options in [{}, dict(max_version=(1, 0))]:
        x.__dlpack__(**options)
        moelle.from_dlpack(x.__dlpack__(**options))
    del x
    gc.collect()
    assert sys.getrefcount(a) == before


def test_dtypes_without_counterpart_are_refused():
    with pytest.raises(TypeError, match="dtype must be one of"):
        moelle.from_dlpack(np.zeros(2, np.complex64))
