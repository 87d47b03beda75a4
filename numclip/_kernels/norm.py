"""The Euclidean norm, in one order of additions.

The squares are taken and added in float64. A chunk of 4,096 numbers is added in 128 lanes, lane j
taking every 128th number from j on; the lanes are added in a tree that halves their number seven
times. The sums of the chunks are added the same way, until one sum is left; then those of the
tensors. No sum depends on threads, on alignment or on the width of the processor's registers.

A norm is `root * 2**exponent`; the exponent is not zero only where squares left float64's range.
"""

import math

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
from numclip._kernels.ahead import read_ahead
from numclip._kernels.half import widen
from numclip._kernels.lanes import (
    LANES,
    new_row,
    no_lanes,
    plus_numbers,
    plus_squares,
    sum_of_lanes,
)
from numclip._kernels.power import times_power_of_two
from numclip._kernels.table import (
    BFLOAT16,
    CHUNK,
    FIRST_CHUNK,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    KIND,
    SIZE,
    SOURCE,
    chunks_of,
    row_of,
)

# Inside these bounds no sum of fewer than 2**63 numbers overflows, and what underflowed in it is
# less than 2**-100 of it.
_SMALLEST_SUM = 2.0**-960
_LARGEST_SUM = 2.0**960


def readable(numbers, first, count, row):
    """Return where `count` numbers from `first` on can be read: of halves, widened in `row`."""
    read_ahead(numbers, first)
    for i in range(count):
        row[i] = widen(numbers[first + i])
    return row, 0


@overload(readable)
def _readable(numbers, first, count, row):
    if numbers == row:
        return lambda numbers, first, count, row: (numbers, first)
    return readable


@subkernel
def _sum_squares(numbers, first, last):
    """Return the sum of squares of a chunk."""
    lanes = no_lanes()
    row = new_row(widen(numbers[first]))
    while first + LANES <= last:
        some, position = readable(numbers, first, LANES, row)
        lanes = plus_squares(lanes, some, position, None)
        first += LANES
    if first < last:
        some, position = readable(numbers, first, last - first, row)
        lanes = plus_squares(lanes, some, position, last - first)
    return sum_of_lanes(lanes)


@subkernel
def _sum(numbers, first, last):
    """Return the sum of a chunk."""
    lanes = no_lanes()
    while first + LANES <= last:
        lanes = plus_numbers(lanes, numbers, first, None)
        first += LANES
    if first < last:
        lanes = plus_numbers(lanes, numbers, first, last - first)
    return sum_of_lanes(lanes)


@subkernel
def add_sums(sums):
    """Add the sums of chunks, or of tensors, in the order of the chunks' own additions."""
    if sums.size == 1:
        return sums[0]
    while sums.size > 1:
        count = chunks_of(sums.size)
        sums_of_chunks = np.empty(count)
        for chunk in range(count):
            start = chunk * CHUNK
            end = min(start + CHUNK, sums.size)
            sums_of_chunks[chunk] = _sum(pointer_to(sums), start, end)
        sums = sums_of_chunks
    return sums[0] if sums.size == 1 else 0.0


@subkernel
def _sum_squares_of_chunks(x, first, last, sums, where):
    numbers = pointer_to(x)
    for chunk in range(first, last):
        start = chunk * CHUNK
        sums[where + chunk] = _sum_squares(numbers, start, min(start + CHUNK, x.size))


@subkernel
def _largest_magnitude(x):
    largest = 0.0
    for i in range(x.size):
        magnitude = abs(np.float64(widen(x[i])))
        if magnitude > largest:
            largest = magnitude
    return largest


@subkernel
def _sum_scaled_squares(x, exponent):
    sums = np.empty(chunks_of(x.size))
    scaled = np.empty(CHUNK)
    for chunk in range(sums.size):
        numbers = x[chunk * CHUNK : (chunk + 1) * CHUNK]
        for i in range(numbers.size):
            scaled[i] = times_power_of_two(np.float64(widen(numbers[i])), -exponent)
        sums[chunk] = _sum_squares(pointer_to(scaled), 0, numbers.size)
    return add_sums(sums)


@rule
def fits(x, total):
    """Tell whether nothing was lost in a sum of squares by overflow or underflow."""
    return x.itemsize < 8 or _SMALLEST_SUM <= total <= _LARGEST_SUM or math.isnan(total)


@subkernel
def rescued_sum(x, total):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    if fits(x, total):
        return total, 0
    largest = _largest_magnitude(x)
    if largest == 0.0 or math.isinf(largest):
        return total, 0
    exponent = math.frexp(largest)[1]
    return _sum_scaled_squares(x, exponent), exponent


@subkernel
def sum_squares(x):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    if x.size <= CHUNK:
        return rescued_sum(x, _sum_squares(pointer_to(x), 0, x.size))
    sums = np.empty(chunks_of(x.size))
    _sum_squares_of_chunks(x, 0, sums.size, sums, 0)
    return rescued_sum(x, add_sums(sums))


@subkernel
def add_squares(sums, exponents):
    """Combine the sums of squares of tensors, in place, into the norm of them all."""
    exponent = 0
    found = False
    for i in range(sums.size):
        if sums[i] != 0.0 and (not found or exponents[i] > exponent):
            exponent = exponents[i]
            found = True
    for i in range(sums.size):
        if exponents[i] != exponent and sums[i] != 0.0:
            sums[i] = times_power_of_two(sums[i], 2 * (exponents[i] - exponent))
    return math.sqrt(add_sums(sums)), exponent


@kernel
def sum_chunks(table, first, last, sums):
    """Sum the squares of these chunks of the whole table."""
    row = row_of(table, first)
    while first < last:
        start, size, kind = table[row, FIRST_CHUNK], table[row, SIZE], table[row, KIND]
        address = table[row, SOURCE]
        begin, end = first - start, min(last - start, chunks_of(size))
        if kind == FLOAT32:
            x = array_at(address, size, np.float32(0))
            _sum_squares_of_chunks(x, begin, end, sums, start)
        elif kind == FLOAT64:
            y = array_at(address, size, np.float64(0))
            _sum_squares_of_chunks(y, begin, end, sums, start)
        elif kind == FLOAT16:
            z = array_at(address, size, np.uint16(0))
            _sum_squares_of_chunks(z, begin, end, sums, start)
        elif kind == BFLOAT16:
            w = array_at(address, size, np.int16(0))
            _sum_squares_of_chunks(w, begin, end, sums, start)
        first = max(first, start + end)
        row += 1


@subkernel
def sum_rows(table, sums):
    """Return the sum of squares, and its exponent, of each tensor whose chunks were summed."""
    totals = np.zeros(table.shape[0])
    exponents = np.zeros(table.shape[0], np.int64)
    for row in range(table.shape[0]):
        size, start = table[row, SIZE], table[row, FIRST_CHUNK]
        if size > 0:
            count = chunks_of(size)
            totals[row] = sums[start] if count == 1 else add_sums(sums[start : start + count])
            if table[row, KIND] == FLOAT64:
                x = array_at(table[row, SOURCE], size, np.float64(0))
                totals[row], exponents[row] = rescued_sum(x, totals[row])
    return totals, exponents


@parallel_kernel
def sum_chunks_parallel(table, chunks, sums, parts):
    for part in prange(parts):
        sum_chunks(table, part * chunks // parts, (part + 1) * chunks // parts, sums)


@kernel
def norm_of_sums(table, sums):
    """Return the norm of all tensors, whose chunks' squares were summed."""
    totals, exponents = sum_rows(table, sums)
    return add_squares(totals, exponents)


@kernel
def norm_of_table(table, chunks):
    sums = np.empty(chunks)
    sum_chunks(table, 0, chunks, sums)
    return norm_of_sums(table, sums)


@rule
def chain_length(size):
    """Return the longest chain of additions that a number passes through in a sum of `size`."""
    length = 0
    while size > 1:
        length += (min(size, CHUNK) + LANES - 1) // LANES - 1 + 7
        size = chunks_of(size)
    return length
