"""Gradients of a convolution: both of them, checked by hand.

Two filters find the edges of a handwritten digit. The gradient of a convolution goes to two places:
every weight of a filter gets the pixels that it was multiplied with, and every pixel the weights,
each times the gradient of that product. Written down as loops, as here, the sums have to be those
of `conv2d_backprop_filter` and `conv2d_backprop_input`, and what `gradients` finds, to the last
bit: all numbers are whole.

    pip install '.[examples]'
    python examples/convolution_gradients.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import numclip as nc

PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "convolution_gradients.png"

Array = NDArray[np.float64]


def sobel() -> Array:
    """Return two filters, of shape (3, 3, 1, 2): for vertical edges, and for horizontal ones."""
    vertical = np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    return np.stack([vertical, vertical.T], axis=-1)[:, :, np.newaxis]


def convolve_by_hand(image: Array, filters: Array) -> Array:
    rows, columns = (image.shape[i + 1] - filters.shape[i] + 1 for i in (0, 1))
    result = np.zeros((len(image), rows, columns, filters.shape[3]))
    for row, column in np.ndindex(rows, columns):
        for i, j in np.ndindex(filters.shape[:2]):
            result[:, row, column] += image[:, row + i, column + j] @ filters[i, j]
    return result


def gradients_by_hand(image: Array, filters: Array, upstream: Array) -> tuple[Array, Array]:
    of_image, of_filters = np.zeros_like(image), np.zeros_like(filters)
    for row, column in np.ndindex(upstream.shape[1:3]):
        for i, j in np.ndindex(filters.shape[:2]):
            g = upstream[:, row, column]
            of_image[:, row + i, column + j] += g @ filters[i, j].T
            of_filters[i, j] += image[:, row + i, column + j].T @ g
    return of_image, of_filters


def draw(pictures: dict[str, Array], path: Path) -> None:
    with style.context(["default", {"font.size": 11}]):
        figure = Figure(figsize=(10, 4.6), dpi=100, layout="constrained")
        for axes, (title, numbers) in zip(
            figure.subplots(2, 4).flat, pictures.items(), strict=True
        ):
            limit = np.abs(numbers).max()
            axes.imshow(numbers, cmap="RdBu", vmin=-limit, vmax=limit)
            axes.set_title(title)
            axes.axis("off")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    image = nc.Variable(load_digits().images[:1, :, :, np.newaxis], name="image")
    filters = nc.Variable(sobel(), name="filters")
    edges = nc.nn.conv2d(image, filters, strides=1, padding="VALID")
    upstream = edges  # the gradient of half the sum of their squares, which is the loss

    of_image = nc.nn.conv2d_backprop_input(image.shape, filters, upstream, 1, "VALID")
    of_filters = nc.nn.conv2d_backprop_filter(image, filters.shape, upstream, 1, "VALID")

    expected = gradients_by_hand(image.value, filters.value, upstream)
    by_gradients = nc.gradients(
        lambda: nc.nn.conv2d(image, filters, 1, "VALID") ** 2 / 2, [image, filters]
    )
    checks = {
        "convolution": [edges, convolve_by_hand(image.value, filters.value)],
        "gradient of the image": [of_image, expected[0], by_gradients[0]],
        "gradient of the filters": [of_filters, expected[1], by_gradients[1]],
    }
    for name, results in checks.items():
        is_same = all(np.array_equal(results[0], other) for other in results[1:])
        print(f"{name}: {'the same' if is_same else 'NOT THE SAME'} by hand")
    print("gradient of filter 1, for vertical edges:")
    print(of_filters[:, :, 0, 0])
    pictures = {
        "image": image.value[0, :, :, 0],
        "filter 1": filters.value[:, :, 0, 0],
        "image * filter 1": edges[0, :, :, 0],
        "gradient of filter 1": of_filters[:, :, 0, 0],
        "gradient of the image": of_image[0, :, :, 0],
        "filter 2": filters.value[:, :, 0, 1],
        "image * filter 2": edges[0, :, :, 1],
        "gradient of filter 2": of_filters[:, :, 0, 1],
    }
    draw(pictures, arguments.output)
    print(f"Picture: {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
