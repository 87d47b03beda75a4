"""Numbers that an optimizer is given once, or asks for anew in each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from numclip import _array

Hyperparameter: TypeAlias = "float | Callable[[], float]"


def read_hyperparameter(value: Hyperparameter, argument: str) -> float:
    """Return a hyperparameter as it is now: what a callable returns, or the number itself."""
    if type(value) is float:
        return value
    return _array.as_scalar(value() if callable(value) else value, argument)
