"""Vanishing gradients: see them in a deep network of sigmoids, beside one of rectifiers.

Ten dense layers learn to read handwritten digits. A sigmoid passes back a quarter of a gradient at
most, so that the first layers of its network get next to nothing, and do not learn; rectifiers,
whose weights are drawn as wide as He et al. say, pass back as much as they get.

    pip install '.[examples]'
    python examples/vanishing_gradients.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import expit, logsumexp
from numpy.typing import NDArray
from rich.console import Console

import numclip as nc

LAYERS = 10
WIDTH = 64
CLASSES = 10
BATCH = 64
RATE = 0.001
PICTURE = Path(__file__).parent.parent / "docs" / "examples" / "vanishing_gradients.png"


class Images(NamedTuple):
    """Images of 64 pixels each, from -1 to 1, and the digit on each."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.intp]


class Network(NamedTuple):
    """What follows a layer's sums, and how wide its weights are drawn: times 1/sqrt(inputs)."""

    activation: Callable[[Any], Any]
    gain: float


NETWORKS = {
    "sigmoid": Network(expit, 1.0),
    "rectifier": Network(lambda x: anp.maximum(x, 0), np.sqrt(2.0)),
}


class Run(NamedTuple):
    """What a network was like before it learned, as it did, and what it came to."""

    summary: Sequence[Any]
    history: nc.GradientHistory
    accuracy: float


def load(rng: np.random.Generator) -> tuple[Images, Images]:
    """Return images to learn from, and others."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images.reshape(-1, 64) / 8 - 1).astype(np.float32)
    shown, others = np.split(rng.permutation(len(pixels)), [len(pixels) * 3 // 4])
    return tuple(Images(pixels[rows], digits.target[rows]) for rows in (shown, others))  # type: ignore[return-value]


def make_variables(gain: float, rng: np.random.Generator) -> nc.VariableStore:
    store = nc.VariableStore()
    for layer in range(1, LAYERS + 1):
        outputs = WIDTH if layer < LAYERS else CLASSES
        with store.scope(f"layer{layer}"):
            kernel = rng.standard_normal((WIDTH, outputs)) * gain / np.sqrt(WIDTH)
            store.variable("kernel", kernel.astype(np.float32))
            store.variable("bias", np.zeros(outputs, np.float32))
    return store


def logits(variables: nc.VariableStore, network: Network, pixels: NDArray[np.float32]) -> Any:
    x: Any = pixels
    for layer in range(1, LAYERS + 1):
        x = x @ variables[f"layer{layer}/kernel"] + variables[f"layer{layer}/bias"]
        if layer < LAYERS:
            x = network.activation(x)
    return x


def loss(variables: nc.VariableStore, network: Network, images: Images) -> Any:
    """Return the mean cross-entropy."""
    scores = logits(variables, network, images.pixels)
    of_labels = scores[np.arange(len(images.labels)), images.labels]
    return anp.mean(logsumexp(scores, axis=1) - of_labels)


def train(network: Network, shown: Images, others: Images, steps: int, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    variables = make_variables(network.gain, rng)
    # The biases are as the kernels, and would make the picture twice as high.
    kernels = nc.filter_variables(variables, "*/kernel")
    history = nc.GradientHistory(ratios_every=max(1, steps // 50))
    optimizer = nc.train.AdamOptimizer(RATE, history=history)
    first = optimizer.compute_gradients(partial(loss, variables, network, shown), kernels)
    for _ in range(steps):
        rows = rng.choice(len(shown.labels), BATCH, replace=False)
        batch = Images(shown.pixels[rows], shown.labels[rows])
        optimizer.minimize(partial(loss, variables, network, batch), var_list=kernels)
    found = logits(variables, network, others.pixels).argmax(axis=1)
    accuracy = float(np.mean(found == others.labels))
    return Run(nc.summarize_gradients(first), history, accuracy)


def draw(runs: Mapping[str, Run], path: Path) -> None:
    from matplotlib import style
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    norms = {name: run.history.norms.T for name, run in runs.items()}
    low = min(float(each[each > 0].min()) for each in norms.values())
    high = max(float(each.max()) for each in norms.values())
    with style.context(["default", {"font.size": 14}]):
        figure = Figure(figsize=(14, 7), dpi=100, layout="constrained")
        all_axes = figure.subplots(1, len(runs), sharey=True)
        for axes, (name, run) in zip(all_axes, runs.items(), strict=True):
            extent = (0.5, len(run.history) + 0.5, LAYERS + 0.5, 0.5)
            image = axes.imshow(
                norms[name],
                norm=LogNorm(low, high),
                aspect="auto",
                extent=extent,
                interpolation="nearest",
            )
            axes.set(xlabel="step", yticks=range(1, LAYERS + 1))
            axes.set_title(f"{name}: {run.accuracy:.0%} read right in the end", loc="left")
        all_axes[0].set_ylabel("layer")
        figure.colorbar(image, ax=all_axes, pad=0.01, label="norm of the gradient")
        figure.savefig(path)


def main() -> None:
    arguments = parse()
    steps = 20 if arguments.quick else 400
    console = Console(highlight=False)
    shown, others = load(np.random.default_rng(arguments.seed))
    runs = {
        name: train(network, shown, others, steps, arguments.seed)
        for name, network in NETWORKS.items()
    }
    for name, run in runs.items():
        first, last = run.summary[0].norm, run.summary[-1].norm
        console.print(f"\nThe first gradients with a {name}:")
        console.print(run.summary)
        console.print(f"Layer 1 gets {first / last:.1e} of the gradient of layer {LAYERS}.")
        console.print(f"After {steps} steps, {run.accuracy:.1%} of the digits are read right.")
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
