"""Optimizers: the variables and the slots after some steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Shape, as_dtype
from .agreement import agree
from .outcomes import Check, unavailable
from .places import Dtype, Library, Place, why_not
from .samples import FLOATING, Scale, normal

_TABLE_ROWS = 40


def _optimizers() -> dict[str, Callable[[], Any]]:
    return {
        "gradient descent": lambda: nc.train.GradientDescentOptimizer(0.1),
        "Adam": lambda: nc.train.AdamOptimizer(0.1, epsilon=1e-4),
    }


def _dense(place: Place, dtype: Dtype, shapes: list[Shape], seed: int) -> list[Any]:
    return [place.put(normal(dtype, *shape, seed=seed + i)) for i, shape in enumerate(shapes)]


def _rows(place: Place, dtype: Dtype, rows: int, seed: int) -> nc.IndexedSlices:
    indices = np.random.default_rng(seed).integers(0, _TABLE_ROWS, rows)
    values = place.put(normal(dtype, rows, 3, seed=seed))
    return nc.IndexedSlices(values, place.put(indices), (_TABLE_ROWS, 3))


def _train(make: Callable[[], Any], dtype: str, scale: Scale, is_sparse: bool, place: Place) -> Any:
    kind = as_dtype(dtype)
    # One variable with a gap after every number.
    shapes = [*[(size,) for size in scale.sizes], (scale.columns, 4)]
    arrays = _dense(place, kind, shapes, 1)
    arrays[-1] = arrays[-1][:, ::2]
    if is_sparse:
        arrays.append(place.put(normal(kind, _TABLE_ROWS, 3)))
    variables = [nc.Variable(array, name=f"x{i}") for i, array in enumerate(arrays)]
    untouched = nc.Variable(place.put(normal(kind, 5)), name="untouched")
    optimizer = make()
    norms = []
    for step in range(scale.steps):
        gradients: list[Any] = _dense(place, kind, [*shapes[:-1], (scale.columns, 2)], 100 * step)
        if is_sparse:
            gradients.append(_rows(place, kind, scale.rows[-1], step))
        if step % 2:
            gradients, norm = nc.clip_by_global_norm(gradients, 1.0)
            norms.append(norm)
        pairs = zip([*gradients, None], [*variables, untouched], strict=True)
        optimizer.apply_gradients(pairs)
    slots = [
        [optimizer.get_slot(variable, name).value for name in optimizer.get_slot_names()]
        for variable in variables
    ]
    return [[variable.value for variable in variables], untouched.value, slots, norms]


def checks(library: Library, scale: Scale) -> Iterator[Check]:
    for dtype in FLOATING:
        reason = why_not(library, dtype)
        if reason:
            yield unavailable(dtype, reason)
            continue
        for name, make in _optimizers().items():
            for is_sparse in (False, True):
                build = partial(_train, make, dtype, scale, is_sparse)
                kind = "sparse" if is_sparse else "dense"
                yield Check(f"{name}, {dtype}, {kind}", partial(agree, library, build))
