"""What the runs gave: a table, and a picture."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.table import Table

from numclip._demo.training import Run, Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS_PER_ROW = 100

# Two colours that also differ for the colour-blind (Okabe and Ito's vermilion and blue).
COLOURS = ("#D55E00", "#0072B2")
GREY = "#555555"
STYLE = {
    "font.size": 14,
    "axes.titlelocation": "left",
    "axes.titlesize": 15,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.xmargin": 0.02,
    "figure.constrained_layout.h_pad": 0.15,
    "figure.constrained_layout.w_pad": 0.15,
    "lines.linewidth": 1.1,
    "ytick.minor.size": 0,
}


def table_of(runs: Sequence[Run]) -> Table:
    """Set the runs side by side."""
    table = Table(title="Loss in nats per character")
    table.add_column("")
    for run in runs:
        table.add_column(run.name, justify="right")
    longest = max(len(run.history) for run in runs)
    for start in range(0, longest, STEPS_PER_ROW):
        stop = min(start + STEPS_PER_ROW, longest)
        losses = [_mean_loss(run.history[start:stop]) for run in runs]
        table.add_row(f"loss, steps {start + 1} to {stop}", *losses)
    table.add_section()
    table.add_row("largest gradient norm", *(_largest_norm(run.history) for run in runs))
    table.add_row("steps clipped", *(_share_clipped(run.history) for run in runs))
    table.add_row("steps per second", *(_speed(run.history) for run in runs))
    return table


def _mean_loss(steps: Sequence[Step]) -> str:
    return f"{sum(step.loss for step in steps) / len(steps):.2f}" if steps else "-"


def _largest_norm(steps: Sequence[Step]) -> str:
    norms = [step.norm for step in steps if not math.isnan(step.norm)]
    return f"{max(norms):.3g}" if norms else "-"


def _share_clipped(steps: Sequence[Step]) -> str:
    return f"{sum(step.clipped for step in steps)} of {len(steps)}"


def _speed(steps: Sequence[Step]) -> str:
    # The median leaves out the first step's compilation.
    return f"{1 / median(step.seconds for step in steps):.1f}" if steps else "-"


def draw(runs: Sequence[Run], path: Path) -> None:
    """Save a picture of the losses and of the gradients' norms."""
    import matplotlib.style
    from matplotlib.figure import Figure

    # A Figure without pyplot needs no display; the default style keeps the user's own out.
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(14, 7), dpi=100, layout="constrained")
        losses, norms = figure.subplots(1, 2, sharex=True)
        losses.set(title="Loss, nats per character", xlabel="step")
        norms.set(title="Norm of the gradients, before clipping", xlabel="step")
        for run, colour in zip(runs, COLOURS, strict=True):
            _draw_curve(losses, [step.loss for step in run.history], run.name, colour)
            _draw_curve(norms, [step.norm for step in run.history], run.name, colour)
            if run.clip_norm is not None and _can_be_drawn(run.clip_norm):
                _draw_limit(norms, run.clip_norm)
        _set_log_scale(losses)
        _set_log_scale(norms)
        _tick_in_plain_numbers(losses)
        losses.legend()
        _save(figure, path)


def _can_be_drawn(value: float) -> bool:
    # Further out, the margins of a logarithmic axis overflow.
    return 1e-100 < value < 1e100


def _draw_curve(axes: "Axes", values: list[float], label: str, colour: str) -> None:
    drawn = [value if _can_be_drawn(value) else math.nan for value in values]
    axes.plot(range(1, len(drawn) + 1), drawn, color=colour, label=label)


def _draw_limit(axes: "Axes", limit: float) -> None:
    axes.axhline(limit, color=GREY, linestyle="--")
    axes.annotate(
        f"limit {limit:g}",
        (1, limit),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        horizontalalignment="right",
        color=GREY,
    )


def _set_log_scale(axes: "Axes") -> None:
    if not math.isfinite(axes.dataLim.y0):  # nothing is drawn that could set the range
        axes.set_ylim(1, 10)
    axes.set_yscale("log")


def _tick_in_plain_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _save(figure: "Figure", path: Path) -> None:
    from PIL import Image

    picture = BytesIO()
    figure.savefig(picture, format="png")
    # Noisy lines compress badly in full colour: a palette makes the file a third as large.
    Image.open(picture).convert("RGB").quantize(64).save(path, optimize=True)
