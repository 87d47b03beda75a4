"""numclip."""

from __future__ import annotations

import math

import numpy as np

import numclip as nc

from ..answers import quick_norm
from ..copies import copied, copy_all
from ..peers import Case
from ..workloads import Array


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
