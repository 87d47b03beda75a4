"""What was measured, and the targets it is held to."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..benchmarks.rounds import Ratio, ratio


class Samples(NamedTuple):
    """Seconds of a call by the device's clock, and until it returned; one of each for a round."""

    device: list[float]
    host: list[float]


class Bandwidth(NamedTuple):
    """A call that has to move so many bytes, beside a copy in the same rounds."""

    array: str
    operation: str
    moved: int
    samples: Samples
    copied: int
    copy: Samples
    # Of the norm that the call returns.
    error: float
    at_least: float | None = None

    @property
    def share(self) -> Ratio:
        """How much of the copy's bandwidth is reached."""
        shares = ratio(self.copy.device, self.samples.device)
        scale = self.moved / self.copied
        return Ratio(*(scale * number for number in shares))


class Contender(NamedTuple):
    """What one side of a comparison took, how many kernels, and how wrong its norm was."""

    samples: Samples
    launches: int
    error: float


class Comparison(NamedTuple):
    """numclip and PyTorch at the same work; optax by the host's clock, where it is there."""

    workload: str
    case: str
    numclip: Contender
    torch: Contender
    # How many times numclip's time PyTorch has to take, and should.
    device_at_least: float | None = None
    aim: float | None = None
    host_at_least: float | None = None

    @property
    def device_ratio(self) -> Ratio:
        return ratio(self.torch.samples.device, self.numclip.samples.device)

    @property
    def host_ratio(self) -> Ratio:
        return ratio(self.torch.samples.host, self.numclip.samples.host)


class Optax(NamedTuple):
    """What optax took, a call after another, by the host's clock."""

    workload: str
    case: str
    seconds: list[float]
    error: float


class Failure(NamedTuple):
    """What could not be measured, and why."""

    title: str
    reason: str


class Measurements(NamedTuple):
    """Everything that was measured."""

    bandwidths: Sequence[Bandwidth] = ()
    comparisons: Sequence[Comparison] = ()
    optax: Sequence[Optax] = ()
    failures: Sequence[Failure] = ()
    remarks: Sequence[str] = ()


class Target(NamedTuple):
    """What was to be reached, and was."""

    title: str
    reached: Ratio
    at_least: float
    aim: float | None = None

    @property
    def is_met(self) -> bool:
        return self.reached.median >= self.at_least


def targets(measurements: Measurements) -> Iterator[Target]:
    for each in measurements.bandwidths:
        if each.at_least is not None:
            title = f"{each.array}, {each.operation}: share of the copy's bandwidth"
            yield Target(title, each.share, each.at_least)
    for case in measurements.comparisons:
        title = f"{case.workload}, {case.case}: PyTorch's time by numclip's"
        if case.device_at_least is not None:
            yield Target(f"{title}, device", case.device_ratio, case.device_at_least, case.aim)
        if case.host_at_least is not None:
            yield Target(f"{title}, host", case.host_ratio, case.host_at_least)


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def quartiles(samples: Sequence[float]) -> Ratio:
    """Return the median, and the quartiles around it."""
    return ratio(list(samples), [1.0] * len(samples))
