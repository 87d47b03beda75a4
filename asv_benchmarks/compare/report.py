"""The comparison as tables: for the terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from ..benchmarks.figures import Lines, duration, significant
from ..benchmarks.rounds import Ratio
from ..benchmarks.workloads import WORKLOADS
from .measure import NUMCLIP, Measurement
from .rows import SECTIONS, Row, Target
from .setting import Setting

_METHOD = """\
Each contender runs in a process of its own, with {threads} threads. Rounds alternate between the
contenders, {rounds} of them, and in a round each makes as many calls as take about
{milliseconds:.0f} ms. A time is the median over the rounds; a ratio is the contender's time
divided by numclip's in the same round, its median and its quartiles over the rounds; and an error
is that of the norm that the contender finds, relative to the sum of the squares by `math.fsum`
(for slices and summed rows: of the norm of the result). Over the limit means that every call
scales: what is clipped in place meets a limit that shrinks with it, and gets its numbers back
outside the time. Where an error is infinite, the norm was beyond the dtype's range. Up to four
million numbers numclip takes several threads only where calls follow each other closely, as here,
and only if it finds that faster.
"""

_NUMPY = """\
NumPy is these lines, without checks:

```python
>>> import math
>>> import numpy as np
>>> gradients, limit = [np.array([3.0, 4.0])], 1.0
>>> norm = math.sqrt(sum([np.vdot(g, g) for g in gradients]))
>>> factor = min(1.0, limit / norm)
>>> for g in gradients:
...     g *= factor
>>> gradients
[array([0.6, 0.8])]

```
"""


def _spread(ratio: Ratio) -> str:
    return f"{significant(ratio.low)} to {significant(ratio.high)}"


def title_of(row: Row) -> str:
    return WORKLOADS[row.workload].title if row.workload in WORKLOADS else row.workload


def _case_of(row: Row) -> str:
    return row.case or row.regime


def _labels(measurements: Sequence[Measurement]) -> list[str]:
    return list(dict.fromkeys(c.label for m in measurements for c in m.row.contenders))


def _cell(measurement: Measurement, label: str) -> str:
    if label in measurement.failures:
        return "failed"
    if label not in measurement.samples:
        return ""
    lines = [duration(measurement.seconds(label))]
    if label != NUMCLIP and NUMCLIP in measurement.samples:
        ratio = measurement.ratio(label)
        lines.append(f"{significant(ratio.median)}x, {_spread(ratio)}")
    error = measurement.errors.get(label, math.nan)
    if not math.isnan(error):
        lines.append(f"error {error:.0e}" if error else "error 0")
    return "\n".join(lines)


def _section(title: str, measurements: Sequence[Measurement]) -> Lines:
    labels = _labels(measurements)
    body = [
        [title_of(m.row), _case_of(m.row), *(_cell(m, label) for label in labels)]
        for m in measurements
    ]
    return Lines(title, SECTIONS[title], ["workload", "limit or case", *labels], body)


def _judged(measurement: Measurement, target: Target) -> list[str]:
    row = measurement.row
    verdict = measurement.verdict(target)
    start = [row.section, title_of(row), _case_of(row)]
    at_least = significant(target.at_least)
    if verdict is None:
        return [*start, "/".join(target.against), "", "", at_least, "not measured"]
    return [
        *start,
        verdict.fastest,
        significant(verdict.ratio.median),
        _spread(verdict.ratio),
        at_least,
        "met" if verdict.is_met else "**missed**",
    ]


def _targets(measurements: Sequence[Measurement]) -> Lines:
    head = ["", "workload", "limit or case", "against", "ratio", "quartiles", "at least", "target"]
    body = [_judged(m, target) for m in measurements for target in m.row.targets]
    remark = (
        "How many times numclip's time the fastest of the libraries takes that the target names;"
        " below 1 numclip is slower."
    )
    return Lines("Targets", remark, head, body)


def _workloads(measurements: Sequence[Measurement]) -> Lines:
    named = dict.fromkeys(m.row.workload for m in measurements if m.row.workload in WORKLOADS)
    body = [
        [each.title, f"{len(each.shapes):,}", f"{each.size:,}"]
        for each in (WORKLOADS[name] for name in named if not name.startswith("rows-"))
    ]
    remark = "Of float32 where nothing else is said, normally distributed."
    return Lines("Workloads", remark, ["", "arrays", "numbers in all"], body)


def _failures(measurements: Sequence[Measurement]) -> Lines:
    body = [
        [m.row.section, title_of(m.row), _case_of(m.row), label, reason]
        for m in measurements
        for label, reason in m.failures.items()
    ]
    return Lines("Failed", "", ["", "workload", "limit or case", "contender", "reason"], body)


def tables(measurements: Sequence[Measurement]) -> Iterator[Lines]:
    yield _workloads(measurements)
    yield _targets(measurements)
    for title in SECTIONS:
        chosen = [m for m in measurements if m.row.section == title]
        if chosen:
            yield _section(title, chosen)
    failures = _failures(measurements)
    if failures.body:
        yield failures


def print_tables(console: Console, measurements: Sequence[Measurement]) -> None:
    for lines in tables(measurements):
        table = Table(title=lines.title, caption=lines.remark or None, show_lines=True)
        for name in lines.head:
            table.add_column(name)
        for cells in lines.body:
            table.add_row(*(cell.replace("**", "") for cell in cells))
        console.print(table)


def _markdown_table(lines: Lines) -> str:
    rows = [lines.head, ["---"] * len(lines.head), *lines.body]
    text = "\n".join(
        f"| {' | '.join(cell.replace('|', '/').replace(chr(10), '<br>') for cell in row)} |"
        for row in rows
    )
    return "\n\n".join(filter(None, (f"## {lines.title}", lines.remark, text)))


def markdown(
    setting: Setting, measurements: Sequence[Measurement], title: str, picture: str = ""
) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions.items())
    settings = setting.settings
    method = _METHOD.format(
        threads=setting.threads, rounds=settings.rounds, milliseconds=1e3 * settings.seconds
    )
    if any("numpy" in _labels([m]) for m in measurements):
        method += _NUMPY
    shown = f"![Times of the others, as multiples of numclip's]({picture})\n\n" if picture else ""
    trial = "**A trial on tensors of capped size: the figures mean nothing.**\n\n"
    return (
        f"# {title}\n\n"
        f"{trial if settings.is_capped else ''}"
        f"{setting.date}. {setting.processor}, {setting.system}; the load average was"
        f" {setting.load:.1f} at the start. {versions}.\n\n"
        f"{shown}{method}\n"
        + "\n\n".join(_markdown_table(lines) for lines in tables(measurements))
        + "\n"
    )
