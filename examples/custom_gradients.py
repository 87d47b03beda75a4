"""Custom gradients: one of your own, in both of TensorFlow's ways.

What in an image makes it a three? The gradient of its score for "three" by its pixels is noisy.
Guided backpropagation lets through what is positive alone, at every rectifier max(x, 0) on the way
back: a gradient that is none of any function. One way to it is another rectifier, which brings its
gradient along: `custom_gradient`. The other leaves the network as it is, and overrides the gradient
of `maximum` while the network is called: `register_gradient` and `gradient_override_map`.

    pip install '.[examples]'
    python examples/custom_gradients.py

J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, Striving for simplicity: the all
convolutional net, ICLR 2015.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import numclip as nc

CHANNELS = 16
BATCH = 64
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "custom_gradients.png"

Array = NDArray[Any]


def relu(x: Any) -> Any:
    return anp.maximum(x, 0)


@nc.custom_gradient
def guided_relu(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    def gradient(upstream: Array) -> Array:
        return upstream * (x > 0) * (upstream > 0)

    return np.maximum(x, 0), gradient


@nc.register_gradient("GuidedRelu")
def guided(operation: Any, upstream: Array) -> tuple[Array, None]:
    x, _ = operation.inputs
    return upstream * (x > 0) * (upstream > 0), None


class Network:
    """Two convolutions, each followed by an activation, and ten scores."""

    def __init__(self, random: np.random.Generator) -> None:
        shapes = [(3, 3, 1, CHANNELS), (3, 3, CHANNELS, CHANNELS), (64 * CHANNELS, 10)]
        self.first, self.second, self.last = (
            nc.Variable(random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])))
            for shape in shapes
        )

    def scores(self, images: Any, activation: Callable[[Any], Any] = relu) -> Any:
        for filters in (self.first, self.second):
            images = activation(nc.nn.conv2d(images, filters, strides=1, padding="SAME"))
        return images.reshape(-1, 64 * CHANNELS) @ self.last

    def loss(self, images: Array, labels: Array) -> Any:
        """Return the mean cross-entropy."""
        scores = self.scores(images)
        of_labels = scores[np.arange(len(labels)), labels]
        return anp.mean(logsumexp(scores, axis=1) - of_labels)


def train(images: Array, labels: Array, steps: int, random: np.random.Generator) -> Network:
    network = Network(random)
    optimizer = nc.train.AdamOptimizer(0.003)
    for _ in range(steps):
        batch = random.integers(0, len(labels), BATCH)
        optimizer.minimize(partial(network.loss, images[batch], labels[batch]))
    return network


def draw(rows: dict[str, Array], path: Path) -> None:
    with style.context(["default", {"font.size": 12}]):
        figure = Figure(figsize=(10, 3.4), dpi=100, layout="constrained")
        grid = figure.subplots(len(rows), 10)
        for cells, (title, images) in zip(grid, rows.items(), strict=True):
            cells[0].set_ylabel(title)
            for axes, image in zip(cells, images, strict=True):
                limit = np.abs(image).max()
                axes.imshow(image.reshape(8, 8), cmap="RdBu", vmin=-limit, vmax=limit)
                axes.set(xticks=[], yticks=[])
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    digits = load_digits()
    pixels, labels = digits.images[..., np.newaxis] / 16, digits.target
    random = np.random.default_rng(arguments.seed)
    network = train(pixels, labels, 20 if arguments.quick else 200, random)
    is_right = network.scores(pixels).argmax(axis=1) == labels
    print(f"A network of two convolutions, which has {is_right.mean():.1%} of the digits right")

    first_of_each = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    images = nc.Variable(pixels[first_of_each])
    own_scores = np.eye(10)

    (plain,) = nc.gradients(lambda: network.scores(images), images, own_scores)
    (by_function,) = nc.gradients(lambda: network.scores(images, guided_relu), images, own_scores)
    with nc.gradient_override_map({anp.maximum: "GuidedRelu"}):
        (by_override,) = nc.gradients(lambda: network.scores(images), images, own_scores)

    is_same = np.array_equal(by_function, by_override)
    print(f"custom_gradient and gradient_override_map: {'the same' if is_same else 'NOT THE SAME'}")
    print(f"the plain gradient: {'the same' if np.array_equal(plain, by_function) else 'another'}")
    draw({"image": images.value, "gradient": plain, "guided": by_function}, arguments.output)
    print(f"Picture: {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps, and less accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
