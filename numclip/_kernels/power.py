"""Products with powers of two that are out of range themselves."""

import math

from numclip._compile import rule


@rule
def times_power_of_two(value, exponent):
    """Multiply, with one rounding at most, where 2**exponent itself may be out of range."""
    half = exponent // 2
    return value * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)
