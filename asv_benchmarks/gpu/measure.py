"""Measure everything there is to measure, one thing after another."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeVar

from ..benchmarks.figures import duration, significant
from .lists import CASES, lists
from .outcomes import say
from .peers import measure_optax
from .places import Unavailable
from .records import Bandwidth, Comparison, Failure, Measurements, Optax, median

_ROUNDS = 25
_QUICK_ROUNDS = 3

Result = TypeVar("Result")


def measure(is_quick: bool) -> Measurements:
    """Return what could be measured, and why the rest could not."""
    try:
        import torch
    except ImportError as error:
        return Measurements(failures=[Failure("everything", f"needs PyTorch: {error}")])
    if not torch.cuda.is_available():
        return Measurements(failures=[Failure("everything", "PyTorch sees no CUDA device")])
    failures: list[Failure] = []
    rounds = _QUICK_ROUNDS if is_quick else _ROUNDS
    bandwidths = _bandwidths(is_quick, rounds, failures)
    comparisons = _comparisons(is_quick, rounds, failures)
    optax, remarks = _optax(is_quick)
    return Measurements(bandwidths, comparisons, optax, failures, remarks)


def _attempt(title: str, call: Callable[[], list[Result]], failures: list[Failure]) -> list[Result]:
    """Leave the others to be measured where one thing fails."""
    import torch

    start = perf_counter()
    found: list[Result] = []
    try:
        found = call()
    except Exception as error:
        failures.append(Failure(title, f"{type(error).__name__}: {error}"))
        say(f"FAILED {title}: {type(error).__name__}: {error}")
    gc.collect()
    torch.cuda.empty_cache()
    say(f"{title}, {perf_counter() - start:.1f} s")
    return found


def _bandwidths(is_quick: bool, rounds: int, failures: list[Failure]) -> list[Bandwidth]:
    from .bandwidth import ARRAYS, SMALL_ARRAYS
    from .bandwidth import measure as measure_array

    found = []
    for array in SMALL_ARRAYS if is_quick else ARRAYS:
        for each in _attempt(array.title, partial(measure_array, array, rounds), failures):
            seconds = duration(median(each.samples.device))
            say(f"  {each.operation}: {seconds}, {100 * each.share.median:.0f} % of a copy")
            found.append(each)
    return found


def _comparisons(is_quick: bool, rounds: int, failures: list[Failure]) -> list[Comparison]:
    from .contenders import compare

    found = []
    for workload in lists(is_quick):
        for case in CASES:
            title = f"{workload.title}, {case}"
            for each in _attempt(title, partial(compare, workload, case, rounds), failures):
                say(
                    f"  numclip {duration(median(each.numclip.samples.device))}, PyTorch"
                    f" {significant(each.device_ratio.median)} times that, and on the host"
                    f" {significant(each.host_ratio.median)} times numclip's"
                )
                found.append(each)
    return found


def _optax(is_quick: bool) -> tuple[list[Optax], list[str]]:
    start = perf_counter()
    found: list[Optax] = []
    remarks = []

    def tell(result: Optax) -> None:
        found.append(result)
        say(f"  {result.workload}, {result.case}: {duration(median(result.seconds))}")

    try:
        measure_optax(is_quick, tell)
    except Unavailable as reason:
        remarks.append(f"optax was not measured, or not to the end: {reason}.")
        say(remarks[-1])
    say(f"optax, {perf_counter() - start:.1f} s")
    return found, remarks
