"""Sums of squares that left float64's range, taken again of numbers that a power of two divides.

Inside the range no sum of fewer than 2**63 numbers overflows, and what underflowed in it is less
than 2**-100 of it.
"""

import math

import numpy as np

from numclip._compile import pointer_to, rule, subkernel
from numclip._compile_cuda import WARP, cuda, cuda_function, cuda_kernel
from numclip._kernels.half import is_double, widen
from numclip._kernels.lanes import LANES, sum_of_lanes_cuda
from numclip._kernels.memory import numbers_at, table_at
from numclip._kernels.power import times_power_of_two
from numclip._kernels.sums import (
    LANES_BYTES,
    SUM,
    SUMS,
    add_sums,
    add_sums_cuda,
    squared,
    sum_chunk_cuda,
    sum_squares_of_chunk,
)
from numclip._kernels.table import (
    CHUNK,
    FIRST_CHUNK,
    FIRST_PIECE,
    FLOAT64,
    KIND,
    SIZE,
    SOURCE,
    chunks_of,
    end_of_row,
    entry,
    part_of,
    pieces_of,
    row_of,
)

_SMALLEST_SUM = 2.0**-960
_LARGEST_SUM = 2.0**960

_EXPONENT = np.int64(0)


@rule
def _is_in_range(total):
    return _SMALLEST_SUM <= total <= _LARGEST_SUM or math.isnan(total)


@rule
def fits(x, total):
    """Tell whether nothing was lost in a sum of squares by overflow or underflow."""
    return x.itemsize < 8 or _is_in_range(total)


@rule
def _larger(largest, stored):
    return max(largest, abs(np.float64(widen(stored))))


@subkernel
def _largest_magnitude(x):
    largest = 0.0
    for i in range(x.size):
        largest = _larger(largest, x[i])
    return largest


@rule
def _exponent_of(largest):
    """Return the power of two to divide numbers by; zero where that would not help."""
    return 0 if largest == 0.0 or math.isinf(largest) else math.frexp(largest)[1]


@rule
def _scaled(stored, exponent):
    return times_power_of_two(np.float64(widen(stored)), -exponent)


@subkernel
def _sum_scaled_squares(x, exponent):
    sums = np.empty(chunks_of(x.size))
    scaled = np.empty(CHUNK)
    for chunk in range(sums.size):
        numbers = x[chunk * CHUNK : (chunk + 1) * CHUNK]
        for i in range(numbers.size):
            scaled[i] = _scaled(numbers[i], exponent)
        sums[chunk] = sum_squares_of_chunk(pointer_to(scaled), 0, numbers.size)
    return add_sums(sums)


@subkernel
def rescued_sum(x, total):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    if fits(x, total):
        return total, 0
    exponent = _exponent_of(_largest_magnitude(x))
    return (_sum_scaled_squares(x, exponent), exponent) if exponent != 0 else (total, 0)


@cuda_function
def _largest_lane_cuda(lanes):
    cuda.syncthreads()
    largest = 0.0
    for lane in range(LANES):
        largest = _larger(largest, lanes[lane])
    cuda.syncthreads()
    return largest


@cuda_function
def _largest_cuda(numbers, start, stride, first, last, lanes):
    for lane in range(cuda.threadIdx.x, LANES, cuda.blockDim.x):
        largest = 0.0
        for i in range(first + lane, last, LANES):
            largest = _larger(largest, numbers[start + i * stride])
        lanes[lane] = largest
    return _largest_lane_cuda(lanes)


@cuda_function
def _sum_scaled_squares_cuda(numbers, start, stride, first, last, exponent, lanes):
    for lane in range(cuda.threadIdx.x, LANES, cuda.blockDim.x):
        total = 0.0
        for i in range(first + lane, last, LANES):
            total += squared(_scaled(numbers[start + i * stride], exponent))
        lanes[lane] = total
    return sum_of_lanes_cuda(lanes)


@cuda_function
def rescued_sum_cuda(numbers, start, stride, size, total, sums, first_sum, lanes):
    """Return, as `rescued_sum`, a sum of squares and its exponent; `sums` has room for chunks.

    One block does it: it is for the slices of an array.
    """
    if not is_double(numbers[start]) or _is_in_range(total):
        return total, 0
    exponent = _exponent_of(_largest_cuda(numbers, start, stride, 0, size, lanes))
    if exponent == 0:
        return total, 0
    chunks = chunks_of(size)
    for chunk in range(chunks):
        begin = chunk * CHUNK
        end = min(begin + CHUNK, size)
        total = _sum_scaled_squares_cuda(numbers, start, stride, begin, end, exponent, lanes)
        if cuda.threadIdx.x == 0 and chunks > 1:
            sums[first_sum + chunk] = total
    cuda.syncthreads()
    return total if chunks == 1 else add_sums_cuda(sums, first_sum, chunks, lanes), exponent


@cuda_function
def _needs_rescue_cuda(table, row, pieces, lanes):
    """Tell whether a tensor's sum of squares left float64's range."""
    if entry(table, row, KIND) != FLOAT64:
        return False
    start, count = entry(table, row, FIRST_PIECE), pieces_of(entry(table, row, SIZE))
    return not _is_in_range(sum_chunk_cuda(pieces, start, start + count, lanes))


@cuda_kernel(WARP, LANES_BYTES)
def find_largest_cuda(table_address, rows, chunks, pieces, pieces_address, largest_address):
    """Find the largest magnitude in each chunk of the tensors that need a rescue."""
    table = table_at(table_address, rows)
    sums_of_pieces = numbers_at(pieces_address, pieces, SUM)
    largest = numbers_at(largest_address, chunks, SUM)
    lanes = cuda.shared.array(0, SUMS)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    while first < last:
        start, size = entry(table, row, FIRST_CHUNK), entry(table, row, SIZE)
        end = end_of_row(table, row, last)
        if first < end and _needs_rescue_cuda(table, row, sums_of_pieces, lanes):
            numbers = numbers_at(entry(table, row, SOURCE), size, SUM)
            for chunk in range(first, end):
                begin = (chunk - start) * CHUNK
                found = _largest_cuda(numbers, 0, 1, begin, min(begin + CHUNK, size), lanes)
                if cuda.threadIdx.x == 0:
                    largest[chunk] = found
        first = max(first, end)
        row += 1


@cuda_kernel(WARP, LANES_BYTES)
def rescue_sums_cuda(
    table_address,
    rows,
    chunks,
    pieces,
    sums_address,
    pieces_address,
    largest_address,
    exponents_address,
    rescued_address,
):
    """Sum again, as `rescued_sum` does, what needs a rescue, and copy the sums of the rest."""
    table = table_at(table_address, rows)
    sums = numbers_at(sums_address, chunks, SUM)
    sums_of_pieces = numbers_at(pieces_address, pieces, SUM)
    largest = numbers_at(largest_address, chunks, SUM)
    exponents = numbers_at(exponents_address, rows, _EXPONENT)
    rescued = numbers_at(rescued_address, chunks, SUM)
    lanes = cuda.shared.array(0, SUMS)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    while first < last:
        start, size = entry(table, row, FIRST_CHUNK), entry(table, row, SIZE)
        end = end_of_row(table, row, last)
        exponent = 0
        if first < end and _needs_rescue_cuda(table, row, sums_of_pieces, lanes):
            found = _largest_cuda(largest, start, 1, 0, chunks_of(size), lanes)
            exponent = _exponent_of(found)
        if first == start and first < end and cuda.threadIdx.x == 0:
            exponents[row] = exponent
        numbers = numbers_at(entry(table, row, SOURCE), size, SUM)
        for chunk in range(first, end):
            begin = (chunk - start) * CHUNK
            total = sums[chunk]
            if exponent != 0:
                stop = min(begin + CHUNK, size)
                total = _sum_scaled_squares_cuda(numbers, 0, 1, begin, stop, exponent, lanes)
            if cuda.threadIdx.x == 0:
                rescued[chunk] = total
        first = max(first, end)
        row += 1
