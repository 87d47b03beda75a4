"""Figures and tables as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


class Lines(NamedTuple):
    """A table, with what has to be said of it."""

    title: str
    remark: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]


def duration(seconds: float) -> str:
    unit, size = next(((u, s) for u, s in _UNITS if seconds >= s), _UNITS[-1])
    return f"{significant(seconds / size)} {unit}"


def significant(number: float) -> str:
    """Return a number with three significant digits, or all digits before the point."""
    if not math.isfinite(number) or number == 0:
        return f"{number:g}"
    places = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:.{places}f}"
