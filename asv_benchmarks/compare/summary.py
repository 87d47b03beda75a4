"""The rows that README.md shows, written into it as they were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..benchmarks.figures import duration, significant
from .measure import NUMCLIP, Measurement
from .report import title_of
from .rows import IN_PLACE, STEPS

BEGIN, END = "<!-- written by make compare -->", "<!-- to here -->"


class _Line(NamedTuple):
    what: str
    section: str
    case: str
    workload: str


_LINES = (
    *[
        _Line("clip, over the limit", IN_PLACE, "over", name)
        for name in ("1k", "tiny", "resnet-50", "64M")
    ],
    *[
        _Line("clip, and a step of Adam", STEPS, "Adam", name)
        for name in ("tiny", "resnet-50", "bert-base")
    ],
)
# By the names in README.md, the contenders of whom the first that was measured is shown.
_COLUMNS = {
    "numclip": (NUMCLIP,),
    "PyTorch": ("torch",),
    "optax": ("optax, donated", "optax"),
    "TensorFlow": ("tensorflow",),
    "NumPy": ("numpy",),
}


def _cell(measurement: Measurement, labels: Sequence[str]) -> str:
    label = next((label for label in labels if label in measurement.samples), None)
    if label is None:
        return ""
    time = duration(measurement.seconds(label))
    return time if label == NUMCLIP else f"{time}, {significant(measurement.ratio(label).median)}x"


def _rows(measurements: Sequence[Measurement]) -> Iterator[list[str]]:
    measured = {
        (m.row.section, m.row.case or m.row.regime, m.row.workload): m for m in measurements
    }
    for what, *place in _LINES:
        found = measured[tuple(place)]
        yield [title_of(found.row), what, *(_cell(found, each) for each in _COLUMNS.values())]


def summary(measurements: Sequence[Measurement]) -> str:
    """Return the table; KeyError where one of its rows was not measured."""
    head = ["gradients", "what is done", *_COLUMNS]
    rows = [head, ["---"] * len(head), *_rows(measurements)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_summary(page: Path, table: str) -> None:
    """Put the table in the place of the one that was there."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
