"""Where NumPy keeps an array's address, shape and dtype, tested before it is relied on."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from numclip._array import Array, address_of
from numclip._dtypes import SEEN
from numclip._kernels import table as kernels

# Where things are in CPython 3.11 to 3.14 and NumPy 2: after the header that every object has, an
# array has its address, number of dimensions, shape, strides, base, dtype and flags.
_HEADER = object.__basicsize__
LAYOUT = np.zeros(9, np.int64)
LAYOUT[kernels.ARRAY_TYPE] = id(np.ndarray)
LAYOUT[kernels.NONE] = id(None)
LAYOUT[kernels.TYPE_OFFSET] = 8
LAYOUT[kernels.DATA_OFFSET] = _HEADER
LAYOUT[kernels.DIMENSIONS_OFFSET] = _HEADER + 8
LAYOUT[kernels.SHAPE_OFFSET] = _HEADER + 16
LAYOUT[kernels.DESCRIPTOR_OFFSET] = _HEADER + 40
LAYOUT[kernels.FLAGS_OFFSET] = _HEADER + 48
LAYOUT[kernels.FIRST_ITEM_OFFSET] = tuple.__basicsize__


def _descriptors(rows: Sequence[tuple[Any, int, int]]) -> Array:
    return np.array([(id(np.dtype(dtype)), kind, count) for dtype, kind, count in rows], np.int64)


# The dtypes that arrays share one object of, as kernels see them.
TENSORS = _descriptors(
    [
        *((name, kind, parts) for name, (kind, _, parts) in SEEN.items() if name != "bfloat16"),
        (np.bool_, -1, 0),  # the place of bfloat16, see `recognize`
    ]
)
_bfloat16: np.dtype[Any] | None = None


def recognize(dtype: np.dtype[Any]) -> None:
    """Have arrays of bfloat16, a dtype of another package, read where they are once it was seen.

    `dtype` is one that was checked to be floating or complex.
    """
    global _bfloat16
    if dtype.kind == "V" and dtype.isnative and dtype is not _bfloat16:
        _bfloat16 = dtype  # so that no other object comes to be at its address
        TENSORS[-1] = id(dtype), kernels.BFLOAT16, 1


# The same for the views that `_array.flat` makes, of halves as integers.
KIND_OF_VIEW = {seen.dtype: seen.kind for seen in SEEN.values()}


@cache
def kind_of(dtype: np.dtype[Any]) -> int:
    """Return how kernels see a floating dtype."""
    return SEEN[dtype.name].kind


VIEWS = _descriptors([(dtype, kind, 1) for dtype, kind in KIND_OF_VIEW.items()])


def _integer_at(address: int) -> int:
    return ctypes.c_ssize_t.from_address(address).value


def _is_read_right(array: Array) -> bool:
    """Tell whether the array's header says what NumPy itself says of it."""
    address = id(array)
    found = [
        _integer_at(address + int(LAYOUT[kernels.TYPE_OFFSET])),
        _integer_at(address + int(LAYOUT[kernels.DATA_OFFSET])),
        ctypes.c_int.from_address(address + int(LAYOUT[kernels.DIMENSIONS_OFFSET])).value,
        _integer_at(address + int(LAYOUT[kernels.DESCRIPTOR_OFFSET])),
        ctypes.c_int.from_address(address + int(LAYOUT[kernels.FLAGS_OFFSET])).value,
    ]
    if found != [id(type(array)), address_of(array), array.ndim, id(array.dtype), array.flags.num]:
        return False
    shape = _integer_at(address + int(LAYOUT[kernels.SHAPE_OFFSET]))
    sizes = [_integer_at(shape + 8 * i) for i in range(array.ndim)]
    items = (array,)
    item = _integer_at(id(items) + int(LAYOUT[kernels.FIRST_ITEM_OFFSET]))
    return sizes == list(array.shape) and item == address


@cache
def can_be_read() -> bool:
    """Tell whether this interpreter and this NumPy keep arrays as `LAYOUT` says."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False  # pragma: no cover (in another interpreter)
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    read_only = np.zeros(3)
    read_only.flags.writeable = False
    samples: list[Array] = [
        np.zeros(()),
        np.zeros((2, 3), np.float32),
        np.zeros((4, 5, 6))[:, ::2],
        read_only,
    ]
    return all(_is_read_right(sample) for sample in samples)
