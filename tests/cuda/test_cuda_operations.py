"""Every operation on arrays of a device gives the bits that it gives on the host."""

import math
from typing import Any

import numpy as np
import pytest
from arrays import HOSTILE, dtype_named
from devices import on_device, on_host
from operations import OPERATIONS, Operation, leaves, structure

# What a device's array cannot be is refused: see test_cuda_errors.py.
REFUSED = ("unaligned", "byte-swapped")
# One of each kind: the operations differ in what they do with sizes, shapes and magnitudes.
ARRAYS = (
    "empty",
    "no columns",
    "0-d",
    "one element",
    "129 elements",
    "4097 elements",
    "matrix",
    "three dimensions",
    "negative zeros",
    "a row of zeros",
    "NaN",
    "NaN and infinity",
    "subnormal",
    "tiny",
    "huge",
    "huge and subnormal",
    "strided columns",
    "reversed",
    "Fortran order",
    "transposed",
    "broadcast",
)
# The simulator takes 4 ms for a slice.
ONE_SLICE_TO_AN_ELEMENT = ("clip_by_norm, axes=[]", "clip_by_norm, a limit to a row")


def cases(table: tuple[Any, ...]) -> list[Any]:
    return [
        pytest.param(row, dtype, array, id=f"{row.name}-{dtype}-{array}")
        for row in table
        for dtype in row.dtypes
        for array in ARRAYS
        if HOSTILE[array](np.dtype(np.float64)).ndim >= row.dimensions
        and not (array == "4097 elements" and row.name in ONE_SLICE_TO_AN_ELEMENT)
    ]


def bits(value: Any) -> list[bytes]:
    """Return the bits of all numbers, but of NaN only that it is NaN."""
    return [_bits(x if isinstance(x, np.ndarray) else on_host(x)) for x in leaves(value)]


def _bits(x: Any) -> bytes:
    x = x.copy()
    for numbers in (x.real, x.imag) if x.dtype.kind == "c" else (x,):
        numbers[np.isnan(numbers)] = math.nan
    return x.tobytes()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("operation", "dtype", "array"), cases(OPERATIONS))
def test_result(operation: Operation, dtype: str, array: str) -> None:
    make = HOSTILE[array]
    host = operation.operand(make(dtype_named(dtype)))
    squares = operation.squares(leaves(host))
    limit = operation.limit(leaves(host), squares, 0.7)
    device = on_device(operation.operand(make(dtype_named(dtype))))
    result = operation.call(device, limit, None)
    assert structure(result) == structure(device)
    assert bits(device) == bits(host)
    assert bits(result) == bits(operation.call(host, limit, None))
