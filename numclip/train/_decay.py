"""Learning rates that are functions of the step."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise
from typing import Any

import numpy as np

from numclip import _array
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._schedule import as_duration, as_numbers, at_step, scheduled


def exponential_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    decay_rate: float,
    staircase: bool = False,
    name: str | None = None,
) -> Hyperparameter:
    r"""Multiply the rate by the same factor every so many steps.

    .. math:: \eta \, \text{decay\_rate}^{s / \text{decay\_steps}}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        Not negative. 0 decays at once: the full rate at step 0, the limit after it.
    decay_rate : float
        The factor.
    staircase : bool
        Whether :math:`s / \text{decay\_steps}` is rounded down, so that the rate falls in jumps.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        The rate at a number; for a Variable a function without arguments that returns the rate at
        its value then, and that optimizers take as a learning rate. In float64. Before step 0 the
        formula goes on. NaN at a NaN, and where a negative factor has no real power.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `decay_steps` negative or NaN, or an argument not a scalar.

    References
    ----------
    ``tf.compat.v1.train.exponential_decay`` of TensorFlow, which gives NaN at step 0 where
    `decay_steps` is 0.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> step, x = nc.Variable(0), nc.Variable([1.0])
    >>> rate = nc.train.exponential_decay(0.5, step, decay_steps=1, decay_rate=0.5)
    >>> optimizer = nc.train.GradientDescentOptimizer(rate)
    >>> for _ in range(2):
    ...     result = optimizer.apply_gradients([(np.array([1.0]), x)], global_step=step)
    >>> x.value, rate()
    (array([0.25]), 0.125)
    """
    with _array.named(name):
        steps = _array.as_limit(decay_steps, "decay_steps")
        factor = _array.as_scalar(decay_rate, "decay_rate")
    return scheduled(
        lambda rate, step: rate * factor ** _periods(step, steps, staircase),
        learning_rate,
        global_step,
        name,
    )


def natural_exp_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    decay_rate: float,
    staircase: bool = False,
    name: str | None = None,
) -> Hyperparameter:
    r"""Let the rate fall exponentially, to the base e.

    .. math:: \eta \exp(-\text{decay\_rate} \, s / \text{decay\_steps})

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        Not negative. 0 decays at once: the full rate at step 0, the limit after it.
    decay_rate : float
        How fast.
    staircase : bool
        Whether :math:`s / \text{decay\_steps}` is rounded down, so that the rate falls in jumps.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        As of `exponential_decay`.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `decay_steps` negative or NaN, or an argument not a scalar.

    References
    ----------
    ``tf.compat.v1.train.natural_exp_decay`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> round(nc.train.natural_exp_decay(0.1, 20, decay_steps=10, decay_rate=0.5), 6)
    0.036788
    """
    with _array.named(name):
        steps = _array.as_limit(decay_steps, "decay_steps")
        speed = _array.as_scalar(decay_rate, "decay_rate")
    return scheduled(
        lambda rate, step: rate * np.exp(-_slowed(speed, _periods(step, steps, staircase))),
        learning_rate,
        global_step,
        name,
    )


def inverse_time_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    decay_rate: float,
    staircase: bool = False,
    name: str | None = None,
) -> Hyperparameter:
    r"""Divide the rate by a number that grows with the step.

    .. math:: \frac{\eta}{1 + \text{decay\_rate} \, s / \text{decay\_steps}}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        Not negative. 0 decays at once: the full rate at step 0, the limit after it.
    decay_rate : float
        How fast.
    staircase : bool
        Whether :math:`s / \text{decay\_steps}` is rounded down, so that the rate falls in jumps.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        As of `exponential_decay`.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `decay_steps` negative or NaN, or an argument not a scalar.

    References
    ----------
    ``tf.compat.v1.train.inverse_time_decay`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.train.inverse_time_decay(0.5, 20, decay_steps=10, decay_rate=2)
    0.1
    """
    with _array.named(name):
        steps = _array.as_limit(decay_steps, "decay_steps")
        speed = _array.as_scalar(decay_rate, "decay_rate")
    return scheduled(
        lambda rate, step: rate / (1 + _slowed(speed, _periods(step, steps, staircase))),
        learning_rate,
        global_step,
        name,
    )


def polynomial_decay(
    learning_rate: Hyperparameter,
    global_step: Any,
    decay_steps: float,
    end_learning_rate: float = 0.0001,
    power: float = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Hyperparameter:
    r"""Let the rate fall to another one along a power of the steps that remain.

    .. math::

        (\eta - \eta_\text{end}) \left(\frac{D - \min(s, D)}{D}\right)^\text{power}
            + \eta_\text{end}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called each time.
    global_step : number or Variable
        The step :math:`s`; a Variable, or an array without dimensions, is followed.
    decay_steps : float
        The number of steps :math:`D`, positive and finite.
    end_learning_rate : float
        The rate :math:`\eta_\text{end}` from step :math:`D` on.
    power : float
        1 is a straight line. 0 is :math:`\eta` at every step, also at the end, as
        :math:`0^0 = 1`.
    cycle : bool
        Whether, after the end, the rate jumps up again, to decay until the next multiple of
        `decay_steps`: :math:`D` is then the first multiple, not 0, that is not below :math:`s`.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        The rate at a number, and for a Variable a function, as of `exponential_decay`. Exactly
        `end_learning_rate` at the end of a cycle. Before step 0 the polynomial goes on.

    Raises
    ------
    TypeError
        If an argument is not a real number.
    ValueError
        If `global_step` is None, `decay_steps` not positive and finite, or an argument not a
        scalar.

    References
    ----------
    ``tf.compat.v1.train.polynomial_decay`` of TensorFlow, which divides by 0 before step 0 where
    `cycle` is True.

    Examples
    --------
    >>> import numclip as nc
    >>> nc.train.polynomial_decay(0.5, 6, decay_steps=8, end_learning_rate=0.25)
    0.3125
    >>> nc.train.polynomial_decay(0.5, 12, decay_steps=8, end_learning_rate=0.25, cycle=True)
    0.3125
    """
    with _array.named(name):
        steps = as_duration(decay_steps, "decay_steps")
        end = _array.as_scalar(end_learning_rate, "end_learning_rate")
        exponent = _array.as_scalar(power, "power")

    def decayed(rate: float, step: np.float64) -> Any:
        duration = steps * np.maximum(np.ceil(step / steps), 1) if cycle else steps
        remaining = (duration - np.minimum(step, duration)) / duration
        return (rate - end) * remaining**exponent + end

    return scheduled(decayed, learning_rate, global_step, name)


def piecewise_constant(
    x: Any, boundaries: Any, values: Any, name: str | None = None
) -> Hyperparameter:
    """Return the value of the interval that the step is in.

    Parameters
    ----------
    x : number or Variable
        The step; a Variable, or an array without dimensions, is followed.
    boundaries : list of numbers
        Where one interval ends and the next begins, in increasing order. A boundary is the last
        step of the interval on its left.
    values : list of numbers
        The rates, one more than there are boundaries.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    float or callable
        ``values[0]`` up to and at ``boundaries[0]``, ``values[1]`` above it and up to and at
        ``boundaries[1]``, and so on; ``values[0]`` where `x` is NaN. For a Variable a function
        without arguments, as of `exponential_decay`.

    Raises
    ------
    TypeError
        If an argument is not real numbers.
    ValueError
        If `x` is None, the lengths do not fit, or `boundaries` are not in order.

    References
    ----------
    ``tf.compat.v1.train.piecewise_constant`` of TensorFlow, which takes neither integers among
    floats nor an empty list of boundaries.

    Examples
    --------
    >>> import numclip as nc
    >>> [nc.train.piecewise_constant(x, [10, 20], [1.0, 0.5, 0.1]) for x in (10, 11, 21)]
    [1.0, 0.5, 0.1]
    """
    with _array.named(name):
        ends = as_numbers(boundaries, "boundaries")
        rates = as_numbers(values, "values")
        if len(rates) != len(ends) + 1:
            raise ValueError(
                "`values` must be one more than `boundaries`,"
                f" got {len(rates)} values and {len(ends)} boundaries"
            )
        if not all(end <= following for end, following in pairwise([-math.inf, *ends])):
            raise ValueError(f"`boundaries` must be in increasing order, got {ends}")
    return at_step(lambda step: rates[bisect_left(ends, step)], x, name, "x")


def _periods(step: np.float64, decay_steps: float, staircase: bool) -> Any:
    # 0 / 0 is 0 here: the limit of ever fewer steps.
    periods = step / decay_steps if step else step
    return np.floor(periods) if staircase else periods


def _slowed(speed: float, periods: Any) -> Any:
    # 0 times infinity is 0 here: what does not decay keeps the full rate.
    return 0.0 if speed == 0 and np.isinf(periods) else speed * periods
