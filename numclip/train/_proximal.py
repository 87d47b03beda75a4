"""What the proximal optimizers share: a step to where a penalty and the step before agree."""

from __future__ import annotations

import math
from typing import Any

from numclip._compile import rule


@rule
def shrunk(value: Any, threshold: Any) -> Any:
    """Move a value toward zero, and not beyond; NaN stays NaN."""
    rest = abs(value) - threshold
    kind = type(value)
    return kind(math.copysign(kind(0) if rest < 0 else rest, value))


@rule
def proximal(value: Any, rate: Any, l1: Any, l2: Any) -> Any:
    """Return what has the smallest penalty, and distance from a value, at a rate."""
    return shrunk(value, rate * l1) / (type(value)(1) + rate * l2)
