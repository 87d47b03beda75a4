"""The table of an optimizer's step: filled, counted, and given what clips its gradients.

Beside `table.py` and `clip.py`, as each kernel takes 0.4 ms of the import of those.
"""

import numpy as np

from numclip._compile import kernel, locked_kernel, rule
from numclip._kernels.clip import clip_factors
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.norm import (
    add_squares,
    norm_of_squares,
    sum_chunks,
    sum_chunks_parallel,
    sum_rows,
)
from numclip._kernels.table import (
    DOUBLE_FACTOR,
    FACTOR,
    FIRST_CHUNK,
    FIRST_SLOT,
    KIND,
    ROWS,
    SIZE,
    are_disjoint,
    chunks_of,
    fill,
)


@rule
def _fill_slots(table, slots, sizes):
    """Store the slots' addresses; tell whether each variable has the size and kind of its slots."""
    are_as_planned = True
    table[:, FIRST_SLOT : ROWS + 1] = 0
    for row in range(table.shape[0]):
        for slot in range(slots.shape[1]):
            table[row, FIRST_SLOT + slot] = slots[row, slot]
            are_as_planned &= (
                table[row, SIZE] == sizes[row, 0] and table[row, KIND] == sizes[row, 1]
            )
    return are_as_planned


@locked_kernel
def fill_updates(table, gradients, variables, slots, sizes, layout, descriptors):
    """Fill a wide table as `fill_table`.

    `slots` has their addresses, 0 for those not made yet, and `sizes` their sizes and kinds.
    Returns besides whether all arrays own their data.
    """
    chunks, numbers, own_their_data = fill(table, gradients, variables, layout, descriptors)
    if chunks < 0 or not _fill_slots(table, slots, sizes):
        return -1, 0, False
    if not are_disjoint(table, slots.shape[1], own_their_data):
        return -1, 0, False
    return chunks, numbers, own_their_data


@kernel
def are_apart(table, own_their_data):
    """Tell whether no variable, slot or gradient of a table may overlap another."""
    return are_disjoint(table, ROWS - FIRST_SLOT, own_their_data)


@kernel
def number_chunks(table):
    """Store which chunk of all is the first of each row; return how many there are, and numbers."""
    chunks, numbers = 0, 0
    for row in range(table.shape[0]):
        table[row, FIRST_CHUNK] = chunks
        chunks += chunks_of(table[row, SIZE])
        numbers += table[row, SIZE]
    return chunks, numbers


@kernel
def kinds_of(table):
    """Return a bit for each kind that a table has."""
    kinds = 0
    for row in range(table.shape[0]):
        if table[row, SIZE] > 0:
            kinds |= 1 << table[row, KIND]
    return kinds


@rule
def _store_factors(table, row, factors, powers):
    """Leave factors in the columns of a wide table, and their powers in an array of its own.

    Tells whether any power is not zero.
    """
    reals = table.view(np.float64)
    reals[row, FACTOR], powers[row, 0] = factors[0]
    reals[row, DOUBLE_FACTOR], powers[row, 1] = factors[1]
    return powers[row, 0] != 0 or powers[row, 1] != 0


@rule
def _own_factors(table, row, total, exponent, limit):
    root, exponent = add_squares(total, exponent)
    slack = slack_of(table[row, SIZE], 1)
    single = clip_factor(root, exponent, limit, slack, True)
    return single, clip_factor(root, exponent, limit, slack, False)


@kernel
def limit_sums(table, sums, limit, limits_each, powers, norms):
    """Do as `limit_norms`; the chunks' sums are known."""
    totals, exponents = sum_rows(table, sums)
    for row in range(norms.size):
        norms[row] = norm_of_squares(totals[row], exponents[row])
    in_steps = False
    if limits_each:
        for row in range(table.shape[0]):
            alone = slice(row, row + 1)
            factors = _own_factors(table, row, totals[alone], exponents[alone], limit)
            in_steps |= _store_factors(table, row, factors, powers)
    root, exponent = add_squares(totals, exponents)
    if not limits_each:
        factors = clip_factors(table, root, exponent, limit, 0)
        for row in range(table.shape[0]):
            in_steps |= _store_factors(table, row, factors, powers)
    return root, exponent, in_steps


@kernel
def limit_norms(table, chunks, limit, limits_each, powers, norms):
    """Store the factors that bring the common norm to the limit, or the norm of each tensor.

    None of the tensors is None. A limit of infinity leaves factors of 1. Stores the norm of each in
    `norms`, if that has room; returns the common norm, and whether any power is not zero.
    """
    sums = np.empty(chunks)
    sum_chunks(table, sums, 0, chunks)
    return limit_sums(table, sums, limit, limits_each, powers, norms)


@kernel
def limit_norms_parallel(table, chunks, limit, limits_each, powers, norms, parts):
    sums = np.empty(chunks)
    sum_chunks_parallel(table, sums, chunks, parts)
    return limit_sums(table, sums, limit, limits_each, powers, norms)
