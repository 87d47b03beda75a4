"""Exploding gradients: see them in a recurrent network, with a limit of their norm and without.

A recurrent network of rectifiers reads handwritten digits row by row. What a row adds is multiplied
by the same weights once for each row that follows, and so is what goes back: the gradient's norm
may grow tenfold from one step to the next, and one such step ends the learning. The same network,
from the same start, learns with the norm limited to 1.

    pip install '.[examples]'
    python examples/exploding_gradients.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import numclip as nc

ROWS = 16  # each of an image's eight is shown twice
WIDTH = 64
CLASSES = 10
BATCH = 64
RATE = 0.05
CLIP_NORM = 1.0
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "exploding_gradients.png"


class Images(NamedTuple):
    """Images of shape (image, row, pixel), from -1 to 1, and the digit on each."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.intp]

    def take(self, rows: NDArray[np.intp]) -> Images:
        return Images(self.pixels[rows], self.labels[rows])


class Run(NamedTuple):
    """What the gradients were, the loss of each step, and what the network came to."""

    history: nc.GradientHistory
    losses: list[float]
    accuracy: float


def load(rng: np.random.Generator) -> tuple[Images, Images]:
    """Return images to learn from, and others."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.repeat(digits.images / 8 - 1, ROWS // 8, axis=1).astype(np.float32)
    images = Images(pixels, digits.target)
    shown, others = np.split(rng.permutation(len(pixels)), [len(pixels) * 3 // 4])
    return images.take(shown), images.take(others)


def make_network(rng: np.random.Generator) -> nc.VariableStore:
    store = nc.VariableStore()

    def kernel(name: str, inputs: int, outputs: int) -> None:
        numbers = rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        store.variable(name, numbers.astype(np.float32))

    with store.scope("recurrent"):
        kernel("input", 8, WIDTH)
        kernel("state", WIDTH, WIDTH)
        store.variable("bias", np.zeros(WIDTH, np.float32))
    with store.scope("head"):
        kernel("kernel", WIDTH, CLASSES)
        store.variable("bias", np.zeros(CLASSES, np.float32))
    return store


def logits(network: nc.VariableStore, pixels: NDArray[np.float32]) -> Any:
    state: Any = np.zeros((len(pixels), WIDTH), np.float32)
    for row in range(ROWS):
        sums = pixels[:, row] @ network["recurrent/input"] + state @ network["recurrent/state"]
        state = anp.maximum(sums + network["recurrent/bias"], 0)
    return state @ network["head/kernel"] + network["head/bias"]


def loss(network: nc.VariableStore, images: Images) -> Any:
    """Return the mean cross-entropy."""
    scores = logits(network, images.pixels)
    of_labels = scores[np.arange(len(images.labels)), images.labels]
    return anp.mean(logsumexp(scores, axis=1) - of_labels)


def train(limit: float | None, shown: Images, others: Images, steps: int, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    network = make_network(rng)
    variables = list(network.values())
    ratios_every = 1 if limit is None else max(1, steps // 50)
    history = nc.GradientHistory(ratios_every=ratios_every)
    optimizer = nc.train.GradientDescentOptimizer(RATE, global_clipnorm=limit, history=history)
    losses = []
    # Without a limit, what explodes ends as infinity and NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            batch = shown.take(rng.choice(len(shown.labels), BATCH, replace=False))
            value, gradients = nc.value_and_gradients(partial(loss, network, batch), variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            losses.append(float(value))
        right = logits(network, others.pixels).argmax(axis=1) == others.labels
    return Run(history, losses, float(np.mean(right)))


def table_of(runs: Mapping[str, Run]) -> Table:
    table = Table(title="A recurrent network, by plain gradient descent")
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right")
    norms = {name: run.history.global_norms for name, run in runs.items()}
    finite = {name: each[np.isfinite(each)] for name, each in norms.items()}
    table.add_row("median norm", *(f"{np.median(each):.3g}" for each in finite.values()))
    table.add_row("largest finite norm", *(f"{each.max():.3g}" for each in finite.values()))
    table.add_row("steps clipped", *(f"{run.history.clipped.mean():.0%}" for run in runs.values()))
    last = {name: np.mean(run.losses[-20:]) for name, run in runs.items()}
    table.add_row("loss in the end", *(f"{each:.3g}" for each in last.values()))
    table.add_row("digits read right", *(f"{run.accuracy:.1%}" for run in runs.values()))
    return table


def main() -> None:
    arguments = parse()
    steps = 40 if arguments.quick else 500
    console = Console(highlight=False)
    shown, others = load(np.random.default_rng(arguments.seed))
    limits = {"no limit": None, f"norm limited to {CLIP_NORM:g}": CLIP_NORM}
    runs = {
        name: train(limit, shown, others, steps, arguments.seed) for name, limit in limits.items()
    }
    console.print(table_of(runs))
    draw(runs, arguments.output)
    console.print(f"Picture: {arguments.output}", soft_wrap=True)


def draw(runs: Mapping[str, Run], path: Path) -> None:
    """Save the pictures of both histories, one above the other."""
    from io import BytesIO

    from PIL import Image

    pictures = []
    for name, run in runs.items():
        figure = run.history.plot()
        finite = np.isfinite(run.history.global_norms)
        if not finite.all():
            # After the first that is not, none is.
            for axes in figure.axes[:4]:
                axes.set_xlim(0.5, 2 * finite.argmin() + 10.5)
        figure.suptitle(f"{name}: {run.accuracy:.0%} of the digits read right", fontsize=18)
        file = BytesIO()
        figure.savefig(file, format="png", dpi=70)
        pictures.append(Image.open(file).convert("RGB"))
    width, height = pictures[0].size
    both = Image.new("RGB", (width, height * len(pictures)))
    for i, picture in enumerate(pictures):
        both.paste(picture, (0, i * height))
    both.save(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, and less accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: pip install '.[examples]'")
