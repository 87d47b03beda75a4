"""Rounds in which contenders take turns, so that a slow minute of the machine is slow for all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Threads of OpenBLAS and OpenMP spin for tens of milliseconds after a call, on a core that the
# next contender needs.
_PAUSE = 0.05


class Ratio(NamedTuple):
    """A median, and the quartiles around it."""

    median: float
    low: float
    high: float


def alternate(
    samplers: Mapping[str, Callable[[], float]], rounds: int, pause: float = _PAUSE
) -> dict[str, list[float]]:
    """Return what each sampler returned in each round."""
    samples: dict[str, list[float]] = {label: [] for label in samplers}
    for _ in range(rounds):
        for label, sampler in samplers.items():
            time.sleep(pause)
            samples[label].append(sampler())
    return samples


def ratio(numerators: list[float], denominators: list[float]) -> Ratio:
    """Return the median and the quartiles of the ratios of samples of the same round."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)
