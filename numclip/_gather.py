"""Rows looked up in a table, so that their gradient is sparse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import isbox

from numclip import _array
from numclip._boxes import current
from numclip._slices import IndexedSlices


@primitive  # type: ignore[untyped-decorator]
def _take(params: Any, indices: Any) -> Any:
    return np.asarray(params)[indices]


@primitive  # type: ignore[untyped-decorator]
def scatter_add(rows: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    return _as_slices(rows, indices, shape).to_dense()


def _as_slices(rows: Any, indices: Any, shape: tuple[int, ...]) -> IndexedSlices:
    return IndexedSlices(rows.reshape(-1, *shape[1:]), indices.reshape(-1), shape)


def _take_vjp(_: Any, params: Any, indices: Any) -> Callable[[Any], Any]:
    shape = np.shape(params)

    def vjp(cotangent: Any) -> Any:
        if isbox(cotangent):
            return scatter_add(cotangent, indices, shape)
        return _as_slices(cotangent, indices, shape)

    return vjp


defvjp(_take, _take_vjp)
defvjp(scatter_add, lambda ans, rows, indices, shape: lambda g: _take(g, indices))


def gather(params: Any, indices: Any) -> Any:
    """Look up rows, so that their gradient is sparse.

    Parameters
    ----------
    params : Variable or array of shape (n, ...)
        The table.
    indices : integer array of any shape
        Rows of it, from 0 to n - 1, repeated or not.

    Returns
    -------
    array of shape ``indices.shape + params.shape[1:]``
        A copy of the rows. In a loss, the gradient of a Variable is IndexedSlices: of all uses
        joined, where it is used by `gather` alone, and dense otherwise.

    Raises
    ------
    TypeError
        If `params` is not an array, or on a CUDA device, or `indices` are not integers.
    ValueError
        If `params` has no dimension.
    IndexError
        If an index is out of range.

    References
    ----------
    ``tf.gather`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> table = nc.Variable([[1.0], [2.0], [3.0]])
    >>> nc.gradients(lambda: nc.gather(table, [2, 0, 2]) ** 2, table)[0].to_dense()
    array([[ 2.],
           [ 0.],
           [12.]])
    """
    rows = _array.as_integers(indices, "indices")
    table = current(params)
    if not isbox(table):
        table = _array.as_array(table, "params", lambda dtype: dtype.kind != "O", "an array")
    shape = anp.shape(table)
    if not shape:
        raise ValueError("`params` must have at least one dimension, got a scalar")
    if rows.size and not (0 <= int(rows.min()) and int(rows.max()) < shape[0]):
        raise IndexError(
            f"`indices` must be from 0 to {shape[0] - 1},"
            f" got {int(rows.min())} to {int(rows.max())}"
        )
    return _take(table, rows)
