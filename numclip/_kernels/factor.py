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
from numclip._kernels.power import times_power_of_two
from numclip._kernels.sums import chain_length

_SINGLE_MARGIN = 1.0 - 2.0**-24 - 2.0**-40
# For a factor or a limit below these, rounding to subnormal numbers may exceed the margins: 2**31
# float32 numbers are rounded by sqrt(2**31) * 2**-150 together, 2**-40 of a limit of 2**-94.
_SMALLEST_SINGLE = 2.0**-90
_SMALLEST_DOUBLE = 2.0**-960


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
def _split(factor, power):
    """Return the same product with a power that is not zero."""
    return (factor / 2, 1) if power == 0 else (factor, power)


@rule
def clip_factor(root, exponent, limit, slack, single):
    """Return what to multiply by, `factor * 2**power`, for the norm `root * 2**exponent`.

    A factor of 1 says that the norm is not over the limit, NaN that it is not finite. The power is
    not zero only where the product has to be taken in steps, and rounded toward zero.
    """
    if not math.isfinite(root):
        return math.nan, 0
    norm = times_power_of_two(root, exponent)
    if norm <= limit:
        return 1.0, 0
    if limit == 0.0:
        return 0.0, 0
    margin = _SINGLE_MARGIN if single else 1.0 - slack * 2.0**-53
    smallest = _SMALLEST_SINGLE if single else _SMALLEST_DOUBLE
    factor = limit / norm * margin
    if factor >= smallest and limit >= smallest:
        return (_largest_single_not_above(factor) if single else factor), 0
    # The quotient of the significands alone, as that of the numbers may be too small.
    limit_significand, limit_power = math.frexp(limit)
    root_significand, root_power = math.frexp(root)
    # Below 1, so that no product overflows on its way.
    factor, power = math.frexp(limit_significand / root_significand * margin)
    factor = _largest_single_not_above(factor) if single else factor
    return _split(factor, power + limit_power - root_power - exponent)
