"""TensorFlow's four ways to clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from numclip import _array, _threads
from numclip._array import Array, Tensor
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array
from numclip._kernels.axes import clip_slices, clip_slices_parallel, slices_of
from numclip._kernels.elementwise import Bounds
from numclip._operand import operand
from numclip._slices import IndexedSlices, require_shape
from numclip._tensors import (
    clip_list,
    named_tensors,
    tensors_of,
    tensors_to_read,
    tensors_to_write,
)

_NUMBERS = f"{_array.FLOATING}, or integers"


def _is_number(dtype: np.dtype[Any]) -> bool:
    return _array.is_floating(dtype) or _array.is_integer(dtype)


def clip_by_value(
    t: Any,
    clip_value_min: Any,
    clip_value_max: Any,
    name: str | None = None,
    *,
    out: Any = None,
) -> Any:
    r"""Bound every element from below and from above.

    .. math:: \max(\min(t, \text{max}), \text{min})

    Parameters
    ----------
    t : array or IndexedSlices
        float16, bfloat16, float32, float64 or integers, of any shape; on the host or on a CUDA
        device.
    clip_value_min, clip_value_max : real number or array
        The bounds, converted to the dtype of `t`. Arrays are broadcast to the shape of `t` (of
        its values, for IndexedSlices). On a CUDA device they have to be of the dtype of `t`.
    name : str, optional
        Opens the message of an error.
    out : array or IndexedSlices, optional
        Where to write the result, of the shape and dtype of `t`; `t` itself works in place.

    Returns
    -------
    array or IndexedSlices
        Of the dtype and shape of `t`, of its library and on its device. NaN stays NaN, a NaN bound
        gives NaN. Where array bounds cross, the minimum wins. Of IndexedSlices the values are
        clipped as they are; duplicates are not summed.

    Raises
    ------
    TypeError
        If `t` is of another dtype, an integer `t` has a bound that is not an integer, or `out` is
        no array of the dtype of `t`.
    ValueError
        If a bound does not broadcast to `t` or is out of the range of an integer `t`, if the
        minimum, both being scalars, is above the maximum, or if `out` is read-only or of another
        shape.

    Notes
    -----
    In a loss it is differentiated, with respect to the bounds too: the gradient is that of what the
    result is equal to, of `t` where a bound is equal as well, and of the minimum where it is NaN.

    References
    ----------
    ``tf.clip_by_value`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.clip_by_value([-3.0, 0.5, 7.0], -1, 1)
    array([-1. ,  0.5,  1. ])
    """
    if name is not None:
        with _array.named(name):
            return clip_by_value(t, clip_value_min, clip_value_max, out=out)
    try:
        checked = operand(t, out, "t", accepts=_is_number, expected=_NUMBERS)
        values, target, result = checked
        lowest = _as_bound(clip_value_min, values, "clip_value_min")
        highest = _as_bound(clip_value_max, values, "clip_value_max")
    except _array.RecordedError:
        from numclip import _clip_gradient

        return _clip_gradient.clip_by_value(clip_by_value, t, clip_value_min, clip_value_max, out)
    if _are_scalars(lowest, highest):
        if lowest.item() > highest.item():
            raise ValueError(
                f"`clip_value_min` must not be above `clip_value_max`, got {lowest} and {highest}"
            )
        if _array.is_floating(values.dtype):
            tensors_of([checked]).map(Bounds(float(lowest), float(highest)))
            return result
    if isinstance(values, CudaArray):
        from numclip import _cuda_axes

        _cuda_axes.bound(values, lowest, highest, target)
    else:
        with np.errstate(invalid="ignore"):  # bfloat16 warns of NaN
            np.copyto(target, np.maximum(np.minimum(values, highest), lowest))
    return result


def _are_scalars(lowest: Any, highest: Any) -> bool:
    """Tell whether both are numbers that the host knows."""
    bounds = (lowest, highest)
    return all(isinstance(each, np.ndarray) and each.ndim == 0 for each in bounds)


def _as_bound(value: object, values: Tensor, argument: str) -> Any:
    found = cuda_array(value, argument) if isinstance(values, CudaArray) else None
    if found is None:
        return _as_host_bound(value, values, argument)
    if found.dtype != values.dtype:
        raise TypeError(f"`{argument}` must be of dtype {values.dtype}, got {found.dtype}")
    _array.check_one_place([("t", values), (argument, found)])
    _check_broadcast(found.shape, values, argument)
    return found


def _check_broadcast(shape: tuple[int, ...], values: Tensor, argument: str) -> None:
    try:
        fits = np.broadcast_shapes(shape, values.shape) == values.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`{argument}` must broadcast to the shape {values.shape} of `t`, got {shape}"
        )


def _as_host_bound(value: object, values: Tensor, argument: str) -> Array:
    takes_integers = _array.is_integer(values.dtype)
    if isinstance(value, int):  # of any size, also beyond NumPy's integers
        bound = np.asarray(value if takes_integers else _array.as_scalar(value, argument))
    else:
        bound = _array.as_real(value, argument)
    if takes_integers:
        if not (
            isinstance(value, int) or _array.is_integer(bound.dtype) or bound.dtype.kind == "b"
        ):
            raise TypeError(
                f"`{argument}` must be an integer, as `t` is of dtype {values.dtype},"
                f" got {_array.describe(value)}"
            )
        info = np.iinfo(values.dtype)
        if bound.size and (int(bound.min()) < info.min or int(bound.max()) > info.max):
            raise ValueError(
                f"`{argument}` must be within {info.min} and {info.max}, the range of `t`'s dtype"
                f" {values.dtype}, got {_array.describe(value)}"
            )
    if bound.ndim:
        _check_broadcast(bound.shape, values, argument)
    return _array.rounded(bound, values.dtype)


def clip_by_norm(
    t: Any, clip_norm: Any, axes: Any = None, name: str | None = None, *, out: Any = None
) -> Any:
    r"""Scale a tensor, or each of its slices, so that its norm is not above a limit.

    .. math:: t \cdot \min(1, \text{clip\_norm} / \lVert t \rVert_2)

    Parameters
    ----------
    t : array or IndexedSlices
        float16, bfloat16, float32, float64, complex64 or complex128, of any shape; on the host or
        on a CUDA device.
    clip_norm : real number or array
        The limit, zero or more; infinity clips nothing. An array is broadcast to the shape of the
        norms: that of `t` with the reduced axes kept as 1.
    axes : int or sequence of int, optional
        The axes to take each norm over; all by default. An empty sequence limits each element by
        itself.
    name : str, optional
        Opens the message of an error.
    out : array or IndexedSlices, optional
        Where to write the result, of the shape and dtype of `t`; `t` itself works in place.

    Returns
    -------
    array or IndexedSlices
        Of the dtype and shape of `t`, of its library and on its device. A slice not over the limit
        keeps its bits; the norm of one that was over it is never above the limit, and clipping it
        again changes nothing. Zeros stay zeros. A slice that holds a NaN or an infinity becomes
        NaN. Of IndexedSlices, the norm is that of the values, with duplicates counted separately,
        and axes are those of the values.

    Raises
    ------
    TypeError
        If `t` is of another dtype, `clip_norm` not real, an axis not an integer, or `out` no array
        of the dtype of `t`.
    ValueError
        If `clip_norm` is negative or NaN or does not broadcast, if `axes` are out of range or
        repeated, or if `out` is read-only or of another shape.

    Notes
    -----
    In a loss it is differentiated, with respect to `clip_norm` too: at the limit as over it, and at
    zero as under it.

    References
    ----------
    ``tf.clip_by_norm`` of TensorFlow. R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of
    training recurrent neural networks, ICML 2013, algorithm 1.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.clip_by_norm([[3.0, 4.0], [0.3, 0.4]], 1.0, axes=1)
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    if name is not None:
        with _array.named(name):
            return clip_by_norm(t, clip_norm, axes, out=out)
    try:
        checked = operand(t, out, "t")
        reduced = _as_axes(axes, checked.values.ndim)
        shape = tuple(1 if i in reduced else n for i, n in enumerate(checked.values.shape))
        limits = _as_limits(clip_norm, shape)
    except _array.RecordedError:
        from numclip import _clip_gradient

        return _clip_gradient.clip_by_norm(clip_by_norm, t, clip_norm, axes, out)
    if limits.size == 1:
        tensors_of([checked]).clip(limits.item())
    else:
        _clip_slices(checked.values, limits, reduced, checked.target)
    return checked.result


def _as_axes(axes: Any, dimensions: int) -> tuple[int, ...]:
    """Return the axes to reduce in ascending order."""
    if axes is None:
        return tuple(range(dimensions))
    given = _array.as_integers(axes, "axes")
    reduced = {int(axis) % dimensions if dimensions else -1 for axis in given.reshape(-1)}
    if any(not -dimensions <= axis < dimensions for axis in given.reshape(-1)):
        raise ValueError(f"`axes` must be axes of {dimensions} dimensions, got {axes}")
    if len(reduced) < given.size:
        raise ValueError(f"`axes` must not be repeated, got {axes}")
    return tuple(sorted(reduced))


def _as_limits(clip_norm: object, shape: tuple[int, ...]) -> Array:
    if type(clip_norm) is float or type(clip_norm) is int:
        limits = np.asarray(_array.as_limit(clip_norm, "clip_norm"))
    else:
        limits = _array.as_real(clip_norm, "clip_norm").astype(np.float64)
        if not np.all(limits >= 0):
            raise ValueError(
                f"`clip_norm` must not be negative or NaN, got {_array.describe(clip_norm)}"
            )
    try:
        return np.broadcast_to(limits, shape)
    except ValueError:
        raise ValueError(
            f"`clip_norm` must broadcast to the shape {shape} of the norms, got {limits.shape}"
        ) from None


def _clip_slices(values: Any, limits: Array, reduced: tuple[int, ...], target: Any) -> None:
    """Clip each slice over the reduced axes; where those lie apart, through copies."""
    begin = reduced[0] if reduced else values.ndim
    end = begin + len(reduced)
    outer, inner = math.prod(values.shape[:begin]), math.prod(values.shape[end:])
    is_complex = values.dtype.kind == "c"
    if reduced != tuple(range(begin, end)) or (
        inner > 1 and (is_complex or _are_few_and_long(values, outer, inner))
    ):
        kept = [axis for axis in range(values.ndim) if axis not in reduced]
        order = (*kept, *reduced)
        last = tuple(range(len(kept), values.ndim))
        _clip_slices(
            values.transpose(order), limits.transpose(order), last, target.transpose(order)
        )
        return
    if not values.size:
        return
    if isinstance(values, CudaArray):
        from numclip import _cuda_axes

        shape = (outer, values.size // (outer * inner), inner)
        _cuda_axes.clip_slices(values, limits, target, shape)
        return
    buffer = _array.buffer_for(target)
    arguments = (
        _array.numbers_of(values, buffer).reshape(outer, -1, inner),
        _array.read_only(np.ascontiguousarray(limits).reshape(outer, inner).view()),
        _array.flat(buffer).reshape(outer, -1, inner),
    )
    units = slices_of(arguments[0].shape)
    _threads.in_parts(values.size, units, clip_slices, clip_slices_parallel, *arguments)
    _array.deliver(buffer, target)


def _are_few_and_long(values: Any, outer: int, inner: int) -> bool:
    if not isinstance(values, CudaArray):
        return False
    from numclip import _cuda_axes

    return _cuda_axes.are_few_and_long((outer, values.size // max(outer * inner, 1), inner))


def clip_by_average_norm(
    t: Any, clip_norm: Any, name: str | None = None, *, out: Any = None
) -> Any:
    r"""Scale a tensor so that its norm divided by its number of elements is not above a limit.

    .. math:: t \cdot \min(1, \text{clip\_norm} / (\lVert t \rVert_2 / n))

    Parameters
    ----------
    t : array or IndexedSlices
        float16, bfloat16, float32, float64, complex64 or complex128, of any shape; on the host or
        on a CUDA device.
    clip_norm : real number
        The limit, zero or more; infinity clips nothing.
    name : str, optional
        Opens the message of an error.
    out : array or IndexedSlices, optional
        Where to write the result, of the shape and dtype of `t`; `t` itself works in place.

    Returns
    -------
    array or IndexedSlices
        Of the dtype and shape of `t`, of its library and on its device; at the limit, above it, at
        zero, NaN and infinity as `clip_by_norm`. IndexedSlices stay sparse: n is the size of the
        dense array, the norm that of the values, with duplicates counted separately.

    Raises
    ------
    TypeError
        If `t` is of another dtype, `clip_norm` not real, or `out` no array of the dtype of `t`.
    ValueError
        If `clip_norm` is negative, NaN or not a scalar, if IndexedSlices have no `dense_shape` or
        it does not fit their values, or if `out` is read-only or of another shape.

    Notes
    -----
    In a loss it is differentiated as `clip_by_norm` is.

    References
    ----------
    ``tf.compat.v1.clip_by_average_norm`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.clip_by_average_norm([3.0, 4.0], 1.0)
    array([1.2, 1.6])
    """
    if name is not None:
        with _array.named(name):
            return clip_by_average_norm(t, clip_norm, out=out)
    try:
        checked = operand(t, out, "t")
        shape = require_shape(t, "t") if isinstance(t, IndexedSlices) else checked.values.shape
        limit = _array.as_limit(clip_norm, "clip_norm")
    except _array.RecordedError:
        from numclip import _clip_gradient

        return _clip_gradient.clip_by_average_norm(clip_by_average_norm, t, clip_norm, out)
    size = float(np.prod(shape, dtype=np.float64))
    shift = 0
    if math.isinf(limit * size) and math.isfinite(limit):
        # The same quotient of numbers that are all 2**64 times smaller.
        shift, limit = 64, limit * 2.0**-64
    # Two roundings more: the limit's product here, and the quotient that the caller would check.
    tensors_of([checked]).clip(limit * size if size else limit, roundings=2, shift=shift)
    return checked.result


def clip_by_global_norm(
    t_list: Any,
    clip_norm: Any,
    use_norm: Any = None,
    name: str | None = None,
    *,
    nonfinite: str = "propagate",
    out: Any = None,
) -> tuple[Any, Any]:
    r"""Scale all tensors by one factor so that their common norm is not above a limit.

    .. math:: t_i \cdot \min(1, \text{clip\_norm} / \sqrt{\textstyle\sum_j \lVert t_j \rVert_2^2})

    Parameters
    ----------
    t_list : list, tuple or dict of arrays, IndexedSlices or None
        float16, bfloat16, float32, float64, complex64 or complex128, also mixed, of any shapes;
        all on the host, or all on one CUDA device.
    clip_norm : real number
        The limit, zero or more; infinity clips nothing.
    use_norm : real number, optional
        The norm to go by, where it is known already or is to be another one. On a CUDA device also
        an array without dimensions, which is not looked at.
    name : str, optional
        Opens the message of an error.
    nonfinite : {"propagate", "raise", "zero"}
        What to do where the norm is NaN or infinite: make everything NaN, as TensorFlow does;
        raise FloatingPointError, for which a CUDA device is waited for; or return zeros.
    out : list, tuple or dict like `t_list`, optional
        Where to write the results; `t_list` itself works in place.

    Returns
    -------
    list_clipped : list or dict
        A list, or for a dict a dict of the same keys. None stays None in its place. Not over the
        limit, every entry keeps its bits; over it, the norm of the result is never above the limit
        (with `use_norm`: relative to the norm given), and clipping again changes nothing.
    global_norm : numpy.float64
        As `numclip.global_norm` gives it, on a CUDA device as an array without dimensions there;
        `use_norm`, where that was given, as it was given.

    Raises
    ------
    TypeError
        If `t_list` is not a list, tuple or dict, an entry not an array of these dtypes, or a norm
        not real.
    ValueError
        If `clip_norm` or `use_norm` is not a scalar, `clip_norm` is negative or NaN, `use_norm`
        negative, `nonfinite` none of its values, if `out` does not fit or overlaps, or if arrays
        are not all in one place.
    FloatingPointError
        With ``nonfinite="raise"``; it names the first entry that is not finite.

    Notes
    -----
    In a loss it is differentiated, with respect to `clip_norm` and `use_norm` too: at the limit as
    over it. At zero the gradient of `global_norm`, and through it that of all, is NaN.

    References
    ----------
    ``tf.clip_by_global_norm`` of TensorFlow. R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty
    of training recurrent neural networks, ICML 2013.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> clipped, norm = nc.clip_by_global_norm([np.array([3.0, 0.0]), None, np.array([4.0])], 2.5)
    >>> clipped
    [array([1.5, 0. ]), None, array([2.])]
    >>> norm
    np.float64(5.0)
    """
    if name is not None:
        with _array.named(name):
            return clip_by_global_norm(t_list, clip_norm, use_norm, nonfinite=nonfinite, out=out)
    if nonfinite not in ("propagate", "raise", "zero"):
        raise ValueError(
            f'`nonfinite` must be "propagate", "raise" or "zero", got {_array.describe(nonfinite)}'
        )
    try:
        limit = _array.as_limit(clip_norm, "clip_norm")
        if use_norm is None:
            norm, results = clip_list(t_list, out, limit, nonfinite)
        else:
            tensors, results = tensors_to_write(t_list, out)
            given: Any = tensors.given_norm(use_norm)
            norm = tensors.scale(given, limit, nonfinite)
    except _array.RecordedError:
        from numclip import _clip_gradient

        return _clip_gradient.clip_by_global_norm(
            clip_by_global_norm, t_list, clip_norm, use_norm, nonfinite, out
        )
    if nonfinite == "raise" and not norm.is_finite:
        raise FloatingPointError(_nonfinite_message(t_list, use_norm))
    reported = norm.value if use_norm is None else use_norm
    if isinstance(t_list, Mapping):
        return dict(zip(t_list, results, strict=True)), reported
    return results, reported


def _nonfinite_message(t_list: Any, use_norm: object) -> str:
    if use_norm is not None:
        return f"`use_norm` must be finite, got {use_norm}"
    for name, t in named_tensors(t_list):
        norm = tensors_to_read([t]).norm().on_host()
        if not math.isfinite(norm):
            return f"`{name}` must be finite, got an array of norm {norm}"
    raise AssertionError("some tensor of a norm that is not finite is not finite")
