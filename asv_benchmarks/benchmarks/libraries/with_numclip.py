"""numclip."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import numclip as nc

from ..answers import quick_norm
from ..copies import copied, copy_all
from ..peers import Case
from ..workloads import Array, table_rows_of


def clip_in_place(arrays: list[Array]) -> Case:
    gradients = copied(arrays)
    return Case(
        lambda limit: nc.clip_by_global_norm(gradients, limit, out=gradients),
        lambda result: float(result[1]),
        restore=lambda: copy_all(arrays, gradients),
        shrinks=True,
    )


def clip(arrays: list[Array]) -> Case:
    return Case(
        lambda limit: nc.clip_by_global_norm(arrays, limit),
        lambda result: float(result[1]),
    )


def clip_into(arrays: list[Array]) -> Case:
    out = copied(arrays)
    return Case(
        lambda limit: nc.clip_by_global_norm(arrays, limit, out=out),
        lambda result: float(result[1]),
    )


def global_norm(arrays: list[Array]) -> Case:
    return Case(lambda limit: nc.global_norm(arrays), float)


def _clip_slices(arrays: list[Array], axes: int, out: Array | None) -> Case:
    (matrix,) = arrays
    slices = matrix.shape[1 - axes]
    return Case(
        lambda limit: nc.clip_by_norm(matrix, limit, axes, out=out),
        lambda result: quick_norm([result]),
        as_limit=lambda limit: limit / math.sqrt(slices),
    )


def clip_rows(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 1, None)


def clip_columns(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 0, None)


def clip_rows_into(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 1, np.zeros_like(arrays[0]))


def clip_columns_into(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 0, np.zeros_like(arrays[0]))


def coalesce(arrays: list[Array]) -> Case:
    values, indices = arrays
    slices = nc.IndexedSlices(values, indices, (len(values), *values.shape[1:]))
    return Case(lambda limit: slices.coalesce(), lambda result: quick_norm([result.values]))


class _Limit:
    """What a step is limited to, as the optimizer asks for it."""

    value = math.inf

    def __call__(self) -> float:
        return self.value


def _clipped_step(make: Callable[..., nc.train.Optimizer], pairs: list[Any]) -> Case:
    limit = _Limit()
    optimizer = make(global_clipnorm=limit)

    def call(value: float) -> nc.train.StepResult:
        limit.value = value
        return optimizer.apply_gradients(pairs)

    return Case(call, lambda result: float(result.global_norm))


def _dense(arrays: list[Array]) -> list[Any]:
    return [(array, nc.Variable(np.ones_like(array))) for array in arrays]


def _rows(arrays: list[Array]) -> list[Any]:
    values, indices = arrays
    shape = (table_rows_of(arrays), *values.shape[1:])
    variable = nc.Variable(np.ones(shape, values.dtype))
    return [(nc.IndexedSlices(values, indices, shape), variable)]


def clip_and_gradient_descent(arrays: list[Array]) -> Case:
    return _clipped_step(partial(nc.train.GradientDescentOptimizer, 1e-3), _dense(arrays))


def clip_and_momentum(arrays: list[Array]) -> Case:
    return _clipped_step(partial(nc.train.MomentumOptimizer, 1e-3, 0.9), _dense(arrays))


def clip_and_adagrad(arrays: list[Array]) -> Case:
    return _clipped_step(partial(nc.train.AdagradOptimizer, 1e-3), _dense(arrays))


def clip_and_adam(arrays: list[Array]) -> Case:
    return _clipped_step(nc.train.AdamOptimizer, _dense(arrays))


def clip_and_gradient_descent_rows(arrays: list[Array]) -> Case:
    return _clipped_step(partial(nc.train.GradientDescentOptimizer, 1e-3), _rows(arrays))


def clip_and_adagrad_rows(arrays: list[Array]) -> Case:
    return _clipped_step(partial(nc.train.AdagradOptimizer, 1e-3), _rows(arrays))


def _step(optimizer: nc.train.Optimizer, arrays: list[Array]) -> Case:
    pairs = [(array, nc.Variable(np.ones_like(array))) for array in arrays]
    return Case(lambda limit: optimizer.apply_gradients(pairs), lambda result: math.nan)


def step_gradient_descent(arrays: list[Array]) -> Case:
    return _step(nc.train.GradientDescentOptimizer(1e-3), arrays)


def step_adam(arrays: list[Array]) -> Case:
    return _step(nc.train.AdamOptimizer(1e-3), arrays)


def step_rows(arrays: list[Array]) -> Case:
    values, indices = arrays
    variable = nc.Variable(np.ones_like(values))
    pairs = [(nc.IndexedSlices(values, indices, values.shape), variable)]
    optimizer = nc.train.GradientDescentOptimizer(1e-3)
    return Case(lambda limit: optimizer.apply_gradients(pairs), lambda result: math.nan)
