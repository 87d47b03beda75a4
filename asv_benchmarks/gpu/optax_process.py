"""A process that times optax on a GPU, and prints a line of JSON for each list and case."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import jax
import numpy as np
import optax

from ..benchmarks.answers import quick_norm
from ..benchmarks.workloads import Workload
from .lists import OVER, UNDER, lists

_ROUNDS = 7
_CALLS = 20
# What was clipped is no longer over the limit, so that each call needs a lower one.
_SHRINKAGE = 1 - 2.0**-6


def _clip(gradients: list[Any], limit: Any) -> Any:
    return optax.clip_by_global_norm(limit).update(gradients, optax.EmptyState())[0]


_clip_donated = jax.jit(_clip, donate_argnums=0)
_global_norm = jax.jit(optax.global_norm)


def _gradients(workload: Workload) -> list[Any]:
    return [
        jax.random.normal(jax.random.key(i), shape, "float32")
        for i, shape in enumerate(workload.shapes)
    ]


def _seconds(workload: Workload, limits: Sequence[float]) -> float:
    """Return the mean of calls of which each takes what the one before has left."""
    gradients = jax.block_until_ready(_clip_donated(_gradients(workload), limits[0]))
    start = perf_counter()
    for limit in limits[1:]:
        gradients = _clip_donated(gradients, limit)
    jax.block_until_ready(gradients)
    return (perf_counter() - start) / (len(limits) - 1)


def _measure(workload: Workload) -> None:
    gradients = _gradients(workload)
    exact = quick_norm(np.asarray(gradient) for gradient in gradients)
    error = abs(float(_global_norm(gradients)) / exact - 1)
    del gradients
    for case in (OVER, UNDER):
        limits = [2 * exact] * (_CALLS + 1)
        if case == OVER:
            limits = [exact * _SHRINKAGE ** (1 + call) for call in range(_CALLS + 1)]
        seconds = [_seconds(workload, limits) for _ in range(_ROUNDS)]
        line = {"workload": workload.title, "case": case, "seconds": seconds, "error": error}
        print(json.dumps(line), flush=True)


def main() -> None:
    for workload in lists(is_quick="--quick" in sys.argv):
        _measure(workload)


if __name__ == "__main__":
    main()
