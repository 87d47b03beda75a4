"""Measure a row: its contenders take turns, each in a process of its own."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from time import perf_counter
from typing import NamedTuple

from ..benchmarks.answers import (
    exact_norm,
    norm_of_clipped_slices,
    norm_of_summed_rows,
    quick_norm,
)
from ..benchmarks.processes import Process, WorkerError, environment
from ..benchmarks.programs import FIRST_CLIP, NORM
from ..benchmarks.rounds import Ratio, alternate, ratio
from ..benchmarks.sampling import over_limit
from ..benchmarks.workloads import WORKLOADS, arrays_of
from .rows import MACHINE, STEP_MACHINE, Contender, Row, Target

NUMCLIP = "numclip"


class Settings(NamedTuple):
    """How long to measure."""

    rounds: int = 7
    seconds: float = 0.1
    pause: float = 0.05
    is_capped: bool = False


QUICK = Settings(rounds=2, seconds=1e-3, pause=0.0, is_capped=True)


class Verdict(NamedTuple):
    """A target, and what was reached against the fastest of those it names."""

    target: Target
    fastest: str
    ratio: Ratio

    @property
    def is_met(self) -> bool:
        return self.ratio.median >= self.target.at_least


class Measurement(NamedTuple):
    """Seconds by contender, one for each round; the error of its norm; or why there are none."""

    row: Row
    samples: dict[str, list[float]]
    errors: dict[str, float]
    failures: dict[str, str]

    def seconds(self, label: str) -> float:
        return statistics.median(self.samples[label])

    def ratio(self, label: str) -> Ratio:
        return ratio(self.samples[label], self.samples[NUMCLIP])

    def verdict(self, target: Target) -> Verdict | None:
        """Return None where the target cannot be judged."""
        measured = [label for label in target.against if label in self.samples]
        if not measured or NUMCLIP not in self.samples:
            return None
        fastest = min(measured, key=self.seconds)
        return Verdict(target, fastest, self.ratio(fastest))

    @property
    def has_missed(self) -> bool:
        """Tell whether a target was missed, or whatever was to be measured could not be."""
        verdicts = [self.verdict(target) for target in self.row.targets]
        return bool(self.failures) or any(v is not None and not v.is_met for v in verdicts)


@lru_cache(maxsize=8)
def _exact(operation: str, workload: str, dtype: str, is_capped: bool) -> float:
    """Return the norm that a contender should find, NaN where it finds none."""
    chosen = WORKLOADS[workload]
    arrays = arrays_of(chosen.capped() if is_capped else chosen, dtype)
    if operation == "sums":
        return norm_of_summed_rows(*arrays)
    if operation in ("clip_rows", "clip_columns"):
        (matrix,) = arrays
        axis = 1 if operation == "clip_rows" else 0
        limit = over_limit(quick_norm(arrays)) / math.sqrt(matrix.shape[1 - axis])
        return norm_of_clipped_slices(matrix, axis, limit)
    return exact_norm(arrays)


def _exact_for(row: Row, is_capped: bool) -> float:
    operation = row.contenders[0].operation
    if operation == "start":
        return NORM
    if row.section in (MACHINE, STEP_MACHINE) and operation != "norm":
        return math.nan
    if operation == "coalesce" or (operation.endswith("_rows") and operation != "clip_rows"):
        kind = "sums"
    else:
        kind = operation if operation in ("clip_rows", "clip_columns") else "norm"
    return _exact(kind, row.workload, row.dtype, is_capped)


class Measurer:
    """Holds the processes, and measures one row after another in them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[str, Process] = {}
        self._prepared: tuple[object, ...] = ()

    def close(self) -> None:
        for process in self._processes.values():
            process.close()

    def version(self, home: str, module: str) -> str:
        return str(self._process(home).ask("version", module))

    def measure(self, row: Row) -> Measurement:
        samplers: dict[str, Callable[[], float]] = {}
        failures: dict[str, str] = {}
        errors: dict[str, float] = {}
        self._release_unless(row)
        exact = _exact_for(row, self._settings.is_capped)
        for contender in row.contenders:
            with _noting_failure(failures, contender.label):
                norm, sampler = self._prepare(row, contender)
                samplers[contender.label] = _guarded(sampler, failures, contender.label)
                errors[contender.label] = abs(norm / exact - 1)
        samples = alternate(samplers, self._settings.rounds, self._settings.pause)
        for label in failures:
            samples.pop(label, None)
        self._forget_ended()
        return Measurement(row, samples, errors, failures)

    def _process(self, home: str) -> Process:
        if home not in self._processes:
            self._processes[home] = Process()
        return self._processes[home]

    def _forget_ended(self) -> None:
        for home, process in list(self._processes.items()):
            if process.has_ended:
                process.close()
                del self._processes[home]

    def _release_unless(self, row: Row) -> None:
        """Give the memory of cases back, where this row does not go on with them."""
        wanted = (row.workload, row.dtype, row.contenders)
        if self._prepared != wanted:
            for process in self._processes.values():
                process.ask("release")
        self._prepared = wanted

    def _prepare(self, row: Row, contender: Contender) -> tuple[float, Callable[[], float]]:
        """Return the norm that the contender finds, and what takes a sample of its time."""
        if contender.operation == "start":
            return _start(contender.peer)[0], lambda: _start(contender.peer)[1]
        process = self._process(contender.home)
        asked = (contender.peer, contender.operation)
        regime = row.regime or "over"
        process.ask("load", row.workload, row.dtype, self._settings.is_capped)
        process.ask("prepare", *asked)
        norm = process.ask("norm", *asked)
        calls = process.ask("calls", *asked, regime, self._settings.seconds)
        return norm, partial(process.ask, "time", *asked, regime, calls)


@contextmanager
def _noting_failure(failures: dict[str, str], label: str) -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        failures[label] = str(error)


def _guarded(
    sampler: Callable[[], float], failures: dict[str, str], label: str
) -> Callable[[], float]:
    """Let the others go on where one fails."""

    def guarded() -> float:
        if label not in failures:
            with _noting_failure(failures, label):
                return sampler()
        return math.nan

    return guarded


def _start(peer: str) -> tuple[float, float]:
    """Return the norm that a peer's program prints, and the seconds that the process took."""
    start = perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", FIRST_CLIP[peer]],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    seconds = perf_counter() - start
    if process.returncode:
        raise WorkerError(f"exit {process.returncode}: {process.stderr[-500:].strip()}")
    return float(process.stdout), seconds
