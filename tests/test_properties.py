"""What holds for every array and limit: clipping is a projection, to the last bit."""

import math
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, FLOATING, Array, Dtype, dtype_named, numeric_limits
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operations import (
    OPERATIONS,
    Operation,
    leaves,
    no_tolerance,
    numbers_differ,
    parts,
    sum_of_squares,
    units,
)

import numclip as nc

PROJECTIONS = tuple(operation for operation in OPERATIONS if operation.is_projection)
SCALINGS = tuple(operation for operation in OPERATIONS if operation.tolerance != no_tolerance)
LARGEST = float(np.finfo(np.float64).max)


def rows_of(table: tuple[Operation, ...]) -> Any:
    cases = [
        pytest.param(operation, dtype, id=f"{operation.name}-{dtype}")
        for operation in table
        for dtype in operation.dtypes
    ]
    return pytest.mark.parametrize(("operation", "dtype"), cases)


def exponents(dtype: Dtype) -> Any:
    """Draw a power of two whose numbers are in the range of the dtype, subnormal ones included."""
    limits = numeric_limits(dtype)
    lowest = round(math.log2(float(limits.smallest_subnormal)))
    return st.integers(lowest, int(limits.maxexp) - 1)


@st.composite
def numbers(draw: Any, dtype: Dtype, size: int) -> Array:
    """Draw real numbers, as float64: random ones, all alike, or such as round badly."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    signs = generator.choice([-1.0, 1.0], size)
    first, second = draw(exponents(dtype)), draw(exponents(dtype))
    match draw(st.sampled_from(["normal", "spread", "constant", "integers", "binary"])):
        case "normal":
            return np.ldexp(generator.standard_normal(size), first)
        case "spread":
            return signs * np.exp2(generator.uniform(min(first, second), max(first, second), size))
        case "constant":
            return signs * np.ldexp(draw(st.floats(1, 2)), first)
        case "integers":
            largest = draw(st.integers(1, 12))
            return np.ldexp(generator.integers(-largest, largest + 1, size).astype(float), first)
        case _:
            # Significands of few bits and of many, next to powers of two.
            steps = generator.integers(-2, 3, size) * 2.0 ** -draw(st.integers(8, 53))
            return signs * np.ldexp(1 + steps, first)


@st.composite
def arrays(draw: Any, dtype: Dtype, longest: int = 300) -> Array:
    """Draw a matrix of finite numbers."""
    columns = draw(st.one_of(st.integers(1, 20), st.integers(1, longest), st.just(longest)))
    rows = draw(st.integers(1, 3 if columns < 1000 else 1))
    complex_parts = 2 if dtype.kind == "c" else 1
    largest = float(numeric_limits(dtype).max)
    with np.errstate(over="ignore", under="ignore"):
        drawn = draw(numbers(dtype, rows * columns * complex_parts))
        bounded = np.clip(drawn, -largest, largest)
        if complex_parts == 1:
            return bounded.astype(dtype).reshape(rows, columns)
        return bounded.view(np.complex128).astype(dtype).reshape(rows, columns)


@st.composite
def limits(draw: Any, tensors: list[Array]) -> float:
    """Draw a limit by the norm: a part of it, its neighbours, or any number."""
    norm = min(float(nc.global_norm(tensors)), LARGEST)
    match draw(st.sampled_from(["part", "tiny part", "divided", "neighbour", "any"])):
        case "part":
            return norm * draw(st.floats(0, 1))
        case "tiny part":
            return math.ldexp(norm, -draw(st.integers(1, 2100))) * draw(st.floats(0.5, 1))
        case "divided":
            return norm / draw(st.integers(1, 30))
        case "neighbour":
            return max(norm + draw(st.integers(-4, 4)) * math.ulp(norm), 0.0)
        case _:
            return math.ldexp(draw(st.floats(1, 2)), draw(st.integers(-1074, 1023)))


def bits(tensors: list[Array]) -> list[bytes]:
    return [x.tobytes() for x in tensors]


def assert_limit_is_kept(operation: Operation, operand: Any, limit: float) -> None:
    result = leaves(operation.call(operand, limit, None))
    if operation.is_above(result, limit):
        # Only a norm that is the limit but for float64's rounding may stay.
        assert bits(result) == bits(leaves(operand)), limit
        assert not operation.is_above(result, limit * (1 + 1e-14)), limit


@rows_of(PROJECTIONS)
@settings(max_examples=25)
@given(data=st.data())
def test_the_limit_is_kept(operation: Operation, dtype: str, data: Any) -> None:
    operand = operation.operand(data.draw(arrays(dtype_named(dtype))))
    assert_limit_is_kept(operation, operand, data.draw(limits(leaves(operand))))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=150)
@given(data=st.data())
def test_the_limit_is_kept_by_long_arrays(dtype: str, data: Any) -> None:
    operation = next(row for row in OPERATIONS if row.name == "clip_by_norm")
    x = data.draw(arrays(dtype_named(dtype), 4200))
    assert_limit_is_kept(operation, x, data.draw(limits([x])))


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("size", [1, 2, 3, 10, 100, 1000, 4096])
def test_the_limit_is_kept_where_all_numbers_round_alike(dtype: str, size: int) -> None:
    operation = next(row for row in OPERATIONS if row.name == "clip_by_norm")
    for seed in range(30):
        generator = np.random.default_rng(seed)
        x = np.full(size, generator.uniform(1, 2)).astype(dtype_named(dtype))
        norm = float(nc.global_norm([x]))
        for divisor in (*range(1, 12), generator.uniform(1, 4), generator.uniform(1, 1.001)):
            assert_limit_is_kept(operation, x, norm / divisor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 64, 4096])
def test_the_limit_is_kept_next_to_the_subnormal_numbers(dtype: str, size: int) -> None:
    operation = next(row for row in OPERATIONS if row.name == "clip_by_norm")
    smallest = float(numeric_limits(dtype_named(dtype)).smallest_normal)
    for seed in range(30):
        generator = np.random.default_rng(seed)
        x = np.full(size, generator.uniform(1, 2)).astype(dtype_named(dtype))
        for multiple in (0.3, 1.0, 1.1, 2.7, 5.3, 80.0, 1000.0):
            assert_limit_is_kept(operation, x, multiple * smallest)


@pytest.mark.parametrize(
    ("magnitude", "limit"),
    [(1e140, 1e-190), (1e300, 1e-300), (1e5, 3e-308), (1e140, 3e-305), (1e-130, 1e-300)],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_limit_far_below_the_norm(magnitude: float, limit: float, size: int) -> None:
    x = np.full(size, magnitude)
    expected = pytest.approx(limit / math.sqrt(size), rel=1e-14, abs=1e-323)
    norm = float(nc.global_norm([x]))
    for clipped in (
        nc.clip_by_norm(x, limit),
        nc.clip_by_average_norm(x, limit / size),
        nc.clip_by_global_norm([x], limit)[0][0],
        nc.clip_by_global_norm([x], limit, use_norm=norm)[0][0],
    ):
        assert clipped[0] == expected
        assert (clipped == clipped[0]).all()


@rows_of(PROJECTIONS)
@settings(max_examples=25)
@given(data=st.data())
def test_clipping_again_changes_nothing(operation: Operation, dtype: str, data: Any) -> None:
    operand = operation.operand(data.draw(arrays(dtype_named(dtype))))
    limit = data.draw(limits(leaves(operand)))
    once = operation.call(operand, limit, None)
    again = operation.call(once, limit, None)
    assert bits(leaves(again)) == bits(leaves(once)), limit


@rows_of(SCALINGS)
@settings(max_examples=20)
@given(data=st.data())
def test_the_right_numbers_at_every_magnitude(operation: Operation, dtype: str, data: Any) -> None:
    operand = operation.operand(data.draw(arrays(dtype_named(dtype), 40)))
    tensors = leaves(operand)
    limit = data.draw(limits(tensors))
    result = leaves(operation.call(operand, limit, None))
    expected = operation.expected(tensors, operation.squares(tensors), limit)
    for x, got, wanted in zip(tensors, result, expected, strict=True):
        tolerance = operation.tolerance(x.dtype, x.size)
        assert not numbers_differ(parts(got), wanted, *tolerance), (limit, got, wanted)


@rows_of(PROJECTIONS)
@settings(max_examples=15)
@given(data=st.data())
def test_not_over_the_limit_every_bit_stays(operation: Operation, dtype: str, data: Any) -> None:
    operand = operation.operand(data.draw(arrays(dtype_named(dtype))))
    norm = float(nc.global_norm(leaves(operand)))
    # An average, or one slice, is not above the norm of them all.
    for limit in (norm, norm * data.draw(st.floats(1, 4)), math.inf):
        result = operation.call(operand, limit, None)
        assert bits(leaves(result)) == bits(leaves(operand)), limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_again_changes_nothing_among_subnormal_numbers(dtype: str) -> None:
    smallest = float(numeric_limits(dtype_named(dtype)).smallest_subnormal)
    for steps in range(1, 12):
        x = np.full(2, steps * smallest).astype(dtype_named(dtype))
        for limit in range(1, 16):
            once = nc.clip_by_norm(x, limit * smallest)
            assert nc.clip_by_norm(once, limit * smallest).tobytes() == once.tobytes()


def with_exponent(numbers: Array) -> tuple[Array, int]:
    """Multiply by the power of two that brings the largest to between 1/2 and 1; return both."""
    exponent = int(np.frexp(np.abs(numbers).max())[1])
    return np.ldexp(numbers, -exponent), exponent


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100)
@given(data=st.data())
def test_the_direction_is_kept(dtype: str, data: Any) -> None:
    x = data.draw(arrays(dtype_named(dtype)))
    clipped = parts(nc.clip_by_norm(x, data.draw(limits([x]))))
    assert np.array_equal(np.signbit(clipped), np.signbit(parts(x)))
    assume(clipped.any())
    numbers, _ = with_exponent(parts(x))
    got, exponent = with_exponent(clipped)
    largest = np.argmax(np.abs(numbers))
    factor = got.flat[largest] / numbers.flat[largest]
    format = numeric_limits(x.dtype)
    # Numbers may be a step off, and the factor by what such a step is of the largest of them;
    # some are subnormal only now.
    step = max(math.ldexp(float(format.smallest_subnormal), -exponent), 2.0**-1074)
    allowed = 4 * float(format.eps) * np.abs(factor * numbers) + 2 * step
    assert (np.abs(got - factor * numbers) <= allowed).all()


def times_two_to(operand: Any, exponent: int) -> Any:
    match operand:
        case None:
            return None
        case nc.IndexedSlices():
            return operand._replace(values=times_two_to(operand.values, exponent))
        case dict():
            return {key: times_two_to(t, exponent) for key, t in operand.items()}
        case list() | tuple():
            return [times_two_to(t, exponent) for t in operand]
        case _:
            scaled = np.ldexp(parts(operand), exponent)
            numbers = scaled.view(np.complex128) if operand.dtype.kind == "c" else scaled
            return numbers[..., 0].astype(operand.dtype)


# By so much, numbers from 1/16 to 16 can be multiplied without becoming subnormal or infinite.
LARGEST_EXPONENT = {
    "float16": 8,
    "bfloat16": 115,
    "float32": 115,
    "float64": 1000,
    "complex64": 115,
    "complex128": 1000,
}
ALIKE = tuple(operation for operation in PROJECTIONS if "mixed" not in operation.name)


@rows_of(ALIKE)
@settings(max_examples=15)
@given(data=st.data())
def test_powers_of_two_commute_with_clipping(operation: Operation, dtype: str, data: Any) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 200)))
    drawn = np.round(generator.uniform(-8, 8, (*shape, 2)), data.draw(st.integers(0, 9)))
    drawn[np.abs(drawn) < 0.5] = 0
    is_complex = dtype_named(dtype).kind == "c"
    numbers = drawn.view(np.complex128)[..., 0] if is_complex else drawn[..., 0]
    operand = operation.operand(numbers.astype(dtype_named(dtype)))
    squares = operation.squares(leaves(operand))
    limit = operation.limit(leaves(operand), squares, data.draw(st.floats(0.25, 1)))
    largest = LARGEST_EXPONENT[dtype]
    exponent = data.draw(st.integers(-largest, largest))
    scaled_first = operation.call(
        times_two_to(operand, exponent), math.ldexp(limit, exponent), None
    )
    clipped_first = times_two_to(operation.call(operand, limit, None), exponent)
    assert bits(leaves(scaled_first)) == bits(leaves(clipped_first))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100)
@given(data=st.data())
def test_the_limit_is_kept_relative_to_a_norm_given(dtype: str, data: Any) -> None:
    x = data.draw(arrays(dtype_named(dtype)))
    use_norm = data.draw(limits([x]))
    limit = use_norm * data.draw(st.floats(0, 1.5))
    [clipped], reported = nc.clip_by_global_norm([x], limit, use_norm)
    assert reported is use_norm
    if use_norm <= limit:
        assert clipped.tobytes() == x.tobytes()
        return
    # Not above limit / use_norm of what it was: exactly, but for subnormal results.
    smallest = float(numeric_limits(x.dtype).smallest_normal)
    magnitudes = np.abs(parts(clipped)[parts(clipped) != 0])
    assume(magnitudes.size == 0 or magnitudes.min() >= smallest)
    assert (
        sum_of_squares([clipped]) * units(use_norm) ** 2 <= sum_of_squares([x]) * units(limit) ** 2
    )


@st.composite
def tensor_lists(draw: Any) -> list[Array | None]:
    """Draw arrays of dtypes of their own, and None."""
    names = draw(st.lists(st.sampled_from([*DTYPES, None]), min_size=1, max_size=5))
    return [None if name is None else draw(arrays(dtype_named(name), 100)) for name in names]


@settings(max_examples=300)
@given(data=st.data())
def test_lists_of_mixed_dtypes(data: Any) -> None:
    tensors = data.draw(tensor_lists())
    present = leaves(tensors)
    limit = data.draw(limits(present))
    operation = next(row for row in OPERATIONS if row.name == "clip_by_global_norm")
    assert_limit_is_kept(operation, tensors, limit)
    once, norm = nc.clip_by_global_norm(tensors, limit)
    again, _ = nc.clip_by_global_norm(once, limit)
    assert bits(leaves(again)) == bits(leaves(once))
    assert norm <= limit or not operation.is_above(leaves(once), limit)
    if norm <= limit:
        assert bits(leaves(once)) == bits(present)
