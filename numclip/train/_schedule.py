"""What all schedules of the learning rate share: how they follow a step, and their checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numclip import _array
from numclip._variable import Variable
from numclip.train._hyperparameter import Hyperparameter, read_hyperparameter


def scheduled(
    formula: Callable[[float, np.float64], Any],
    learning_rate: Hyperparameter,
    global_step: Any,
    name: str | None,
) -> Hyperparameter:
    """Return what a formula makes of the learning rate, at the step or as it follows the step."""
    if not callable(learning_rate):
        with _array.named(name):
            read_hyperparameter(learning_rate, "learning_rate")

    def formula_at(step: np.float64) -> Any:
        rate = read_hyperparameter(learning_rate, "learning_rate")
        with np.errstate(all="ignore"):
            return formula(rate, step)

    return at_step(formula_at, global_step, name)


def at_step(
    formula: Callable[[np.float64], Any],
    global_step: Any,
    name: str | None,
    argument: str = "global_step",
) -> Hyperparameter:
    """Return a number for a number, and a function for what may change."""

    def now() -> float:
        with _array.named(name):
            return float(formula(_as_step(global_step, argument)))

    if not isinstance(global_step, Variable | np.ndarray):
        return now()
    with _array.named(name):
        _as_step(global_step, argument)
    return now


def _as_step(value: Any, argument: str) -> np.float64:
    if value is None:
        raise ValueError(f"`{argument}` must be a number or a Variable, got None")
    # Not a Variable's value: that would be recorded, where a gradient is being computed.
    step = value.array if isinstance(value, Variable) else value
    if isinstance(step, np.ndarray) and step.size == 1:
        step = step.reshape(())  # as the global step that optimizers count
    return np.float64(_array.as_scalar(step, argument))


def as_duration(value: Any, argument: str) -> float:
    steps = _array.as_scalar(value, argument)
    if not 0 < steps < math.inf:
        raise ValueError(f"`{argument}` must be positive and finite, got {steps}")
    return steps


def as_numbers(value: Any, argument: str) -> list[float]:
    numbers = _array.as_real(value, argument)
    if numbers.ndim != 1:
        raise ValueError(f"`{argument}` must be a list of numbers, got {_array.describe(value)}")
    return [float(number) for number in numbers]


def as_generator(value: Any, argument: str) -> np.random.Generator:
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"`{argument}` must be a numpy.random.Generator or a seed, got {_array.describe(value)}"
        ) from error
