"""Binary network: train hidden units that are one bit each, through the sign.

64 pixels become 32 bits, and those ten scores. The sign's own gradient is zero everywhere, so
nothing reaches the weights before it, and the bits stay as random as they began. `sign` has the
gradient of the line between -1 and 1 in its place, a straight-through gradient, and the bits learn.
Digits of one kind then have codes that differ in few bits.

    pip install '.[examples]'
    python examples/binary_network.py

I. Hubara, M. Courbariaux, D. Soudry, R. El-Yaniv, Y. Bengio, Binarized neural networks, NIPS 2016.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
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

BITS = 32
BATCH = 64
SHOWN = 1200  # images to learn from; the other 597 are to be told apart
STEPS_PER_POINT = 20  # of a curve
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh, no bits": anp.tanh,
    "straight-through": nc.sign,
    "no gradient": anp.sign,
}
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "binary_network.png"

Array = NDArray[Any]


class Run(NamedTuple):
    accuracies: list[float]
    codes: Array  # of images never shown


def train(
    activation: Callable[[Any], Any], pixels: Array, labels: Array, steps: int, seed: int
) -> Run:
    random = np.random.default_rng(seed)
    first = nc.Variable(random.standard_normal((64, BITS)) / 8)
    second = nc.Variable(random.standard_normal((BITS, 10)) / np.sqrt(BITS))
    bias = nc.Variable(np.zeros(BITS))

    def codes(rows: Any) -> Any:
        return activation(pixels[rows] @ first + bias)

    def loss(rows: Array) -> Any:
        """Return the mean cross-entropy."""
        scores = codes(rows) @ second
        return anp.mean(logsumexp(scores, axis=1) - scores[np.arange(BATCH), labels[rows]])

    others = slice(SHOWN, None)
    optimizer, accuracies = nc.train.AdamOptimizer(0.003), []
    for step in range(steps + 1):
        if step % STEPS_PER_POINT == 0:
            found = (codes(others) @ second).argmax(axis=1)
            accuracies.append(float(np.mean(found == labels[others])))
        batch = random.integers(0, SHOWN, BATCH)
        optimizer.minimize(partial(loss, batch))
    return Run(accuracies, codes(others))


def mean_differing_bits(codes: Array, labels: Array) -> tuple[float, float]:
    """Return in how many bits two images differ, of one digit and of two."""
    differing = (BITS - codes @ codes.T) / 2
    is_one_digit = labels[:, np.newaxis] == labels
    is_pair = ~np.eye(len(labels), dtype=bool)
    return differing[is_one_digit & is_pair].mean(), differing[~is_one_digit].mean()


def draw(runs: dict[str, Run], labels: Array, path: Path) -> None:
    settings = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", settings]):
        figure = Figure(figsize=(10, 4.4), dpi=100, layout="constrained")
        curves, bits = figure.subplots(1, 2)
        # Okabe and Ito's colours, which differ for the colour-blind too.
        for (name, run), colour in zip(
            runs.items(), ("#009E73", "#0072B2", "#D55E00"), strict=True
        ):
            steps = np.arange(len(run.accuracies)) * STEPS_PER_POINT
            curves.plot(steps, np.multiply(run.accuracies, 100), color=colour, label=name)
        curves.set(xlabel="step", ylim=(0, 100))
        curves.set_title("Accuracy on images never shown, in percent", loc="left")
        curves.legend(frameon=False, loc="lower right")
        by_digit = np.argsort(labels, kind="stable")
        ends = np.cumsum(np.bincount(labels))
        bits.imshow(
            runs["straight-through"].codes[by_digit],
            aspect="auto",
            cmap="gray",
            interpolation="none",
        )
        for end in ends[:-1]:
            bits.axhline(end - 0.5, color="#D55E00", linewidth=1)
        bits.set_yticks(ends - np.bincount(labels) / 2, labels=map(str, range(10)))
        bits.set(xlabel="bit", ylabel="digit")
        bits.set_title("Codes of these images, learned straight through", loc="left")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    steps = 60 if arguments.quick else 1000
    digits = load_digits()
    order = np.random.default_rng(arguments.seed).permutation(len(digits.target))
    pixels, labels = digits.data[order] / 16, digits.target[order]

    runs = {
        name: train(activation, pixels, labels, steps, arguments.seed)
        for name, activation in ACTIVATIONS.items()
    }
    print(f"After {steps} steps, accuracy on images never shown:")
    for name, run in runs.items():
        print(f"  {name}: {run.accuracies[-1]:.1%}")
    print("Bits, of 32, in which the codes of two images differ, of one digit and of two:")
    for name in ("straight-through", "no gradient"):
        same, other = mean_differing_bits(runs[name].codes, labels[SHOWN:])
        print(f"  {name}: {same:.1f} and {other:.1f}")
    draw(runs, labels[SHOWN:], arguments.output)
    print(f"Picture: {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, and less accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
