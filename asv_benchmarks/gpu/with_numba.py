"""Numba's own arrays."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ..benchmarks.workloads import Array
from .places import Dtype, is_bfloat16

# No power of two, so that no two windows that are compared hold the same numbers.
_PIECE = 50_000_017


class Numba:
    """Numba's own arrays, also those of its simulator."""

    name = "numba"
    # It copies a table of arrays that numclip has not seen before while the host waits.
    never_waits = False

    def __init__(self) -> None:
        from numba import cuda

        self._cuda = cuda

    def put(self, host: Array) -> Any:
        if is_bfloat16(host.dtype):
            there = self._cuda.to_device(np.array(host.view(np.uint16), order="K"))
            return there.view(host.dtype)
        return self._cuda.to_device(np.array(host, order="K"))

    def get(self, array: Any) -> Array:
        if is_bfloat16(array.dtype):
            bits: Array = array.view(np.uint16).copy_to_host()
            return bits.view(array.dtype)
        return np.asarray(array.copy_to_host())

    def holds(self, value: Any) -> bool:
        return type(value) is type(self._cuda.device_array(1))

    def random(self, size: int, dtype: Dtype) -> Any:
        # Its own generator needs a kernel for each dtype: the same numbers again and again do.
        piece = np.random.default_rng(0).standard_normal(min(size, _PIECE), np.float32)
        piece = piece.astype(dtype)
        array = self._cuda.device_array(size, dtype)
        for begin in range(0, size, piece.size):
            part = array[begin : begin + piece.size]
            part.copy_to_device(piece[: part.size])
        return array

    def synchronize(self) -> None:
        self._cuda.synchronize()

    def release(self) -> None:
        """Numba gives its memory back by itself, where more is asked for than there is."""

    def new_stream(self) -> Any:
        return self._cuda.stream()

    def address_of(self, stream: Any) -> int:
        return int(stream)

    def work_on(self, stream: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def bound(self, array: Any, stream: Any) -> Any:
        return array.bind(stream)

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        target.copy_to_device(source, stream=stream)
