"""Tables of text: for the terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..benchmarks.rounds import Ratio

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


def spread(numbers: Ratio) -> str:
    low, high = significant(numbers.low), significant(numbers.high)
    return f"{significant(numbers.median)} ({low} to {high})"


def plain(lines: Lines) -> str:
    """Return the table with its columns aligned."""
    rows = [list(lines.head), *map(list, lines.body)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(["", lines.title, *filter(None, [lines.remark]), "", *text])


def markdown(lines: Lines) -> str:
    rows = [lines.head, ["---"] * len(lines.head), *lines.body]
    text = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    return "\n\n".join(filter(None, (f"## {lines.title}", lines.remark, text)))
