"""The Euclidean norm of many tensors.

The squares are taken and added in float64, in the order of `sums.py`: those of a chunk, the sums of
a tensor's chunks, then those of the tensors.

A norm is `root * 2**exponent`; the exponent is not zero only where squares left float64's range.
"""

import math

import numpy as np

from numclip._compile import array_at, kernel, parallel_kernel, pointer_to, prange, rule, subkernel
from numclip._compile_cuda import WARP, cuda, cuda_function, cuda_kernel
from numclip._kernels.lanes import LANES
from numclip._kernels.memory import numbers_at, table_at
from numclip._kernels.power import times_power_of_two
from numclip._kernels.rescue import rescued_sum
from numclip._kernels.sums import (
    LANES_BYTES,
    SUM,
    SUMS,
    add_sums,
    add_sums_cuda,
    sum_chunk_cuda,
    sum_squares_cuda,
    sum_squares_of_chunk,
    sum_squares_of_chunks,
)
from numclip._kernels.table import (
    BFLOAT16,
    CHUNK,
    FIRST_CHUNK,
    FIRST_PIECE,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    KIND,
    NONE_KIND,
    SIZE,
    SOURCE,
    chunks_of,
    end_of_row,
    entry,
    part_of,
    pieces_of,
    row_of,
)

# Below the exponent of any float64.
_NO_EXPONENT = -(1 << 20)


@subkernel
def sum_squares(x):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    if x.size <= CHUNK:
        return rescued_sum(x, sum_squares_of_chunk(pointer_to(x), 0, x.size))
    sums = np.empty(chunks_of(x.size))
    sum_squares_of_chunks(x, 0, sums.size, sums, 0)
    return rescued_sum(x, add_sums(sums))


@rule
def _larger_exponent(exponent, total, other):
    return max(exponent, other) if total != 0.0 else exponent


@rule
def _aligned(total, exponent, common):
    """Return a sum of squares that has an exponent of its own as one that has the common one."""
    if exponent == common or total == 0.0:
        return total
    return times_power_of_two(total, 2 * (exponent - common))


@subkernel
def add_squares(sums, exponents):
    """Combine the sums of squares of tensors, in place, into the norm of them all."""
    exponent = _NO_EXPONENT
    for i in range(sums.size):
        exponent = _larger_exponent(exponent, sums[i], exponents[i])
    for i in range(sums.size):
        sums[i] = _aligned(sums[i], exponents[i], exponent)
    return math.sqrt(add_sums(sums)), 0 if exponent == _NO_EXPONENT else exponent


@rule
def norm_of_squares(total, exponent):
    """Return the norm of one tensor from its sum of squares; a sum of zero has no exponent."""
    root = math.sqrt(total)
    return root if exponent == 0 or total == 0.0 else times_power_of_two(root, exponent)


@kernel
def sum_chunks(table, sums, first, last):
    """Sum the squares of these chunks of the whole table."""
    row = row_of(table, table.shape[0], first, FIRST_CHUNK)
    while first < last:
        start, size, kind = table[row, FIRST_CHUNK], table[row, SIZE], table[row, KIND]
        address = table[row, SOURCE]
        begin, end = first - start, min(last - start, chunks_of(size))
        if kind == FLOAT32:
            x = array_at(address, size, np.float32(0))
            sum_squares_of_chunks(x, begin, end, sums, start)
        elif kind == FLOAT64:
            y = array_at(address, size, np.float64(0))
            sum_squares_of_chunks(y, begin, end, sums, start)
        elif kind == FLOAT16:
            z = array_at(address, size, np.uint16(0))
            sum_squares_of_chunks(z, begin, end, sums, start)
        elif kind == BFLOAT16:
            w = array_at(address, size, np.int16(0))
            sum_squares_of_chunks(w, begin, end, sums, start)
        first = max(first, start + end)
        row += 1


@subkernel
def sum_rows(table, sums):
    """Return the sum of squares, and its exponent, of each tensor whose chunks were summed."""
    totals = np.zeros(table.shape[0])
    exponents = np.zeros(table.shape[0], np.int64)
    tensors = 0
    for row in range(table.shape[0]):
        size, start = table[row, SIZE], table[row, FIRST_CHUNK]
        if size > 0:
            count = chunks_of(size)
            total = sums[start] if count == 1 else add_sums(sums[start : start + count])
            exponent = 0
            if table[row, KIND] == FLOAT64:
                x = array_at(table[row, SOURCE], size, np.float64(0))
                total, exponent = rescued_sum(x, total)
            totals[tensors], exponents[tensors] = total, exponent
        if table[row, KIND] != NONE_KIND:
            tensors += 1
    return totals[:tensors], exponents[:tensors]


@parallel_kernel
def sum_chunks_parallel(table, sums, chunks, parts):
    for part in prange(parts):
        sum_chunks(table, sums, part * chunks // parts, (part + 1) * chunks // parts)


@kernel
def norm_of_sums(table, sums):
    """Return the norm of all tensors, whose chunks' squares were summed."""
    totals, exponents = sum_rows(table, sums)
    return add_squares(totals, exponents)


@kernel
def norm_of_table(table, chunks):
    sums = np.empty(chunks)
    sum_chunks(table, sums, 0, chunks)
    return norm_of_sums(table, sums)


@cuda_kernel(WARP, LANES_BYTES)
def sum_chunks_cuda(like, kind, table_address, rows, chunks, sums_address):
    """Sum the squares of each chunk of the tensors of one kind."""
    table = table_at(table_address, rows)
    sums = numbers_at(sums_address, chunks, SUM)
    lanes = cuda.shared.array(0, SUMS)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    while first < last:
        start, size = entry(table, row, FIRST_CHUNK), entry(table, row, SIZE)
        end = end_of_row(table, row, last)
        if entry(table, row, KIND) == kind:
            address = entry(table, row, SOURCE)
            numbers = numbers_at(address, size, like)
            in_vectors = address % 16 == 0
            for chunk in range(first, end):
                begin = (chunk - start) * CHUNK
                stop = min(begin + CHUNK, size)
                total = sum_squares_cuda(numbers, begin, stop, in_vectors, lanes)
                if cuda.threadIdx.x == 0:
                    sums[chunk] = total
        first = max(first, end)
        row += 1


@cuda_kernel(WARP, LANES_BYTES)
def sum_pieces_cuda(table_address, rows, chunks, sums_address, pieces, pieces_address):
    """Sum the sums of 4,096 chunks of a tensor each."""
    table = table_at(table_address, rows)
    sums = numbers_at(sums_address, chunks, SUM)
    sums_of_pieces = numbers_at(pieces_address, pieces, SUM)
    lanes = cuda.shared.array(0, SUMS)
    for piece in range(cuda.blockIdx.x, pieces, cuda.gridDim.x):
        row = row_of(table, rows, piece, FIRST_PIECE)
        count = chunks_of(entry(table, row, SIZE))
        begin = (piece - entry(table, row, FIRST_PIECE)) * CHUNK
        start = entry(table, row, FIRST_CHUNK) + begin
        total = sum_chunk_cuda(sums, start, start + min(CHUNK, count - begin), lanes)
        if cuda.threadIdx.x == 0:
            sums_of_pieces[piece] = total


@cuda_function
def _align_cuda(totals, exponents, rows, lanes):
    """Give the sums of squares of tensors one exponent, and return it."""
    for lane in range(cuda.threadIdx.x, LANES, cuda.blockDim.x):
        largest = _NO_EXPONENT
        for row in range(lane, rows, LANES):
            largest = _larger_exponent(largest, totals[row], int(exponents[row]))
        lanes[lane] = largest
    cuda.syncthreads()
    exponent = _NO_EXPONENT
    for lane in range(LANES):
        exponent = max(exponent, int(lanes[lane]))
    cuda.syncthreads()
    for row in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        totals[row] = _aligned(totals[row], int(exponents[row]), exponent)
    cuda.syncthreads()
    return 0 if exponent == _NO_EXPONENT else exponent


@cuda_function
def norm_of_pieces_cuda(
    table,
    rows,
    pieces,
    larger_tensors,
    larger_count,
    totals,
    exponents,
    has_exponents,
    norms,
    keeps_norms,
    lanes,
):
    """Return the norm of all tensors, whose pieces were summed, and store that of each if asked.

    `larger_tensors` are the rows of more than one piece.
    """
    for row in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        totals[row] = pieces[entry(table, row, FIRST_PIECE)] if entry(table, row, SIZE) > 0 else 0.0
    cuda.syncthreads()
    for i in range(larger_count):
        row = larger_tensors[i]
        count = pieces_of(entry(table, row, SIZE))
        total = add_sums_cuda(pieces, entry(table, row, FIRST_PIECE), count, lanes)
        if cuda.threadIdx.x == 0:
            totals[row] = total
        cuda.syncthreads()
    if keeps_norms:
        for row in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
            exponent = int(exponents[row]) if has_exponents else 0
            norms[row] = norm_of_squares(totals[row], exponent)
        cuda.syncthreads()
    exponent = _align_cuda(totals, exponents, rows, lanes) if has_exponents else 0
    return math.sqrt(add_sums_cuda(totals, 0, rows, lanes)), exponent
