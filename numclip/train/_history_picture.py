"""A history of gradients, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numclip._array import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from numclip.train._gradient_history import GradientHistory

# Okabe and Ito's colours, which differ for the colour-blind too, and two of viridis' kind.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#555555"
STYLE = {
    "font.size": 13,
    "axes.titlelocation": "left",
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.xmargin": 0.02,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
}
# A share of clipped steps is one of so many, at least.
WINDOW = 20
# Names that a picture has room for.
MOST_NAMES = 24
# Ratios at which layers are thought to learn well (A. Karpathy, CS231n, 2016).
USUAL_RATIO = 1e-3


def draw(history: GradientHistory, limit: float | None) -> Figure:
    import matplotlib.style
    from matplotlib.figure import Figure

    ratios = history.ratios
    has_ratios = bool(np.isfinite(ratios).any())
    rows: list[Any] = [["norms", "clipped"], ["layers", "ratios" if has_ratios else "layers"]]
    # A Figure without pyplot needs no display; the default style keeps the user's own out.
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(14, 10), dpi=100, layout="constrained")
        axes = figure.subplot_mosaic(rows)
        steps = history.steps
        _draw_norms(axes["norms"], steps, history, limit)
        _draw_clipped(axes["clipped"], steps, history.clipped)
        _draw_layers(figure, axes["layers"], steps, history.norms, history.names)
        if has_ratios:
            _draw_ratios(axes["ratios"], steps, ratios)
        for each in axes.values():
            each.set_xlim(steps[0] - 0.5, steps[-1] + 0.5)
    return figure


def _draw_norms(axes: Axes, steps: Array, history: GradientHistory, limit: float | None) -> None:
    norms, skipped = _drawable(history.global_norms), history.skipped
    axes.set(title="Norm of all gradients, before clipping", xlabel="step")
    axes.plot(steps, norms, color=BLUE, marker="." if len(steps) == 1 else "")
    _set_log_scale(axes, norms)
    if limit is not None and 1e-100 < limit < 1e100:
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
    if skipped.any():
        bottom = np.zeros(int(skipped.sum()))
        axes.plot(
            steps[skipped],
            bottom,
            "x",
            color=VERMILION,
            label="skipped",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
        axes.legend()


def _draw_clipped(axes: Axes, steps: Array, clipped: Array) -> None:
    window = min(len(steps), max(WINDOW, len(steps) // 20))
    axes.set(title="Steps clipped, in percent", xlabel=f"step, with the {window - 1} before it")
    sums = np.cumsum(np.concatenate([np.zeros(window), clipped]))
    counts = np.minimum(np.arange(1, len(steps) + 1), window)
    shares = 100 * (sums[window:] - sums[:-window]) / counts
    axes.plot(steps, shares, color=BLUE, marker="." if len(steps) == 1 else "")
    axes.set_ylim(-2, 102)


def _draw_ratios(axes: Axes, steps: Array, ratios: Array) -> None:
    drawn = _drawable(ratios)
    taken = np.isfinite(drawn).any(axis=1)
    axes.set(title="Norm of the update, by that of the variable", xlabel="step")
    marker = "." if taken.sum() < WINDOW else ""
    for column, colour in zip(drawn.T, _colours(drawn.shape[1]), strict=True):
        axes.plot(steps[taken], column[taken], color=colour, marker=marker)
    axes.axhline(USUAL_RATIO, color=GREY, linestyle="--")
    _set_log_scale(axes, drawn)


def _draw_layers(
    figure: Figure, axes: Axes, steps: Array, norms: Array, names: Sequence[str]
) -> None:
    from matplotlib.colors import LogNorm

    drawn = _drawable(norms).T
    axes.set(title="Norm of each variable's gradient", xlabel="step")
    known = drawn[np.isfinite(drawn)]
    low, high = (known.min(), known.max()) if known.size else (1.0, 1.0)
    scale = LogNorm(low, max(high, low * 1.01))
    extent = (steps[0] - 0.5, steps[-1] + 0.5, len(names) - 0.5, -0.5)
    image = axes.imshow(
        np.ma.masked_invalid(drawn),
        norm=scale,
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
    )
    # What is missing, or not finite, or zero.
    axes.set_facecolor("#BBBBBB")
    figure.colorbar(image, ax=axes, pad=0.01)
    every = -(-len(names) // MOST_NAMES)
    axes.set_yticks(range(0, len(names), every), names[::every], fontsize=10)
    for tick, colour in zip(axes.get_yticklabels(), _colours(len(names))[::every], strict=True):
        tick.set_color(colour)


def _colours(count: int) -> list[Any]:
    """Return a colour for each variable, from the first to the last, as those of its name."""
    from matplotlib import colormaps

    return list(colormaps["plasma"](np.linspace(0, 0.85, max(count, 1))))[:count]


def _drawable(numbers: Array) -> Array:
    """Leave out what a logarithmic axis has no room for, margins included."""
    return np.where((numbers > 1e-100) & (numbers < 1e100), numbers, np.nan)


def _set_log_scale(axes: Axes, numbers: Array) -> None:
    if not np.isfinite(numbers).any():
        axes.set_ylim(1, 10)
    axes.set_yscale("log")
