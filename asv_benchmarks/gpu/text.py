"""Tables of text: for the terminal, and as Markdown."""

from __future__ import annotations

from ..benchmarks.figures import Lines, significant
from ..benchmarks.rounds import Ratio


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
