"""Transfer learning: load what was trained before, hold most of it still, train the rest.

A small convolutional network is trained on 901 images of the digits 0 to 4, and saved. Then it has
to tell 5 to 9 apart, of which it is shown five images each, in three ways: its head alone is
trained; its head, then everything, with a tenth of the rate for the backbone; or it begins anew.

    pip install '.[examples]'
    python examples/transfer_learning.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import numclip as nc

CLASSES = 5  # 0 to 4, and 5 to 9
WIDTH = 3  # of the convolution's window
CHANNELS = 24
SHOTS = 5  # images of each new digit
RATE = 0.01
CLIP_NORM = 1.0
STEPS_PER_POINT = 5  # of a curve
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "transfer_learning.png"


class Images(NamedTuple):
    """Windows of images, of shape (image, row, column, pixel), and the class of each image."""

    windows: NDArray[np.float32]
    labels: NDArray[np.intp]

    def take(self, rows: NDArray[np.intp]) -> Images:
        return Images(self.windows[rows], self.labels[rows])


def load() -> tuple[Images, Images]:
    """Return the digits 0 to 4 and the digits 5 to 9, each as the classes 0 to 4."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images / 16).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (WIDTH, WIDTH), axis=(1, 2))
    images = Images(windows.reshape(*windows.shape[:3], -1), digits.target % CLASSES)
    is_old = digits.target < CLASSES
    return images.take(np.flatnonzero(is_old)), images.take(np.flatnonzero(~is_old))


def split(images: Images, rng: np.random.Generator) -> tuple[Images, Images]:
    """Return a few images of each class, and all others."""
    few = [rng.permutation(np.flatnonzero(images.labels == c))[:SHOTS] for c in range(CLASSES)]
    others = np.delete(np.arange(len(images.labels)), np.concatenate(few))
    return images.take(np.concatenate(few)), images.take(others)


def make_network(rng: np.random.Generator) -> nc.VariableStore:
    store = nc.VariableStore()

    def layer(inputs: int, outputs: int) -> None:
        kernel = rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        store.variable("kernel", kernel.astype(np.float32))
        store.variable("bias", np.zeros(outputs, np.float32))

    with store.scope("backbone"), store.scope("convolution"):
        layer(WIDTH**2, CHANNELS)
    with store.scope("head"):
        layer(9 * CHANNELS, CLASSES)
    return store


def logits(network: nc.VariableStore, windows: NDArray[np.float32]) -> Any:
    kernel, bias = network["backbone/convolution/kernel"], network["backbone/convolution/bias"]
    features = anp.maximum(windows @ kernel + bias, 0)  # of 6 x 6 places
    pooled = anp.max(features.reshape(-1, 3, 2, 3, 2, CHANNELS), axis=(2, 4))
    return pooled.reshape(-1, 9 * CHANNELS) @ network["head/kernel"] + network["head/bias"]


def loss(network: nc.VariableStore, images: Images) -> Any:
    """Return the mean cross-entropy."""
    scores = logits(network, images.windows)
    of_labels = scores[np.arange(len(images.labels)), images.labels]
    return anp.mean(logsumexp(scores, axis=1) - of_labels)


def accuracy(network: nc.VariableStore, images: Images) -> float:
    return float(np.mean(logits(network, images.windows).argmax(axis=1) == images.labels))


def pretrain(images: Images, epochs: int, rng: np.random.Generator) -> nc.VariableStore:
    network = make_network(rng)
    optimizer = nc.train.AdamOptimizer(0.003, global_clipnorm=CLIP_NORM)
    for _ in range(epochs):
        order = rng.permutation(len(images.labels))
        for rows in np.array_split(order, len(order) // 64):
            optimizer.minimize(partial(loss, network, images.take(rows)))
    return network


class Way(NamedTuple):
    """How to learn the new digits; the backbone is held still for a share of the steps."""

    name: str
    is_pretrained: bool
    frozen_share: float
    backbone_rate: float

    @property
    def thaws(self) -> bool:
        return 0 < self.frozen_share < 1


WAYS = (
    Way("head only", True, 1.0, RATE / 10),
    Way("head, then all", True, 0.5, RATE / 10),
    Way("from scratch", False, 0.0, RATE),
)


class Run(NamedTuple):
    """Accuracies on images never shown, seconds of training until then, and the proof."""

    accuracies: list[float]
    seconds: list[float]
    backbone_is_unchanged: bool


def fine_tune(way: Way, trained: Path, few: Images, others: Images, steps: int, seed: int) -> Run:
    network = make_network(np.random.default_rng(seed))
    if way.is_pretrained:
        network.restore(trained, exclude="head")
    backbone = nc.filter_variables(network, "backbone")
    before = bits_of(backbone)
    optimizer = nc.train.GroupedOptimizer(
        [
            ("backbone", nc.train.AdamOptimizer(way.backbone_rate)),
            ("head", nc.train.AdamOptimizer(RATE)),
        ],
        global_clipnorm=CLIP_NORM,
    )
    accuracies, seconds, elapsed = [accuracy(network, others)], [0.0], 0.0
    for step in range(steps):
        is_frozen = step < way.frozen_share * steps
        for variable in backbone:
            variable.trainable = not is_frozen
        start = perf_counter()
        optimizer.minimize(partial(loss, network, few))
        elapsed += perf_counter() - start
        assert not is_frozen or bits_of(backbone) == before, "a frozen variable has changed"
        if (step + 1) % STEPS_PER_POINT == 0:
            accuracies.append(accuracy(network, others))
            seconds.append(elapsed)
    return Run(accuracies, seconds, bits_of(backbone) == before)


def bits_of(variables: Sequence[nc.Variable]) -> list[bytes]:
    return [variable.value.tobytes() for variable in variables]


def table_of(runs: dict[Way, list[Run]]) -> Table:
    draws = len(next(iter(runs.values())))
    table = Table(title=f"The digits 5 to 9, of {SHOTS} images each: mean of {draws} draws")
    table.add_column("")
    for title in ("accuracy", "deviation", "time", "backbone"):
        table.add_column(title, justify="right")
    for way, of_way in runs.items():
        last = [run.accuracies[-1] for run in of_way]
        milliseconds = 1e3 * np.median([run.seconds[-1] for run in of_way])
        is_unchanged = all(run.backbone_is_unchanged for run in of_way)
        table.add_row(
            way.name,
            f"{np.mean(last):.1%}",
            f"{np.std(last):.1%}",
            f"{milliseconds:.0f} ms",
            "unchanged" if is_unchanged else "changed",
        )
    return table


def draw(runs: dict[Way, list[Run]], path: Path) -> None:
    from matplotlib import style
    from matplotlib.figure import Figure

    settings = {"font.size": 14, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", settings]):
        figure = Figure(figsize=(14, 7), dpi=100, layout="constrained")
        by_step, by_time = figure.subplots(1, 2, sharey=True)
        # Okabe and Ito's colours, which differ for the colour-blind too.
        colours = ("#0072B2", "#009E73", "#D55E00")
        for (way, of_way), colour in zip(runs.items(), colours, strict=True):
            line = {"color": colour, "label": way.name, "linestyle": "--" if way.thaws else "-"}
            curves = np.array([run.accuracies for run in of_way]) * 100
            mean, deviation = curves.mean(axis=0), curves.std(axis=0)
            steps = np.arange(len(mean)) * STEPS_PER_POINT
            milliseconds = np.median([run.seconds for run in of_way], axis=0) * 1e3
            by_step.plot(steps, mean, **line)
            by_step.fill_between(
                steps, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0
            )
            by_time.plot(milliseconds, mean, **line)
        by_step.set(xlabel="step", ylim=(70, 100))
        by_step.set_title("Accuracy on digits 5 to 9, in percent", loc="left")
        by_time.set_title("The same, by time", loc="left")
        by_time.set(xlabel="milliseconds of training")
        by_step.legend(frameon=False, loc="lower right")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    epochs, steps, draws = (5, 60, 2) if arguments.quick else (20, 200, 10)
    console = Console(highlight=False)
    old, new = load()

    network = pretrain(old, epochs, np.random.default_rng(arguments.seed))
    console.print(f"Trained on the digits 0 to 4: {accuracy(network, old):.1%} of them are right.")

    runs: dict[Way, list[Run]] = {way: [] for way in WAYS}
    with TemporaryDirectory() as folder:
        trained = Path(folder) / "trained.npz"
        nc.save(trained, network)
        for seed in range(arguments.seed, arguments.seed + draws):
            few, others = split(new, np.random.default_rng(seed))
            for way in WAYS:
                runs[way].append(fine_tune(way, trained, few, others, steps, seed))

    console.print(table_of(runs))
    console.print("While it was frozen, the backbone was the same to the bit after every step.")
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
