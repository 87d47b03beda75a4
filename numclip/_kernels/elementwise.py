"""Loops that treat every number of an array alike."""

import numpy as np

from numclip._compile import kernel, rule
from numclip._kernels.half import narrow, truncate, widen


@rule
def _minimum(a, b):
    return a if a < b or a != a else b


@rule
def _maximum(a, b):
    return a if a > b or a != a else b


@rule
def _bounded(value, lowest, highest):
    """Take the minimum first, as TensorFlow does: of crossed bounds, the lower one wins."""
    kind = type(value)
    return _maximum(_minimum(value, kind(highest)), kind(lowest))


@kernel
def clip_values(x, lowest, highest, out):
    for i in range(x.size):
        out[i] = narrow(_bounded(widen(x[i]), lowest, highest), out[i])


@rule
def scaled(stored, factor):
    value = widen(stored)
    return truncate(value * type(value)(factor), stored)


@rule
def scaled_in_steps(stored, factor, first, second):
    value = np.float64(widen(stored))
    return truncate(value * factor * first * second, stored)


@kernel
def scale(x, factor, first, second, out):
    if first == 1.0:
        for i in range(x.size):
            out[i] = scaled(x[i], factor)
    else:
        for i in range(x.size):
            out[i] = scaled_in_steps(x[i], factor, first, second)
