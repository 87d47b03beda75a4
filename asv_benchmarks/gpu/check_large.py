"""Arrays of more numbers than an int32 can count.

What is compared of them is their norm, and what a few windows show, to save the host's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Array
from .agreement import Disagreement, difference_of_bits, require_same
from .outcomes import Check
from .places import Library
from .samples import Scale


def _windows(size: int, length: int) -> list[slice]:
    """Return the first, the middle and the last so many places."""
    length = min(max(length, 1), size)
    begins = (0, (size - length) // 2, size - length)
    return [slice(begin, begin + length) for begin in begins]


class _Matrix(NamedTuple):
    """Numbers that were made on the device, as rows."""

    library: Library
    x: Any
    windows: list[slice]

    def show(self, array: Any) -> list[Array]:
        return [self.library.get(array[window]) for window in self.windows]

    def require_windows(self, expected: list[Array], array: Any) -> None:
        for window, wanted, came in zip(self.windows, expected, self.show(array), strict=True):
            found = difference_of_bits(wanted, came, f"places {window.start:,} to {window.stop:,}")
            if found:
                raise Disagreement(found)


def _matrix(library: Library, dtype: str, scale: Scale) -> _Matrix:
    rows, columns = scale.huge
    x = library.random(rows * columns, np.dtype(dtype)).reshape((rows, columns))
    return _Matrix(library, x, _windows(rows, scale.window // columns))


def _by_norm(library: Library, dtype: str, scale: Scale) -> None:
    """Compare the norm, and the windows under the limit, over it, and in place."""
    size = math.prod(scale.huge) + 3
    x = library.random(size, np.dtype(dtype))
    flat = _Matrix(library, x, _windows(size, scale.window))
    host = library.get(x)
    before = [host[window].copy() for window in flat.windows]
    norm = float(nc.global_norm([host]))
    require_same(np.float64(norm), nc.global_norm([x]), library)
    fresh, found = nc.clip_by_global_norm([x], 2 * norm)
    require_same(np.float64(norm), found, library)
    flat.require_windows(before, fresh[0])
    del fresh
    nc.clip_by_global_norm([host], norm / 2, out=[host])
    expected = [host[window] for window in flat.windows]
    fresh, _ = nc.clip_by_global_norm([x], norm / 2)
    flat.require_windows(expected, fresh[0])
    flat.require_windows(before, x)
    nc.clip_by_global_norm([x], norm / 2, out=[x])
    flat.require_windows(expected, x)


def _by_rows(library: Library, dtype: str, scale: Scale) -> None:
    matrix = _matrix(library, dtype, scale)
    # What a row of normal numbers has: about half of the rows are over it.
    limit = math.sqrt(scale.huge[1])
    expected = [nc.clip_by_norm(rows, limit, axes=1) for rows in matrix.show(matrix.x)]
    matrix.require_windows(expected, nc.clip_by_norm(matrix.x, limit, axes=1))


def _by_value(library: Library, dtype: str, scale: Scale) -> None:
    matrix = _matrix(library, dtype, scale)
    high = np.linspace(0.1, 2, scale.huge[1]).astype(dtype)
    rows = matrix.show(matrix.x)
    expected = [nc.clip_by_value(window, -high, high) for window in rows]
    low_there, high_there = library.put(-high), library.put(high)
    matrix.require_windows(expected, nc.clip_by_value(matrix.x, low_there, high_there))
    expected = [nc.clip_by_value(window, -0.5, 0.5) for window in rows]
    matrix.require_windows(expected, nc.clip_by_value(matrix.x, -0.5, 0.5, out=matrix.x))


def _every_second_column(library: Library, dtype: str, scale: Scale) -> None:
    """Clip a view in place: what is between its numbers has to stay."""
    matrix = _matrix(library, dtype, scale)
    limit = math.sqrt(scale.huge[1] / 2)
    expected = matrix.show(matrix.x)
    for rows in expected:
        rows[:, ::2] = nc.clip_by_norm(rows[:, ::2], limit, axes=1)
    view = matrix.x[:, ::2]
    nc.clip_by_norm(view, limit, axes=1, out=view)
    matrix.require_windows(expected, matrix.x)


_KINDS: dict[str, Callable[[Library, str, Scale], None]] = {
    "norm, and clipped by it": _by_norm,
    "norms of rows": _by_rows,
    "clip_by_value": _by_value,
    "every second column": _every_second_column,
}


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    size = math.prod(scale.huge)
    for name, run in _KINDS.items():
        for dtype in ("float32", "float16") if run is _by_norm else ("float16",):
            yield Check(f"{name}, {dtype}, {size:,} numbers", partial(run, library, dtype, scale))
