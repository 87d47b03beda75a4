"""Gradients of a matrix product: as `tf.gradients(ys, xs, grad_ys)` has them.

Ten scores for each of 1,797 handwritten digits are one product, y = x w. The gradients of y,
weighted with grad_ys = g, are g wᵀ for the images x and xᵀ g for the weights w. Here g has the mean
over the images of each digit, in the column of that digit; so xᵀ g is ten mean images.

    pip install '.[examples]'
    python examples/matrix_gradients.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import numclip as nc

PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "matrix_gradients.png"


def draw(means: NDArray[Any], path: Path) -> None:
    with style.context(["default", {"font.size": 12}]):
        figure = Figure(figsize=(10, 4.4), dpi=100, layout="constrained")
        figure.suptitle("The gradient of the weights: one mean image for each digit")
        for digit, axes in enumerate(figure.subplots(2, 5).flat):
            axes.imshow(means[:, digit].reshape(8, 8), cmap="gray_r")
            axes.set_title(digit)
            axes.axis("off")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    digits = load_digits()
    images = nc.Variable(digits.data / 16, name="images")
    random = np.random.default_rng(0)
    weights = nc.Variable(random.standard_normal((64, 10)), name="weights")
    is_digit = digits.target[:, np.newaxis] == np.arange(10)
    grad_ys = is_digit / is_digit.sum(axis=0)

    of_images, of_weights = nc.gradients(lambda: images @ weights, [images, weights], grad_ys)

    by_hand = {
        "images": (of_images, grad_ys @ weights.value.T),
        "weights": (of_weights, images.value.T @ grad_ys),
    }
    for name, (found, expected) in by_hand.items():
        difference = np.abs(found - expected).max()
        print(f"{name}: a gradient of shape {found.shape}, by hand within {difference:.1g}")
    means = [images.value[digits.target == digit].mean(axis=0) for digit in range(10)]
    difference = np.abs(of_weights.T - means).max()
    print(f"mean images: the gradient of the weights, within {difference:.1g}")
    draw(of_weights, arguments.output)
    print(f"Picture: {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
