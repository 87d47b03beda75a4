"""Clipping what is being differentiated, with TensorFlow's gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, defvjp_argnum, primitive

from numclip import _array
from numclip._array import Array
from numclip._boxes import current, sum_to_shape, unboxed
from numclip._slices import IndexedSlices

Clip = Callable[..., Any]


def clip_by_value(clip: Clip, t: Any, lowest: Any, highest: Any, out: Any) -> Any:
    _refuse_out(out)
    t, lowest, highest = _operand(t), _operand(lowest), _operand(highest)
    clipped = clip(_plain(t), _plain(lowest), _plain(highest))
    return _with_values(t, _bounded(_values(clipped), _values(t), lowest, highest))


def clip_by_norm(clip: Clip, t: Any, clip_norm: Any, axes: Any, out: Any) -> Any:
    _refuse_out(out)
    t, limit = _operand(t), _operand(clip_norm)
    clipped = clip(_plain(t), _plain(limit), axes)
    reduced = None if axes is None else tuple(int(axis) for axis in np.reshape(axes, -1))
    norms = _norms(_values(t), reduced)
    return _with_values(t, _scaled(_values(clipped), _values(t), norms, limit))


def clip_by_average_norm(clip: Clip, t: Any, clip_norm: Any, out: Any) -> Any:
    _refuse_out(out)
    t, limit = _operand(t), _operand(clip_norm)
    clipped = clip(_plain(t), _plain(limit))
    size = np.prod(t.dense_shape if isinstance(t, IndexedSlices) else anp.shape(t), dtype=float)
    norms = _norms(_values(t), None)
    return _with_values(t, _scaled(_values(clipped), _values(t), norms, limit * size))


def global_norm(norm: Callable[[Any], Any], t_list: Any) -> Any:
    tensors = _operands(t_list)
    present = [_values(t) for t in _entries(tensors) if t is not None]
    return _global_norm(norm(_plain(tensors)), *present)


def clip_by_global_norm(
    clip: Clip, t_list: Any, clip_norm: Any, use_norm: Any, nonfinite: str, out: Any
) -> tuple[Any, Any]:
    _refuse_out(out)
    tensors, limit, norm = _operands(t_list), _operand(clip_norm), _operand(use_norm)
    clipped, plain_norm = clip(_plain(tensors), _plain(limit), _plain(norm), nonfinite=nonfinite)
    if use_norm is None:
        present = [_values(t) for t in _entries(tensors) if t is not None]
        norm = _global_norm(plain_norm, *present)
    reported = norm if use_norm is None else use_norm
    if nonfinite == "zero" and not np.isfinite(plain_norm):
        return clipped, reported
    results = [
        None if t is None else _with_values(t, _scaled(_values(value), _values(t), norm, limit))
        for t, value in zip(_entries(tensors), _entries(clipped), strict=True)
    ]
    if isinstance(tensors, Mapping):
        return dict(zip(tensors, results, strict=True)), reported
    return results, reported


def _refuse_out(out: Any) -> None:
    if out is not None:
        raise TypeError(
            f"`out` must be None where arrays are being differentiated, got {_array.describe(out)}"
        )


def _operand(t: Any) -> Any:
    """Return an array or number, or its box."""
    if isinstance(t, IndexedSlices):
        return t._replace(values=_operand(t.values))
    t = np.asarray(t) if isinstance(t, list | tuple) else current(t)
    if np.iscomplexobj(unboxed(t)):
        raise TypeError(
            f"what is clipped must be real where it is differentiated, got {_array.describe(t)}"
        )
    return t


def _operands(t_list: Any) -> Any:
    if isinstance(t_list, Mapping):
        return {key: _operand(t) for key, t in t_list.items()}
    return [_operand(t) for t in t_list]


def _entries(tensors: Any) -> Sequence[Any]:
    return list(tensors.values()) if isinstance(tensors, Mapping) else tensors


def _plain(t: Any) -> Any:
    """Return what a box holds, also inside lists and dicts."""
    if isinstance(t, Mapping):
        return {key: _plain(each) for key, each in t.items()}
    return [_plain(each) for each in t] if isinstance(t, list) else unboxed(t)


def _values(t: Any) -> Any:
    return t.values if isinstance(t, IndexedSlices) else t


def _with_values(t: Any, values: Any) -> Any:
    return t._replace(values=values) if isinstance(t, IndexedSlices) else values


def _where(condition: Any, gradient: Any) -> Any:
    return anp.where(condition, gradient, np.zeros((), anp.result_type(gradient)))


@primitive  # type: ignore[untyped-decorator]
def _bounded(clipped: Any, t: Any, lowest: Any, highest: Any) -> Any:
    """Return what elements bounded by numbers or arrays are; where they tie, they are inside."""
    return clipped


def _sides(t: Any, lowest: Any, highest: Any) -> tuple[Array, Array, Array]:
    """Tell where the lower bound, the element and the upper bound came out."""
    t = np.asarray(unboxed(t))
    low, high = (np.asarray(unboxed(bound)).astype(t.dtype) for bound in (lowest, highest))
    with np.errstate(invalid="ignore"):
        is_low = ~(np.minimum(t, high) >= low)
        return is_low, ~is_low & (t <= high), ~is_low & ~(t <= high)


def _bounded_vjp(argnum: int, _: Any, args: Any, kwargs: Any) -> Callable[[Any], Any]:
    _, t, lowest, highest = args
    is_low, is_inside, is_high = _sides(t, lowest, highest)
    if argnum == 1:
        return lambda g: _where(is_inside, g)
    is_bound, shape = (is_low, anp.shape(lowest)) if argnum == 2 else (is_high, anp.shape(highest))
    return lambda g: sum_to_shape(_where(is_bound, g), shape)


defvjp_argnum(_bounded, _bounded_vjp)


@primitive  # type: ignore[untyped-decorator]
def _norms(t: Any, axes: tuple[int, ...] | None) -> Any:
    """Return the norms over the axes, which are kept."""
    t = np.asarray(t, np.float64)
    largest = np.max(np.abs(t), axis=axes, keepdims=True, initial=0.0)
    # A power of two, so that squares neither overflow nor underflow, and nothing is rounded.
    exponent = np.frexp(largest)[1]
    squares = np.ldexp(t, -exponent) ** 2
    return np.ldexp(np.sqrt(np.sum(squares, axis=axes, keepdims=True)), exponent)


defvjp(
    _norms,
    # Zero at zero, as TensorFlow's clip_by_norm is of the slope 1 there.
    lambda ans, t, axes: lambda g: _cast(g * t / anp.where(ans == 0, 1.0, ans), t),
)


def _cast(gradient: Any, like: Any) -> Any:
    return gradient.astype(anp.result_type(like))


@primitive  # type: ignore[untyped-decorator]
def _global_norm(norm: Any, *tensors: Any) -> Any:
    return norm


def _global_norm_vjp(argnum: int, norm: Any, args: Any, kwargs: Any) -> Callable[[Any], Any]:
    def flow_back(gradient: Any) -> Any:
        with np.errstate(invalid="ignore"):  # NaN at zero, as in TensorFlow
            return _cast(gradient * (args[argnum] / norm), args[argnum])

    return flow_back


defvjp_argnum(_global_norm, _global_norm_vjp)


@primitive  # type: ignore[untyped-decorator]
def _scaled(clipped: Any, t: Any, norm: Any, limit: Any) -> Any:
    """Return what arrays scaled to a limit are; where norm and limit tie, they are scaled."""
    return clipped


def _scaled_vjp(argnum: int, _: Any, args: Any, kwargs: Any) -> Callable[[Any], Any]:
    _, t, norm, limit = args
    is_over = ~np.less(unboxed(norm), unboxed(limit))
    # One where it is not used, lest it makes NaN of zeros that flow back to it.
    divisor = anp.where(is_over & (norm != 0), norm, 1.0)

    def scale() -> Any:
        # Not finite, where the norm is not.
        return anp.where(is_over, limit / divisor + (norm - norm), 1.0)

    def of_t(g: Any) -> Any:
        return _cast(g * scale(), t)

    def of_limit(g: Any) -> Any:
        return sum_to_shape(_where(is_over, g * t / divisor), anp.shape(limit))

    def of_norm(g: Any) -> Any:
        slope = _where(is_over, g * t / divisor * (limit / divisor))
        return -sum_to_shape(slope, anp.shape(norm))

    def without_warnings(flow_back: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def quiet(gradient: Any) -> Any:
            with np.errstate(invalid="ignore", over="ignore"):
                return flow_back(gradient)

        return quiet

    return without_warnings({1: of_t, 2: of_norm, 3: of_limit}[argnum])


defvjp_argnum(_scaled, _scaled_vjp)
