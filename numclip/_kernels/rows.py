"""Loops over the rows of a matrix that has one index to a row."""

import numpy as np

from numclip._compile import kernel, parallel_kernel, pointer_to, prange, rule
from numclip._compile_cuda import cuda, cuda_kernel
from numclip._kernels.half import narrow, widen
from numclip._kernels.memory import numbers_at


@kernel
def group_rows(indices):
    """Group the occurrences of each index; the groups come in order of first occurrence.

    Returns the index of each group, its first occurrence, and for each occurrence the one that
    follows in its group, or -1; and the lowest and the highest index, 0 if there are none. The
    table is hashed with open addressing and never more than half full, so the time is linear in the
    input.
    """
    lowest = highest = indices[0] if indices.size > 0 else 0
    capacity = 16
    while capacity < 2 * indices.size:
        capacity *= 2
    groups = np.full(capacity, -1, np.int64)
    distinct, first = np.empty(indices.size, np.int64), np.empty(indices.size, np.int64)
    last, following = np.empty(indices.size, np.int64), np.full(indices.size, -1, np.int64)
    count = 0
    for occurrence in range(indices.size):
        index = indices[occurrence]
        lowest, highest = min(lowest, index), max(highest, index)
        # Fibonacci hashing: consecutive indices land far apart.
        slot = np.int64((np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & (
            capacity - 1
        )
        group = groups[slot]
        while group >= 0 and distinct[group] != index:
            slot = (slot + 1) & (capacity - 1)
            group = groups[slot]
        if group < 0:
            groups[slot] = group = count
            distinct[group], first[group] = index, occurrence
            count += 1
        else:
            following[last[group]] = occurrence
        last[group] = occurrence
    return distinct[:count].copy(), first, following, lowest, highest


@kernel
def add_rows(values, first, following, rows, out, begin, end):
    """Sum these groups of rows of `values` in float64, and store each, rounded, in `out`."""
    width = values.shape[1]
    sums = np.empty(width)
    # Slices of the arrays would be counted: 8,192 rows of 64 took 215 us in place of 150.
    numbers, results = pointer_to(values), pointer_to(out)
    for group in range(begin, end):
        occurrence = first[group]
        source, target = occurrence * width, rows[group] * width
        occurrence = following[occurrence]
        if occurrence < 0:
            for column in range(width):
                results[target + column] = numbers[source + column]
            continue
        for column in range(width):
            sums[column] = widen(numbers[source + column])
        while occurrence >= 0:
            source = occurrence * width
            for column in range(width):
                sums[column] += np.float64(widen(numbers[source + column]))
            occurrence = following[occurrence]
        for column in range(width):
            results[target + column] = narrow(sums[column], results[target + column])


@parallel_kernel
def add_rows_parallel(values, first, following, rows, out, groups, parts):
    for part in prange(parts):
        begin, end = part * groups // parts, (part + 1) * groups // parts
        add_rows(values, first, following, rows, out, begin, end)


# On a GPU the occurrences of a row are found by sorting the indices, stably: they lie one after
# another then, in order of occurrence, and the first of them heads their group.

LOWEST, HIGHEST, RANGE = range(3)

_THREADS = 256
_INT64 = np.int64(0)
_COUNTS = np.dtype(np.int64)


@rule
def _count_below(keys, first, last, key, with_equal):
    """Return how many of some sorted keys come before a key."""
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key or (with_equal and keys[middle] == key):
            low = middle + 1
        else:
            high = middle
    return low - first


@cuda_kernel(_THREADS)
def merge_runs_cuda(
    size, run, keys_address, order_address, sorted_keys_address, sorted_order_address
):
    """Merge sorted runs in pairs; of equal keys, those of the first run come first."""
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    sorted_keys = numbers_at(sorted_keys_address, size, _INT64)
    sorted_order = numbers_at(sorted_order_address, size, _INT64)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        start = i // (2 * run) * (2 * run)
        middle, end = min(start + run, size), min(start + 2 * run, size)
        if i < middle:
            position = i + _count_below(keys, middle, end, keys[i], False)
        else:
            position = i - middle + start + _count_below(keys, start, middle, keys[i], True)
        sorted_keys[position] = keys[i]
        sorted_order[position] = i if run == 1 else order[i]


@rule
def heads_group(keys, position):
    return position == 0 or keys[position] != keys[position - 1]


@cuda_kernel()
def find_range_cuda(size, keys_address, range_address):
    """Store the lowest and the highest of sorted keys."""
    keys = numbers_at(keys_address, size, _INT64)
    if cuda.grid(1) == 0:
        ends = numbers_at(range_address, RANGE, _INT64)
        ends[LOWEST], ends[HIGHEST] = keys[0], keys[size - 1]


@cuda_kernel(_THREADS)
def flag_groups_cuda(size, keys_address, order_address, flags_address):
    """Mark each occurrence that is the first of its index."""
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    flags = numbers_at(flags_address, size, _INT64)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        flags[order[i]] = 1 if heads_group(keys, i) else 0


@cuda_kernel(_THREADS, _THREADS * _COUNTS.itemsize)
def number_groups_cuda(size, flags_address, count_address):
    """Replace the marks by the numbers of their groups, in order of first occurrence; count them.

    One block does it.
    """
    flags = numbers_at(flags_address, size, _INT64)
    counts = cuda.shared.array(0, _COUNTS)
    if cuda.blockIdx.x > 0:
        return
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    first, last = thread * size // threads, (thread + 1) * size // threads
    count = 0
    for i in range(first, last):
        count += flags[i]
    counts[thread] = count
    cuda.syncthreads()
    number = 0
    for i in range(thread):
        number += counts[i]
    for i in range(first, last):
        marked = flags[i]
        flags[i] = number
        number += marked
    if thread == threads - 1:
        numbers_at(count_address, 1, _INT64)[0] = number


@cuda_kernel(_THREADS)
def store_indices_cuda(size, keys_address, order_address, numbers_address, groups, indices_address):
    """Store the index of each group where its number says."""
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    numbers = numbers_at(numbers_address, size, _INT64)
    indices = numbers_at(indices_address, groups, _INT64)
    for position in range(cuda.grid(1), size, cuda.gridsize(1)):
        if heads_group(keys, position):
            indices[numbers[order[position]]] = keys[position]


@cuda_kernel(_THREADS)
def add_rows_cuda(
    like, size, width, keys_address, order_address, numbers_address, values, target, rows
):
    """Sum the rows of each group in float64 and store the sum, rounded, in a row of the target.

    That is the one of its number, or without numbers, which are at 0 then, of its index.
    """
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    numbers = numbers_at(numbers_address, size if numbers_address != 0 else 0, _INT64)
    summands = numbers_at(values, size * width, like)
    sums = numbers_at(target, rows * width, like)
    for i in range(cuda.grid(1), size * width, cuda.gridsize(1)):
        position, column = i // width, i % width
        if heads_group(keys, position):
            row = numbers[order[position]] if numbers_address != 0 else keys[position]
            sums[row * width + column] = sum_of_group(
                summands, width, column, keys, order, position, size
            )


@rule
def sum_of_group(values, width, column, keys, order, position, size):
    """Return the sum of a column of a group, rounded once; one number alone is as it is."""
    stored = values[order[position] * width + column]
    position += 1
    if position == size or heads_group(keys, position):
        return stored
    total = np.float64(widen(stored))
    while position < size and not heads_group(keys, position):
        total += np.float64(widen(values[order[position] * width + column]))
        position += 1
    return narrow(total, stored)
