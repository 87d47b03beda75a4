"""One tensor of a call, dense or of rows: what is read of it, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numclip import _array
from numclip._array import Tensor
from numclip._slices import IndexedSlices, check_lengths


class Operand(NamedTuple):
    """One tensor of a call: the numbers to read, where to write, and what to return then."""

    values: Any
    target: Any
    result: Any


def operand(
    t: object,
    out: object,
    argument: str,
    out_argument: str = "out",
    accepts: Callable[[np.dtype[Any]], bool] = _array.is_inexact,
    expected: str = _array.INEXACT,
) -> Operand:
    """Check a tensor and its `out`; only the values of IndexedSlices are read and written."""
    if not isinstance(t, IndexedSlices):
        values = _array.as_tensor(t, argument, accepts, expected)
        if out is None:
            target = _array.new_like(values)
        else:
            target = _array.check_target(out, values, out_argument)
        return Operand(values, target, _array.raw(target))
    values, indices = check_lengths(t, argument, accepts, expected)
    if out is None:
        target = _array.new_like(values)
        return Operand(values, target, t._replace(values=_array.raw(target)))
    if not isinstance(out, IndexedSlices):
        raise TypeError(f"`{out_argument}` must be IndexedSlices, got {_array.describe(out)}")
    if not (out.indices is t.indices or _are_equal(out.indices, indices)):
        raise ValueError(f"`{out_argument}.indices` must be those of `{argument}`")
    target = _array.check_target(out.values, values, f"{out_argument}.values")
    return Operand(values, target, out)


def _are_equal(given: object, indices: Tensor) -> bool:
    """Tell whether indices are the same; those of a CUDA device, whether they are one array."""
    if isinstance(indices, np.ndarray):
        return bool(np.array_equal(np.asarray(given), indices))
    found = _array.as_integer_tensor(given, "out.indices")
    return found[1:] == indices[1:]
