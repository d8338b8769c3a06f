"""x[...] and x[...] = y, composed of views and index operations."""

from __future__ import annotations

import operator

from . import _core
from ._core import Tensor, dtype, ops
from ._numpy import np


def _as_index(item):
    """A list, array or tensor as an index tensor (int64 or int32, or a mask); None if it is not one."""
    if isinstance(item, (list, np.ndarray)):
        a = np.asarray(item)
        if a.size == 0 and isinstance(item, list):
            a = a.astype(np.int64)
        item = Tensor(a if a.dtype in (np.bool_, np.int32, np.int64) else np.ascontiguousarray(a).astype(np.int64, casting="safe"))
    if isinstance(item, Tensor) and (item.ndim > 0 or item.dtype == dtype.bool):
        if item.dtype == dtype.uint8:
            return _core.to_type(item, dtype.int64)
        if item.dtype not in (dtype.bool, dtype.int32, dtype.int64):
            raise TypeError(f"index: dtype must be int32, int64, uint8 or bool; got dtype={item.dtype}")
        return item
    return None


def _expand_ellipsis(x, index) -> list:
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(m.ndim if (m := _as_index(i)) is not None and m.dtype == dtype.bool else 0 if i is None or i is Ellipsis else 1 for i in items)
    if used > x.ndim:
        raise IndexError(f"index: at most {x.ndim} axes can be indexed; got {used} indices for shape={list(x.shape)}")
    dots = [k for k, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1:
        raise IndexError("index: at most one ... may be given")
    if dots:
        items[dots[0] : dots[0] + 1] = [slice(None)] * (x.ndim - used)
    return items


def _basic(x, items):
    """Applies integers, slices and None; returns the view and the index tensors left, by axis of the view."""
    axis, tensors = 0, {}
    for item in items:
        index = _as_index(item)
        if index is not None:
            tensors[axis] = index
            axis += index.ndim if index.dtype == dtype.bool else 1
        elif item is None:
            x = ops.unsqueeze(x, axis)
            axis += 1
        elif isinstance(item, slice):
            if item != slice(None):
                x = ops.slice(x, axis, item.start, item.stop, 1 if item.step is None else item.step)
            axis += 1
        else:
            try:
                place = operator.index(item)
            except TypeError:
                raise TypeError(f"index: must be integers, slices, None, ..., lists, arrays or tensors; got {type(item).__name__}") from None
            if not -x.shape[axis] <= place < x.shape[axis]:
                raise IndexError(f"index: must be in [{-x.shape[axis]}, {x.shape[axis]}); got index={place} for axis {axis} of shape={list(x.shape)}")
            x = ops.select(x, axis, place)
    return x, tensors


def _from_end(index, size: int):
    """Negative indices count from the end; others are checked."""
    a = ops.to_numpy(index).astype(np.int64)
    if a.size and (a.min() < -size or a.max() >= size):
        raise IndexError(f"index: must be in [{-size}, {size}); got {a.min()} to {a.max()}")
    return np.where(a < 0, a + size, a)


def _flat_index(x, tensors):
    """Index tensors on neighbouring axes as one list of places along those axes laid end to end: (first axis, axes, places, shape)."""
    parts, axes = [], []
    for axis, index in tensors.items():
        if index.dtype == dtype.bool:
            shape = list(x.shape[axis : axis + index.ndim])
            if list(index.shape) != shape:
                raise IndexError(f"index: a mask must have the shape of the axes that it covers; got mask={list(index.shape)} axes={shape}")
            parts += list(np.nonzero(ops.to_numpy(index)))
            axes += range(axis, axis + index.ndim)
        else:
            parts.append(_from_end(index, x.shape[axis]))
            axes.append(axis)
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise IndexError(f"index: axes indexed by tensors must be neighbours; got axes={axes}")
    parts = np.broadcast_arrays(*parts)
    places = np.zeros(parts[0].shape, np.int64)
    for axis, part in zip(axes, parts):
        places = places * x.shape[axis] + part
    return axes[0], len(axes), places


def _merged(x, first: int, count: int):
    return x if count == 1 else ops.flatten(x, first, first + count - 1)


def get_item(x, index):
    view, tensors = _basic(x, _expand_ellipsis(x, index))
    if not tensors:
        return view
    first, count, places = _flat_index(view, tensors)
    y = ops.index_select(_merged(view, first, count), first, Tensor(places.reshape(-1)))
    return y if places.ndim == 1 else ops.reshape(y, [*y.shape[:first], *places.shape, *y.shape[first + 1 :]])


def set_item(x, index, value):
    if x.requires_grad and ops.is_grad_enabled():
        raise _core.Error(f"setitem: a tensor that requires a gradient must only be changed under no_grad; got shape={list(x.shape)}")
    view, tensors = _basic(x.detach(), _expand_ellipsis(x, index))
    if isinstance(value, np.ndarray):
        value = Tensor(value)
    if not tensors:
        if isinstance(value, Tensor):
            ops.copy_(view, value.detach())
        else:
            ops.fill_(view, value)
        return
    first, count, places = _flat_index(view, tensors)
    if count > 1 and not view.is_contiguous():
        raise _core.Error(f"setitem: several axes can be indexed by tensors only where the elements are contiguous; got shape={list(view.shape)}")
    rows = _merged(view, first, count)
    if not isinstance(value, Tensor):
        source = _core.full([1] * rows.ndim, value, x.dtype)
    else:
        shape = [*rows.shape[:first], *places.shape, *rows.shape[first + 1 :]]
        source = ops.reshape(ops.expand(value.detach(), shape), [*rows.shape[:first], places.size, *rows.shape[first + 1 :]])
    ops.index_copy_(rows, first, Tensor(places.reshape(-1)), source)
