"""Sums in float64, in one order of additions.

A chunk of 4,096 numbers is added in 128 lanes, lane j taking every 128th number from j on; the
lanes are added in a tree that halves their number seven times. The sums of the chunks are added
the same way, until one sum is left. No sum depends on threads, on alignment, on the width of the
processor's registers, or on being taken by a GPU.
"""

import numpy as np

from numclip._compile import overload, pointer_to, rule, subkernel
from numclip._compile_cuda import cuda, cuda_function
from numclip._kernels.ahead import only_read_ahead
from numclip._kernels.half import widen
from numclip._kernels.lanes import (
    LANES,
    new_row,
    no_lanes,
    plus,
    sum_of_lanes,
    sum_of_lanes_cuda,
)
from numclip._kernels.memory import load_4
from numclip._kernels.table import CHUNK, chunks_of

# For kernels on a GPU: a number of the type of sums, and the room that a block has for its lanes.
SUM = np.float64(0)
SUMS = np.dtype(np.float64)
LANES_BYTES = LANES * SUMS.itemsize


def readable(numbers, first, count, row):
    """Return where `count` numbers from `first` on can be read: of halves, widened in `row`."""
    only_read_ahead(numbers, first)
    for i in range(count):
        row[i] = widen(numbers[first + i])
    return row, 0


@overload(readable)
def _readable(numbers, first, count, row):
    if numbers == row:
        return lambda numbers, first, count, row: (numbers, first)
    return readable


@rule
def square(value):
    """Return the square of a float64, or those of a vector of them."""
    return value * value


@rule
def squared(stored):
    return square(np.float64(widen(stored)))


@rule
def _itself(value):
    return value


@subkernel
def sum_squares_of_chunk(numbers, first, last):
    """Return the sum of squares of a chunk."""
    lanes = no_lanes()
    row = new_row(widen(numbers[first]))
    while first + LANES <= last:
        some, position = readable(numbers, first, LANES, row)
        lanes = plus(lanes, square, some, position, None)
        first += LANES
    if first < last:
        some, position = readable(numbers, first, last - first, row)
        lanes = plus(lanes, square, some, position, last - first)
    return sum_of_lanes(lanes)


@subkernel
def sum_chunk(numbers, first, last):
    """Return the sum of a chunk."""
    lanes = no_lanes()
    while first + LANES <= last:
        lanes = plus(lanes, _itself, numbers, first, None)
        first += LANES
    if first < last:
        lanes = plus(lanes, _itself, numbers, first, last - first)
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
            sums_of_chunks[chunk] = sum_chunk(pointer_to(sums), start, end)
        sums = sums_of_chunks
    return sums[0] if sums.size == 1 else 0.0


@subkernel
def sum_squares_of_chunks(x, first, last, sums, where):
    numbers = pointer_to(x)
    for chunk in range(first, last):
        start = chunk * CHUNK
        sums[where + chunk] = sum_squares_of_chunk(numbers, start, min(start + CHUNK, x.size))


@cuda_function
def _plus_squares_cuda(sums, numbers):
    return (
        sums[0] + squared(numbers[0]),
        sums[1] + squared(numbers[1]),
        sums[2] + squared(numbers[2]),
        sums[3] + squared(numbers[3]),
    )


@cuda_function
def sum_squares_cuda(numbers, first, last, in_vectors, lanes):
    """Return the sum of squares of a chunk; of four lanes each, a thread takes every so many."""
    lane = 4 * cuda.threadIdx.x
    while lane < LANES:
        sums = 0.0, 0.0, 0.0, 0.0
        i = first + lane
        if in_vectors:
            # Loaded before any is used: the compiler would wait for each, and memory for it.
            while i + 3 * LANES - lane + LANES <= last:
                u, v = load_4(numbers, i), load_4(numbers, i + LANES)
                w, x = load_4(numbers, i + 2 * LANES), load_4(numbers, i + 3 * LANES)
                sums = _plus_squares_cuda(sums, u)
                sums = _plus_squares_cuda(sums, v)
                sums = _plus_squares_cuda(sums, w)
                sums = _plus_squares_cuda(sums, x)
                i += 4 * LANES
            while i - lane + LANES <= last:
                sums = _plus_squares_cuda(sums, load_4(numbers, i))
                i += LANES
        a, b, c, d = sums
        while i < last:
            a += squared(numbers[i])
            if i + 1 < last:
                b += squared(numbers[i + 1])
            if i + 2 < last:
                c += squared(numbers[i + 2])
            if i + 3 < last:
                d += squared(numbers[i + 3])
            i += LANES
        lanes[lane], lanes[lane + 1], lanes[lane + 2], lanes[lane + 3] = a, b, c, d
        lane += 4 * cuda.blockDim.x
    return sum_of_lanes_cuda(lanes)


@cuda_function
def sum_chunk_cuda(sums, first, last, lanes):
    """Return the sum of a chunk."""
    lane = cuda.threadIdx.x
    while lane < LANES:
        total = 0.0
        for i in range(first + lane, last, LANES):
            total += sums[i]
        lanes[lane] = total
        lane += cuda.blockDim.x
    return sum_of_lanes_cuda(lanes)


@cuda_function
def add_sums_cuda(sums, first, count, lanes):
    """Return the sum of sums, in whose place the sums of their chunks are left."""
    while count > 1:
        for chunk in range(chunks_of(count)):
            start = first + chunk * CHUNK
            total = sum_chunk_cuda(sums, start, min(start + CHUNK, first + count), lanes)
            if cuda.threadIdx.x == 0:
                sums[first + chunk] = total
        count = chunks_of(count)
        cuda.syncthreads()
    return sums[first] if count == 1 else 0.0


@rule
def chain_length(size):
    """Return the longest chain of additions that a number passes through in a sum of `size`."""
    length = 0
    while size > 1:
        length += (min(size, CHUNK) + LANES - 1) // LANES - 1 + 7
        size = chunks_of(size)
    return length
