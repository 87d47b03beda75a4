"""The table of an optimizer's step: filled, counted, and given what clips its gradients.

Beside `table.py` and `clip.py`, as each kernel takes 0.4 ms of the import of those.
"""

import numpy as np

from numclip._compile import kernel, locked_kernel, rule
from numclip._kernels.clip import clip_factors
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.norm import add_squares, norm_of_squares, norm_of_sums, sum_rows
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
    """Leave factors in the columns of a wide table, and their powers in an array of its own."""
    reals = table.view(np.float64)
    reals[row, FACTOR], powers[row, 0] = factors[0]
    reals[row, DOUBLE_FACTOR], powers[row, 1] = factors[1]


@rule
def _store_common_factors(table, root, exponent, limit, powers):
    factors = clip_factors(table, root, exponent, limit, 0)
    for row in range(table.shape[0]):
        _store_factors(table, row, factors, powers)


@kernel
def limit_all(table, sums, limit, powers):
    """Store the factors that bring the common norm to the limit; the chunks' sums are known.

    Returns the norm. A limit of infinity leaves factors of 1.
    """
    root, exponent = norm_of_sums(table, sums)
    _store_common_factors(table, root, exponent, limit, powers)
    return root, exponent


@kernel
def limit_all_and_keep(table, sums, limit, powers, norms):
    """Do as `limit_all`, and store the norm of each tensor, none of which is None."""
    totals, exponents = sum_rows(table, sums)
    for row in range(table.shape[0]):
        norms[row] = norm_of_squares(totals[row], exponents[row])
    root, exponent = add_squares(totals, exponents)
    _store_common_factors(table, root, exponent, limit, powers)
    return root, exponent


@kernel
def limit_each(table, sums, limit, powers):
    """Store the factors that bring the norm of each tensor to the limit, as `limit_all`."""
    totals, exponents = sum_rows(table, sums)
    for row in range(table.shape[0]):
        root, exponent = add_squares(totals[row : row + 1], exponents[row : row + 1])
        slack = slack_of(table[row, SIZE], 1)
        single = clip_factor(root, exponent, limit, slack, True)
        double = clip_factor(root, exponent, limit, slack, False)
        _store_factors(table, row, (single, double), powers)
