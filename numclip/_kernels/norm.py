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
from numclip._compile_cuda import WARP, cuda, cuda_function, cuda_kernel
from numclip._kernels.ahead import read_ahead
from numclip._kernels.half import is_double, widen
from numclip._kernels.lanes import (
    LANES,
    new_row,
    no_lanes,
    plus_numbers,
    plus_squares,
    sum_of_lanes,
    sum_of_lanes_cuda,
)
from numclip._kernels.memory import load_4, numbers_at, table_at
from numclip._kernels.power import times_power_of_two
from numclip._kernels.table import (
    BFLOAT16,
    CHUNK,
    FIRST_CHUNK,
    FIRST_PIECE,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    KIND,
    SIZE,
    SOURCE,
    chunks_of,
    entry,
    row_of,
)

# For kernels on a GPU: the type of sums, and the room that a block has for its lanes.
_SUM, _EXPONENT = np.float64(0), np.int64(0)
_SUMS = np.dtype(np.float64)
LANES_BYTES = LANES * _SUMS.itemsize

# Below the exponent of any float64.
_NO_EXPONENT = -(1 << 20)

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
        sums[chunk] = _sum_squares(pointer_to(scaled), 0, numbers.size)
    return add_sums(sums)


@rule
def _is_in_range(total):
    return _SMALLEST_SUM <= total <= _LARGEST_SUM or math.isnan(total)


@rule
def fits(x, total):
    """Tell whether nothing was lost in a sum of squares by overflow or underflow."""
    return x.itemsize < 8 or _is_in_range(total)


@subkernel
def rescued_sum(x, total):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    if fits(x, total):
        return total, 0
    exponent = _exponent_of(_largest_magnitude(x))
    return (_sum_scaled_squares(x, exponent), exponent) if exponent != 0 else (total, 0)


@subkernel
def sum_squares(x):
    """Return the sum of squares as `sum` and `exponent`, for `sum * 4**exponent`."""
    if x.size <= CHUNK:
        return rescued_sum(x, _sum_squares(pointer_to(x), 0, x.size))
    sums = np.empty(chunks_of(x.size))
    _sum_squares_of_chunks(x, 0, sums.size, sums, 0)
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


@kernel
def sum_chunks(table, first, last, sums):
    """Sum the squares of these chunks of the whole table."""
    row = row_of(table, table.shape[0], first, FIRST_CHUNK)
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
def squared(stored):
    value = np.float64(widen(stored))
    return value * value


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
def _sum_cuda(sums, first, last, lanes):
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
            total = _sum_cuda(sums, start, min(start + CHUNK, first + count), lanes)
            if cuda.threadIdx.x == 0:
                sums[first + chunk] = total
        count = chunks_of(count)
        cuda.syncthreads()
    return sums[first] if count == 1 else 0.0


@rule
def pieces_of(size):
    """Return how many sums are left when the sums of a tensor's chunks are added by chunks."""
    return chunks_of(chunks_of(size))


@rule
def part_of(part, parts, chunks):
    """Return the first and the last of the chunks that one of many blocks walks."""
    return part * chunks // parts, (part + 1) * chunks // parts


@rule
def end_of_row(table, row, last):
    """Return the last chunk of a row, or where a block's part ends in it."""
    return min(last, entry(table, row, FIRST_CHUNK) + chunks_of(entry(table, row, SIZE)))


@cuda_kernel(WARP, LANES_BYTES)
def sum_chunks_cuda(like, kind, table_address, rows, chunks, sums_address):
    """Sum the squares of each chunk of the tensors of one kind."""
    table = table_at(table_address, rows)
    sums = numbers_at(sums_address, chunks, _SUM)
    lanes = cuda.shared.array(0, _SUMS)
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
    sums = numbers_at(sums_address, chunks, _SUM)
    sums_of_pieces = numbers_at(pieces_address, pieces, _SUM)
    lanes = cuda.shared.array(0, _SUMS)
    for piece in range(cuda.blockIdx.x, pieces, cuda.gridDim.x):
        row = row_of(table, rows, piece, FIRST_PIECE)
        count = chunks_of(entry(table, row, SIZE))
        begin = (piece - entry(table, row, FIRST_PIECE)) * CHUNK
        start = entry(table, row, FIRST_CHUNK) + begin
        total = _sum_cuda(sums, start, start + min(CHUNK, count - begin), lanes)
        if cuda.threadIdx.x == 0:
            sums_of_pieces[piece] = total


@cuda_function
def _needs_rescue_cuda(table, row, pieces, lanes):
    """Tell whether a tensor's sum of squares left float64's range."""
    if entry(table, row, KIND) != FLOAT64:
        return False
    start, count = entry(table, row, FIRST_PIECE), pieces_of(entry(table, row, SIZE))
    return not _is_in_range(_sum_cuda(pieces, start, start + count, lanes))


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


@cuda_kernel(WARP, LANES_BYTES)
def find_largest_cuda(table_address, rows, chunks, pieces, pieces_address, largest_address):
    """Find the largest magnitude in each chunk of the tensors that need a rescue."""
    table = table_at(table_address, rows)
    sums_of_pieces = numbers_at(pieces_address, pieces, _SUM)
    largest = numbers_at(largest_address, chunks, _SUM)
    lanes = cuda.shared.array(0, _SUMS)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    while first < last:
        start, size = entry(table, row, FIRST_CHUNK), entry(table, row, SIZE)
        end = end_of_row(table, row, last)
        if first < end and _needs_rescue_cuda(table, row, sums_of_pieces, lanes):
            numbers = numbers_at(entry(table, row, SOURCE), size, _SUM)
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
    sums = numbers_at(sums_address, chunks, _SUM)
    sums_of_pieces = numbers_at(pieces_address, pieces, _SUM)
    largest = numbers_at(largest_address, chunks, _SUM)
    exponents = numbers_at(exponents_address, rows, _EXPONENT)
    rescued = numbers_at(rescued_address, chunks, _SUM)
    lanes = cuda.shared.array(0, _SUMS)
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
        numbers = numbers_at(entry(table, row, SOURCE), size, _SUM)
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
    table, rows, pieces, larger_tensors, larger_count, totals, exponents, has_exponents, lanes
):
    """Return the norm of all tensors, whose pieces were summed.

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
    exponent = _align_cuda(totals, exponents, rows, lanes) if has_exponents else 0
    return math.sqrt(add_sums_cuda(totals, 0, rows, lanes)), exponent


@rule
def chain_length(size):
    """Return the longest chain of additions that a number passes through in a sum of `size`."""
    length = 0
    while size > 1:
        length += (min(size, CHUNK) + LANES - 1) // LANES - 1 + 7
        size = chunks_of(size)
    return length
