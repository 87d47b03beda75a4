"""The Euclidean norm, in one order of additions.

The squares are taken and added in float64. A chunk of 4,096 numbers is added in 128 lanes, lane j
taking every 128th number from j on; the lanes are added in a tree that halves their number seven
times. The sums of the chunks are added the same way, until one sum is left. No sum depends on
threads, on alignment or on the width of the processor's registers.

A norm is `root * 2**exponent`; the exponent is not zero only where squares left float64's range.
"""

import math

import numpy as np

from numclip._compile import kernel, rule
from numclip._kernels.half import widen

CHUNK = 4096
LANES = 128

# Inside these bounds no sum of fewer than 2**63 numbers overflows, and what underflowed in it is
# less than 2**-100 of it.
_SMALLEST_SUM = 2.0**-960
_LARGEST_SUM = 2.0**960


@rule
def times_power_of_two(value, exponent):
    """Multiply, with one rounding at most, where 2**exponent itself may be out of range."""
    half = exponent // 2
    return value * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)


@rule
def _square(stored):
    value = np.float64(widen(stored))
    return value * value


@rule
def _add_lanes(lanes):
    width = LANES // 2
    while width > 0:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2
    return lanes[0]


@kernel
def _sum_squares_of_chunk(chunk, lanes):
    lanes[:] = 0.0
    rows = chunk.size // LANES
    for row in range(rows):
        numbers = chunk[row * LANES : (row + 1) * LANES]
        for lane in range(LANES):
            lanes[lane] += _square(numbers[lane])
    rest = chunk[rows * LANES :]
    for lane in range(rest.size):
        lanes[lane] += _square(rest[lane])
    return _add_lanes(lanes)


@kernel
def _sum_chunk(chunk, lanes):
    lanes[:] = 0.0
    for i in range(chunk.size):
        lanes[i % LANES] += chunk[i]
    return _add_lanes(lanes)


@kernel
def add_sums(sums):
    """Add the sums of chunks, or of tensors, in the order of the chunks' own additions."""
    lanes = np.empty(LANES)
    while sums.size > 1:
        count = (sums.size + CHUNK - 1) // CHUNK
        sums_of_chunks = np.empty(count)
        for chunk in range(count):
            sums_of_chunks[chunk] = _sum_chunk(sums[chunk * CHUNK : (chunk + 1) * CHUNK], lanes)
        sums = sums_of_chunks
    return sums[0] if sums.size == 1 else 0.0


@kernel
def _sum_squares(x):
    count = (x.size + CHUNK - 1) // CHUNK
    lanes = np.empty(LANES)
    sums = np.empty(count)
    for chunk in range(count):
        sums[chunk] = _sum_squares_of_chunk(x[chunk * CHUNK : (chunk + 1) * CHUNK], lanes)
    return add_sums(sums)


@kernel
def _sum_scaled_squares(x, exponent):
    count = (x.size + CHUNK - 1) // CHUNK
    lanes = np.empty(LANES)
    sums = np.empty(count)
    scaled = np.empty(CHUNK)
    for chunk in range(count):
        numbers = x[chunk * CHUNK : (chunk + 1) * CHUNK]
        for i in range(numbers.size):
            scaled[i] = times_power_of_two(np.float64(widen(numbers[i])), -exponent)
        sums[chunk] = _sum_squares_of_chunk(scaled[: numbers.size], lanes)
    return add_sums(sums)


@kernel
def _largest_magnitude(x):
    largest = 0.0
    for i in range(x.size):
        magnitude = abs(np.float64(widen(x[i])))
        if magnitude > largest:
            largest = magnitude
    return largest


@kernel
def sum_squares(x):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    total = _sum_squares(x)
    fits = x.itemsize < 8 or _SMALLEST_SUM <= total <= _LARGEST_SUM or math.isnan(total)
    if fits:
        return total, 0
    largest = _largest_magnitude(x)
    if largest == 0.0 or math.isinf(largest):
        return total, 0
    exponent = math.frexp(largest)[1]
    return _sum_scaled_squares(x, exponent), exponent


@kernel
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


@rule
def chain_length(size):
    """Return the longest chain of additions that a number passes through in a sum of `size`."""
    length = 0
    while size > 1:
        length += (min(size, CHUNK) + LANES - 1) // LANES - 1 + 7
        size = (size + CHUNK - 1) // CHUNK
    return length
