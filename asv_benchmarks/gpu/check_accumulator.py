"""Gradients of several losses, added up: dense ones, rows, and rows that become dense."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import as_dtype
from .agreement import agree
from .outcomes import Check, of_each_dtype
from .places import Library, Place
from .samples import FLOATING, Scale, normal

_TABLE_ROWS, _WIDTH = 40, 3
_ORDERS = ("dd", "rr", "rdr")


def _added(dtype: str, order: str, scale: Scale, place: Place) -> Any:
    kind = as_dtype(dtype)
    variable = nc.Variable(place.put(normal(kind, _TABLE_ROWS, _WIDTH)))
    gradients = nc.train.GradientAccumulator()
    for i, form in enumerate(order):
        gradient: Any = place.put(normal(kind, _TABLE_ROWS, _WIDTH, seed=i))
        if form == "r":
            count = scale.rows[-1]
            indices = np.random.default_rng(i).integers(0, _TABLE_ROWS, count)
            values = place.put(normal(kind, count, _WIDTH, seed=i))
            gradient = nc.IndexedSlices(values, place.put(indices), variable.shape)
        gradients.add([(gradient, variable)], weight=(i + 1) / 3)
    return [gradient for gradient, _ in (*gradients.sum(), *gradients.mean())]


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    return of_each_dtype(library, FLOATING, partial(_checks_of, library, scale))


def _checks_of(library: Library, scale: Scale, dtype: str) -> Iterator[Check]:
    for order in _ORDERS:
        build = partial(_added, dtype, order, scale)
        yield Check(f"{dtype}, {order}", partial(agree, library, build))
