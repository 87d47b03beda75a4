"""clip_by_norm, also of slices, and clip_by_average_norm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import numclip as nc

from .operations import Case, Operation, checks_of
from .outcomes import Check
from .places import Library
from .samples import Scale


def _over(case: Case) -> Any:
    return nc.clip_by_norm(case.x, case.limit)


def _under(case: Case) -> Any:
    return nc.clip_by_norm(case.x, 4 * case.limit)


def _in_place(case: Case) -> Any:
    result = nc.clip_by_norm(case.x, case.limit, out=case.x)
    return [result, result is case.x]


def _elsewhere(case: Case) -> Any:
    out = case.zeros()
    result = nc.clip_by_norm(case.x, case.limit, out=out)
    return [result, result is out]


def _over_axes(case: Case, axes: tuple[int, ...], **keywords: Any) -> Any:
    """Limit each norm so that about half are over."""
    reduced = {axis % len(case.shape) for axis in axes}
    norms = math.prod(n for axis, n in enumerate(case.shape) if axis not in reduced)
    limit = 2 * case.limit / math.sqrt(max(norms, 1))
    return nc.clip_by_norm(case.x, limit, axes=axes, **keywords)


def _over_rows(case: Case) -> Any:
    return _over_axes(case, (0,))


def _over_columns(case: Case) -> Any:
    return _over_axes(case, (-1,), out=case.x)


def _over_both_ends(case: Case) -> Any:
    return _over_axes(case, (-1, 0))


def _over_nothing(case: Case) -> Any:
    return _over_axes(case, ())


def _limit_to_a_row(case: Case) -> Any:
    rows = case.shape[0]
    limits = case.limit / math.sqrt(max(rows, 1)) * (1 + np.arange(rows) % 3)
    limits = limits.reshape(-1, *[1] * (len(case.shape) - 1))
    return nc.clip_by_norm(case.x, limits, axes=range(1, len(case.shape)))


def _average(case: Case) -> Any:
    return nc.clip_by_average_norm(case.x, case.limit / max(math.prod(case.shape), 1))


def _average_of_slices(case: Case) -> Any:
    indices = case.place.put(np.arange(case.shape[0]))
    slices = nc.IndexedSlices(case.x, indices, (case.shape[0] + 3, *case.shape[1:]))
    return nc.clip_by_average_norm(slices, case.limit / 1000, out=slices)


_OPERATIONS = (
    Operation("over the limit", _over, is_for_long=True),
    Operation("under the limit", _under),
    Operation("in place", _in_place),
    Operation("out=", _elsewhere),
    Operation("axes=0", _over_rows, 2),
    Operation("axes=-1", _over_columns, 2),
    Operation("axes=(-1, 0)", _over_both_ends, 2),
    Operation("axes=()", _over_nothing, 1),
    Operation("a limit to a row", _limit_to_a_row, 2),
    Operation("average", _average, is_for_long=True),
    Operation("average of slices", _average_of_slices, 1),
)


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    return checks_of(_OPERATIONS, library, scale)
