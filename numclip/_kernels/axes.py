"""Clipping each slice of an array by its own norm.

The array is seen as (outer, reduced, inner). Where inner is 1 a slice is a row, and is treated as
any array; else it is a column.
"""

import math

from numclip._compile import kernel, parallel_kernel, prange, rule, subkernel
from numclip._kernels.columns import COLUMNS, Block, clip_columns
from numclip._kernels.elementwise import Copy, Scale, ScaleInSteps, map_array
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.norm import sum_squares
from numclip._kernels.table import chunks_of


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
def clip_slices_parallel(source, limits, target, parts):
    units = slices_of(source.shape)
    for part in prange(parts):
        clip_slices(source, limits, target, part * units // parts, (part + 1) * units // parts)
