"""Clipping a table by the norm of all its tensors."""

import math

from numclip._compile import kernel, locked_kernel, parallel_kernel, prange, rule
from numclip._kernels.elementwise import Copy, Scale, ScaleInSteps, map_chunks
from numclip._kernels.factor import clip_factor, slack_of
from numclip._kernels.norm import norm_of_table
from numclip._kernels.table import SIZE, SOURCE, TARGET, table_of


@rule
def _longest(table):
    longest = 0
    for row in range(table.shape[0]):
        longest = max(longest, table[row, SIZE])
    return longest


@rule
def _is_in_place(table):
    for row in range(table.shape[0]):
        if table[row, SOURCE] != table[row, TARGET]:
            return False
    return True


@kernel
def clip_factors(table, root, exponent, limit, roundings):
    """Return the factors for numbers computed in float32, and those for float64.

    `roundings` is what the caller adds to the slack.
    """
    slack = slack_of(_longest(table), table.shape[0]) + roundings
    single = clip_factor(root, exponent, limit, slack, True)
    return single, clip_factor(root, exponent, limit, slack, False)


@kernel
def scale_chunks(table, first, last, single, double):
    """Multiply these chunks of the whole table; where nothing is over the limit, see to copies."""
    if single[0] == 1.0 and double[0] == 1.0:
        if not _is_in_place(table):
            map_chunks(Copy(1.0), table, first, last)
    elif single[1] == 1.0 and double[1] == 1.0:
        map_chunks(Scale(single[0], double[0]), table, first, last)
    else:
        map_chunks(ScaleInSteps(*single, *double), table, first, last)


@parallel_kernel
def scale_chunks_parallel(table, chunks, single, double, parts):
    for part in prange(parts):
        scale_chunks(table, part * chunks // parts, (part + 1) * chunks // parts, single, double)


@kernel
def clip_table(table, chunks, limit, roundings, only_finite):
    """Clip all tensors by their common norm, and return that norm."""
    root, exponent = norm_of_table(table, chunks)
    if not only_finite or math.isfinite(root):
        single, double = clip_factors(table, root, exponent, limit, roundings)
        scale_chunks(table, 0, chunks, single, double)
    return root, exponent


@locked_kernel
def clip_arrays(items, targets, count, layout, descriptors, limit, only_finite, largest):
    """Clip as `clip_table` does a table made as by `table_of`, in one call: a call costs 1 us.

    Nothing is done, and False returned, if the arrays cannot be read like that or are `largest`.
    """
    table, chunks, size = table_of(items, targets, count, layout, descriptors)
    if chunks < 0 or size >= largest:
        return 0.0, 0, False
    root, exponent = clip_table(table, chunks, limit, 0, only_finite)
    return root, exponent, True
