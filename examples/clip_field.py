"""Four ways to clip: what each does to a field of gradients.

The gradients of a bowl that is steeper one way than the other, at 35 places, before and after.
`clip_by_value` bounds each component by itself, and so turns what it shortens. `clip_by_norm`
shortens the arrows that are too long, each by itself, and turns none. `clip_by_average_norm` does
so too, but divides an arrow's norm by the number of its components, which is two: arrows may be
twice as long. `clip_by_global_norm` multiplies all arrows by one number, so that the field keeps
its shape, and the root of the sum of all squares is at the limit.

    pip install '.[examples]'
    python examples/clip_field.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import numclip as nc

STEEPNESS = np.array([0.45, 1.3])  # of the bowl, along x and along y
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "clip_field.png"

Field = NDArray[np.float64]  # of shape (y, x, component)


def clip(gradients: Field) -> dict[str, Field]:
    """Return the clipped fields by what was called."""
    by_average_norm = [nc.clip_by_average_norm(each, 1) for each in gradients.reshape(-1, 2)]
    (by_global_norm,), _ = nc.clip_by_global_norm([gradients], 6)
    return {
        "clip_by_value(g, -1, 1)": nc.clip_by_value(gradients, -1, 1),
        "clip_by_norm(g, 1)": nc.clip_by_norm(gradients, 1, axes=2),
        "clip_by_average_norm(g, 1)": np.reshape(by_average_norm, gradients.shape),
        "clip_by_global_norm([...], 6)": by_global_norm,
    }


def turns(before: Field, after: Field) -> NDArray[np.float64]:
    """Return by how many degrees each arrow was turned."""
    x, y = np.moveaxis(before, -1, 0), np.moveaxis(after, -1, 0)
    return np.abs(np.degrees(np.arctan2(x[0] * y[1] - x[1] * y[0], x[0] * y[0] + x[1] * y[1])))


def table_of(before: Field, fields: dict[str, Field]) -> Table:
    table = Table(title=f"{before[..., 0].size} arrows")
    table.add_column("")
    for title in ("longest", "norm of all", "turned by up to", "unchanged"):
        table.add_column(title, justify="right")
    for call, after in {"before": before, **fields}.items():
        table.add_row(
            call.partition("(")[0],
            f"{np.linalg.norm(after, axis=2).max():.2f}",
            f"{nc.global_norm([after]):.2f}",
            f"{turns(before, after).max():.0f}°",
            str(np.sum(np.all(before == after, axis=2))),
        )
    return table


def draw(places: Field, before: Field, fields: dict[str, Field], path: Path) -> None:
    settings = {"font.size": 12, "axes.titlesize": 12}
    with style.context(["default", settings]):
        figure = Figure(figsize=(10, 7), dpi=100, layout="constrained")
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 2.4, "units": "dots"}
        for axes, (call, after) in zip(figure.subplots(2, 2).flat, fields.items(), strict=True):
            for field, colour, width in ((before, "#CCCCCC", 4), (after, "#0072B2", 2.5)):
                axes.quiver(*places.T, *field.T, color=colour, width=width, **arrows)
            axes.set(xlim=(-3.8, 3.8), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
            axes.set_title(call, loc="left", family="monospace")
            for spine in axes.spines.values():
                spine.set_visible(False)
        figure.suptitle("Gradients g before (grey) and after (blue)", x=0.01, ha="left")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    places = np.stack(np.meshgrid(np.arange(-3.0, 4), np.arange(-2.0, 3)), axis=-1)
    before = places * STEEPNESS
    fields = clip(before)
    console = Console(highlight=False)
    console.print(table_of(before, fields))
    draw(places, before, fields, arguments.output)
    console.print(f"Picture: {arguments.output}", soft_wrap=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
