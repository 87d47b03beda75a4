"""A kernel that does nothing for a while, so that what is enqueued after it has to wait."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np


@cache
def _kernel() -> Any:
    from numba import cuda

    def wait(milliseconds):  # type: ignore[no-untyped-def]
        for _ in range(milliseconds):
            cuda.nanosleep(np.uint32(1_000_000))

    return cuda.jit("void(int64)")(wait)


def wait(stream: int, milliseconds: int) -> None:
    """Enqueue about so many milliseconds of nothing on a stream."""
    from numba import cuda

    where = cuda.external_stream(stream) if stream else 0
    with warnings.catch_warnings():
        # Of a grid of one block.
        warnings.simplefilter("ignore")
        _kernel()[1, 1, where](milliseconds)
