"""The rows in place as a picture: how many times numclip's time the others take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .measure import NUMCLIP, Measurement
from .report import title_of
from .rows import IN_PLACE

# P. Okabe and K. Ito's colours, which the colour-blind tell apart.
_MARKS = {
    "torch": ("#D55E00", "o"),
    "tensorflow": ("#E69F00", "s"),
    "optax": ("#009E73", "^"),
    "optax, donated": ("#56B4E9", "v"),
    "numpy": ("#7F7F7F", "D"),
}
_TITLES = {"over": "Over the limit", "under": "Under the limit"}


def _draw(axes: Any, measurements: Sequence[Measurement]) -> None:
    for height, measurement in enumerate(measurements):
        for label, (colour, marker) in _MARKS.items():
            if label in measurement.samples and NUMCLIP in measurement.samples:
                ratio = measurement.ratio(label)
                axes.plot([ratio.low, ratio.high], [height, height], color=colour, lw=1.2)
                axes.plot(ratio.median, height, marker, color=colour, ms=5, label=label)
        at_least = measurement.row.targets[0].at_least
        axes.plot([at_least] * 2, [height - 0.36, height + 0.36], "k-", lw=1.6, label="target")
    axes.set_yticks(range(len(measurements)), [title_of(m.row) for m in measurements])
    axes.axvline(1, color="#0072B2", lw=1.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def save_picture(measurements: Sequence[Measurement], path: Path) -> None:
    """Draw the medians with their quartiles; the line is the target against the frameworks."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (regime, title) in zip(panels, _TITLES.items(), strict=True):
        chosen = [m for m in measurements if m.row.section == IN_PLACE and m.row.regime == regime]
        _draw(axes, chosen)
        axes.set_title(title, fontsize=10, loc="left")
    panels[0].invert_yaxis()
    figure.supxlabel("time, as a multiple of numclip's at 1x (float32, in place)", fontsize=9)
    found = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=120)
