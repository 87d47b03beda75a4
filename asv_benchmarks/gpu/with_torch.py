"""PyTorch's tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..benchmarks.workloads import Array, as_dtype
from .places import Dtype, Unavailable, is_bfloat16


class Torch:
    """PyTorch."""

    name = "torch"
    never_waits = True

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise Unavailable("torch sees no CUDA device")
        torch.manual_seed(0)
        self._torch = torch

    def put(self, host: Array) -> Any:
        copy = np.array(host, order="K")
        if is_bfloat16(copy.dtype):
            there = self._torch.from_numpy(copy.view(np.int16)).to("cuda")
            return there.view(self._torch.bfloat16)
        return self._torch.from_numpy(copy).to("cuda")

    def get(self, array: Any) -> Array:
        if array.dtype == self._torch.bfloat16:
            bits: Array = array.view(self._torch.int16).cpu().numpy()
            return bits.view(as_dtype("bfloat16"))
        return np.asarray(array.cpu().numpy())

    def holds(self, value: Any) -> bool:
        if not isinstance(value, self._torch.Tensor) or not value.is_cuda:
            return False
        return bool(value.get_device() == self._torch.cuda.current_device())

    def random(self, size: int, dtype: Dtype) -> Any:
        return self._torch.randn(size, dtype=getattr(self._torch, dtype.name), device="cuda")

    def synchronize(self) -> None:
        self._torch.cuda.synchronize()

    def release(self) -> None:
        self._torch.cuda.empty_cache()

    def new_stream(self) -> Any:
        return self._torch.cuda.Stream()

    def address_of(self, stream: Any) -> int:
        return int(stream.cuda_stream)

    def work_on(self, stream: Any) -> AbstractContextManager[Any]:
        return self._torch.cuda.stream(stream)  # type: ignore[no-any-return]

    def bound(self, array: Any, stream: Any) -> Any:
        return array

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        target.copy_(source)
