"""clip_by_value, of floating numbers and of integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Array
from .agreement import agree
from .operations import Case, Operation, checks_of
from .outcomes import Check, of_each_dtype
from .places import Library, Place
from .samples import FLOATING, Scale

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def _bound(case: Case) -> float:
    return case.limit / math.sqrt(max(math.prod(case.shape), 1))


def _column_bounds(case: Case) -> tuple[Array, Array]:
    """Return bounds that cross in every third column; one is NaN."""
    columns = np.arange(case.shape[-1])
    low = np.where(columns % 3 == 0, _bound(case), -_bound(case))
    return np.where(columns == 4, np.nan, low), -low / 2


def _by_scalars(case: Case) -> Any:
    return nc.clip_by_value(case.x, -_bound(case), _bound(case))


def _in_place(case: Case) -> Any:
    result = nc.clip_by_value(case.x, -_bound(case), _bound(case), out=case.x)
    return [result, result is case.x]


def _by_columns(case: Case) -> Any:
    return nc.clip_by_value(case.x, *_column_bounds(case))


def _by_columns_there(case: Case) -> Any:
    low, high = map(case.put, _column_bounds(case))
    return nc.clip_by_value(case.x, low, high, out=case.x)


def _by_scalars_there(case: Case) -> Any:
    return nc.clip_by_value(case.x, case.put(-_bound(case)), case.put(_bound(case)))


def _of_slices(case: Case) -> Any:
    indices = case.place.put(np.arange(case.shape[0]) // 2)
    return nc.clip_by_value(nc.IndexedSlices(case.x, indices), -_bound(case), _bound(case))


_OPERATIONS = (
    Operation("scalars", _by_scalars, dtypes=FLOATING, is_for_long=True),
    Operation("in place", _in_place, dtypes=FLOATING),
    Operation("bounds to a column", _by_columns, 1, FLOATING, is_for_long=True),
    Operation("bounds on the device", _by_columns_there, 1, FLOATING),
    Operation("scalars on the device", _by_scalars_there, dtypes=FLOATING),
    Operation("slices", _of_slices, 1, FLOATING),
)


def floats(library: Library, scale: Scale) -> Iterator[Check]:
    return checks_of(_OPERATIONS, library, scale)


def integers(library: Library, scale: Scale) -> Iterator[Check]:
    return of_each_dtype(library, _INTEGERS, partial(_integers_of, library, scale))


def _integers_of(library: Library, scale: Scale, dtype: str) -> Iterator[Check]:
    for size in scale.sizes:
        build = partial(_integers, dtype, size)
        yield Check(f"{dtype}, {size:,} numbers", partial(agree, library, build))


def _integers(dtype: str, size: int, place: Place) -> Any:
    info = np.iinfo(dtype)
    low, high = info.min // 2 + 1, info.max // 2
    generator = np.random.default_rng(size)
    host = generator.integers(info.min, info.max, size, dtype, endpoint=True)
    x = place.put(host)
    lows = np.minimum(np.roll(host, 1), high)
    bounds = lows, np.full(size, high, dtype)
    return [
        nc.clip_by_value(x, low, high),
        nc.clip_by_value(x, *bounds),
        nc.clip_by_value(x, *map(place.put, bounds)),
        nc.clip_by_value(x, info.min, high, out=x),
        x,
    ]
