"""Learning rates that fall along cosines of the step, with restarts and with noise."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from numclip import _array
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._schedule import as_duration, as_generator, scheduled


def cosine_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    alpha: float = 0.0,
    name: str | None = None,
) -> Hyperparameter:
    r"""Let the rate fall along half a wave of the cosine.

    .. math::

        \eta \left((1 - \alpha) \tfrac12 \left(1 + \cos \pi \frac{\min(s, D)}{D}\right)
            + \alpha\right)

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        The number of steps :math:`D`, positive and finite.
    alpha : float
        The part of the rate that is left from step :math:`D` on.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        The rate at a number, and for a Variable a function, as of `exponential_decay`. Before
        step 0 the cosine goes on.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `decay_steps` not positive and finite, or an argument not a
        scalar.

    References
    ----------
    ``tf.compat.v1.train.cosine_decay`` of TensorFlow. I. Loshchilov, F. Hutter, SGDR: stochastic
    gradient descent with warm restarts, ICLR 2017.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.train.cosine_decay(0.5, 1000, decay_steps=1000, alpha=0.25)
    0.125
    """
    with _array.named(name):
        steps = as_duration(decay_steps, "decay_steps")
        floor = _array.as_scalar(alpha, "alpha")
    return scheduled(
        lambda rate, step: (
            rate * _with_floor(_raised_cosine(np.minimum(step, steps) / steps), floor)
        ),
        learning_rate,
        global_step,
        name,
    )


def cosine_decay_restarts(
    learning_rate: Hyperparameter,
    global_step: Any,
    first_decay_steps: float,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str | None = None,
) -> Hyperparameter:
    r"""Let the rate fall along half a wave of the cosine, again and again, ever more slowly.

    .. math::

        \eta \left((1 - \alpha) \, m^i \, \tfrac12 \left(1 + \cos \pi \frac{s - S_i}{F t^i}\right)
            + \alpha\right), \qquad S_i = F (1 + t + \ldots + t^{i-1}) \le s < S_{i+1}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    first_decay_steps : float
        The length :math:`F` of the first period in steps, positive and finite.
    t_mul : float
        By how much each period is longer than the one before, at least 1.
    m_mul : float
        The height :math:`m` from which a period begins, relative to the one before.
    alpha : float
        The part of the rate that is left at the end of a period.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        The rate at a number, and for a Variable a function, as of `exponential_decay`. Before
        step 0 the cosine of the first period goes on. NaN at an infinite step.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `first_decay_steps` not positive and finite, `t_mul` below 1 or
        not finite, or an argument not a scalar.

    Notes
    -----
    The beginnings :math:`S_i` are computed exactly, for `first_decay_steps` and `t_mul` as written
    in decimals: with 100 and 1.1 the second restart is at step 210, where numbers rounded to binary
    give the end of the period before. The time that this takes grows with the number of restarts: a
    few microseconds after ten, a fifth of a millisecond after seven hundred.

    References
    ----------
    ``tf.compat.v1.train.cosine_decay_restarts`` of TensorFlow, where `t_mul` may be below 1: the
    restarts then crowd before step :math:`F / (1 - t)`, from which on the rate is NaN.
    I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.

    Examples
    --------
    >>> import numclip as nc
    >>> steps = (0, 5, 10, 20, 30)
    >>> [round(nc.train.cosine_decay_restarts(0.5, s, 10, m_mul=0.5), 6) for s in steps]
    [0.5, 0.25, 0.25, 0.125, 0.125]
    """
    with _array.named(name):
        first = _as_written(as_duration(first_decay_steps, "first_decay_steps"))
        growth = _as_growth(t_mul, "t_mul")
        height = np.float64(_array.as_scalar(m_mul, "m_mul"))
        floor = _array.as_scalar(alpha, "alpha")

    def decayed(rate: float, step: np.float64) -> Any:
        if not np.isfinite(step):
            return np.nan
        restarts, completed = _period(step, first, growth)
        return rate * _with_floor(height**restarts * _raised_cosine(completed), floor)

    return scheduled(decayed, learning_rate, global_step, name)


def linear_cosine_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Hyperparameter:
    r"""Let the rate fall along a cosine that itself falls linearly.

    .. math::

        \eta \left((\alpha + 1 - p) \tfrac12 (1 + \cos 2 \pi n p) + \beta\right), \qquad
            p = \min(s, D) / D

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        The number of steps :math:`D`, positive and finite.
    num_periods : float
        The number :math:`n` of the cosine's waves.
    alpha : float
        What is added to the line.
    beta : float
        The part of the rate that is always added: at step 0 the rate is
        :math:`(1 + \alpha + \beta) \eta`.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        The rate at a number, and for a Variable a function, as of `exponential_decay`. Before
        step 0 the formula goes on.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `decay_steps` not positive and finite, or an argument not a
        scalar.

    References
    ----------
    ``tf.compat.v1.train.linear_cosine_decay`` of TensorFlow. I. Bello, B. Zoph, V. Vasudevan,
    Q. V. Le, Neural optimizer search with reinforcement learning, ICML 2017.

    Examples
    --------
    >>> import numclip as nc
    >>> [round(nc.train.linear_cosine_decay(1.0, s, 100), 6) for s in (0, 50, 100)]
    [1.001, 0.251, 0.001]
    """
    with _array.named(name):
        steps = as_duration(decay_steps, "decay_steps")
        periods = _array.as_scalar(num_periods, "num_periods")
        offset = _array.as_scalar(alpha, "alpha")
        floor = _array.as_scalar(beta, "beta")
    return scheduled(
        lambda rate, step: (
            rate * _linear_cosine(np.minimum(step, steps) / steps, periods, offset, floor)
        ),
        learning_rate,
        global_step,
        name,
    )


def noisy_linear_cosine_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    initial_variance: float = 1.0,
    variance_decay: float = 0.55,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
    *,
    rng: np.random.Generator | int | None = None,
) -> Hyperparameter:
    r"""Let the rate fall along a cosine that itself falls linearly, with noise that decays.

    .. math::

        \eta \left((\alpha + 1 - p + \epsilon) \tfrac12 (1 + \cos 2 \pi n p) + \beta\right), \qquad
            p = \min(s, D) / D, \quad
            \epsilon \sim \mathcal{N}\left(0, \frac{v}{(1 + \min(s, D))^d}\right)

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        The number of steps :math:`D`, positive and finite.
    initial_variance : float
        The noise's variance :math:`v` at step 0, not negative; 0 is `linear_cosine_decay`.
    variance_decay : float
        The power :math:`d` by which the variance decays.
    num_periods, alpha, beta : float
        As of `linear_cosine_decay`.
    name : str, optional
        Opens the message of an error.
    rng : numpy.random.Generator or int, optional
        Where the noise is drawn from, or what seeds it, as of `numpy.random.default_rng`. By
        default it is different each time.

    Returns
    -------
    float or callable
        The rate at a number; for a Variable a function, as of `exponential_decay`, that draws new
        noise at each call. The rate may be negative. From step -1 backwards it is not finite.

    Raises
    ------
    TypeError
        If an argument is not a real number, or `rng` neither a generator nor a seed.
    ValueError
        If `global_step` is None, `decay_steps` not positive and finite, `initial_variance`
        negative or NaN, `rng` negative, or an argument not a scalar.

    References
    ----------
    ``tf.compat.v1.train.noisy_linear_cosine_decay`` of TensorFlow. I. Bello, B. Zoph,
    V. Vasudevan, Q. V. Le, Neural optimizer search with reinforcement learning, ICML 2017.

    Examples
    --------
    >>> import numclip as nc
    >>> step = nc.Variable(50)
    >>> rate = nc.train.noisy_linear_cosine_decay(1.0, step, 100, rng=7)
    >>> rate() == rate()
    False
    """
    with _array.named(name):
        steps = as_duration(decay_steps, "decay_steps")
        variance = _array.as_limit(initial_variance, "initial_variance")
        power = _array.as_scalar(variance_decay, "variance_decay")
        periods = _array.as_scalar(num_periods, "num_periods")
        offset = _array.as_scalar(alpha, "alpha")
        floor = _array.as_scalar(beta, "beta")
        generator = as_generator(rng, "rng")

    def decayed(rate: float, step: np.float64) -> Any:
        elapsed = np.minimum(step, steps)
        noise = np.sqrt(variance / (1 + elapsed) ** power) * generator.standard_normal()
        return rate * _linear_cosine(elapsed / steps, periods, offset + noise, floor)

    return scheduled(decayed, learning_rate, global_step, name)


def _raised_cosine(fraction: Any) -> Any:
    return 0.5 * (1 + np.cos(np.pi * fraction))


def _with_floor(height: Any, floor: float) -> Any:
    return (1 - floor) * height + floor


def _linear_cosine(fraction: Any, periods: float, offset: Any, floor: float) -> Any:
    return (offset + (1 - fraction)) * _raised_cosine(2 * periods * fraction) + floor


def _period(step: np.float64, first: Fraction, growth: Fraction) -> tuple[int, float]:
    """Return the number of restarts up to a step, and which part of the period is over by then."""
    numerator, denominator = step.as_integer_ratio()
    # The steps since the last restart and the length of the period, both in the same unit, which
    # shrinks such that they are integers.
    rest, length = numerator * first.denominator, first.numerator * denominator
    restarts = 0
    if growth == 1:
        restarts = max(rest // length, 0)
        rest -= restarts * length
    while rest >= length:
        rest = (rest - length) * growth.denominator
        length *= growth.numerator
        restarts += 1
    return restarts, rest / length


def _as_growth(value: Any, argument: str) -> Fraction:
    growth = _array.as_scalar(value, argument)
    if not 1 <= growth < math.inf:
        raise ValueError(f"`{argument}` must be at least 1 and finite, got {growth}")
    return _as_written(growth)


def _as_written(number: float) -> Fraction:
    """Return the decimal that a float was written as: the shortest that rounds to it."""
    return Fraction(str(number))
