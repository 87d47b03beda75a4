"""Clipping each slice of an array by its own norm.

The array is seen as (outer, reduced, inner). Where inner is 1 a slice is a row, and is treated as
any array; else it is a column.
"""

import math

import numpy as np

from numclip._compile import kernel, parallel_kernel, prange, rule, subkernel
from numclip._compile_cuda import WARP, cuda, cuda_kernel
from numclip._kernels.columns import COLUMNS, Block, clip_columns
from numclip._kernels.elementwise import Copy, Scale, ScaleInSteps, map_array, map_array_cuda
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.half import is_double
from numclip._kernels.memory import numbers_at
from numclip._kernels.norm import sum_squares
from numclip._kernels.rescue import rescued_sum_cuda
from numclip._kernels.sums import LANES_BYTES, add_sums_cuda, sum_squares_cuda
from numclip._kernels.table import CHUNK, chunks_of


@subkernel
def _clip_row(source, limit, slack, target):
    total, exponent = sum_squares(source)
    is_single = source.itemsize < 8
    factor, power = clip_factor(math.sqrt(total), exponent, limit, slack, is_single)
    chunks = chunks_of(source.size)
    if power != 0:
        map_array(ScaleInSteps(factor, power, factor, power), source, target, 0, chunks, False)
    elif factor != 1.0:
        map_array(Scale(factor, factor), source, target, 0, chunks, False)
    elif source.ctypes.data != target.ctypes.data:
        map_array(Copy(), source, target, 0, chunks, False)


@subkernel
def _clip_rows(source, limits, target, first, last):
    slack = slack_of(source.shape[1], 1)
    for row in range(first, last):
        _clip_row(source[row], limits[row], slack, target[row])


@rule
def slices_of(shape):
    """Return the number of units of work: rows, or blocks of columns."""
    outer, _, inner = shape
    return outer if inner == 1 else outer * ((inner + COLUMNS - 1) // COLUMNS)


@kernel
def clip_slices(source, limits, target, first, last):
    """Bring the norms of these units of (outer, reduced, inner) to their (outer, inner) limits."""
    outer, reduced, inner = source.shape
    if inner == 1:
        rows = (outer, reduced)
        _clip_rows(source.reshape(rows), limits.reshape(outer), target.reshape(rows), first, last)
        return
    blocks = (inner + COLUMNS - 1) // COLUMNS
    for unit in range(first, last):
        place, column = unit // blocks, unit % blocks * COLUMNS
        columns = min(COLUMNS, inner - column)
        block = Block(place * reduced * inner + column, columns, reduced, inner)
        some_limits = limits[place, column : column + columns]
        clip_columns(source.reshape(source.size), some_limits, target.reshape(target.size), block)


@parallel_kernel
def clip_slices_parallel(source, limits, target, units, parts):
    for part in prange(parts):
        clip_slices(source, limits, target, part * units // parts, (part + 1) * units // parts)


_FLOAT64 = np.float64(0)
_SUMS = np.dtype(np.float64)


@cuda_kernel(WARP, LANES_BYTES)
def clip_rows_cuda(like, itemsize, source, limits_address, target, rows, size, sums_address, slack):
    """Bring the norms of all rows to their limits; `sums` has room for their chunks."""
    chunks = chunks_of(size)
    limits = numbers_at(limits_address, rows, _FLOAT64)
    sums = numbers_at(sums_address, rows * chunks if chunks > 1 else 0, _FLOAT64)
    lanes = cuda.shared.array(0, _SUMS)
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        begin, end = source + row * size * itemsize, target + row * size * itemsize
        numbers, first_sum = numbers_at(begin, size, like), row * chunks
        total = 0.0
        for chunk in range(chunks):
            first = chunk * CHUNK
            last = min(first + CHUNK, size)
            total = sum_squares_cuda(numbers, first, last, begin % 16 == 0, lanes)
            if cuda.threadIdx.x == 0 and chunks > 1:
                sums[first_sum + chunk] = total
        cuda.syncthreads()
        if chunks > 1:
            total = add_sums_cuda(sums, first_sum, chunks, lanes)
        total, exponent = rescued_sum_cuda(numbers, 0, 1, size, total, sums, first_sum, lanes)
        factor, power = clip_factor(
            math.sqrt(total), exponent, limits[row], slack, not is_double(like)
        )
        if power != 0:
            steps = ScaleInSteps(factor, power, factor, power)
            map_array_cuda(steps, like, begin, end, size, 0, chunks)
        elif factor != 1.0:
            map_array_cuda(Scale(factor, factor), like, begin, end, size, 0, chunks)
        elif source != target:
            map_array_cuda(Copy(), like, begin, end, size, 0, chunks)
        cuda.syncthreads()
