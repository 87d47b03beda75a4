"""Loops that treat every number alike: one for arrays, one for tables, whatever the operation.

An operation is a NamedTuple; the loops find its rule by its class, as those of `update.py` do.
"""

import math
from typing import NamedTuple

import numpy as np

from numclip._compile import (
    array_at,
    kernel,
    overload,
    parallel_kernel,
    pointer_to,
    prange,
    rule,
    subkernel,
)
from numclip._compile_cuda import cuda, cuda_function, cuda_kernel
from numclip._kernels.ahead import STEP, read_ahead
from numclip._kernels.half import is_double, narrow, truncate, widen
from numclip._kernels.memory import load_4, numbers_at, store_4, table_at
from numclip._kernels.power import times_power_of_two
from numclip._kernels.stream import BLOCK, end_stream, is_large, new_block, next_line, stream
from numclip._kernels.table import (
    BFLOAT16,
    CHUNK,
    FIRST_CHUNK,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    ITEMSIZES,
    KIND,
    SIZE,
    SOURCE,
    TARGET,
    entry,
    part_of,
    row_of,
)

# Chunks that are walked forward in the second pass, whose pieces go backward: chunk by chunk
# backward 2**26 float32 take 10.7 ms, in pieces of 64 they take 8.
_PIECE = 64

_FLOAT32, _FLOAT64 = np.float32(0), np.float64(0)
_UINT16, _INT16, _BYTE = np.uint16(0), np.int16(0), np.uint8(0)


_SMALLEST_NORMAL_SINGLE = 2.0**-126
_SMALLEST_NORMAL, _SMALLEST_SUBNORMAL = 2.0**-1022, 2.0**-1074


class Copy(NamedTuple):
    """Keep each bit."""


class Zero(NamedTuple):
    """Make zero."""


class Bounds(NamedTuple):
    """Keep between two bounds."""

    lowest: float
    highest: float


class Scale(NamedTuple):
    """Multiply by a factor: one where numbers are computed in float32, one in float64."""

    single: float
    double: float


class ScaleInSteps(NamedTuple):
    """Multiply by a factor and a power of two in float64, and round toward zero what is subnormal.

    For limits so small that `Scale` could leave the result above them: where the factor would be
    too small, or the result subnormal. What is not subnormal has the bits that `Scale` gives.
    """

    single: float
    single_power: int
    double: float
    double_power: int


class Clip(NamedTuple):
    """Multiply as `ScaleInSteps` where a power is not zero, else as `Scale`; then as `Bounds`."""

    single: float
    single_power: int
    double: float
    double_power: int
    lowest: float
    highest: float


@rule
def _minimum(a, b):
    return a if a < b or a != a else b


@rule
def _maximum(a, b):
    return a if a > b or a != a else b


@rule
def between(value, lowest, highest):
    # The minimum first, as in TensorFlow: of crossed bounds, the lower one wins.
    return _maximum(_minimum(value, highest), lowest)


@rule
def _copied(operation, stored):
    return stored


@rule
def _zeroed(operation, stored):
    return type(stored)(0)


@rule
def _bounded(operation, stored):
    value = widen(stored)
    kind = type(value)
    return narrow(between(value, kind(operation.lowest), kind(operation.highest)), stored)


@rule
def _scaled(operation, stored):
    value = widen(stored)
    kind = type(value)
    factor = operation.double if is_double(stored) else operation.single
    return truncate(value * kind(factor), stored)


@rule
def _times_power_toward_zero(value, power):
    product = times_power_of_two(value, power)
    if abs(product) >= _SMALLEST_NORMAL or math.isnan(product):
        return product
    steps = math.floor(abs(times_power_of_two(value, power + 1074)))
    return math.copysign(steps * _SMALLEST_SUBNORMAL, value)


@rule
def _scaled_in_steps(operation, stored):
    value = widen(stored)
    if not is_double(stored):
        product = np.float64(value) * operation.single
        scaled = times_power_of_two(product, operation.single_power)
        is_normal = abs(scaled) >= _SMALLEST_NORMAL_SINGLE
        return truncate(np.float64(np.float32(scaled)) if is_normal else scaled, stored)
    product = np.float64(value) * operation.double
    return truncate(_times_power_toward_zero(product, operation.double_power), stored)


@rule
def _clipped(operation, stored):
    if operation.single_power != 0 or operation.double_power != 0:
        return _bounded(operation, _scaled_in_steps(operation, stored))
    return _bounded(operation, _scaled(operation, stored))


_RULES = {
    Copy: _copied,
    Zero: _zeroed,
    Bounds: _bounded,
    Scale: _scaled,
    ScaleInSteps: _scaled_in_steps,
    Clip: _clipped,
}


def mapped(operation, stored):
    return _RULES[type(operation)](operation, stored)


@overload(mapped)
def _mapped(operation, stored):
    return _RULES.get(operation.instance_class)


@subkernel
def _map_in_place(operation, numbers, first, last):
    for i in range(first, last):
        numbers[i] = mapped(operation, numbers[i])


@subkernel
def _map_to(operation, source, target, first, last):
    for i in range(first, last):
        target[i] = mapped(operation, source[i])


@subkernel
def _stream_to(operation, source, target, first, last):
    block = new_block(source[first])
    while first + BLOCK <= last:
        for i in range(first, first + BLOCK, STEP):
            read_ahead(source, i)
        for i in range(BLOCK):
            block[i] = mapped(operation, source[first + i])
        stream(block, 0, target, first)
        first += BLOCK
    end_stream()
    return first


@subkernel
def map_array(operation, source, target, first, last, large):
    """Apply an operation to these chunks of an array, the last piece of them first.

    After a norm was taken, that piece is still in the cache.
    """
    numbers, results = pointer_to(source), pointer_to(target)
    in_place = source.ctypes.data == target.ctypes.data
    while last > first:
        begin = max(first, last - _PIECE)
        start, end = begin * CHUNK, min(last * CHUNK, source.size)
        if large and not in_place:
            line = min(end, next_line(target, start))
            _map_to(operation, numbers, results, start, line)
            start = _stream_to(operation, numbers, results, line, end)
        while start < end:
            stop = min(start + BLOCK, end)
            if large and stop < source.size:
                for i in range(start, stop, STEP):
                    read_ahead(numbers, i)
            # A loop over two arrays runs one number at a time where they are the same, and took
            # 21 ms in place of 10 for 2**26 float32.
            if in_place:
                _map_in_place(operation, results, start, stop)
            else:
                _map_to(operation, numbers, results, start, stop)
            start = stop
        last = begin


@kernel
def map_chunks(operation, table, first, last):
    """Apply an operation to these chunks of the whole table, the last tensor first."""
    large = is_large(table)
    row = row_of(table, table.shape[0], last - 1, FIRST_CHUNK)
    while first < last:
        start, size, kind = table[row, FIRST_CHUNK], table[row, SIZE], table[row, KIND]
        source, target = table[row, SOURCE], table[row, TARGET]
        begin, end = max(first - start, 0), last - start
        if kind == FLOAT32:
            x, y = array_at(source, size, _FLOAT32), array_at(target, size, _FLOAT32)
            map_array(operation, x, y, begin, end, large)
        elif kind == FLOAT64:
            x64, y64 = array_at(source, size, _FLOAT64), array_at(target, size, _FLOAT64)
            map_array(operation, x64, y64, begin, end, large)
        elif kind == FLOAT16:
            x16, y16 = array_at(source, size, _UINT16), array_at(target, size, _UINT16)
            map_array(operation, x16, y16, begin, end, large)
        elif kind == BFLOAT16:
            xb, yb = array_at(source, size, _INT16), array_at(target, size, _INT16)
            map_array(operation, xb, yb, begin, end, large)
        last = min(last, start)
        row -= 1


@parallel_kernel
def map_chunks_parallel(operation, table, chunks, parts):
    for part in prange(parts):
        map_chunks(operation, table, part * chunks // parts, (part + 1) * chunks // parts)


@kernel
def copy_chunks(table, first, last):
    """Copy these chunks of the whole table to their targets, to the bit."""
    row = row_of(table, table.shape[0], last - 1, FIRST_CHUNK)
    large = is_large(table)
    while first < last:
        start = table[row, FIRST_CHUNK]
        pairs = ITEMSIZES[table[row, KIND]] // 2
        size = table[row, SIZE] * pairs
        source = array_at(table[row, SOURCE], size, _UINT16)
        target = array_at(table[row, TARGET], size, _UINT16)
        begin, end = max(first - start, 0) * pairs, (last - start) * pairs
        map_array(Copy(), source, target, begin, end, large)
        last = min(last, start)
        row -= 1


@parallel_kernel
def copy_chunks_parallel(table, chunks, parts):
    for part in prange(parts):
        copy_chunks(table, part * chunks // parts, (part + 1) * chunks // parts)


# Threads of a block, which share a chunk; without a barrier, more of them keep more loads going.
MAP_THREADS = 256


@cuda_function
def _map_4_cuda(operation, numbers, results, first):
    a, b, c, d = numbers
    store_4(
        results,
        first,
        mapped(operation, a),
        mapped(operation, b),
        mapped(operation, c),
        mapped(operation, d),
    )


@cuda_function
def map_array_cuda(operation, like, source, target, size, first, last):
    """Apply an operation to these chunks of an array, the last one first."""
    numbers, results = numbers_at(source, size, like), numbers_at(target, size, like)
    in_vectors = source % 16 == 0 and target % 16 == 0
    step = 4 * cuda.blockDim.x
    for chunk in range(last - 1, first - 1, -1):
        begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, size)
        if in_vectors:
            stop = begin + (end - begin) // 4 * 4
            i = begin + 4 * cuda.threadIdx.x
            # Loaded before any is stored: the compiler cannot know that they lie apart.
            while i + 3 * step < stop:
                u, v = load_4(numbers, i), load_4(numbers, i + step)
                w, x = load_4(numbers, i + 2 * step), load_4(numbers, i + 3 * step)
                _map_4_cuda(operation, u, results, i)
                _map_4_cuda(operation, v, results, i + step)
                _map_4_cuda(operation, w, results, i + 2 * step)
                _map_4_cuda(operation, x, results, i + 3 * step)
                i += 4 * step
            while i < stop:
                _map_4_cuda(operation, load_4(numbers, i), results, i)
                i += step
            begin = stop
        for i in range(begin + cuda.threadIdx.x, end, cuda.blockDim.x):
            results[i] = mapped(operation, numbers[i])


@cuda_kernel(MAP_THREADS)
def map_chunks_cuda(operation, like, kind, table_address, rows, chunks):
    """Apply an operation to the tensors of one kind."""
    table = table_at(table_address, rows)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, last - 1, FIRST_CHUNK)
    while first < last:
        start, size = entry(table, row, FIRST_CHUNK), entry(table, row, SIZE)
        if entry(table, row, KIND) == kind:
            source, target = entry(table, row, SOURCE), entry(table, row, TARGET)
            begin, end = max(first - start, 0), last - start
            map_array_cuda(operation, like, source, target, size, begin, end)
        last = min(last, start)
        row -= 1
