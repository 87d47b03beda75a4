"""What was found out, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ..benchmarks.figures import Lines, duration, significant
from .outcomes import FAILED, PASSED, SKIPPED, Outcome, counted
from .records import Bandwidth, Comparison, Measurements, Samples, median, quartiles, targets
from .text import spread

_STATUSES = (PASSED, FAILED, SKIPPED)

_MOST_DETAILS = 50

_ARRAYS = (
    "A copy on the device, which reads and writes each number, sets the bandwidth; the others"
    " read it once (the norm, and under the limit in place), or read it twice and write it once."
)


def _verdicts(measurements: Measurements) -> Iterator[Lines]:
    body = [
        [
            target.title,
            spread(target.reached),
            significant(target.at_least),
            "" if target.aim is None else significant(target.aim),
            "met" if target.is_met else "**missed**",
        ]
        for target in targets(measurements)
    ]
    if body:
        yield Lines("Targets", "", ["", "reached (quartiles)", "at least", "aim", "target"], body)


def _failures(measurements: Measurements) -> Iterator[Lines]:
    body = [[failure.title, failure.reason] for failure in measurements.failures]
    if body:
        yield Lines("What could not be measured", "", ["", "reason"], body)


def _checks(outcomes: Sequence[Outcome]) -> Iterator[Lines]:
    groups = [
        [outcome for outcome in outcomes if (outcome.part, outcome.library) == key]
        for key in dict.fromkeys((outcome.part, outcome.library) for outcome in outcomes)
    ]
    body = [
        [
            group[0].part,
            group[0].library,
            *(str(sum(each.status == status for each in group)) for status in _STATUSES),
        ]
        for group in groups
    ]
    if body:
        yield Lines("Checks, bit for bit", counted(outcomes), ["", "arrays", *_STATUSES], body)
    for status, title in ((FAILED, "Failed checks"), (SKIPPED, "Skipped checks")):
        chosen = [each for each in outcomes if each.status == status]
        if chosen:
            yield _details(title, chosen)
    told = [each for each in outcomes if each.status == PASSED and each.detail]
    if told:
        yield _details("Memory and races", told)


def _details(title: str, outcomes: Sequence[Outcome]) -> Lines:
    shown = outcomes[:_MOST_DETAILS]
    body = [[each.part, each.library, each.name, each.detail] for each in shown]
    more = len(outcomes) - len(shown)
    return Lines(title, f"And {more:,} more." if more else "", ["", "arrays", "check", ""], body)


def _rate(moved: int, samples: Samples) -> str:
    return f"{significant(moved / median(samples.device) / 1e9)} GB/s"


def _arrays(bandwidths: Sequence[Bandwidth]) -> Iterator[Lines]:
    body = []
    for array, group in groupby(bandwidths, lambda each: each.array):
        of_array = list(group)
        copy, copied = of_array[0].copy, of_array[0].copied
        time = duration(median(copy.device))
        body.append([array, "copy", time, _rate(copied, copy), "1", ""])
        for each in of_array:
            time = duration(median(each.samples.device))
            rate = _rate(each.moved, each.samples)
            error = f"{each.error:.0e}"
            body.append(["", each.operation, time, rate, spread(each.share), error])
    if body:
        share = "share of the copy's (quartiles)"
        head = ["array", "call", "time", "bytes moved", share, "error of the norm"]
        yield Lines("One array", _ARRAYS, head, body)


def _time(seconds: Sequence[float]) -> str:
    low, high = quartiles(seconds)[1:]
    return f"{duration(median(seconds))} ({duration(low)} to {duration(high)})"


def _lists_by(measurements: Measurements, clock: str) -> Iterator[Lines]:
    body = []
    for each in measurements.comparisons:
        of_device = clock == "device"
        ratio = each.device_ratio if of_device else each.host_ratio
        sides = [
            side.samples.device if of_device else side.samples.host
            for side in (each.numclip, each.torch)
        ]
        body.append([each.workload, each.case, *map(_time, sides), spread(ratio)])
    if body:
        head = ["list", "case", "numclip", "PyTorch", "PyTorch by numclip"]
        yield Lines(f"Lists of gradients, the {clock}'s time", "", head, body)


def _counts(comparisons: Sequence[Comparison]) -> Iterator[Lines]:
    body = [
        [
            *(each.workload, each.case),
            *(str(side.launches or "?") for side in (each.numclip, each.torch)),
            *(f"{side.error:.0e}" for side in (each.numclip, each.torch)),
        ]
        for each in comparisons
    ]
    if body:
        columns = ("numclip", "PyTorch", "error of numclip's norm", "of PyTorch's")
        yield Lines("Kernels and errors", "Of one call.", ["list", "case", *columns], body)


def _optax(measurements: Measurements) -> Iterator[Lines]:
    slower = {
        (each.workload, each.case): max(
            median(each.numclip.samples.device), median(each.numclip.samples.host)
        )
        for each in measurements.comparisons
    }
    body = [
        [each.workload, each.case, _time(each.seconds), f"{each.error:.0e}", times]
        for each in measurements.optax
        for ours in [slower.get((each.workload, each.case))]
        for times in ["" if ours is None else significant(median(each.seconds) / ours)]
    ]
    if body:
        remark = "Beside the longer of numclip's two times, of the device and of the host."
        head = ["list", "case", "optax", "error of its norm", "optax by numclip"]
        yield Lines("optax", remark, head, body)


def tables(outcomes: Sequence[Outcome], measurements: Measurements) -> Iterator[Lines]:
    yield from _verdicts(measurements)
    yield from _failures(measurements)
    yield from _checks(outcomes)
    yield from _arrays(measurements.bandwidths)
    yield from _lists_by(measurements, "device")
    yield from _lists_by(measurements, "host")
    yield from _counts(measurements.comparisons)
    yield from _optax(measurements)
