"""Rows of CUDA arrays that share an index: found by sorting, and summed on the device.

The host waits once to check the range of the indices, and once to know how many rows are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numclip import _cuda_memory
from numclip._cuda_array import CudaArray, seen
from numclip._dtypes import SEEN
from numclip._kernels.rows import (
    HIGHEST,
    LOWEST,
    RANGE,
    add_rows_cuda,
    find_range_cuda,
    flag_groups_cuda,
    merge_runs_cuda,
    number_groups_cuda,
    store_indices_cuda,
)
from numclip._kernels.strided import convert_integers_cuda
from numclip._kernels.update import place_groups_cuda

_INT64 = np.dtype(np.int64)


class Groups(NamedTuple):
    """The occurrences of each index, one after another, and the range of the indices."""

    size: int
    indices: CudaArray
    keys: CudaArray
    order: CudaArray
    lowest: int
    highest: int

    @property
    def sorted(self) -> tuple[int, int]:
        return self.keys.address, self.order.address

    def places(self, rows: int) -> CudaArray:
        """Return where the group of each row begins, -1 for a row that does not occur."""
        places = _cuda_memory.full((rows,), np.int64(-1), self.keys)
        arguments = (rows, self.size, self.keys.address, places.address)
        blocks = _cuda_memory.blocks_for(self.size)
        _cuda_memory.launch(place_groups_cuda, self.keys, blocks, *arguments)
        return places

    def numbered(self) -> tuple[CudaArray, int]:
        """Return for each occurrence the number of its group, and how many there are: it waits."""
        like, blocks = self.keys, _cuda_memory.blocks_for(self.size)
        numbers = _cuda_memory.empty((self.size,), _INT64, like)
        if not self.size:
            return numbers, 0
        count = _cuda_memory.empty((1,), _INT64, like)
        flagged = (self.size, *self.sorted, numbers.address)
        _cuda_memory.launch(flag_groups_cuda, like, blocks, *flagged)
        numbered = (self.size, numbers.address, count.address)
        _cuda_memory.launch(number_groups_cuda, like, 1, *numbered)
        return numbers, int(_cuda_memory.download(count)[0])


def groups_of(indices: CudaArray) -> Groups:
    """Group indices, and wait for their range."""
    if not indices.size:
        return Groups(0, indices, indices, indices, 0, -1)
    integers = _int64(indices)
    keys, order = _sorted(integers)
    ends = _cuda_memory.empty((RANGE,), _INT64, keys)
    arguments = (indices.size, keys.address, ends.address)
    _cuda_memory.launch(find_range_cuda, keys, 1, *arguments)
    known = _cuda_memory.download(ends).tolist()
    return Groups(indices.size, integers, keys, order, known[LOWEST], known[HIGHEST])


def _int64(indices: CudaArray) -> CudaArray:
    return _converted(_cuda_memory.in_c_order(indices), _INT64)


def _converted(integers: CudaArray, dtype: np.dtype[Any]) -> CudaArray:
    if integers.dtype == dtype:
        return integers
    converted = _cuda_memory.empty(integers.shape, dtype, integers)
    arguments = (
        integers.dtype.type(0),
        dtype.type(0),
        integers.size,
        integers.address,
        converted.address,
    )
    blocks = _cuda_memory.blocks_for(integers.size)
    _cuda_memory.launch(convert_integers_cuda, integers, blocks, *arguments)
    return converted


def _sorted(keys: CudaArray) -> tuple[CudaArray, CudaArray]:
    """Return keys sorted, and where each was; equal ones stay in order."""
    found = keys.library.sort(keys.array)
    if found is not None:
        return seen(found[0], keys.library), seen(found[1], keys.library)
    size, blocks = keys.size, _cuda_memory.blocks_for(keys.size)
    order = keys
    run = 1
    while run < size or order is keys:
        merged = [_cuda_memory.empty((size,), _INT64, keys) for _ in range(2)]
        addresses = (keys.address, order.address, *(each.address for each in merged))
        _cuda_memory.launch(merge_runs_cuda, keys, blocks, size, run, *addresses)
        keys, order = merged
        run *= 2
    return keys, order


def width_of(values: CudaArray) -> int:
    """Return how many numbers a row has."""
    if not values.size:
        return 0
    return values.size // values.shape[0] * SEEN[values.dtype.name].parts


def sum_groups(values: CudaArray, groups: Groups, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the sums of rows that share an index, in order of first occurrence, and those."""
    values = _cuda_memory.in_c_order(values)
    numbers, count = groups.numbered()
    summed = _cuda_memory.empty((count, *values.shape[1:]), values.dtype, values)
    _add_rows(values, groups, numbers.address, summed)
    indices = _cuda_memory.empty((count,), _INT64, groups.keys)
    arguments = (groups.size, *groups.sorted, numbers.address, count, indices.address)
    blocks = _cuda_memory.blocks_for(groups.size)
    _cuda_memory.launch(store_indices_cuda, groups.keys, blocks, *arguments)
    return summed.array, _converted(indices, dtype).array


def scatter_groups(values: CudaArray, groups: Groups, dense: CudaArray) -> None:
    """Store the sums of rows that share an index in the rows of a dense array."""
    _add_rows(_cuda_memory.in_c_order(values), groups, 0, dense)


def _add_rows(values: CudaArray, groups: Groups, numbers: int, target: CudaArray) -> None:
    width, number = width_of(values), SEEN[values.dtype.name].number
    if not width:
        return
    arguments = (number, groups.size, width, *groups.sorted, numbers)
    places = (values.address, target.address, target.shape[0])
    blocks = _cuda_memory.blocks_for(groups.size * width)
    _cuda_memory.launch(add_rows_cuda, values, blocks, *arguments, *places)


def join(parts: Sequence[CudaArray], argument: str) -> Any:
    """Return rows one after another; integers become int64 where their dtypes differ."""
    if len({part.dtype for part in parts}) > 1:
        if not all(part.dtype.kind in "iu" for part in parts):
            dtypes = " and ".join(str(part.dtype) for part in parts)
            raise TypeError(f"`{argument}` must be of one dtype, got {dtypes}")
        parts = [_int64(part) for part in parts]
    first = parts[0]
    rows = sum(part.shape[0] for part in parts)
    if any(part.shape[1:] != first.shape[1:] for part in parts):
        raise ValueError(f"`{argument}` must have rows of one shape")
    joined = _cuda_memory.empty((rows, *first.shape[1:]), first.dtype, first)
    address = joined.address
    for part in parts:
        place = joined._replace(address=address, shape=part.shape)
        _cuda_memory.copy(part, place)
        address += part.nbytes
    return joined.array
