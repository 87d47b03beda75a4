"""Sums of gradients, one after another, in float64."""

import numpy as np

from numclip._compile import kernel, parallel_kernel, prange
from numclip._kernels.half import narrow, widen


@kernel
def add_products(numbers, weight, sums, first, last):
    """Add these numbers, each times the weight, to the sums at their places."""
    for i in range(first, last):
        sums[i] += np.float64(widen(numbers[i])) * weight


@parallel_kernel
def add_products_parallel(numbers, weight, sums, parts):
    for part in prange(parts):
        first, last = part * sums.size // parts, (part + 1) * sums.size // parts
        add_products(numbers, weight, sums, first, last)


@kernel
def store_quotients(sums, divisor, out, first, last):
    """Store these sums, each divided and then rounded once, in `out`."""
    for i in range(first, last):
        out[i] = narrow(sums[i] / divisor, out[i])


@parallel_kernel
def store_quotients_parallel(sums, divisor, out, parts):
    for part in prange(parts):
        first, last = part * sums.size // parts, (part + 1) * sums.size // parts
        store_quotients(sums, divisor, out, first, last)
