"""Rows of CUDA arrays that share an index: found by sorting, and summed on the device.

To check the range of the indices, and to know how many rows are left, the host waits once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numclip import _cuda_array
from numclip._cuda_array import CudaArray
from numclip._cuda_tensors import SEEN
from numclip._kernels.rows import (
    DISTINCT,
    HIGHEST,
    LOWEST,
    SUMMARY,
    add_rows_cuda,
    flag_groups_cuda,
    merge_runs_cuda,
    number_groups_cuda,
    store_indices_cuda,
)
from numclip._kernels.strided import convert_integers_cuda
from numclip._kernels.update import place_groups_cuda

_INT64 = np.dtype(np.int64)


class Groups(NamedTuple):
    """The occurrences of each index, one after another, and the numbers of their groups."""

    size: int
    keys: CudaArray
    order: CudaArray
    numbers: CudaArray
    lowest: int
    highest: int
    distinct: int

    @property
    def sorted(self) -> tuple[int, int]:
        return self.keys.address, self.order.address

    def places(self, rows: int) -> CudaArray:
        """Return where the group of each row begins, -1 for a row that does not occur."""
        places = _cuda_array.full((rows,), np.int64(-1), self.keys)
        arguments = (rows, self.size, self.keys.address, places.address)
        blocks = _cuda_array.blocks_for(self.size)
        _cuda_array.launch(place_groups_cuda, self.keys, blocks, *arguments)
        return places


def groups_of(indices: CudaArray) -> Groups:
    """Group indices, and wait for what the host has to know."""
    if not indices.size:
        return Groups(0, indices, indices, indices, 0, -1, 0)
    keys, order = _sorted(_int64(indices))
    size, blocks = indices.size, _cuda_array.blocks_for(indices.size)
    flags = _cuda_array.empty((size,), _INT64, keys)
    summary = _cuda_array.empty((SUMMARY,), _INT64, keys)
    addresses = (keys.address, order.address, flags.address)
    _cuda_array.launch(flag_groups_cuda, keys, blocks, size, *addresses)
    addresses = (keys.address, flags.address, summary.address)
    _cuda_array.launch(number_groups_cuda, keys, 1, size, *addresses)
    known = _cuda_array.download(summary).tolist()
    return Groups(size, keys, order, flags, known[LOWEST], known[HIGHEST], known[DISTINCT])


def _int64(indices: CudaArray) -> CudaArray:
    return _converted(_cuda_array.in_c_order(indices), _INT64)


def _converted(integers: CudaArray, dtype: np.dtype[Any]) -> CudaArray:
    if integers.dtype == dtype:
        return integers
    converted = _cuda_array.empty(integers.shape, dtype, integers)
    arguments = (
        integers.dtype.type(0),
        dtype.type(0),
        integers.size,
        integers.address,
        converted.address,
    )
    blocks = _cuda_array.blocks_for(integers.size)
    _cuda_array.launch(convert_integers_cuda, integers, blocks, *arguments)
    return converted


def _sorted(keys: CudaArray) -> tuple[CudaArray, CudaArray]:
    """Return keys sorted, and where each was; equal ones stay in order."""
    found = keys.library.sort(keys.array)
    if found is not None:
        return _cuda_array.seen(found[0], keys), _cuda_array.seen(found[1], keys)
    size, blocks = keys.size, _cuda_array.blocks_for(keys.size)
    order = keys
    run = 1
    while run < size or order is keys:
        merged = [_cuda_array.empty((size,), _INT64, keys) for _ in range(2)]
        addresses = (keys.address, order.address, *(each.address for each in merged))
        _cuda_array.launch(merge_runs_cuda, keys, blocks, size, run, *addresses)
        keys, order = merged
        run *= 2
    return keys, order


def width_of(values: CudaArray) -> int:
    """Return how many numbers a row has."""
    if not values.size:
        return 0
    return values.size // values.shape[0] * SEEN[values.dtype.name][2]


def sum_groups(values: CudaArray, groups: Groups, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the sums of rows that share an index, in order of first occurrence, and those."""
    values = _cuda_array.in_c_order(values)
    summed = _cuda_array.empty((groups.distinct, *values.shape[1:]), values.dtype, values)
    _add_rows(values, groups, groups.numbers.address, summed)
    return summed.array, _converted(_indices(groups), dtype).array


def _indices(groups: Groups) -> CudaArray:
    indices = _cuda_array.empty((groups.distinct,), _INT64, groups.keys)
    arguments = (groups.size, *groups.sorted, groups.numbers.address, groups.distinct)
    blocks = _cuda_array.blocks_for(groups.size)
    _cuda_array.launch(store_indices_cuda, groups.keys, blocks, *arguments, indices.address)
    return indices


def scatter_groups(values: CudaArray, groups: Groups, dense: CudaArray) -> None:
    """Store the sums of rows that share an index in the rows of a dense array."""
    _add_rows(_cuda_array.in_c_order(values), groups, 0, dense)


def _add_rows(values: CudaArray, groups: Groups, numbers: int, target: CudaArray) -> None:
    width, number = width_of(values), SEEN[values.dtype.name][1]
    if not width:
        return
    arguments = (number, groups.size, width, *groups.sorted, numbers)
    places = (values.address, target.address, target.shape[0])
    blocks = _cuda_array.blocks_for(groups.size * width)
    _cuda_array.launch(add_rows_cuda, values, blocks, *arguments, *places)


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
    joined = _cuda_array.empty((rows, *first.shape[1:]), first.dtype, first)
    address = joined.address
    for part in parts:
        place = joined._replace(address=address, shape=part.shape)
        _cuda_array.copy(part, place)
        address += part.nbytes
    return joined.array
