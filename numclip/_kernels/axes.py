"""Clipping each slice of an array by its own norm.

The array is seen as (outer, reduced, inner). Where inner is 1 a slice is a row, and is treated as
any array. Else a slice is a column, and a block of columns is treated together, row by row: the
lanes of a column are added in the order of a row's, so that a slice has one norm either way.
"""

import math

import numpy as np

from numclip._compile import kernel, parallel_kernel, prange, rule
from numclip._kernels.elementwise import Scale, ScaleInSteps, map_array, mapped
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.half import widen
from numclip._kernels.lanes import LANES
from numclip._kernels.norm import add_sums, fits, rescued_sum, sum_squares
from numclip._kernels.table import CHUNK, chunks_of

# 128 lanes of 32 columns are 32 KiB, which the first cache holds.
_COLUMNS = 32


@rule
def _is_single(x):
    return x.itemsize < 8


@kernel
def _clip_row(source, limit, slack, target):
    total, exponent = sum_squares(source)
    factor, power = clip_factor(math.sqrt(total), exponent, limit, slack, _is_single(source))
    chunks = chunks_of(source.size)
    if factor == 1.0:
        target[:] = source
    elif power == 0:
        map_array(Scale(factor, factor), source, target, 0, chunks, False)
    else:
        map_array(ScaleInSteps(factor, power, factor, power), source, target, 0, chunks, False)


@kernel
def _clip_rows(source, limits, target, first, last):
    slack = slack_of(source.shape[1], 1)
    for row in range(first, last):
        _clip_row(source[row], limits[row], slack, target[row])


@rule
def _square(stored):
    value = np.float64(widen(stored))
    return value * value


@rule
def _lanes_used(size):
    """Return the number of lanes, a power of two, that hold all there is to add."""
    used = LANES
    while used // 2 >= size and used > 1:
        used //= 2
    return used


@kernel
def _add_squares_of_columns(numbers, lanes):
    """Sum the squares of each column of one chunk of rows, and leave the sums in the first lane."""
    used = _lanes_used(numbers.shape[0])
    lanes[:used] = 0.0
    for row in range(numbers.shape[0]):
        lane = lanes[row % LANES]
        for column in range(numbers.shape[1]):
            lane[column] += _square(numbers[row, column])
    width = used // 2
    while width > 0:
        for i in range(width):
            for column in range(numbers.shape[1]):
                lanes[i, column] += lanes[i + width, column]
        width //= 2


@kernel
def _sums_of_columns(numbers):
    """Return the sum of squares of each column of a block, and its exponent."""
    chunks = chunks_of(numbers.shape[0])
    count = numbers.shape[1]
    lanes = np.empty((LANES, count))
    sums = np.zeros((count, chunks))
    for chunk in range(chunks):
        _add_squares_of_columns(numbers[chunk * CHUNK : (chunk + 1) * CHUNK], lanes)
        sums[:, chunk] = lanes[0]
    totals = np.empty(count)
    exponents = np.zeros(count, np.int64)
    for column in range(count):
        totals[column] = add_sums(sums[column])
        if not fits(numbers, totals[column]):
            totals[column], exponents[column] = rescued_sum(
                numbers[:, column].copy(), totals[column]
            )
    return totals, exponents


@kernel
def _scale_columns(source, factors, target):
    for row in range(source.shape[0]):
        for column in range(source.shape[1]):
            factor = factors[column]
            target[row, column] = mapped(Scale(factor, factor), source[row, column])


@kernel
def _scale_columns_in_steps(source, factors, powers, target):
    for row in range(source.shape[0]):
        for column in range(source.shape[1]):
            factor, power = factors[column], powers[column]
            steps = ScaleInSteps(factor, power, factor, power)
            target[row, column] = mapped(steps, source[row, column])


@kernel
def _clip_block(source, limits, target):
    totals, exponents = _sums_of_columns(source)
    slack = slack_of(source.shape[0], 1)
    factors = np.empty(source.shape[1])
    powers = np.empty(source.shape[1], np.int64)
    for column in range(source.shape[1]):
        root, exponent, limit = math.sqrt(totals[column]), exponents[column], limits[column]
        factors[column], powers[column] = clip_factor(
            root, exponent, limit, slack, _is_single(source)
        )
    if np.all(factors == 1.0):
        target[:] = source
    elif np.all(powers == 0):
        _scale_columns(source, factors, target)
    else:
        _scale_columns_in_steps(source, factors, powers, target)


@rule
def slices_of(shape):
    """Return the number of units of work: rows, or blocks of columns."""
    outer, _, inner = shape
    return outer if inner == 1 else outer * ((inner + _COLUMNS - 1) // _COLUMNS)


@kernel
def clip_slices(source, limits, target, first, last):
    """Bring the norms of these units of (outer, reduced, inner) to their (outer, inner) limits."""
    if source.shape[2] == 1:
        _clip_rows(source[:, :, 0], limits[:, 0], target[:, :, 0], first, last)
        return
    blocks = (source.shape[2] + _COLUMNS - 1) // _COLUMNS
    for unit in range(first, last):
        outer, start = unit // blocks, unit % blocks * _COLUMNS
        end = min(start + _COLUMNS, source.shape[2])
        _clip_block(
            source[outer, :, start:end], limits[outer, start:end], target[outer, :, start:end]
        )


@parallel_kernel
def clip_slices_parallel(source, limits, target, parts):
    units = slices_of(source.shape)
    for part in prange(parts):
        clip_slices(source, limits, target, part * units // parts, (part + 1) * units // parts)
