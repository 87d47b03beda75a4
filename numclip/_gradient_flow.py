"""Functions that stop, reverse or clip the gradients that flow back, or let them through."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import isbox

from numclip import _array
from numclip._boxes import current, unboxed
from numclip._clip import clip_by_norm, clip_by_value


@primitive  # type: ignore[untyped-decorator]
def _apply(x: Any, forward: Callable[[Any], Any], backward: Callable[[Any, Any], Any]) -> Any:
    return forward(x)


defvjp(_apply, lambda ans, x, forward, backward: lambda g: backward(g, x))


def _as_floating(x: Any) -> Any:
    """Take floating numbers, recorded or not."""
    x = current(x)
    array = _array.as_array(unboxed(x), "x", _array.is_floating, _array.FLOATING)
    return x if isbox(x) else array


def _itself(x: Any) -> Any:
    return x


def stop_gradient(x: Any) -> Any:
    """Return an array as a constant.

    Parameters
    ----------
    x : array or Variable
        Of any dtype and shape.

    Returns
    -------
    array
        The array itself, not a copy, through which no gradient flows, of whatever order.

    Raises
    ------
    TypeError
        If `x` is not an array.

    References
    ----------
    ``tf.stop_gradient`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> x = nc.Variable(3.0)
    >>> nc.gradients(lambda: x * nc.stop_gradient(x**2), x)
    [array(9.)]
    """
    value = unboxed(current(x))
    return _array.as_array(value, "x", lambda dtype: dtype.kind not in "OSU", "an array")


def reverse_gradient(x: Any, scale: Any = 1.0) -> Any:
    r"""Return an array, and turn the sign of the gradient that flows back.

    .. math:: y = x, \qquad g_x = -\text{scale} \cdot g_y

    Parameters
    ----------
    x : array or Variable
        float16, bfloat16, float32 or float64, of any shape.
    scale : real number
        What the reversed gradient is multiplied with.

    Returns
    -------
    array
        The array itself, not a copy.

    Raises
    ------
    TypeError
        If `x` is of another dtype, or `scale` not a real number.
    ValueError
        If `scale` is not a scalar.

    References
    ----------
    Y. Ganin, V. Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.

    Examples
    --------
    >>> import numclip as nc
    >>> x = nc.Variable([1.0, -2.0])
    >>> nc.gradients(lambda: nc.reverse_gradient(x, 0.5) ** 2, x)
    [array([-1.,  2.])]
    """
    factor = -_array.as_scalar(scale, "scale")
    return _apply(_as_floating(x), _itself, lambda g, _: factor * g)


def clip_gradient(x: Any, *, norm: Any = None, value: Any = None) -> Any:
    """Return an array, and clip the gradient that flows back.

    Parameters
    ----------
    x : array or Variable
        float16, bfloat16, float32 or float64, of any shape.
    norm : real number, optional
        The limit of the gradient's norm, as of `clip_by_norm`.
    value : real number, optional
        The limit of the size of each of its elements, as of `clip_by_value`. Either this or `norm`
        has to be given.

    Returns
    -------
    array
        The array itself, not a copy.

    Raises
    ------
    TypeError
        If `x` is of another dtype, a limit not a real number, or not one of both is given.
    ValueError
        If a limit is negative, NaN or not a scalar.

    References
    ----------
    A. Graves, Generating sequences with recurrent neural networks, 2013, section 2.1, where the
    gradients of LSTM cells are clipped.

    Examples
    --------
    >>> import numclip as nc
    >>> x = nc.Variable([3.0, 4.0])
    >>> nc.gradients(lambda: nc.clip_gradient(x, norm=1.0) ** 2, x)
    [array([0.6, 0.8])]
    """
    if (norm is None) == (value is None):
        given = "neither" if norm is None else f"norm={norm!r} and value={value!r}"
        raise TypeError(f"exactly one of `norm` and `value` must be given, got {given}")
    if norm is not None:
        limit = _array.as_limit(norm, "norm")
        return _apply(_as_floating(x), _itself, lambda g, _: clip_by_norm(g, limit))
    bound = _array.as_limit(value, "value")
    return _apply(_as_floating(x), _itself, lambda g, _: clip_by_value(g, -bound, bound))


def straight_through(f: Callable[..., Any]) -> Callable[..., Any]:
    r"""Let the gradient through a function as if it returned its argument.

    .. math:: y = f(x), \qquad g_x = g_y

    Parameters
    ----------
    f : callable
        Takes an array, and returns one of the same shape: rounding, a threshold, quantization.

    Returns
    -------
    callable
        The function. Its first argument, floating numbers, is what gradients flow to, and `f` gets
        it as a plain NumPy array; the others are constant. The result is cast to the dtype of the
        first argument.

    Raises
    ------
    TypeError
        If `f` is not a function; when it is called, if the argument or the result are not numbers.
    ValueError
        When it is called, if the result is of another shape.

    References
    ----------
    Y. Bengio, N. Léonard, A. Courville, Estimating or propagating gradients through stochastic
    neurons for conditional computation, 2013, section 4.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([0.4, 1.7])
    >>> round_straight = nc.straight_through(np.round)
    >>> nc.value_and_gradients(lambda: round_straight(x) ** 2, x)
    (array([0., 4.]), [array([0., 4.])])
    """
    if not callable(f):
        raise TypeError(f"`f` must be a function, got {_array.describe(f)}")
    name = getattr(f, "__name__", repr(f))

    @wraps(f)
    def straight(x: Any, *args: Any, **kwargs: Any) -> Any:
        def forward(array: Any) -> Any:
            result = _array.as_array(
                f(_array.read_only(np.asarray(array).view()), *args, **kwargs),
                f"{name}(x)",
                lambda dtype: dtype.kind in "biu" or _array.is_floating(dtype),
                "real numbers",
            )
            if result.shape != np.shape(array):
                raise ValueError(
                    f"`{name}(x)` must be of the shape {np.shape(array)} of `x`, got {result.shape}"
                )
            return result.astype(array.dtype, copy=False)

        return _apply(_as_floating(x), forward, lambda g, _: g)

    return straight


def sign(x: Any) -> Any:
    r"""Return the sign, with the gradient of the hard hyperbolic tangent.

    .. math:: y = \operatorname{sign}(x), \qquad g_x = g_y \cdot [\,|x| \le 1\,]

    Parameters
    ----------
    x : array or Variable
        float16, bfloat16, float32 or float64, of any shape.

    Returns
    -------
    array
        -1, 0 or 1, of the dtype and shape of `x`; NaN stays NaN, and nothing flows back to it.

    Raises
    ------
    TypeError
        If `x` is of another dtype.

    References
    ----------
    I. Hubara, M. Courbariaux, D. Soudry, R. El-Yaniv, Y. Bengio, Binarized neural networks,
    NIPS 2016, section 1.3.

    Examples
    --------
    >>> import numclip as nc
    >>> x = nc.Variable([-2.0, -0.5, 0.0, 1.0])
    >>> nc.value_and_gradients(lambda: nc.sign(x), x)
    (array([-1., -1.,  0.,  1.]), [array([0., 1., 1., 1.])])
    """
    return _apply(_as_floating(x), np.sign, _where_at_most_one)


def _where_at_most_one(gradient: Any, x: Any) -> Any:
    is_inside = np.abs(unboxed(x)) <= 1
    return anp.where(is_inside, gradient, np.zeros((), anp.result_type(gradient)))
