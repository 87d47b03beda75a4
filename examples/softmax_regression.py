"""Softmax regression: gradient descent, with a learning rate that decays.

Ten weighted sums of its pixels tell which digit an image shows. Each step takes the gradient for
eight images, other ones each time, so steps of a constant rate never come to rest. Exponential
decay makes them smaller and smaller. `minimize` counts them in `global_step`, which the decay
reads: the program that one writes in TensorFlow 1, with `nc.` for `tf.`.

    pip install '.[examples]'
    python examples/softmax_regression.py
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import numclip as nc

RATE = 0.5
LAST_SHARE = {"constant": 1.0, "decaying": 0.01}  # of the rate, at the last step
BATCH = 8
PENALTY = 0.01
SHOWN = 1200  # images to learn from; the other 597 are to be told apart
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "softmax_regression.png"


class Images(NamedTuple):
    pixels: NDArray[np.float64]
    labels: NDArray[np.intp]

    def take(self, rows: NDArray[np.intp]) -> Images:
        return Images(self.pixels[rows], self.labels[rows])


class Run(NamedTuple):
    weights: NDArray[np.float64]
    losses: list[float]
    accuracy: float


def train(shown: Images, others: Images, steps: int, last_share: float, seed: int) -> Run:
    weights, bias = nc.Variable(np.zeros((64, 10))), nc.Variable(np.zeros(10))

    def scores(images: Images) -> Any:
        return images.pixels @ weights + bias

    def loss(images: Images) -> Any:
        """Return the mean cross-entropy, and a penalty for large weights."""
        y = scores(images)
        of_labels = y[np.arange(len(images.labels)), images.labels]
        return anp.mean(logsumexp(y, axis=1) - of_labels) + PENALTY * anp.sum(weights**2)

    global_step = nc.Variable(0, trainable=False, name="global_step")
    rate = nc.train.exponential_decay(RATE, global_step, steps, last_share)
    optimizer = nc.train.GradientDescentOptimizer(rate)
    random = np.random.default_rng(seed)
    losses = [float(loss(shown))]
    for _ in range(steps):
        batch = shown.take(random.integers(0, SHOWN, BATCH))
        optimizer.minimize(partial(loss, batch), global_step)
        losses.append(float(loss(shown)))
    accuracy = np.mean(scores(others).argmax(axis=1) == others.labels)
    return Run(weights.value, losses, float(accuracy))


def draw(runs: dict[str, Run], path: Path) -> None:
    settings = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", settings]):
        figure = Figure(figsize=(10, 3.4), dpi=100, layout="constrained")
        left, right = figure.subfigures(1, 2)
        axes = left.subplots()
        for (name, run), colour in zip(runs.items(), ("#D55E00", "#0072B2"), strict=True):
            axes.plot(run.losses, color=colour, label=f"{name} rate", linewidth=1)
        axes.set(xlabel="step", ylim=(0.95, 1.55))
        axes.set_title("Loss", loc="left")
        axes.legend(frameon=False)
        right.suptitle("Weights: blue for the digit, red against it")
        weights = runs["decaying"].weights
        limit = np.abs(weights).max()
        for digit, cell in enumerate(right.subplots(2, 5).flat):
            cell.imshow(weights[:, digit].reshape(8, 8), cmap="RdBu", vmin=-limit, vmax=limit)
            cell.set_title(digit)
            cell.axis("off")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    steps = 100 if arguments.quick else 1000
    digits = load_digits()
    images = Images(digits.data / 16, digits.target)
    order = np.random.default_rng(arguments.seed).permutation(len(digits.target))
    shown, others = images.take(order[:SHOWN]), images.take(order[SHOWN:])

    print(f"{steps} steps of gradient descent from a rate of {RATE}")
    runs = {}
    for name, share in LAST_SHARE.items():
        run = runs[name] = train(shown, others, steps, share, arguments.seed)
        print(
            f"{name} rate: from a loss of {run.losses[0]:.3f} to {run.losses[-1]:.3f};"
            f" {run.accuracy:.1%} of the images never shown are right"
        )
    draw(runs, arguments.output)
    print(f"Picture: {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, and less accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
