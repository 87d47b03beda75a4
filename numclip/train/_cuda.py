"""The step over variables on a CUDA device: one launch for all dense ones of a dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from numclip import _compile_cuda as compile_cuda
from numclip import _cuda_array
from numclip._cuda_array import CudaArray
from numclip._cuda_slices import Groups, width_of
from numclip._cuda_tensors import NUMBERS, SEEN, TABLES, table_of
from numclip._kernels import table as kernels
from numclip.train._loop import Loop

LoopOf = Callable[[type[np.floating[Any]]], Loop]


class DeviceUpdate(NamedTuple):
    """A gradient, dense or by rows, and what it updates."""

    gradient: CudaArray
    groups: Groups | None
    number: CudaArray
    slots: Sequence[CudaArray]


def update_on_device(updates: Sequence[DeviceUpdate], dense: LoopOf, rows: LoopOf) -> None:
    """Update variables in order; dense ones that share no memory, at once."""
    with compile_cuda.LAUNCHES:
        for device in {update.number.device for update in updates}:
            here = [update for update in updates if update.number.device == device]
            spans = _Spans([update.number for update in here])
            here = [_protected(update, spans) for update in here]
            for batch in _batches(here, spans):
                if batch[0].groups is None:
                    _update_dense(batch, dense)
                else:
                    _update_rows(batch[0], batch[0].groups, rows(_compute_type(batch[0].number)))


class _Spans:
    """Where in memory variables lie."""

    def __init__(self, arrays: Sequence[CudaArray]) -> None:
        spans = np.array([_cuda_array.span(array) for array in arrays], np.int64).reshape(-1, 2)
        self._starts, self._ends = spans[np.argsort(spans[:, 0])].T
        self.are_disjoint = not np.any(self._ends[:-1] > self._starts[1:])

    def meet(self, array: CudaArray) -> bool:
        """Tell whether an array shares memory with any; where they overlap, it may."""
        start, end = _cuda_array.span(array)
        last = int(np.searchsorted(self._starts, end)) - 1
        return not self.are_disjoint or (last >= 0 and bool(self._ends[last] > start))


def _protected(update: DeviceUpdate, spans: _Spans) -> DeviceUpdate:
    """Copy a gradient that shows what the step changes: it has to be what it was before."""
    if not spans.meet(update.gradient):
        return update
    gradient = update.gradient
    copied = _cuda_array.empty(gradient.shape, gradient.dtype, gradient)
    _cuda_array.copy(gradient, copied)
    return update._replace(gradient=copied)


def _batches(updates: Sequence[DeviceUpdate], spans: _Spans) -> Iterator[Sequence[DeviceUpdate]]:
    """Yield updates that can be made at once, in order."""
    if spans.are_disjoint:
        dense = [update for update in updates if update.groups is None]
        if dense:
            yield dense
        updates = [update for update in updates if update.groups is not None]
    for update in updates:
        yield [update]


def _compute_type(array: CudaArray) -> type[np.floating[Any]]:
    return np.float64 if array.dtype == np.float64 else np.float32


def _update_dense(updates: Sequence[DeviceUpdate], loop_of: LoopOf) -> None:
    like = updates[0].number
    buffers = [_cuda_array.in_c_order(update.number) for update in updates]
    gradients = [
        _cuda_array.readable(update.gradient, buffer)
        for update, buffer in zip(updates, buffers, strict=True)
    ]
    host = table_of(gradients, buffers)
    for row, update in zip(host, updates, strict=True):
        for i, slot in enumerate(update.slots):
            row[kernels.FIRST_SLOT + i] = slot.address
    table = TABLES.get(host, like)
    for kind in table.kinds:
        loop = loop_of(np.float64 if kind == kernels.FLOAT64 else np.float32)
        arguments = (NUMBERS[kind], kind, table.address, table.rows, table.chunks)
        _cuda_array.launch(loop.cuda_kernel, like, table.chunks, loop.hyperparameters, *arguments)
    for update, buffer in zip(updates, buffers, strict=True):
        _cuda_array.deliver(buffer, update.number)


def _update_rows(update: DeviceUpdate, groups: Groups, loop: Loop) -> None:
    number = update.number
    width, rows = width_of(number), number.shape[0]
    if not width:
        return
    buffer = _cuda_array.in_c_order(number)
    values = _cuda_array.readable(update.gradient, buffer)
    places = groups.places(rows) if loop.takes_all_rows else None
    units = rows if loop.takes_all_rows else groups.size
    _cuda_array.launch(
        loop.cuda_kernel,
        number,
        _cuda_array.blocks_for(units * width),
        loop.hyperparameters,
        SEEN[number.dtype.name][1],
        rows,
        width,
        groups.size,
        values.address,
        *groups.sorted,
        0 if places is None else places.address,
        buffer.address,
        *(slot.address for slot in update.slots),
    )
    _cuda_array.deliver(buffer, number)
