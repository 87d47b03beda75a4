"""Sums of gradients, one after another, in float64."""

import numpy as np

from numclip._compile import kernel, parallel_kernel, prange, rule
from numclip._compile_cuda import cuda, cuda_kernel
from numclip._kernels.elementwise import MAP_THREADS
from numclip._kernels.half import narrow, widen
from numclip._kernels.memory import numbers_at
from numclip._kernels.sums import SUM


@rule
def _plus_product(total, stored, weight):
    return total + np.float64(widen(stored)) * weight


@rule
def _quotient(total, divisor, stored):
    """Return a quotient that is rounded once, to the type of `stored`."""
    return narrow(total / divisor, stored)


@kernel
def add_products(numbers, weight, sums, first, last):
    """Add these numbers, each times the weight, to the sums at their places."""
    for i in range(first, last):
        sums[i] = _plus_product(sums[i], numbers[i], weight)


@parallel_kernel
def add_products_parallel(numbers, weight, sums, count, parts):
    for part in prange(parts):
        first, last = part * count // parts, (part + 1) * count // parts
        add_products(numbers, weight, sums, first, last)


@cuda_kernel(MAP_THREADS)
def add_products_cuda(like, weight, size, source, sums_address):
    numbers, sums = numbers_at(source, size, like), numbers_at(sums_address, size, SUM)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        sums[i] = _plus_product(sums[i], numbers[i], weight)


@kernel
def store_quotients(sums, divisor, out, first, last):
    """Store these sums, each divided and then rounded once, in `out`."""
    for i in range(first, last):
        out[i] = _quotient(sums[i], divisor, out[i])


@parallel_kernel
def store_quotients_parallel(sums, divisor, out, count, parts):
    for part in prange(parts):
        first, last = part * count // parts, (part + 1) * count // parts
        store_quotients(sums, divisor, out, first, last)


@cuda_kernel(MAP_THREADS)
def store_quotients_cuda(like, divisor, size, sums_address, target):
    sums, out = numbers_at(sums_address, size, SUM), numbers_at(target, size, like)
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = _quotient(sums[i], divisor, like)
