"""The step over variables on a CUDA device: one launch for all dense ones of a dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from numclip import _compile_cuda as compile_cuda
from numclip import _cuda_array, _cuda_libraries, _cuda_memory
from numclip._cuda_array import Columns, CudaArray
from numclip._cuda_slices import Groups, width_of
from numclip._cuda_tensors import (
    FLOATING,
    NUMBERS,
    SEEN,
    TABLES,
    table_of,
    table_of_columns,
)
from numclip._kernels import table as kernels
from numclip._variable import Variable
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
    copied = _cuda_memory.empty(gradient.shape, gradient.dtype, gradient)
    _cuda_memory.copy(gradient, copied)
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
    buffers = [_cuda_memory.in_c_order(update.number) for update in updates]
    gradients = [
        _cuda_memory.readable(update.gradient, buffer)
        for update, buffer in zip(updates, buffers, strict=True)
    ]
    host = table_of(gradients, buffers)
    for row, update in zip(host, updates, strict=True):
        for i, slot in enumerate(update.slots):
            row[kernels.FIRST_SLOT + i] = slot.address
    _launch(host, like, loop_of)
    for update, buffer in zip(updates, buffers, strict=True):
        _cuda_memory.deliver(buffer, update.number)


def _launch(host: Any, like: CudaArray, loop_of: LoopOf) -> None:
    table = TABLES.get(host, like)
    for kind in table.kinds:
        loop = loop_of(np.float64 if kind == kernels.FLOAT64 else np.float32)
        arguments = (NUMBERS[kind], kind, table.address, table.rows, table.chunks)
        _cuda_memory.launch(loop.cuda_kernel, like, table.chunks, loop.hyperparameters, *arguments)


class PlainUpdates:
    """Gradients and variables that are plain arrays, all alike, and share no memory."""

    def __init__(self, variables: list[Variable], table: Any, like: CudaArray) -> None:
        self.variables = variables
        self._table = table
        self._like = like

    def update(self, slots: Sequence[Sequence[Any]], loop_of: LoopOf) -> None:
        """Update all at once; `slots` has a list for each slot of a variable."""
        for i, arrays in enumerate(slots):
            found = _cuda_libraries.columns(arrays)
            assert found is not None
            self._table[:, kernels.FIRST_SLOT + i] = found.addresses
        with compile_cuda.LAUNCHES:
            _launch(self._table, self._like, loop_of)


def plain_updates(pairs: Sequence[tuple[Any, Variable]]) -> PlainUpdates | None:
    """Return updates that need no copies and no order, None if there are others among them."""
    gradients = [gradient for gradient, _ in pairs]
    variables = [variable for _, variable in pairs]
    arrays = [variable.array for variable in variables]
    found, there = _cuda_libraries.columns(gradients), _cuda_libraries.columns(arrays)
    if (
        found is None
        or there is None
        or found.like.device != there.like.device
        or list(found.dtypes) != list(there.dtypes)
        or not all(dtype.name in FLOATING for dtype in set(found.dtypes))
        or any([g.shape != v.shape for g, v in zip(gradients, arrays, strict=True)])
        or not _are_apart(found, there)
    ):
        return None
    table = table_of_columns(found)
    table[:, kernels.TARGET] = there.addresses
    return PlainUpdates(variables, table, there.like)


def _are_apart(gradients: Columns, variables: Columns) -> bool:
    """Tell whether no variable shares memory with another, or with a gradient."""
    starts, ends = variables.spans()
    if np.any(ends[:-1] > starts[1:]):
        return False
    first, last = gradients.spans()
    # The last variable that begins before a gradient ends.
    before = np.searchsorted(starts, last) - 1
    return not np.any((before >= 0) & (ends[before] > first)) if len(starts) else True


def _update_rows(update: DeviceUpdate, groups: Groups, loop: Loop) -> None:
    number = update.number
    width, rows = width_of(number), number.shape[0]
    if not width:
        return
    buffer = _cuda_memory.in_c_order(number)
    values = _cuda_memory.readable(update.gradient, buffer)
    places = groups.places(rows) if loop.takes_all_rows else None
    units = rows if loop.takes_all_rows else groups.size
    _cuda_memory.launch(
        loop.cuda_kernel,
        number,
        _cuda_memory.blocks_for(units * width),
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
    _cuda_memory.deliver(buffer, number)
