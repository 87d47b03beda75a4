"""float16 and bfloat16 as integers: every pattern, and every rounding at which one could slip.

The nonnegative patterns of a half, read as integers, are in the order of the numbers they stand
for, so that rounding is a search among 32,768 of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arrays import Array, dtype_named

from numclip._compile import kernel
from numclip._kernels.half import narrow, truncate, widen

HALVES = ("float16", "bfloat16")
STORED_AS = {"float16": np.uint16, "bfloat16": np.int16}
WIDE = ("float32", "float64")
PATTERNS = np.arange(2**16, dtype=np.uint16)


@kernel
def widen_all(stored, out):  # type: ignore[no-untyped-def]
    for i in range(stored.size):
        out[i] = widen(stored[i])


@kernel
def narrow_all(values, out):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        out[i] = narrow(values[i], out[i])


@kernel
def truncate_all(values, out):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        out[i] = truncate(values[i], out[i])


def compiled(loop: Any, values: Array, half: str) -> Array:
    """Return the patterns, as uint16, that a loop makes of values."""
    out = np.empty(values.size, STORED_AS[half])
    loop(values, out)
    return out.view(np.uint16)


def in_python(rule: Callable[[Any, Any], Any], values: Array, half: str) -> Array:
    stored = STORED_AS[half](0)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32's range, and NaN
        return np.array([rule(value, stored) for value in values]).view(np.uint16)


def widened_by_numpy(patterns: Array, half: str) -> Array:
    with np.errstate(invalid="ignore"):
        return patterns.view(dtype_named(half)).astype(np.float32)


def numbers_of(half: str) -> Array:
    """Return what patterns from 0 on stand for, and for infinity the number after the largest."""
    numbers = widened_by_numpy(PATTERNS[: 2**15], half)
    largest = int(np.argmax(np.isinf(numbers))) - 1
    finite = numbers[: largest + 1].astype(np.float64)
    return np.append(finite, 2 * finite[-1] - finite[-2])


def rounded_to_nearest(values: Array, half: str) -> Array:
    numbers = numbers_of(half)
    midpoints = np.append((numbers[:-1] + numbers[1:]) / 2, np.inf)
    magnitudes = np.abs(values.astype(np.float64))
    below = np.searchsorted(midpoints[:-1], magnitudes)
    tie_to_even = (magnitudes == midpoints[below]) & (below % 2 == 1)
    return with_sign(np.where(tie_to_even & np.isfinite(magnitudes), below + 1, below), values)


def rounded_toward_zero(values: Array, half: str) -> Array:
    numbers = numbers_of(half)
    magnitudes = np.abs(values.astype(np.float64))
    below = np.searchsorted(numbers[:-1], magnitudes, side="right") - 1
    return with_sign(np.where(np.isinf(magnitudes), numbers.size - 1, below), values)


def with_sign(patterns: Array, values: Array) -> Array:
    return (patterns | np.where(np.signbit(values), 0x8000, 0)).astype(np.uint16)


def hard_values(half: str, wide: str) -> Array:
    """Return numbers, midpoints, their neighbours, random patterns and extremes, of both signs."""
    numbers = numbers_of(half)
    with np.errstate(over="ignore"):
        exact = np.concatenate([numbers, (numbers[:-1] + numbers[1:]) / 2]).astype(wide)
    limits = np.finfo(wide)
    extremes = np.array([limits.max, limits.tiny, limits.smallest_subnormal, np.inf], wide)
    generator = np.random.default_rng(16)
    patterns = generator.integers(0, 2 ** (31 if wide == "float32" else 63), 100_000, np.int64)
    random = patterns.astype(np.int32 if wide == "float32" else np.int64).view(wide)
    random = random[~np.isnan(random)]
    spread = (2.0 ** generator.uniform(-30, 17, 100_000)).astype(wide)
    lower, upper = np.nextafter(exact, -np.inf), np.nextafter(exact, np.inf)
    values = np.concatenate([exact, lower, upper, extremes, random, spread])
    return np.concatenate([values, -values])


def of_numpy(values: Array, half: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype_named(half)).view(np.uint16)


def is_nan(patterns: Array, half: str) -> Array:
    return np.isnan(patterns.view(dtype_named(half)).astype(np.float32))


def same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def with_quiet_nan(numbers: Array) -> Array:
    """Forget whether NaN was a signalling one: processors differ in that, and NumPy with them."""
    bits = numbers.view(np.uint32)
    return np.where(np.isnan(numbers), bits | 0x0040_0000, bits)


@pytest.mark.parametrize("half", HALVES)
def test_widen_gives_every_pattern_its_number(half: str) -> None:
    out = np.empty(PATTERNS.size, np.float32)
    widen_all(PATTERNS.view(STORED_AS[half]), out)
    assert same_bits(with_quiet_nan(out), with_quiet_nan(widened_by_numpy(PATTERNS, half)))


@pytest.mark.parametrize("half", HALVES)
def test_widen_in_python(half: str) -> None:
    infinities = [0x7C00, 0xFC00, 0x7F80, 0xFF80]
    patterns = np.concatenate([PATTERNS[::97], np.array(infinities, np.uint16)])
    found = np.array([widen(stored) for stored in patterns.view(STORED_AS[half])])
    assert same_bits(with_quiet_nan(found), with_quiet_nan(widened_by_numpy(patterns, half)))


@pytest.mark.parametrize("dtype", WIDE)
def test_wide_numbers_stay(dtype: str) -> None:
    value = np.array(0.1, dtype)[()]
    for rule in (narrow, truncate):
        assert rule(value, value) == value == widen(value)
        assert type(rule(value, value)) is type(value) is type(widen(value))


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("half", HALVES)
def test_narrow_rounds_once_to_nearest_even(half: str, wide: str) -> None:
    values = hard_values(half, wide)
    expected = rounded_to_nearest(values, half)
    assert same_bits(compiled(narrow_all, values, half), expected)
    # ml_dtypes rounds float64 to float32 first.
    if (half, wide) != ("bfloat16", "float64"):
        assert same_bits(of_numpy(values, half), expected)


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("half", HALVES)
def test_truncate_rounds_toward_zero(half: str, wide: str) -> None:
    values = hard_values(half, wide)
    values = values[(np.abs(values) < numbers_of(half)[-1]) | np.isinf(values)]
    expected = rounded_toward_zero(values, half)
    assert same_bits(compiled(truncate_all, values, half), expected)


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("half", HALVES)
def test_truncate_never_makes_a_number_infinite(half: str, wide: str) -> None:
    values = np.array([2.0**16, np.finfo(np.float32).max], wide)
    assert same_bits(compiled(truncate_all, values, half), rounded_toward_zero(values, half))


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("half", HALVES)
def test_rounding_in_python(half: str, wide: str) -> None:
    values = np.random.default_rng(3).choice(hard_values(half, wide), 300, replace=False)
    assert same_bits(in_python(narrow, values, half), rounded_to_nearest(values, half))
    within = values[np.abs(values) < numbers_of(half)[-1]]
    assert same_bits(in_python(truncate, within, half), rounded_toward_zero(within, half))


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize("half", HALVES)
def test_nan_stays_nan_of_its_sign(half: str, wide: str) -> None:
    bits = np.array([0x7F80_0001, 0x7FC0_0000, 0x7FFF_FFFF], np.uint32)
    values = bits.view(np.float32)
    if wide == "float64":
        values = np.array([1, 2**51, 2**52 - 1], np.uint64).view(np.float64)
        values = (values.view(np.uint64) | np.uint64(0x7FF << 52)).view(np.float64)
    values = np.concatenate([values, -values])
    for loop, rule in ((narrow_all, narrow), (truncate_all, truncate)):
        for found in (compiled(loop, values, half), in_python(rule, values, half)):
            assert is_nan(found, half).all()
            assert np.array_equal(found >> 15, [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("half", HALVES)
def test_widen_then_narrow_gives_the_pattern_back(half: str) -> None:
    wide = np.empty(PATTERNS.size, np.float32)
    widen_all(PATTERNS.view(STORED_AS[half]), wide)
    numbers = ~np.isnan(wide)
    for loop in (narrow_all, truncate_all):
        assert same_bits(compiled(loop, wide[numbers], half), PATTERNS[numbers])
