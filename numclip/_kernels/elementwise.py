"""Loops that treat every number alike: one for arrays, one for tables, whatever the operation.

An operation is a NamedTuple; the loops find its rule by its class, as those of `update.py` do.
"""

from typing import NamedTuple

import numpy as np

from numclip._compile import array_at, kernel, overload, parallel_kernel, prange, rule, types
from numclip._kernels.half import narrow, truncate, widen
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
    TARGET,
    row_of,
)


class Bounds(NamedTuple):
    """Keep between two bounds."""

    lowest: float
    highest: float


class Copy(NamedTuple):
    """Keep as it is, to the bit."""

    times: float


class Scale(NamedTuple):
    """Multiply by a factor: one where numbers are computed in float32, one in float64."""

    single: float
    double: float


class ScaleInSteps(NamedTuple):
    """Multiply in float64 by a factor and two powers of two, for factors too small for `Scale`."""

    single: float
    single_first: float
    single_second: float
    double: float
    double_first: float
    double_second: float


def is_single(value):
    return isinstance(value, np.float32)


@overload(is_single)
def _is_single(value):
    single = value == types.float32
    return lambda value: single


@rule
def _minimum(a, b):
    return a if a < b or a != a else b


@rule
def _maximum(a, b):
    return a if a > b or a != a else b


@rule
def _bounded(operation, stored):
    # The minimum first, as in TensorFlow: of crossed bounds, the lower one wins.
    value = widen(stored)
    kind = type(value)
    return narrow(
        _maximum(_minimum(value, kind(operation.highest)), kind(operation.lowest)), stored
    )


@rule
def _copied(operation, stored):
    return stored


@rule
def _scaled(operation, stored):
    value = widen(stored)
    kind = type(value)
    factor = operation.single if is_single(value) else operation.double
    return truncate(value * kind(factor), stored)


@rule
def _scaled_in_steps(operation, stored):
    value = widen(stored)
    wide = np.float64(value)
    if is_single(value):
        product = wide * operation.single * operation.single_first * operation.single_second
    else:
        product = wide * operation.double * operation.double_first * operation.double_second
    return truncate(product, stored)


_RULES = {Bounds: _bounded, Copy: _copied, Scale: _scaled, ScaleInSteps: _scaled_in_steps}


def mapped(operation, stored):
    return _RULES[type(operation)](operation, stored)


@overload(mapped)
def _mapped(operation, stored):
    return _RULES.get(operation.instance_class)


@kernel
def map_numbers(operation, source, target):
    for i in range(source.size):
        target[i] = mapped(operation, source[i])


@kernel
def _map_chunks_of_arrays(operation, source, target, first, last):
    for chunk in range(last - 1, first - 1, -1):
        numbers = source[chunk * CHUNK : (chunk + 1) * CHUNK]
        map_numbers(operation, numbers, target[chunk * CHUNK : (chunk + 1) * CHUNK])


@kernel
def _map_chunks_of_row(operation, row, first, last):
    source, target, size, kind = row[SOURCE], row[TARGET], row[SIZE], row[KIND]
    if kind == FLOAT32:
        like = np.float32(0)
        _map_chunks_of_arrays(
            operation, array_at(source, size, like), array_at(target, size, like), first, last
        )
    elif kind == FLOAT64:
        like = np.float64(0)
        _map_chunks_of_arrays(
            operation, array_at(source, size, like), array_at(target, size, like), first, last
        )
    elif kind == FLOAT16:
        like = np.uint16(0)
        _map_chunks_of_arrays(
            operation, array_at(source, size, like), array_at(target, size, like), first, last
        )
    elif kind == BFLOAT16:
        like = np.int16(0)
        _map_chunks_of_arrays(
            operation, array_at(source, size, like), array_at(target, size, like), first, last
        )


@kernel
def map_chunks(operation, table, first, last):
    """Apply an operation to these chunks of the whole table.

    The last chunk goes first: after a norm was taken, it is the one that is still in the cache.
    """
    if first == last:
        return
    row = row_of(table, last - 1)
    while last > first:
        start = table[row, FIRST_CHUNK]
        begin = max(first, start)
        if last > begin:
            _map_chunks_of_row(operation, table[row], begin - start, last - start)
            last = begin
        row -= 1


@parallel_kernel
def map_chunks_parallel(operation, table, chunks, parts):
    for part in prange(parts):
        map_chunks(operation, table, part * chunks // parts, (part + 1) * chunks // parts)
