"""Loops over the rows of a matrix that has one index to a row."""

import numpy as np

from numclip._compile import kernel, parallel_kernel, prange
from numclip._kernels.half import narrow, widen


@kernel
def number_rows(indices):
    """Assign numbers to the distinct indices in order of first occurrence.

    Returns the number of each occurrence's index, and the distinct indices. The table is hashed
    with open addressing and never more than half full, so the time is linear in the input.
    """
    capacity = 16
    while capacity < 2 * indices.size:
        capacity *= 2
    keys = np.full(capacity, -1, np.int64)
    numbers_of_keys = np.empty(capacity, np.int64)
    numbers = np.empty(indices.size, np.int64)
    distinct = np.empty(indices.size, np.int64)
    count = 0
    for occurrence in range(indices.size):
        index = np.int64(indices[occurrence])
        # Fibonacci hashing: consecutive indices land far apart.
        slot = np.int64((np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & (
            capacity - 1
        )
        while keys[slot] != index and keys[slot] != -1:
            slot = (slot + 1) & (capacity - 1)
        if keys[slot] == -1:
            keys[slot] = index
            numbers_of_keys[slot] = count
            distinct[count] = index
            count += 1
        numbers[occurrence] = numbers_of_keys[slot]
    return numbers, distinct[:count].copy()


@kernel
def group_occurrences(numbers, count):
    """List the occurrences of each number one after another, each group in order of occurrence."""
    starts = np.zeros(count + 1, np.int64)
    for occurrence in range(numbers.size):
        starts[numbers[occurrence] + 1] += 1
    for number in range(count):
        starts[number + 1] += starts[number]
    ends = starts[:count].copy()
    occurrences = np.empty(numbers.size, np.int64)
    for occurrence in range(numbers.size):
        number = numbers[occurrence]
        occurrences[ends[number]] = occurrence
        ends[number] += 1
    return occurrences, starts


@kernel
def add_rows(values, occurrences, starts, rows, out, first, last):
    """Sum these groups of rows of `values` in float64, and store each, rounded, in `out`."""
    width = values.shape[1]
    sums = np.empty(width)
    for group in range(first, last):
        target = out[rows[group]]
        begin, end = starts[group], starts[group + 1]
        summand = values[occurrences[begin]]
        if end == begin + 1:
            for column in range(width):
                target[column] = summand[column]
            continue
        for column in range(width):
            sums[column] = widen(summand[column])
        for position in range(begin + 1, end):
            summand = values[occurrences[position]]
            for column in range(width):
                sums[column] += np.float64(widen(summand[column]))
        for column in range(width):
            target[column] = narrow(sums[column], target[column])


@parallel_kernel
def add_rows_parallel(values, occurrences, starts, rows, out, parts):
    for part in prange(parts):
        first, last = part * rows.size // parts, (part + 1) * rows.size // parts
        add_rows(values, occurrences, starts, rows, out, first, last)
