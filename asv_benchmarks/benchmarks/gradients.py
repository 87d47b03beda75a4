"""Gradients of losses that read variables, beside those that autograd computes itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from .common import REPEAT, set_environment

set_environment()

_BATCH = 64
_WIDTHS = (784, 256, 128, 10)
_ROWS, _DIMENSIONS, _WORDS = 100_000, 64, 1_000

# Makes of a loss and its arrays what computes the gradients.
_Peer = Callable[[Callable[..., Any], list[Any]], Callable[[], Any]]


def _three_layers() -> tuple[Callable[..., Any], list[Any]]:
    """Return the mean cross-entropy of a batch of images, and its parameters."""
    import autograd.numpy as anp
    from autograd.scipy.special import logsumexp

    random = np.random.default_rng(0)
    images = random.standard_normal((_BATCH, _WIDTHS[0]))
    examples, labels = np.arange(_BATCH), random.integers(0, _WIDTHS[-1], _BATCH)

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
        hidden = anp.maximum(anp.maximum(images @ w1 + b1, 0) @ w2 + b2, 0)
        scores = hidden @ w3 + b3
        return anp.mean(logsumexp(scores, axis=1) - scores[examples, labels])

    pairs = itertools.pairwise(_WIDTHS)
    return loss, [
        array
        for inputs, outputs in pairs
        for array in (random.standard_normal((inputs, outputs)) / inputs**0.5, np.zeros(outputs))
    ]


def _trivial() -> tuple[Callable[..., Any], list[Any]]:
    """Return a square, whose gradient costs what every gradient does."""
    return lambda x: x**2, [np.array(3.0)]


def _numclip(loss: Callable[..., Any], arrays: list[Any]) -> Callable[[], Any]:
    import numclip as nc

    variables = [nc.Variable(array) for array in arrays]
    optimizer = nc.train.GradientDescentOptimizer(0.1)
    return lambda: optimizer.compute_gradients(lambda: loss(*variables))


def _autograd(loss: Callable[..., Any], arrays: list[Any]) -> Callable[[], Any]:
    import autograd

    gradients = autograd.grad(loss, tuple(range(len(arrays))))
    return lambda: gradients(*arrays)


_LOSSES = {"three layers": _three_layers, "trivial": _trivial}
_PEERS: dict[str, _Peer] = {"numclip": _numclip, "autograd": _autograd}


class ComputeGradients:
    repeat = REPEAT
    params = (tuple(_LOSSES), tuple(_PEERS))
    param_names = ("loss", "peer")

    def setup(self, loss: str, peer: str) -> None:
        self.compute = _PEERS[peer](*_LOSSES[loss]())
        self.compute()

    def time_compute_gradients(self, loss: str, peer: str) -> None:
        self.compute()


class TrainingStep:
    """Gradients by BLAS and a step that clips, in turns, each with threads of its own."""

    repeat = REPEAT
    params = ((1, 2),)
    param_names = ("threads",)

    def setup(self, threads: int) -> None:
        import numclip as nc

        nc.set_num_threads(threads)
        loss, arrays = _three_layers()
        variables = [nc.Variable(array) for array in arrays]
        self.loss = lambda: loss(*variables)
        self.optimizer = nc.train.AdamOptimizer(1e-6, global_clipnorm=1.0)
        self.optimizer.minimize(self.loss)

    def time_minimize(self, threads: int) -> None:
        self.optimizer.minimize(self.loss)


class Gather:
    """Look up rows of a large table and compute their gradient, beside indexing: it is dense."""

    repeat = REPEAT
    params = (("gather", "index"), tuple(_PEERS))
    param_names = ("look-up", "peer")

    def setup(self, look_up: str, peer: str) -> None:
        if look_up == "gather" and peer == "autograd":
            raise NotImplementedError("autograd has no gather")
        import numclip as nc

        random = np.random.default_rng(0)
        words = random.integers(0, _ROWS, _WORDS)
        take = nc.gather if look_up == "gather" else lambda table, indices: table[indices]
        table = random.standard_normal((_ROWS, _DIMENSIONS))
        self.compute = _PEERS[peer](lambda params: (take(params, words) ** 2).sum(), [table])
        self.compute()

    def time_compute_gradients(self, look_up: str, peer: str) -> None:
        self.compute()

    def peakmem_compute_gradients(self, look_up: str, peer: str) -> None:
        self.compute()
