"""CuPy's arrays."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..benchmarks.workloads import Array
from .places import Dtype, Unavailable, is_bfloat16

_PIECE = 1 << 26


class Cupy:
    """CuPy."""

    name = "cupy"
    never_waits = True

    def __init__(self) -> None:
        import cupy

        if not cupy.is_available():
            raise Unavailable("CuPy sees no CUDA device")
        self._cupy = cupy

    def put(self, host: Array) -> Any:
        if is_bfloat16(host.dtype):
            return self._cupy.array(host.view(np.uint16), order="K").view(host.dtype)
        return self._cupy.array(host, order="K")

    def get(self, array: Any) -> Array:
        if is_bfloat16(array.dtype):
            bits: Array = array.view(np.uint16).get()
            return bits.view(array.dtype)
        return np.asarray(array.get())

    def holds(self, value: Any) -> bool:
        here = self._cupy.cuda.Device().id
        return isinstance(value, self._cupy.ndarray) and bool(value.device.id == here)

    def random(self, size: int, dtype: Dtype) -> Any:
        generator = self._cupy.random.default_rng(0)
        array = self._cupy.empty(size, dtype)
        for begin in range(0, size, _PIECE):
            piece = array[begin : begin + _PIECE]
            # CuPy draws no halves.
            piece[...] = generator.standard_normal(piece.size, dtype=np.float32)
        return array

    def synchronize(self) -> None:
        self._cupy.cuda.Device().synchronize()

    def release(self) -> None:
        self._cupy.get_default_memory_pool().free_all_blocks()

    def new_stream(self) -> Any:
        return self._cupy.cuda.Stream(non_blocking=True)

    def address_of(self, stream: Any) -> int:
        return int(stream.ptr)

    def work_on(self, stream: Any) -> AbstractContextManager[Any]:
        return stream  # type: ignore[no-any-return]

    def bound(self, array: Any, stream: Any) -> Any:
        return array

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        target[...] = source
