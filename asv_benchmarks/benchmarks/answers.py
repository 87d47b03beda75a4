"""The right answers, to hold those of the peers against.

Squares of float32 and shorter are exact in float64. `math.fsum` adds them without error, and each
chunk's sum is rounded once, so a norm is right to within 2e-16 of itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from .workloads import Array

_CHUNK = 1 << 16


def _chunks(array: Array) -> Iterator[Array]:
    flat = array.reshape(-1)
    for begin in range(0, flat.size, _CHUNK):
        yield flat[begin : begin + _CHUNK].astype(np.float64)


def exact_norm(arrays: Iterable[Array]) -> float:
    return math.sqrt(
        math.fsum(
            math.fsum(np.square(chunk).tolist()) for array in arrays for chunk in _chunks(array)
        )
    )


def quick_norm(arrays: Iterable[Array]) -> float:
    """Return a norm that is good enough to choose a limit by, in a hundredth of the time."""
    return math.sqrt(
        math.fsum(float(np.dot(chunk, chunk)) for array in arrays for chunk in _chunks(array))
    )


def norm_of_clipped_slices(matrix: Array, axis: int, limit: float) -> float:
    """Return the norm of a matrix of which each row (axis 1) or column (axis 0) is clipped."""
    norms = np.sqrt(np.square(matrix.astype(np.float64)).sum(axis))
    return math.sqrt(math.fsum(np.square(np.minimum(norms, limit)).tolist()))


def norm_of_summed_rows(values: Array, indices: Array) -> float:
    """Return the norm of rows of which those that share an index are summed."""
    order = np.argsort(indices, kind="stable")
    _, first = np.unique(indices[order], return_index=True)
    return exact_norm(
        np.add.reduceat(column[order].astype(np.float64), first) for column in values.T
    )
