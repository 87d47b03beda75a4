"""Second derivatives: of a curve, and of a loss along one direction.

A gradient that is computed inside a loss is differentiated like all else there. Of sin² x, twice,
that gives 2 cos 2x. Of a loss of many weights it gives the Hessian times a direction, for about the
price of two gradients, where the Hessian itself has 640 x 640 numbers. Repeated, the product finds
the largest curvature, and gradient descent diverges at a rate of 2 over it: seen here with a
least-squares fit of handwritten digits.

    pip install '.[examples]'
    python examples/second_derivatives.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import numclip as nc

PRODUCTS = 20
STEPS = 50
RATES = {"5 % below": 0.95, "5 % above": 1.05}  # as shares of the one where descent diverges
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "second_derivatives.png"

Array = NDArray[np.float64]


def squared_sine(x: Array) -> Any:
    return anp.sin(x) ** 2


def first(x: Array) -> Any:
    return nc.gradients_function(squared_sine)(x)[0]


def second(x: Array) -> Any:
    return nc.gradients_function(first)(x)[0]


def hessian_times(direction: Array, loss: Callable[[], Any], weights: nc.Variable) -> Any:
    def slope() -> Any:
        (gradient,) = nc.gradients(loss, weights)
        return anp.sum(gradient * direction)

    (product,) = nc.gradients(slope, weights)
    return product


def largest_curvature(loss: Callable[[], Any], weights: nc.Variable) -> float:
    """Multiply with the Hessian until only the direction of the largest curvature is left."""
    product = np.random.default_rng(0).standard_normal(weights.shape)
    for _ in range(PRODUCTS):
        product = hessian_times(product / nc.global_norm([product]), loss, weights)
    return float(nc.global_norm([product]))


def descend(loss: Callable[[], Any], weights: nc.Variable, rate: float) -> list[float]:
    """Return the losses of gradient descent from zero."""
    weights.assign(np.zeros(weights.shape))
    optimizer = nc.train.GradientDescentOptimizer(rate)
    losses = [float(loss())]
    for _ in range(STEPS):
        optimizer.minimize(loss)
        losses.append(float(loss()))
    return losses


def draw(losses: dict[str, list[float]], path: Path) -> None:
    settings = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", settings]):
        figure = Figure(figsize=(8, 3.2), dpi=100, layout="constrained")
        curves, descents = figure.subplots(1, 2)
        x = np.linspace(-np.pi, np.pi, 201)
        for label, values, colour in (
            ("sin² x", squared_sine(x), "#000000"),
            ("first derivative, sin 2x", first(x), "#0072B2"),
            ("second derivative, 2 cos 2x", second(x), "#D55E00"),
        ):
            curves.plot(x, values, color=colour, label=label)
        curves.set(xlabel="x", ylim=(-2.2, 3.8))
        curves.set_title("A curve and its derivatives", loc="left")
        curves.legend(frameon=False, loc="upper left")
        for (name, of_steps), colour in zip(losses.items(), ("#0072B2", "#D55E00"), strict=True):
            descents.plot(of_steps, color=colour, label=f"{name} 2 / curvature")
        descents.set(xlabel="step", yscale="log")
        descents.set_title("Loss of gradient descent, by its rate", loc="left")
        descents.legend(frameon=False)
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    x = np.linspace(-np.pi, np.pi, 201)
    errors = [np.abs(first(x) - np.sin(2 * x)).max(), np.abs(second(x) - 2 * np.cos(2 * x)).max()]
    print(f"sin² x: its derivatives are sin 2x and 2 cos 2x within {max(errors):.1g}")

    digits = load_digits()
    pixels, classes = digits.data / 16, np.eye(10)[digits.target]
    weights = nc.Variable(np.zeros((64, 10)), name="weights")

    def loss() -> Any:
        return anp.sum((pixels @ weights - classes) ** 2) / len(pixels)

    curvature = largest_curvature(loss, weights)
    by_hand = np.linalg.eigvalsh(2 * pixels.T @ pixels / len(pixels))[-1]
    print(f"largest curvature: {curvature:.6f}, by NumPy's eigenvalues {by_hand:.6f}")
    losses = {}
    for name, share in RATES.items():
        rate = share * 2 / curvature
        losses[name] = descend(loss, weights, rate)
        print(f"a rate of {rate:.4f}, {name} 2 / curvature: a loss of {losses[name][-1]:.3g}")
    draw(losses, arguments.output)
    print(f"Picture: {arguments.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture, a .png file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
