"""Slices and elements of one CUDA array, each with a limit of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from numclip import _cuda_memory
from numclip._cuda_array import CudaArray, HostArray
from numclip._cuda_tensors import cuda_tensors
from numclip._dtypes import SEEN
from numclip._kernels.axes import clip_rows_cuda
from numclip._kernels.columns import CUDA_COLUMNS, clip_columns_cuda
from numclip._kernels.factor import slack_of
from numclip._kernels.strided import bound_strided_cuda
from numclip._kernels.table import chunks_of

# One warp reads a slice. Of fewer slices than a device has warps, each of so many numbers that
# reading them takes longer than some launches, the device reads one at a time.
_LONG = 1 << 20
_FEW = 1 << 8


def clip_slices(
    source: CudaArray, limits: HostArray, target: CudaArray, shape: tuple[int, int, int]
) -> None:
    """Bring the norms of slices of (outer, reduced, inner) to their (outer, inner) limits."""
    outer, reduced, inner = shape
    _, number, parts = SEEN[source.dtype.name]
    buffer = _cuda_memory.buffer_for(target)
    numbers = _cuda_memory.readable(source, buffer)
    if inner == 1 and are_few_and_long(shape):
        _clip_each(numbers.in_rows(reduced), limits, buffer.in_rows(reduced))
        _cuda_memory.deliver(buffer, target)
        return
    reduced *= parts
    limits_there = _cuda_memory.upload(limits.astype(np.float64, order="C"), source)
    chunks = chunks_of(reduced)
    sums = _cuda_memory.empty((outer * inner * chunks if chunks > 1 else 0,), np.float64, source)
    slack = int(slack_of(reduced, 1))
    places = (numbers.address, limits_there.address, buffer.address)
    if inner == 1:
        arguments = (number, number.itemsize, *places, outer, reduced, sums.address, slack)
        _cuda_memory.launch(clip_rows_cuda, source, outer, *arguments)
    else:
        units = outer * -(-inner // CUDA_COLUMNS)
        arguments = (number, *places, outer, reduced, inner, sums.address, slack)
        _cuda_memory.launch(clip_columns_cuda, source, units, *arguments)
    _cuda_memory.deliver(buffer, target)


def are_few_and_long(shape: tuple[int, int, int]) -> bool:
    """Tell whether slices are better clipped one by one, each by the whole device."""
    outer, reduced, inner = shape
    return reduced >= _LONG and outer * inner <= _FEW


def _clip_each(rows: Sequence[CudaArray], limits: HostArray, targets: Sequence[CudaArray]) -> None:
    for row, limit, target in zip(rows, limits.reshape(-1).tolist(), targets, strict=True):
        cuda_tensors([row], [target]).clip(limit)


class _Bound(NamedTuple):
    """A bound on the device, and its strides when it is broadcast."""

    array: CudaArray
    strides: tuple[int, ...]
    size: int


def bound(
    source: CudaArray,
    lowest: HostArray | CudaArray,
    highest: HostArray | CudaArray,
    target: CudaArray,
) -> None:
    """Keep each number between bounds of the same dtype, which are broadcast."""
    if not source.size:
        return
    buffer = _cuda_memory.buffer_for(target)
    numbers = _cuda_memory.readable(source, buffer)
    low, high = _bound_of(lowest, source), _bound_of(highest, source)
    axes = np.array([source.shape, low.strides, high.strides], np.int64)
    axes[1:] //= source.dtype.itemsize
    axes_there = _cuda_memory.upload(axes, source)
    are_integers = source.dtype.kind in "iu"
    number = source.dtype.type(0) if are_integers else SEEN[source.dtype.name].number
    _cuda_memory.launch(
        bound_strided_cuda,
        source,
        _cuda_memory.blocks_for(source.size),
        number,
        int(are_integers),
        source.size,
        source.ndim,
        axes_there.address,
        numbers.address,
        buffer.address,
        low.array.address,
        low.size,
        high.array.address,
        high.size,
    )
    _cuda_memory.deliver(buffer, target)


def _bound_of(value: HostArray | CudaArray, source: CudaArray) -> _Bound:
    if isinstance(value, CudaArray):
        array = _cuda_memory.in_c_order(value)
        layout = array.layout()
    else:
        layout = np.ascontiguousarray(value).reshape(value.shape)
        array = _cuda_memory.upload(layout, source)
    return _Bound(array, np.broadcast_to(layout, source.shape).strides, value.size)
