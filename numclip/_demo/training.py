"""Training by plain gradient descent, with the gradients clipped or not."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import numclip as nc
from numclip._demo.network import Network

# At this rate the gradients explode, unless their norm is limited.
LEARNING_RATE = 4.0


class Step(NamedTuple):
    """What happened in one step of training; the norm is that before clipping."""

    loss: float
    norm: float
    clipped: bool
    seconds: float


@dataclass
class Run:
    """A network, how it is trained, and what has happened so far."""

    name: str
    network: Network
    clip_norm: float | None
    history: list[Step] = field(default_factory=list)


def train(run: Run, batches: Iterable[Any]) -> Iterator[Step]:
    """Take a step for each batch, and add it to the run's history."""
    optimizer = nc.train.GradientDescentOptimizer(LEARNING_RATE)
    for batch in batches:
        step = _take_step(run, optimizer, batch)
        run.history.append(step)
        yield step


@np.errstate(all="ignore")  # numbers may overflow where training explodes
def _take_step(run: Run, optimizer: nc.train.Optimizer, batch: Any) -> Step:
    started = perf_counter()
    variables = run.network.variables
    loss, gradients = nc.value_and_gradients(partial(run.network.loss, batch), variables)
    if run.clip_norm is None:
        norm = nc.global_norm(gradients)
    else:
        gradients, norm = nc.clip_by_global_norm(gradients, run.clip_norm)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    clipped = run.clip_norm is not None and bool(norm > run.clip_norm)
    return Step(float(loss), float(norm), clipped, perf_counter() - started)
