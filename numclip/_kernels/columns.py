"""Clipping each column of a table by its own norm, a block of columns at a time.

A block's rows are read as they lie in memory. The squares of a column are added in the order of
any other norm: row i of a chunk of 4,096 goes to lane i % 128. So the rows of one lane are taken
one after another, and 128 columns have their sums in registers meanwhile.
"""

import math
from typing import NamedTuple

import numpy as np

from numclip._compile import pointer_to, rule, subkernel
from numclip._compile_cuda import cuda, cuda_function, cuda_kernel
from numclip._kernels.ahead import prefetch
from numclip._kernels.elementwise import Copy, Scale, ScaleInSteps, mapped
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.half import is_double, widen
from numclip._kernels.lanes import LANES, new_row, no_lanes, plus, store_lanes
from numclip._kernels.memory import numbers_at
from numclip._kernels.rescue import fits, rescued_sum, rescued_sum_cuda
from numclip._kernels.sums import add_sums, add_sums_cuda, readable, square, squared
from numclip._kernels.table import CHUNK, chunks_of

# Columns of a block: as many as there are sums in registers.
COLUMNS = LANES

_ROWS_AHEAD = 4


class Block(NamedTuple):
    """Where the columns of a block lie in the memory of an array."""

    start: int
    columns: int
    rows: int
    stride: int


@rule
def scaled_by(stored, factor, power):
    if power == 0:
        return mapped(Scale(factor, factor), stored)
    return mapped(ScaleInSteps(factor, power, factor, power), stored)


@rule
def _power_of_two_from(size):
    power = 1
    while power < size:
        power *= 2
    return power


@subkernel
def _add_lanes(lanes, used):
    """Add the lanes of each column in a tree; the sums are left in the first lane."""
    while used > 1:
        used //= 2
        upper = used * COLUMNS
        for i in range(upper):
            lanes[i] += lanes[upper + i]


@subkernel
def _sum_squares_of_chunk(numbers, block, first, last, lanes):
    """Sum the squares of each column, of some rows, and leave the sums in the first lane."""
    row = new_row(widen(numbers[block.start]))
    used = min(last - first, LANES)
    for lane in range(used):
        sums = no_lanes()
        for i in range(first + lane, last, LANES):
            start = block.start + i * block.stride
            prefetch(numbers, start + _ROWS_AHEAD * LANES * block.stride)
            some, position = readable(numbers, start, block.columns, row)
            sums = plus(sums, square, some, position, block.columns)
        store_lanes(sums, lanes, lane * COLUMNS)
    filled = _power_of_two_from(used)
    for i in range(used * COLUMNS, filled * COLUMNS):
        lanes[i] = 0.0
    _add_lanes(lanes, filled)


@subkernel
def _sums_of_squares(source, block):
    """Return the sum of squares of each column, and its exponent."""
    chunks = chunks_of(block.rows)
    lanes = np.empty(LANES * COLUMNS)
    sums = np.zeros((block.columns, chunks))
    for chunk in range(chunks):
        first = chunk * CHUNK
        last = min(first + CHUNK, block.rows)
        _sum_squares_of_chunk(pointer_to(source), block, first, last, pointer_to(lanes))
        sums[:, chunk] = lanes[: block.columns]
    totals = np.empty(block.columns)
    exponents = np.zeros(block.columns, np.int64)
    for column in range(block.columns):
        totals[column] = sums[column, 0] if chunks == 1 else add_sums(sums[column])
        if not fits(source, totals[column]):
            start = block.start + column
            numbers = source[start : start + block.rows * block.stride : block.stride].copy()
            totals[column], exponents[column] = rescued_sum(numbers, totals[column])
    return totals, exponents


@subkernel
def _copy_row(source, target, start, factors):
    for i in range(factors.size):
        target[start + i] = mapped(Copy(), source[start + i])


@subkernel
def _scale_row(source, target, start, factors):
    for i in range(factors.size):
        target[start + i] = mapped(Scale(factors[i], factors[i]), source[start + i])


@subkernel
def _scale_row_in_place(numbers, start, factors):
    # One array: with two that are the same, numbers are multiplied one at a time.
    for i in range(factors.size):
        numbers[start + i] = mapped(Scale(factors[i], factors[i]), numbers[start + i])


@subkernel
def _scale(source, target, block, factors):
    """Multiply each column, the last row first: it is still in the cache."""
    numbers, results = pointer_to(source), pointer_to(target)
    in_place = source.ctypes.data == target.ctypes.data
    all_stay = np.all(factors == 1.0)
    if all_stay and in_place:
        return
    for i in range(block.rows - 1, -1, -1):
        start = block.start + i * block.stride
        prefetch(numbers, start - _ROWS_AHEAD * block.stride)
        if all_stay:
            _copy_row(numbers, results, start, factors)
        elif in_place:
            _scale_row_in_place(results, start, factors)
        else:
            _scale_row(numbers, results, start, factors)


@subkernel
def _scale_in_steps(source, target, block, factors, powers):
    for row in range(block.rows):
        start = block.start + row * block.stride
        for i in range(block.columns):
            target[start + i] = scaled_by(source[start + i], factors[i], powers[i])


@subkernel
def clip_columns(source, limits, target, block):
    """Bring the norms of a block's columns to their limits."""
    totals, exponents = _sums_of_squares(source, block)
    slack = slack_of(block.rows, 1)
    factors = np.empty(block.columns)
    powers = np.empty(block.columns, np.int64)
    is_single = source.itemsize < 8
    for i in range(block.columns):
        factors[i], powers[i] = clip_factor(
            math.sqrt(totals[i]), exponents[i], limits[i], slack, is_single
        )
    if np.all(powers == 0):
        _scale(source, target, block, factors)
    else:
        _scale_in_steps(source, target, block, factors, powers)


# On a GPU a block takes as many columns as a warp reads at once, and has room for their lanes,
# sums, factors and powers.
CUDA_COLUMNS = 32
_TOTALS, _FACTORS, _POWERS = [(LANES + i) * CUDA_COLUMNS for i in range(3)]
_ROOM = (LANES + 3) * CUDA_COLUMNS
_COLUMN_THREADS = 256
_FLOAT64 = np.float64(0)
_SUMS = np.dtype(np.float64)


@cuda_function
def _sum_squares_of_columns_cuda(numbers, block, first, last, room):
    """Sum the squares of each column, of some rows, and leave the sums in the first lane."""
    used = _power_of_two_from(min(last - first, LANES))
    for i in range(cuda.threadIdx.x, used * CUDA_COLUMNS, cuda.blockDim.x):
        lane, column = i // CUDA_COLUMNS, i % CUDA_COLUMNS
        total = 0.0
        if column < block.columns:
            for row in range(first + lane, last, LANES):
                total += squared(numbers[block.start + row * block.stride + column])
        room[i] = total
    while used > 1:
        used //= 2
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, used * CUDA_COLUMNS, cuda.blockDim.x):
            room[i] += room[used * CUDA_COLUMNS + i]
    cuda.syncthreads()


@cuda_function
def _sums_of_squares_cuda(numbers, block, sums, first_sum, room):
    """Leave the sum of squares of each column where `_TOTALS` says."""
    chunks = chunks_of(block.rows)
    for chunk in range(chunks):
        last = min((chunk + 1) * CHUNK, block.rows)
        _sum_squares_of_columns_cuda(numbers, block, chunk * CHUNK, last, room)
        for column in range(cuda.threadIdx.x, block.columns, cuda.blockDim.x):
            if chunks == 1:
                room[_TOTALS + column] = room[column]
            else:
                sums[first_sum + column * chunks + chunk] = room[column]
        cuda.syncthreads()
    if chunks > 1:
        for column in range(block.columns):
            total = add_sums_cuda(sums, first_sum + column * chunks, chunks, room)
            if cuda.threadIdx.x == 0:
                room[_TOTALS + column] = total
        cuda.syncthreads()


@cuda_kernel(_COLUMN_THREADS, _ROOM * _SUMS.itemsize)
def clip_columns_cuda(
    like, source, limits_address, target, outer, reduced, inner, sums_address, slack
):
    """Bring the norms of all columns to their limits; `sums` has room for their chunks."""
    size, chunks = outer * reduced * inner, chunks_of(reduced)
    numbers, results = numbers_at(source, size, like), numbers_at(target, size, like)
    limits = numbers_at(limits_address, outer * inner, _FLOAT64)
    sums = numbers_at(sums_address, outer * inner * chunks if chunks > 1 else 0, _FLOAT64)
    room = cuda.shared.array(0, _SUMS)
    blocks = (inner + CUDA_COLUMNS - 1) // CUDA_COLUMNS
    for unit in range(cuda.blockIdx.x, outer * blocks, cuda.gridDim.x):
        place, left = unit // blocks, unit % blocks * CUDA_COLUMNS
        columns = min(CUDA_COLUMNS, inner - left)
        block = Block(place * reduced * inner + left, columns, reduced, inner)
        first = place * inner + left
        _sums_of_squares_cuda(numbers, block, sums, first * chunks, room)
        for column in range(columns):
            total, exponent = rescued_sum_cuda(
                numbers,
                block.start + column,
                inner,
                reduced,
                room[_TOTALS + column],
                sums,
                (first + column) * chunks,
                room,
            )
            if cuda.threadIdx.x == 0:
                factor, power = clip_factor(
                    math.sqrt(total), exponent, limits[first + column], slack, not is_double(like)
                )
                room[_FACTORS + column], room[_POWERS + column] = factor, power
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, reduced * CUDA_COLUMNS, cuda.blockDim.x):
            row, column = i // CUDA_COLUMNS, i % CUDA_COLUMNS
            if column < columns:
                position = block.start + row * inner + column
                results[position] = scaled_by(
                    numbers[position], room[_FACTORS + column], int(room[_POWERS + column])
                )
        cuda.syncthreads()
