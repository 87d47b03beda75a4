"""Calls that take turns, timed by the device and by the host; all of it with PyTorch."""

from __future__ import annotations

import gc
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch

from .records import Samples

# At or above the rate of the clock whose ticks the device counts while it sleeps.
_TICKS_PER_SECOND = 2e9
_LONGEST_SLEEP = 0.2
_WARM_UP = 3
_PIECE = 1 << 24


class Case(NamedTuple):
    """A call, and what has to be done before each, outside of the time."""

    call: Callable[[], Any]
    prepare: Callable[[], None] = lambda: None


def alternate(cases: Mapping[str, Case], rounds: int) -> dict[str, Samples]:
    """Time each case once in each round.

    The device is made to sleep until a call has enqueued everything: its time is that of the
    kernels and of what is between them, and not of the host that launches them.
    """
    sleeps = {name: _sleep_for(case) for name, case in cases.items()}
    samples = {name: Samples([], []) for name in cases}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, case in cases.items():
                device, host = _time(case, sleeps[name])
                samples[name].device.append(device)
                samples[name].host.append(host)
    finally:
        gc.enable()
    return samples


def _sleep_for(case: Case) -> int:
    """Warm up, and return for how many ticks the device has to sleep."""
    seconds = 0.0
    for _ in range(_WARM_UP):
        _, seconds = _time(case, 0)
    return int(_TICKS_PER_SECOND * min(2 * seconds + 1e-4, _LONGEST_SLEEP))


def _time(case: Case, ticks: int) -> tuple[float, float]:
    """Return the seconds that a call takes the device, and the host until it returns."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    case.prepare()
    torch.cuda.synchronize()
    if ticks:
        torch.cuda._sleep(ticks)
    begin.record()
    start = perf_counter()
    case.call()
    seconds = perf_counter() - start
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3, seconds


def launches(case: Case) -> int:
    """Return how many kernels a call launches, 0 where the profiler may not look at the device.

    Copies and fills by the driver are none.
    """
    case.prepare()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        case.call()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return sum(event.get("cat") == "kernel" for event in events)


def exact_norm(tensors: Sequence[Any]) -> float:
    """Return the norm by float64 sums of pieces, added without error."""
    return math.sqrt(
        math.fsum(
            float(piece.double().square().sum())
            for tensor in tensors
            for piece in tensor.reshape(-1).split(_PIECE)
        )
    )


def relative_error(norm: Any, exact: float) -> float:
    return abs(float(norm) / exact - 1)
