"""A step asks for no memory that grows with the variables, once the slots are made."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from optimizers import OPTIMIZERS

import numclip as nc

ROWS, WIDTH = 1 << 14, 64
CLIPPING: dict[str, dict[str, Any]] = {
    "no clipping": {},
    "clipvalue": {"clipvalue": 0.1},
    "clipnorm": {"clipnorm": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.1, "nonfinite": "skip"},
}
# What Python itself takes for a step, and the sums of the gradient's chunks.
_SMALL = 1 << 16


def memory_of_a_step(optimizer: Any, pairs: list[Any]) -> int:
    """Return the most bytes that a step holds besides what it is given."""
    optimizer.apply_gradients(pairs)
    tracemalloc.start()
    try:
        optimizer.apply_gradients(pairs)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("options", CLIPPING.values(), ids=CLIPPING)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dense(name: str, options: dict[str, Any]) -> None:
    variable = nc.Variable(np.ones((ROWS, WIDTH), np.float32))
    gradient = np.ones((ROWS, WIDTH), np.float32)
    assert memory_of_a_step(OPTIMIZERS[name].make(**options), [(gradient, variable)]) < _SMALL


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows(name: str) -> None:
    variable = nc.Variable(np.ones((ROWS, WIDTH), np.float32))
    gradient = nc.IndexedSlices(np.ones((64, WIDTH), np.float32), np.arange(64) // 2)
    optimizer = OPTIMIZERS[name].make(global_clipnorm=0.1)
    held = memory_of_a_step(optimizer, [(gradient, variable)])
    assert held < 2 * gradient.values.nbytes + _SMALL


def test_memory_that_is_asked_for_is_seen() -> None:
    class Copying:
        def apply_gradients(self, pairs: list[Any]) -> None:
            pairs[0][0].copy()

    gradient = np.ones((ROWS, WIDTH), np.float32)
    assert memory_of_a_step(Copying(), [(gradient, None)]) >= gradient.nbytes
