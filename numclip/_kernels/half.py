"""float16 and bfloat16, which Numba cannot compute with, read and written as integers.

A float16 array reaches a kernel viewed as uint16, a bfloat16 array viewed as int16. `widen` gives
a stored number in the type that it is computed in: float32 for both, itself for float32 and
float64. `narrow` rounds a computed number to the type of `stored`, to nearest, ties to even;
`truncate` rounds it toward zero.
"""

import numpy as np

from numclip._compile import (
    converts_float16,
    float16_to_float32,
    float32_to_float16,
    overload,
    rule,
    types,
)

_SIGN = np.uint32(0x8000_0000)
_MAGNITUDE = np.uint32(0x7FFF_FFFF)
_FLOAT32_INFINITY = np.uint32(0x7F80_0000)
_FLOAT16_LIMIT = np.uint32(0x4780_0000)  # 65536.0, the first power of two that is too large
_FLOAT16_NORMAL = np.uint32(0x3880_0000)  # 2**-14
_EXPONENT_SHIFT = np.uint32(0x3800_0000)  # 127 - 15 in the exponent's place
_HALF = np.float32(0.5)


@rule
def _bits(value):
    return np.float32(value).view(np.uint32)


@rule
def _value(bits):
    return np.uint32(bits).view(np.float32)


@rule
def _round_to_odd(value):
    """Round float64 to float32 so that rounding once more is as rounding once."""
    single = np.float32(value)
    bits = _bits(single)
    rounded = np.float64(single)
    if rounded == value or value != value:
        return single
    if abs(rounded) > abs(value):
        return _value(np.uint32(bits - np.uint32(1)) | np.uint32(1))
    return _value(np.uint32(bits | np.uint32(1)))


@rule
def _widen_float16(stored):
    bits = np.uint32(np.uint16(stored))
    magnitude = np.uint32((bits & np.uint32(0x7FFF)) << np.uint32(13))
    if magnitude >= np.uint32(0x0F80_0000):
        magnitude = np.uint32(magnitude | _FLOAT32_INFINITY)
        if magnitude > _FLOAT32_INFINITY:
            magnitude = np.uint32(magnitude | np.uint32(0x0040_0000))
        value = _value(magnitude)
    else:
        value = _value(magnitude) * np.float32(2.0**112)
    sign = np.uint32((bits & np.uint32(0x8000)) << np.uint32(16))
    return _value(np.uint32(_bits(value) | sign))


@rule
def _narrow_float16(value):
    bits = _bits(value)
    magnitude = np.uint32(bits & _MAGNITUDE)
    if magnitude >= _FLOAT16_LIMIT:
        result = np.uint32(0x7E00) if magnitude > _FLOAT32_INFINITY else np.uint32(0x7C00)
    elif magnitude < _FLOAT16_NORMAL:
        # Adding 1/2 leaves the subnormal's bits, rounded to nearest, at the end of the sum.
        result = _bits(_value(magnitude) + _HALF)
        result = np.uint32(result - _bits(_HALF))
    else:
        odd = np.uint32((magnitude >> np.uint32(13)) & np.uint32(1))
        result = np.uint32(magnitude - _EXPONENT_SHIFT + np.uint32(0x0FFF) + odd)
        result = np.uint32(result >> np.uint32(13))
    return np.uint16(result | np.uint32((bits & _SIGN) >> np.uint32(16)))


@rule
def _widen_bfloat16(stored):
    return _value(np.uint32(np.uint32(np.uint16(stored)) << np.uint32(16)))


@rule
def _narrow_bfloat16(value):
    bits = _bits(value)
    if np.uint32(bits & _MAGNITUDE) > _FLOAT32_INFINITY:
        return np.int16(np.uint16(np.uint32(bits >> np.uint32(16)) | np.uint32(0x0040)))
    odd = np.uint32((bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.uint32(bits + np.uint32(0x7FFF) + odd)
    return np.int16(np.uint16(rounded >> np.uint32(16)))


def is_double(stored):
    """Tell whether a stored number is computed with in float64, and not in float32."""
    return isinstance(stored, np.float64)


@overload(is_double)
def _is_double(stored):
    double = stored == types.float64
    return lambda stored: double


def widen(stored):
    if isinstance(stored, np.uint16):
        return _widen_float16(stored)
    if isinstance(stored, np.int16):
        return _widen_bfloat16(stored)
    return stored


@overload(widen)
def _widen(stored):
    if stored == types.uint16 and converts_float16():
        return lambda stored: float16_to_float32(stored)
    if stored == types.uint16:
        return lambda stored: _widen_float16(stored)
    if stored == types.int16:
        return lambda stored: _widen_bfloat16(stored)
    return lambda stored: stored


def narrow(value, stored):
    if isinstance(stored, np.uint16):
        return _narrow_float16(_round_to_odd(value))
    if isinstance(stored, np.int16):
        return _narrow_bfloat16(_round_to_odd(value))
    return type(stored)(value)


@overload(narrow)
def _narrow(value, stored):
    if stored == types.uint16 and converts_float16():
        return lambda value, stored: float32_to_float16(_round_to_odd(value))
    if stored == types.uint16:
        return lambda value, stored: _narrow_float16(_round_to_odd(value))
    if stored == types.int16:
        return lambda value, stored: _narrow_bfloat16(_round_to_odd(value))
    return lambda value, stored: type(stored)(value)


@rule
def truncate(value, stored):
    """Round as `narrow`, but toward zero."""
    rounded = narrow(value, stored)
    return _step_back(rounded, abs(widen(rounded)) > abs(value))


def _step_back(stored, is_beyond):
    """Return the next number toward zero, where rounding went the other way."""
    if isinstance(stored, np.uint16 | np.int16):
        return type(stored)(stored - type(stored)(is_beyond))
    if isinstance(stored, np.float32):
        return _value(np.uint32(_bits(stored) - np.uint32(is_beyond)))
    return stored


@overload(_step_back)
def _overload_step_back(stored, is_beyond):
    if stored == types.uint16 or stored == types.int16:
        return lambda stored, is_beyond: type(stored)(stored - type(stored)(is_beyond))
    if stored == types.float32:
        return lambda stored, is_beyond: _value(np.uint32(_bits(stored) - np.uint32(is_beyond)))
    return lambda stored, is_beyond: stored
