"""Gradient reversal: learn from labelled images what holds for other images too.

Half of the digits are labelled. The others are not, and were taken in another light, which falls
from the right. A network that learns from the former alone is often wrong on the latter. Here a
second classifier tries to tell the two halves apart by the features that the network computes. Its
gradient turns round on its way into the features, by `reverse_gradient`, so that they learn not to
let it, and what is learned of digits in one light holds better in the other.

    pip install '.[examples]'
    python examples/gradient_reversal.py

Y. Ganin, V. Lempitsky, Unsupervised domain adaptation by backpropagation, ICML 2015.
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

LIGHT = 0.4  # its share in the brightness of the other images
REVERSAL = 1.0  # what the reversed gradient is multiplied with, when it has risen
FEATURES = 64
RATE, LIGHTS_RATE = 0.001, 0.01
BATCH = 64  # of either half
STEPS_PER_POINT = 20  # of a curve
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "gradient_reversal.png"

Array = NDArray[Any]


class Images(NamedTuple):
    pixels: Array
    labels: Array


class Run(NamedTuple):
    accuracies: list[float]  # in the other light
    told_apart: float  # how many images the second classifier has right
    features: tuple[Array, Array]  # of images in either light


def in_another_light(pixels: Array) -> Array:
    brightness = np.tile(np.linspace(0, 1, 8), 8)
    return (1 - LIGHT) * pixels + LIGHT * brightness


def cross_entropy(scores: Any, labels: Array) -> Any:
    return anp.mean(logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels])


def make_network(random: np.random.Generator) -> nc.VariableStore:
    store = nc.VariableStore()
    for name, inputs, outputs in (
        ("features", 64, FEATURES),
        ("digits", FEATURES, 10),
        ("lights", FEATURES, 2),
    ):
        with store.scope(name):
            store.variable(
                "weights", random.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
            )
            store.variable("bias", np.zeros(outputs))
    return store


def layer(network: nc.VariableStore, name: str, x: Any) -> Any:
    return x @ network[f"{name}/weights"] + network[f"{name}/bias"]


def train(labelled: Images, other: Images, reversal: float, steps: int, seed: int) -> Run:
    """Train without the labels of the others, which only measure the accuracy."""
    random = np.random.default_rng(seed)
    network = make_network(random)
    lights = np.repeat([0, 1], BATCH)

    def features(pixels: Array) -> Any:
        return anp.maximum(layer(network, "features", pixels), 0)

    def loss(rows: Array, other_rows: Array, scale: float) -> Any:
        both = features(np.concatenate([labelled.pixels[rows], other.pixels[other_rows]]))
        of_digits = cross_entropy(layer(network, "digits", both[:BATCH]), labelled.labels[rows])
        reversed_features = nc.reverse_gradient(both, scale)
        of_lights = cross_entropy(layer(network, "lights", reversed_features), lights)
        return of_digits + of_lights

    global_step = nc.Variable(0, trainable=False, name="global_step")
    decaying = nc.train.cosine_decay(RATE, global_step, steps)
    optimizer = nc.train.GroupedOptimizer(
        [
            (["features", "digits"], nc.train.AdamOptimizer(decaying, beta1=0.5)),
            ("lights", nc.train.AdamOptimizer(LIGHTS_RATE, beta1=0.5)),
        ]
    )
    accuracies = []
    for step in range(steps + 1):
        if step % STEPS_PER_POINT == 0:
            found = layer(network, "digits", features(other.pixels)).argmax(axis=1)
            accuracies.append(float(np.mean(found == other.labels)))
        rows = random.integers(0, len(labelled.labels), BATCH)
        other_rows = random.integers(0, len(other.labels), BATCH)
        # It rises from 0, as the authors have it, while the first features form.
        scale = reversal * np.tanh(5 * step / steps)
        optimizer.minimize(partial(loss, rows, other_rows, scale), global_step)

    of_both = features(labelled.pixels), features(other.pixels)
    is_other = [layer(network, "lights", each).argmax(axis=1) == 1 for each in of_both]
    told_apart = np.mean(np.concatenate([~is_other[0], is_other[1]]))
    return Run(accuracies, float(told_apart), of_both)


def principal_components(features: tuple[Array, Array]) -> list[Array]:
    """Project the features of either light on the two directions in which all differ most."""
    together = np.concatenate(features)
    centred = together - together.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return np.split(centred @ directions[:2].T, [len(features[0])])


def draw(runs: dict[str, Run], path: Path) -> None:
    settings = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", settings]):
        figure = Figure(figsize=(9.5, 3.3), dpi=100, layout="constrained")
        curves, *clouds = figure.subplots(1, 3)
        for (name, run), axes, colour in zip(
            runs.items(), clouds, ("#D55E00", "#0072B2"), strict=True
        ):
            steps = np.arange(len(run.accuracies)) * STEPS_PER_POINT
            curves.plot(steps, np.multiply(run.accuracies, 100), color=colour, label=name)
            for points, light, grey in zip(
                principal_components(run.features),
                ("labelled", "other light"),
                ("0.75", "0"),
                strict=True,
            ):
                axes.scatter(*points[::4].T, s=6, color=grey, linewidths=0, label=light)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"Features, {name}", loc="left")
        curves.set(xlabel="step", ylim=(0, 100))
        curves.set_title("Right in the other light, %", loc="left")
        curves.legend(frameon=False, loc="lower right")
        clouds[0].legend(frameon=False, markerscale=2)
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    steps = 100 if arguments.quick else 800
    digits = load_digits()
    order = np.random.default_rng(arguments.seed).permutation(len(digits.target))
    pixels, labels = digits.data[order] / 16, digits.target[order]
    half = len(order) // 2
    labelled = Images(pixels[:half], labels[:half])
    other = Images(in_another_light(pixels[half:]), labels[half:])

    runs = {}
    for name, reversal in (("no reversal", 0.0), ("reversal", REVERSAL)):
        run = runs[name] = train(labelled, other, reversal, steps, arguments.seed)
        print(
            f"{name}: {run.accuracies[-1]:.1%} of the digits in the other light are right;"
            f" {run.told_apart:.1%} of all images are told apart by their light"
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
