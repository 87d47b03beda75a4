"""Loops over arrays on a GPU that only move numbers: copies, conversions, broadcast bounds.

Arrays are walked in C order, whatever their strides. The lengths of the axes come first in `axes`,
then the strides of each array, in numbers. A number lies at its index times the strides from
`first` on, which is not 0 where strides are negative.
"""

import numpy as np

from numclip._compile import rule
from numclip._compile_cuda import cuda, cuda_kernel
from numclip._kernels.elementwise import MAP_THREADS, Bounds, between, mapped
from numclip._kernels.half import widen
from numclip._kernels.memory import numbers_at

_INT64 = np.int64(0)
_UINT8 = np.uint8(0)


@rule
def _place_of(i, axes, count, array):
    """Return where number `i` of an array lies."""
    place = 0
    for axis in range(count - 1, -1, -1):
        place += i % axes[axis] * axes[(1 + array) * count + axis]
        i //= axes[axis]
    return place


@cuda_kernel(MAP_THREADS)
def copy_strided_cuda(
    like,
    size,
    count,
    axes_address,
    source,
    source_first,
    source_extent,
    target,
    target_first,
    target_extent,
):
    """Copy from one array to another of the same shape."""
    axes = numbers_at(axes_address, 3 * count, _INT64)
    numbers = numbers_at(source, source_extent, like)
    results = numbers_at(target, target_extent, like)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        origin = source_first + _place_of(i, axes, count, 0)
        results[target_first + _place_of(i, axes, count, 1)] = numbers[origin]


@cuda_kernel(MAP_THREADS)
def bound_strided_cuda(
    like,
    are_integers,
    size,
    count,
    axes_address,
    source,
    target,
    lowest_address,
    lowest_extent,
    highest_address,
    highest_extent,
):
    """Keep each number between bounds of its own, that are broadcast."""
    axes = numbers_at(axes_address, 3 * count, _INT64)
    numbers, results = numbers_at(source, size, like), numbers_at(target, size, like)
    lowest = numbers_at(lowest_address, lowest_extent, like)
    highest = numbers_at(highest_address, highest_extent, like)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        low = lowest[_place_of(i, axes, count, 0)]
        high = highest[_place_of(i, axes, count, 1)]
        if are_integers:
            results[i] = between(numbers[i], low, high)
        else:
            results[i] = mapped(Bounds(widen(low), widen(high)), numbers[i])


@cuda_kernel(MAP_THREADS)
def convert_integers_cuda(like, wanted, size, source, target):
    """Store integers as integers of another type."""
    integers, converted = numbers_at(source, size, like), numbers_at(target, size, wanted)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        converted[i] = type(wanted)(integers[i])


@cuda_kernel(MAP_THREADS)
def fill_cuda(value, size, target):
    """Store a number everywhere."""
    results = numbers_at(target, size, value)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        results[i] = value


@cuda_kernel(MAP_THREADS)
def copy_masked_cuda(like, size, mask_address, source, target):
    """Copy where a mask of bytes is zero."""
    mask = numbers_at(mask_address, size, _UINT8)
    numbers, results = numbers_at(source, size, like), numbers_at(target, size, like)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        if mask[i] == 0:
            results[i] = numbers[i]
