"""IndexedSlices: rows that share an index, summed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Array, Shape, as_dtype
from .agreement import agree
from .outcomes import Check, of_each_dtype
from .places import Library, Place
from .samples import DTYPES, Scale, normal

_WIDTHS: tuple[Shape, ...] = ((), (5,), (2, 3))
_TABLE_ROWS = 120


def _indices(kind: str, rows: int) -> Array:
    generator = np.random.default_rng(rows)
    match kind:
        case "all the same":
            return np.full(rows, 7)
        case "all different":
            return generator.permutation(rows)
        case _:
            return generator.integers(0, _TABLE_ROWS, rows)


def _summed(
    dtype: str, rows: int, width: Shape, indices: Array, index_dtype: str, place: Place
) -> Any:
    values = normal(as_dtype(dtype), rows, *width)
    if values.size > 4:
        # It spreads over its own column of its own row.
        values.reshape(-1)[3] = math.nan
    slices = nc.IndexedSlices(
        place.put(values),
        place.put(indices.astype(index_dtype)),
        (max(_TABLE_ROWS, rows), *width),
    )
    return [slices.coalesce(), slices.to_dense(), slices]


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    yield from of_each_dtype(library, DTYPES, partial(_sums, library, scale))
    for rows in (-1, _TABLE_ROWS):
        yield Check(f"index {rows}", partial(agree, library, partial(_refused, rows)))


def _sums(library: Library, scale: Scale, dtype: str) -> Iterator[Check]:
    sums = (
        check
        for rows in scale.rows
        for width in _WIDTHS
        for check in _checks_of(library, dtype, rows, width)
    )
    return islice(sums, 0, None, scale.every)


def _checks_of(library: Library, dtype: str, rows: int, width: Shape) -> Iterator[Check]:
    for kind in ("many duplicates", "all the same", "all different"):
        for index_dtype in ("int64", "int32"):
            build = partial(_summed, dtype, rows, width, _indices(kind, rows), index_dtype)
            name = f"{dtype}, {rows:,} rows of {width}, {kind}, {index_dtype}"
            yield Check(name, partial(agree, library, build))


def _refused(row: int, place: Place) -> Any:
    values, indices = np.ones((2, 3), np.float32), np.array([3, row])
    slices = nc.IndexedSlices(place.put(values), place.put(indices), (_TABLE_ROWS, 3))
    try:
        return slices.to_dense()
    except IndexError as error:
        return str(error)
