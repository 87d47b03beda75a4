"""Lines of NumPy, as one writes them by hand."""

from __future__ import annotations

import math

import numpy as np

from ..answers import quick_norm
from ..copies import copied, copy_all
from ..peers import Case
from ..workloads import Array


def _norm(gradients: list[Array]) -> float:
    return math.sqrt(sum([np.vdot(gradient, gradient) for gradient in gradients]))


def _clip(gradients: list[Array], limit: float) -> float:
    norm = _norm(gradients)
    factor = min(1.0, limit / norm)
    for gradient in gradients:
        gradient *= factor
    return norm


def clip_in_place(arrays: list[Array]) -> Case:
    gradients = copied(arrays)
    return Case(
        lambda limit: _clip(gradients, limit),
        float,
        restore=lambda: copy_all(arrays, gradients),
        shrinks=True,
    )


def global_norm(arrays: list[Array]) -> Case:
    return Case(lambda limit: _norm(arrays), float)


def _clip_slices(arrays: list[Array], axis: int) -> Case:
    (matrix,) = arrays
    slices = matrix.shape[1 - axis]
    return Case(
        lambda limit: (
            matrix * np.minimum(1, limit / np.linalg.norm(matrix, axis=axis, keepdims=True))
        ),
        lambda result: quick_norm([result]),
        as_limit=lambda limit: limit / math.sqrt(slices),
    )


def clip_rows(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 1)


def clip_columns(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 0)


def _sum_rows(values: Array, indices: Array) -> tuple[Array, Array]:
    order = np.argsort(indices, kind="stable")
    unique, first = np.unique(indices[order], return_index=True)
    return np.add.reduceat(values[order], first), unique


def coalesce(arrays: list[Array]) -> Case:
    return Case(lambda limit: _sum_rows(*arrays), lambda result: quick_norm([result[0]]))


def step_gradient_descent(arrays: list[Array]) -> Case:
    variables = [np.ones_like(array) for array in arrays]

    def step(limit: float) -> None:
        for variable, gradient in zip(variables, arrays, strict=True):
            variable -= 1e-3 * gradient

    return Case(step, lambda result: math.nan)


def step_adam(arrays: list[Array]) -> Case:
    variables = [np.ones_like(array) for array in arrays]
    means = [np.zeros_like(array) for array in arrays]
    squares = [np.zeros_like(array) for array in arrays]

    def step(limit: float) -> None:
        for x, m, v, g in zip(variables, means, squares, arrays, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            x -= 1e-3 * m / (np.sqrt(v) + 1e-8)

    return Case(step, lambda result: math.nan)


def step_rows(arrays: list[Array]) -> Case:
    values, indices = arrays
    variable = np.ones_like(values)
    return Case(
        lambda limit: np.subtract.at(variable, indices, 1e-3 * values), lambda result: math.nan
    )
