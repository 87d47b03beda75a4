"""The loops of all optimizers: one for each number of slots, whatever the rule.

A rule is a function of a NamedTuple of hyperparameters, a number of the variable, one of the
gradient and a tuple of one number from each slot; it returns the new number and the new tuple.
Loops find it by the NamedTuple's class: a rule handed over as an argument, or a loop made by a
factory, would be compiled anew in each process.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numclip._compile import kernel, overload, rule
from numclip._compile_cuda import cuda, cuda_function, cuda_kernel
from numclip._kernels.elementwise import MAP_THREADS
from numclip._kernels.half import narrow, widen
from numclip._kernels.memory import load_4, numbers_at, store_4, table_at
from numclip._kernels.rows import heads_group, sum_of_group
from numclip._kernels.table import (
    CHUNK,
    FIRST_CHUNK,
    FIRST_SLOT,
    KIND,
    SIZE,
    SOURCE,
    TARGET,
    entry,
    part_of,
    row_of,
    row_onward,
)

_RULES = {}


def rule_of(hyperparameters: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the rule for this class of hyperparameters."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        # Numba takes a rule for `updated` only if their signatures agree to the annotation.
        function.__annotations__ = {}
        _RULES[hyperparameters] = rule(function)
        return _RULES[hyperparameters]

    return register


def updated(hyperparameters, number, gradient, slots):
    return _RULES[type(hyperparameters)](hyperparameters, number, gradient, slots)


@overload(updated)
def _updated(hyperparameters, number, gradient, slots):
    return _RULES.get(hyperparameters.instance_class)


@rule
def _updated_0(hyperparameters, number, gradient):
    new, _ = updated(hyperparameters, widen(number), widen(gradient), ())
    return narrow(new, number)


@rule
def _updated_2(hyperparameters, number, gradient, slot_0, slot_1):
    new, (new_0, new_1) = updated(
        hyperparameters, widen(number), widen(gradient), (widen(slot_0), widen(slot_1))
    )
    return narrow(new, number), narrow(new_0, slot_0), narrow(new_1, slot_1)


@kernel
def update_0(hyperparameters, numbers, gradient):
    for i in range(numbers.size):
        numbers[i] = _updated_0(hyperparameters, numbers[i], gradient[i])


@kernel
def update_2(hyperparameters, numbers, gradient, slot_0, slot_1):
    for i in range(numbers.size):
        numbers[i], slot_0[i], slot_1[i] = _updated_2(
            hyperparameters, numbers[i], gradient[i], slot_0[i], slot_1[i]
        )


@kernel
def update_rows_0(hyperparameters, numbers, gradient, rows):
    for position in range(rows.size):
        update_0(hyperparameters, numbers[rows[position]], gradient[position])


@kernel
def update_all_rows_2(hyperparameters, numbers, gradient, rows, slot_0, slot_1):
    """Update every row; `rows` are those of the gradient, each once, the others' is zero."""
    zeros = np.zeros(numbers.shape[1], gradient.dtype)
    order = np.argsort(rows)
    position = 0
    for row in range(numbers.shape[0]):
        if position < order.size and rows[order[position]] == row:
            update_2(
                hyperparameters, numbers[row], gradient[order[position]], slot_0[row], slot_1[row]
            )
            position += 1
        else:
            update_2(hyperparameters, numbers[row], zeros, slot_0[row], slot_1[row])


_INT64 = np.int64(0)


@cuda_function
def _update_chunk_0_cuda(hyperparameters, numbers, gradient, first, last, in_vectors):
    if in_vectors:
        stop = first + (last - first) // 4 * 4
        for i in range(first + 4 * cuda.threadIdx.x, stop, 4 * cuda.blockDim.x):
            n, g = load_4(numbers, i), load_4(gradient, i)
            store_4(
                numbers,
                i,
                _updated_0(hyperparameters, n[0], g[0]),
                _updated_0(hyperparameters, n[1], g[1]),
                _updated_0(hyperparameters, n[2], g[2]),
                _updated_0(hyperparameters, n[3], g[3]),
            )
        first = stop
    for i in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
        numbers[i] = _updated_0(hyperparameters, numbers[i], gradient[i])


@cuda_function
def _update_chunk_2_cuda(
    hyperparameters, numbers, gradient, slot_0, slot_1, first, last, in_vectors
):
    if in_vectors:
        stop = first + (last - first) // 4 * 4
        for i in range(first + 4 * cuda.threadIdx.x, stop, 4 * cuda.blockDim.x):
            n, g = load_4(numbers, i), load_4(gradient, i)
            s, t = load_4(slot_0, i), load_4(slot_1, i)
            a = _updated_2(hyperparameters, n[0], g[0], s[0], t[0])
            b = _updated_2(hyperparameters, n[1], g[1], s[1], t[1])
            c = _updated_2(hyperparameters, n[2], g[2], s[2], t[2])
            d = _updated_2(hyperparameters, n[3], g[3], s[3], t[3])
            store_4(numbers, i, a[0], b[0], c[0], d[0])
            store_4(slot_0, i, a[1], b[1], c[1], d[1])
            store_4(slot_1, i, a[2], b[2], c[2], d[2])
        first = stop
    for i in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
        numbers[i], slot_0[i], slot_1[i] = _updated_2(
            hyperparameters, numbers[i], gradient[i], slot_0[i], slot_1[i]
        )


@cuda_kernel(MAP_THREADS)
def update_0_cuda(hyperparameters, like, kind, table_address, rows, chunks):
    table = table_at(table_address, rows)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    for chunk in range(first, last):
        row = row_onward(table, row, rows, chunk)
        if entry(table, row, KIND) == kind:
            size = entry(table, row, SIZE)
            source, target = entry(table, row, SOURCE), entry(table, row, TARGET)
            begin = (chunk - entry(table, row, FIRST_CHUNK)) * CHUNK
            _update_chunk_0_cuda(
                hyperparameters,
                numbers_at(target, size, like),
                numbers_at(source, size, like),
                begin,
                min(begin + CHUNK, size),
                source % 16 == 0 and target % 16 == 0,
            )


@cuda_kernel(MAP_THREADS)
def update_2_cuda(hyperparameters, like, kind, table_address, rows, chunks):
    table = table_at(table_address, rows)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    for chunk in range(first, last):
        row = row_onward(table, row, rows, chunk)
        if entry(table, row, KIND) == kind:
            size = entry(table, row, SIZE)
            source, target = entry(table, row, SOURCE), entry(table, row, TARGET)
            slot_0, slot_1 = entry(table, row, FIRST_SLOT), entry(table, row, FIRST_SLOT + 1)
            begin = (chunk - entry(table, row, FIRST_CHUNK)) * CHUNK
            _update_chunk_2_cuda(
                hyperparameters,
                numbers_at(target, size, like),
                numbers_at(source, size, like),
                numbers_at(slot_0, size, like),
                numbers_at(slot_1, size, like),
                begin,
                min(begin + CHUNK, size),
                (source | target | slot_0 | slot_1) % 16 == 0,
            )


@cuda_kernel(MAP_THREADS)
def update_rows_0_cuda(
    hyperparameters, like, rows, width, size, values, keys_address, order_address, places, target
):
    """Update the rows that occur, each as often as it does, in order of occurrence."""
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    numbers = numbers_at(target, rows * width, like)
    gradient = numbers_at(values, size * width, like)
    for i in range(cuda.grid(1), size * width, cuda.gridsize(1)):
        position, column = i // width, i % width
        if not heads_group(keys, position):
            continue
        place = keys[position] * width + column
        number = numbers[place]
        while True:
            occurrence = order[position] * width + column
            number = _updated_0(hyperparameters, number, gradient[occurrence])
            position += 1
            if position == size or heads_group(keys, position):
                break
        numbers[place] = number


@cuda_kernel(MAP_THREADS)
def place_groups_cuda(rows, size, keys_address, places_address):
    """Store for each row where its group begins; the places are -1 before."""
    keys = numbers_at(keys_address, size, _INT64)
    places = numbers_at(places_address, rows, _INT64)
    for position in range(cuda.grid(1), size, cuda.gridsize(1)):
        if heads_group(keys, position):
            places[keys[position]] = position


@cuda_kernel(MAP_THREADS)
def update_all_rows_2_cuda(
    hyperparameters,
    like,
    rows,
    width,
    size,
    values,
    keys_address,
    order_address,
    places_address,
    target,
    slot_0_address,
    slot_1_address,
):
    """Update every row, by the sum of its group or by zero."""
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    places = numbers_at(places_address, rows, _INT64)
    numbers = numbers_at(target, rows * width, like)
    slot_0 = numbers_at(slot_0_address, rows * width, like)
    slot_1 = numbers_at(slot_1_address, rows * width, like)
    gradient = numbers_at(values, size * width, like)
    for i in range(cuda.grid(1), rows * width, cuda.gridsize(1)):
        position = places[i // width]
        summed = type(like)(0)
        if position >= 0:
            summed = sum_of_group(gradient, width, i % width, keys, order, position, size)
        numbers[i], slot_0[i], slot_1[i] = _updated_2(
            hyperparameters, numbers[i], summed, slot_0[i], slot_1[i]
        )
