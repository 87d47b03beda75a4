"""Clipping by the norm of all tensors: the factors, and all of it in one call for small lists."""

import math

from numclip._compile import kernel, locked_kernel, rule
from numclip._kernels.elementwise import Scale, copy_chunks, map_chunks
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.norm import norm_of_table
from numclip._kernels.table import SIZE, table_of


@rule
def _longest(table):
    longest = 0
    for row in range(table.shape[0]):
        longest = max(longest, table[row, SIZE])
    return longest


@kernel
def clip_factors(table, root, exponent, limit, roundings):
    """Return the factors for numbers computed in float32, and those for float64.

    `roundings` is what the caller adds to the slack.
    """
    slack = slack_of(_longest(table), table.shape[0]) + roundings
    single = clip_factor(root, exponent, limit, slack, True)
    return single, clip_factor(root, exponent, limit, slack, False)


@locked_kernel
def clip_arrays(items, targets, count, layout, descriptors, limit, only_finite, largest):
    """Clip arrays given as to `table_of`, and return their norm: one call, where a call costs 1 us.

    Nothing is written, and False returned, if the arrays cannot be read like that, are `largest`,
    or have to be multiplied in steps.
    """
    table, chunks, size = table_of(items, targets, count, layout, descriptors)
    if chunks < 0 or size >= largest:
        return 0.0, 0, False
    root, exponent = norm_of_table(table, chunks)
    if only_finite and not math.isfinite(root):
        return root, exponent, True
    single, double = clip_factors(table, root, exponent, limit, 0)
    if single[1] != 0 or double[1] != 0:
        return root, exponent, False
    if single[0] == 1.0:
        copy_chunks(table, 0, chunks)
    else:
        map_chunks(Scale(single[0], double[0]), table, 0, chunks)
    return root, exponent, True
