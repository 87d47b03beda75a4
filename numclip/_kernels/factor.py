"""The factor that brings a norm down to its limit and never leaves it above.

Let N be the norm, c the limit, u = 2**-53. Numbers that are computed in float32 are multiplied by
the largest float32 not above (c/N)(1 - 2**-24 - 2**-40): rounding a product to float32 enlarges it
by at most 2**-24, and 2**-40 is more than what float64 can be wrong by in both norms. float64 is
multiplied by (c/N)(1 - slack*u), where slack counts every rounding in the two norms, the factor
and the product (see `slack_of`).
"""

import math

import numpy as np

from numclip._compile import rule
from numclip._kernels.norm import chain_length, times_power_of_two

_SINGLE_MARGIN = 1.0 - 2.0**-24 - 2.0**-40
_SMALLEST_SINGLE_FACTOR = 2.0**-100
_SMALLEST_DOUBLE_FACTOR = 2.0**-960


@rule
def slack_of(size, tensors):
    """Bound the roundings, in units of 2**-53, between a norm and the norm of the clipped result.

    Every number passes `chain` additions in a norm, and one rounding as it is squared; the root
    halves both and adds one of its own; there are two norms: chain + 1 + 2. The quotient, the
    margin and the product add one each.
    """
    return chain_length(size) + chain_length(tensors) + 6


@rule
def _largest_single_not_above(value):
    single = np.float32(value)
    if np.float64(single) > value:
        # The product rounds to the next float32 below, whatever the significand.
        single = np.float32(np.float64(single) * (1.0 - 2.0**-24))
    return np.float64(single)


@rule
def clip_factor(root, exponent, limit, slack, single):
    """Return three factors, to be applied one after another, for the norm root * 2**exponent.

    (1, 1, 1) says that the norm is not over the limit, NaN that it is not finite. The second and
    the third are powers of two, and differ from 1 only where the product of all three would have
    been too small for the first alone.
    """
    if not math.isfinite(root):
        return math.nan, 1.0, 1.0
    norm = times_power_of_two(root, exponent)
    if norm <= limit:
        return 1.0, 1.0, 1.0
    margin = _SINGLE_MARGIN if single else 1.0 - slack * 2.0**-53
    smallest = _SMALLEST_SINGLE_FACTOR if single else _SMALLEST_DOUBLE_FACTOR
    factor = limit / norm * margin
    if factor >= smallest:
        return (_largest_single_not_above(factor) if single else factor), 1.0, 1.0
    significand, power = math.frexp(limit / root * margin)
    power -= exponent
    half = power // 2
    return significand, math.ldexp(1.0, half), math.ldexp(1.0, power - half)
