"""Checks of what constructors are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from numclip import _array
from numclip._array import Array
from numclip._variable import Variable


def positive(value: object, argument: str) -> float:
    number = _array.as_scalar(value, argument)
    if not number > 0:
        raise ValueError(f"`{argument}` must be positive, got {number}")
    return number


def not_negative(value: object, argument: str) -> float:
    number = _array.as_scalar(value, argument)
    if not number >= 0:
        raise ValueError(f"`{argument}` must be positive or zero, got {number}")
    return number


def not_positive(value: object, argument: str) -> float:
    number = _array.as_scalar(value, argument)
    if not number <= 0:
        raise ValueError(f"`{argument}` must be negative or zero, got {number}")
    return number


def check_step(global_step: Any) -> Array:
    step = global_step.array if isinstance(global_step, Variable) else global_step
    if not isinstance(step, np.ndarray) or not _array.is_integer(step.dtype):
        raise TypeError(
            "`global_step` must be a Variable or an array of integers,"
            f" got {_array.describe(global_step)}"
        )
    if step.size != 1 or not step.flags.writeable:
        raise ValueError(
            f"`global_step` must be a writable scalar, got {_array.describe(global_step)}"
        )
    return step
