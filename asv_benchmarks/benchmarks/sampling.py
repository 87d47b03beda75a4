"""Time one call again and again, so that each does the same work."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from .peers import Case

# Each call over the limit scales by this much. What has been clipped in place is no longer over
# the limit, so the limit shrinks with it, by e**-2 in all until the numbers are restored.
_SHRINKAGE = 1 - 2.0**-12
_MOST_CALLS = 1 << 13

REGIMES = ("over", "under")


def limits_of(case: Case, norm: float, regime: str, calls: int) -> list[Any]:
    """Return the limit of each call, and of one before them, that is not timed."""
    calls = 1 + min(calls, _MOST_CALLS)
    if regime == "under":
        return [case.as_limit(2 * norm)] * calls
    if not case.shrinks:
        return [case.as_limit(_SHRINKAGE * norm)] * calls
    return [case.as_limit(norm * _SHRINKAGE**call) for call in range(1, calls + 1)]


def over_limit(norm: float) -> float:
    """Return the limit of the first call over the limit."""
    return _SHRINKAGE * norm


def _seconds(case: Case, limits: Sequence[Any]) -> float:
    call = case.call
    call(limits[0])
    timed = limits[1:]
    start = perf_counter()
    for limit in timed:
        call(limit)
    return perf_counter() - start


def seconds_per_call(case: Case, limits: Sequence[Any], calls: int) -> float:
    """Return the mean over so many calls; restoring the numbers is not part of it."""
    elapsed, remaining = 0.0, calls
    gc.disable()
    try:
        while remaining:
            case.restore()
            block = limits[: remaining + 1]
            elapsed += _seconds(case, block)
            remaining -= len(block) - 1
    finally:
        gc.enable()
    return elapsed / calls


def calls_for(case: Case, norm: float, regime: str, seconds: float) -> int:
    """Return how many calls take so many seconds."""
    calls = 1
    while True:
        elapsed = calls * seconds_per_call(case, limits_of(case, norm, regime, calls), calls)
        if elapsed > seconds / 4 or calls >= 1 << 20:
            return max(1, math.ceil(calls * seconds / elapsed))
        calls *= 4
