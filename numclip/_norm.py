"""The norm of one tensor or of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from numclip import _array
from numclip._array import Array
from numclip._kernels.factor import slack_of
from numclip._kernels.norm import add_squares, sum_squares, times_power_of_two
from numclip._slices import IndexedSlices, check_lengths


class Norm(NamedTuple):
    """The norm ``root * 2**exponent`` of some tensors, and what is known of it."""

    root: float
    exponent: int
    slack: int
    sums: Array

    @property
    def value(self) -> np.float64:
        return np.float64(times_power_of_two(float(self.root), int(self.exponent)))


def norm_of(tensors: Sequence[Array]) -> Norm:
    sums = np.empty(len(tensors))
    exponents = np.empty(len(tensors), np.int64)
    for i, tensor in enumerate(tensors):
        sums[i], exponents[i] = sum_squares(_array.read_only(_array.flat(tensor)))
    root, exponent = add_squares(sums.copy(), exponents)
    longest = max((tensor.size * (1 + (tensor.dtype.kind == "c")) for tensor in tensors), default=0)
    return Norm(root, exponent, slack_of(longest, len(tensors)), sums)


def named_tensors(t_list: object, argument: str = "t_list") -> list[tuple[str, Any]]:
    """Return the entries of a list, tuple or dict, each with its name for messages."""
    if isinstance(t_list, Mapping):
        return [(f"{argument}[{key!r}]", t) for key, t in t_list.items()]
    if not isinstance(t_list, Sequence) or isinstance(t_list, IndexedSlices | str | bytes):
        raise TypeError(
            f"`{argument}` must be a list, tuple or dict of tensors, got {type(t_list).__name__}"
        )
    return [(f"{argument}[{i}]", t) for i, t in enumerate(t_list)]


def _values(entries: Iterable[tuple[str, Any]]) -> Iterable[Array]:
    for name, t in entries:
        if isinstance(t, IndexedSlices):
            yield check_lengths(t, name)[0]
        elif t is not None:
            yield _array.as_array(t, name)


def global_norm(t_list: Any, name: str | None = None) -> np.float64:
    r"""Return the norm of all tensors taken together.

    .. math:: \sqrt{\sum_i \lVert t_i \rVert_2^2}

    Parameters
    ----------
    t_list : list, tuple or dict of arrays, IndexedSlices or None
        float16, bfloat16, float32, float64, complex64 or complex128, also mixed, of any shapes.
        None entries are skipped. Duplicate rows of IndexedSlices count separately;
        `IndexedSlices.coalesce` first gives the norm of what they stand for.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    numpy.float64
        The norm, to a relative error below 1e-14 at any size, also where squares overflow or
        underflow. The same bits for the same numbers on any processor and at any alignment. Zero
        for an empty list, NaN where an entry is NaN, infinite where one is infinite.

    Raises
    ------
    TypeError
        If `t_list` is not a list, tuple or dict, or an entry is not an array of these dtypes.

    References
    ----------
    ``tf.linalg.global_norm`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> nc.global_norm([np.array([3.0]), None, np.array([[4.0], [12.0]])])
    np.float64(13.0)
    """
    if name is not None:
        with _array.named(name):
            return global_norm(t_list)
    return norm_of(list(_values(named_tensors(t_list)))).value
