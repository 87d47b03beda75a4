"""Optimizers: the variables and the slots after some steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Shape, as_dtype
from .agreement import agree
from .outcomes import Check, of_each_dtype
from .places import Dtype, Library, Place
from .samples import FLOATING, Scale, normal

_TABLE_ROWS = 40


# Without the power of FTRL, whose last bits are the platform's.
_OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient descent": ("GradientDescentOptimizer", {}),
    "momentum": ("MomentumOptimizer", {"momentum": 0.9}),
    "Nesterov": ("MomentumOptimizer", {"momentum": 0.9, "use_nesterov": True}),
    "Adagrad": ("AdagradOptimizer", {}),
    "Adadelta": ("AdadeltaOptimizer", {"epsilon": 1e-4}),
    "Adam": ("AdamOptimizer", {"epsilon": 1e-4}),
    "AdamW": ("AdamWOptimizer", {"epsilon": 1e-4}),
    "RMSProp": ("RMSPropOptimizer", {"momentum": 0.5}),
    "centered RMSProp": ("RMSPropOptimizer", {"centered": True}),
    "FTRL": ("FtrlOptimizer", {"l1_regularization_strength": 0.01}),
    "proximal gradient descent": (
        "ProximalGradientDescentOptimizer",
        {"l1_regularization_strength": 0.01},
    ),
    "proximal Adagrad": ("ProximalAdagradOptimizer", {"l1_regularization_strength": 0.01}),
    "dual averaging": ("AdagradDAOptimizer", {"global_step": np.array(2)}),
}
_CLIPPING: dict[str, dict[str, float]] = {
    "": {},
    ", clipvalue": {"clipvalue": 0.5},
    ", clipnorm": {"clipnorm": 1.0},
    ", global_clipnorm": {"global_clipnorm": 1.0},
}
# All ways to clip, and all dtypes, are those of one loop.
_EXAMPLES = ("gradient descent", "Adam")
_DTYPES_OF_RULES = ("float32", "float64")


def _optimizers() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, (kind, options) in _OPTIMIZERS.items():
        for label, clipping in _CLIPPING.items():
            if not clipping or name in _EXAMPLES:
                make = partial(getattr(nc.train, kind), learning_rate=0.1, **options, **clipping)
                yield name + label, make


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
    return of_each_dtype(library, FLOATING, partial(_checks_of, library, scale))


def _checks_of(library: Library, scale: Scale, dtype: str) -> Iterator[Check]:
    for name, make in _optimizers():
        if dtype not in _DTYPES_OF_RULES and not name.startswith(_EXAMPLES):
            continue
        for is_sparse in (False, True):
            build = partial(_train, make, dtype, scale, is_sparse)
            kind = "sparse" if is_sparse else "dense"
            yield Check(f"{name}, {dtype}, {kind}", partial(agree, library, build))
