"""Accumulate gradients: one update by images of different sizes, which no one array can hold.

A small convolutional network, of whose last feature map the largest numbers are taken wherever they
are, learns to read handwritten digits that are 8 to 16 pixels high. The images of a batch that are
of one size go through it together; an accumulator adds up the gradients, each times the number of
its images. Beside it, the same network learns by batches of one size each, and by 8 x 8 alone.

    pip install '.[examples]'
    python examples/accumulate_gradients.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
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

SIZES = (8, 10, 12, 14, 16)
CLASSES = 10
CHANNELS = (16, 32)
BATCH = 60  # images, of all sizes
RATE = 0.01
CLIP_NORM = 1.0
STEPS_PER_POINT = 10  # of a curve, in batches
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "accumulate_gradients.png"


class Images(NamedTuple):
    """Images of one size, of shape (image, row, column, 1), and the digit on each."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.intp]


def load(rng: np.random.Generator) -> tuple[list[Images], list[Images]]:
    """Return images to learn from and others, of each size: every digit has one size."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    parts = np.array_split(rng.permutation(len(digits.target)), len(SIZES))
    shown, others = [], []
    for size, rows in zip(SIZES, parts, strict=True):
        factor = size / 8
        pixels = zoom(digits.images[rows] / 16, (1, factor, factor), order=1).astype(np.float32)
        some = len(rows) * 2 // 3
        shown.append(Images(pixels[:some, ..., np.newaxis], digits.target[rows[:some]]))
        others.append(Images(pixels[some:, ..., np.newaxis], digits.target[rows[some:]]))
    return shown, others


def make_network(rng: np.random.Generator) -> nc.VariableStore:
    store, inputs = nc.VariableStore(), 1
    for i, outputs in enumerate(CHANNELS, 1):
        with store.scope(f"convolution{i}"):
            kernel = rng.standard_normal((3, 3, inputs, outputs)) * np.sqrt(2 / (9 * inputs))
            store.variable("kernel", kernel.astype(np.float32))
            store.variable("bias", np.zeros(outputs, np.float32))
        inputs = outputs
    with store.scope("head"):
        kernel = rng.standard_normal((inputs, CLASSES)) / np.sqrt(inputs)
        store.variable("kernel", kernel.astype(np.float32))
        store.variable("bias", np.zeros(CLASSES, np.float32))
    return store


def logits(network: nc.VariableStore, pixels: NDArray[np.float32]) -> Any:
    x: Any = pixels
    for i, strides in enumerate((1, 2), 1):
        kernel, bias = network[f"convolution{i}/kernel"], network[f"convolution{i}/bias"]
        x = anp.maximum(nc.nn.conv2d(x, kernel, strides, "SAME") + bias, 0)
    pooled = anp.max(x, axis=(1, 2))  # whatever the size was
    return pooled @ network["head/kernel"] + network["head/bias"]


def loss(network: nc.VariableStore, images: Images) -> Any:
    """Return the mean cross-entropy."""
    scores = logits(network, images.pixels)
    of_labels = scores[np.arange(len(images.labels)), images.labels]
    return anp.mean(logsumexp(scores, axis=1) - of_labels)


def accuracy(network: nc.VariableStore, images: Images) -> float:
    return float(np.mean(logits(network, images.pixels).argmax(axis=1) == images.labels))


def update(optimizer: Any, network: nc.VariableStore, batch: Sequence[Images]) -> None:
    """Take one step by the mean loss of all images, those of each size computed together."""
    gradients = nc.train.GradientAccumulator()
    for images in batch:
        pairs = optimizer.compute_gradients(partial(loss, network, images))
        gradients.add(pairs, weight=len(images.labels))
    optimizer.apply_gradients(gradients.mean())


Counts = Callable[[np.random.Generator], Sequence[int]]


def of_all_sizes(rng: np.random.Generator) -> Sequence[int]:
    return list(rng.multinomial(BATCH, np.ones(len(SIZES)) / len(SIZES)))


def of_one_size(rng: np.random.Generator) -> Sequence[int]:
    return list(rng.permutation([BATCH] + [0] * (len(SIZES) - 1)))


def of_the_smallest(rng: np.random.Generator) -> Sequence[int]:
    return [BATCH] + [0] * (len(SIZES) - 1)


# How many images of each size a batch has.
WAYS: dict[str, Counts] = {
    "all sizes, accumulated": of_all_sizes,
    "one size at a time": of_one_size,
    "8 x 8 alone": of_the_smallest,
}


class Run(NamedTuple):
    """Accuracies on images never shown: of all sizes as it learns, and of each in the end."""

    curve: list[float]
    by_size: list[float]


def train(
    counts_of: Counts, shown: Sequence[Images], others: Sequence[Images], steps: int, seed: int
) -> Run:
    rng = np.random.default_rng(seed)
    network = make_network(rng)
    optimizer = nc.train.AdamOptimizer(RATE, global_clipnorm=CLIP_NORM)
    curve = [mean_accuracy(network, others)]
    for step in range(steps):
        batch = [
            some(images, count, rng)
            for images, count in zip(shown, counts_of(rng), strict=True)
            if count
        ]
        update(optimizer, network, batch)
        if (step + 1) % STEPS_PER_POINT == 0:
            curve.append(mean_accuracy(network, others))
    return Run(curve, [accuracy(network, images) for images in others])


def some(images: Images, count: int, rng: np.random.Generator) -> Images:
    rows = rng.choice(len(images.labels), count, replace=False)
    return Images(images.pixels[rows], images.labels[rows])


def mean_accuracy(network: nc.VariableStore, others: Sequence[Images]) -> float:
    return float(np.mean([accuracy(network, images) for images in others]))


def table_of(runs: dict[str, list[Run]]) -> Table:
    draws = len(next(iter(runs.values())))
    table = Table(title=f"Digits read right, by the height of the image: mean of {draws} runs")
    table.add_column("")
    for size in SIZES:
        table.add_column(str(size), justify="right")
    table.add_column("mean", justify="right")
    for name, of_way in runs.items():
        by_size = np.mean([run.by_size for run in of_way], axis=0)
        table.add_row(name, *(f"{each:.1%}" for each in by_size), f"{np.mean(by_size):.1%}")
    return table


def draw(runs: dict[str, list[Run]], path: Path) -> None:
    from matplotlib import style
    from matplotlib.figure import Figure

    settings = {"font.size": 14, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", settings]):
        figure = Figure(figsize=(14, 7), dpi=100, layout="constrained")
        by_step, by_size = figure.subplots(1, 2, sharey=True)
        # Okabe and Ito's colours, which differ for the colour-blind too.
        colours = ("#0072B2", "#009E73", "#D55E00")
        for (name, of_way), colour in zip(runs.items(), colours, strict=True):
            curves = np.array([run.curve for run in of_way]) * 100
            mean, deviation = curves.mean(axis=0), curves.std(axis=0)
            steps = np.arange(len(mean)) * STEPS_PER_POINT
            by_step.plot(steps, mean, color=colour, label=name)
            by_step.fill_between(
                steps, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0
            )
            last = np.mean([run.by_size for run in of_way], axis=0) * 100
            by_size.plot(SIZES, last, "o-", color=colour)
        by_step.set(xlabel="batch", ylim=(0, 100))
        by_step.set_title("Digits of all sizes read right, in percent", loc="left")
        by_size.set(xlabel="height of the image in pixels", xticks=SIZES)
        by_size.set_title("In the end, by size", loc="left")
        by_step.legend(frameon=False, loc="lower right")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    steps, draws = (60, 1) if arguments.quick else (300, 3)
    console = Console(highlight=False)
    shown, others = load(np.random.default_rng(arguments.seed))
    seeds = range(arguments.seed, arguments.seed + draws)
    runs = {
        name: [train(counts_of, shown, others, steps, seed) for seed in seeds]
        for name, counts_of in WAYS.items()
    }
    console.print(table_of(runs))
    draw(runs, arguments.output)
    console.print(f"Picture: {arguments.output}", soft_wrap=True)


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
