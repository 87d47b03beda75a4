"""The norm is right to 1e-14 at any size and magnitude, and the same bits wherever numbers lie."""

import itertools
import math
import tracemalloc
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
from arrays import DTYPES, FLOATING, Array, dtype_named, normal
from operations import exact_norm

import numclip as nc

LARGE = 2**24
CHUNKS = 3 * 4096 + 5


def norm_of(*tensors: Array) -> float:
    return float(nc.global_norm(list(tensors)))


def standard_normal(size: int, dtype: str = "float32") -> Array:
    return np.random.default_rng(7).standard_normal(size, np.float32).astype(dtype)


def blocks(x: Array) -> Iterator[Array]:
    for start in range(0, x.size, 2**20):
        yield x[start : start + 2**20]


def exact_squares(x: Array) -> Iterator[float]:
    """Yield float64 numbers whose exact sum is that of the squares (T. J. Dekker's product)."""
    yield from (square := x * x).tolist()
    upper = x * (2.0**27 + 1)
    upper -= upper - x
    lower = x - upper
    yield from (((upper * upper - square) + 2 * upper * lower) + lower * lower).tolist()


def norm_by_fsum(x: Array) -> float:
    parts = x.view(x.real.dtype) if x.dtype.kind == "c" else x
    squares = (exact_squares(block.astype(np.float64)) for block in blocks(parts))
    return math.sqrt(math.fsum(itertools.chain.from_iterable(squares)))


def add_in_order(numbers: Array) -> float:
    """Add float64: chunks of 4,096 in 128 lanes, a halving tree, then the chunks' sums likewise."""
    while True:
        count = max(math.ceil(numbers.size / 4096), 1)
        padded = np.zeros(count * 4096)
        padded[: numbers.size] = numbers
        lanes = np.zeros((count, 128))
        for row in padded.reshape(count, 32, 128).swapaxes(0, 1):
            lanes += row
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
        numbers = lanes[:, 0]
        if count == 1:
            return float(numbers[0])


def norm_in_order(*tensors: Array) -> float:
    sums = [add_in_order(x.astype(np.float64) ** 2) for x in tensors]
    return math.sqrt(add_in_order(np.array(sums)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_many_numbers(dtype: str) -> None:
    x = normal(dtype_named(dtype), LARGE)
    assert norm_of(x) == pytest.approx(norm_by_fsum(x), rel=1e-14, abs=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_many_numbers_that_are_the_same(dtype: str) -> None:
    x = np.full(LARGE, 0.1, dtype_named(dtype))
    with mpmath.workprec(200):
        expected = float(mpmath.sqrt(LARGE) * mpmath.mpf(float(x.real[0])))
    assert norm_of(x) == pytest.approx(expected, rel=1e-14, abs=0)


def test_of_more_numbers_than_32_bits_count() -> None:
    # Of zeros, which the system need not keep; the others are where a counter would have run over.
    x = np.zeros(2**31 + 17, np.float16)
    x[[0, 2**31 - 1, 2**31, 2**31 + 16]] = 1.0, 2.0, 2.0, 4.0
    assert norm_of(x) == 5.0


@pytest.mark.parametrize("size", [1, 1000, 4096, 100_003, 2**21])
def test_of_numbers_that_all_round_one_way(size: int) -> None:
    x = np.full(size, 0.1)
    assert norm_of(x) == pytest.approx(0.1 * math.sqrt(size), rel=1e-14, abs=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_alignment(dtype: str) -> None:
    x = normal(dtype_named(dtype), CHUNKS)
    expected = norm_of(x)
    memory = bytearray(x.nbytes + 64)
    for offset in range(64):
        shifted = np.ndarray(x.shape, x.dtype, memory, offset)
        shifted[...] = x
        assert norm_of(shifted) == expected


@pytest.mark.parametrize("stride", [2, 3, 7, -1, -2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_strides(dtype: str, stride: int) -> None:
    x = normal(dtype_named(dtype), CHUNKS)
    memory = np.zeros(abs(stride) * x.size, x.dtype)
    strided = memory[::stride]
    strided[...] = x
    assert norm_of(strided) == norm_of(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_layout(dtype: str) -> None:
    x = normal(dtype_named(dtype), 3, 37, 113)
    expected = norm_of(x)
    for other in (
        x.reshape(-1),
        np.asfortranarray(x),
        np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
        x.astype(x.dtype.newbyteorder()),
    ):
        assert norm_of(other) == expected


def test_bits_of_many_numbers_do_not_depend_on_alignment_and_strides() -> None:
    x = standard_normal(LARGE)
    expected = norm_of(x)
    memory = bytearray(x.nbytes + 64)
    for offset in (4, 33):
        shifted = np.ndarray(x.shape, x.dtype, memory, offset)
        shifted[...] = x
        assert norm_of(shifted) == expected
    backwards = np.ascontiguousarray(x[::-1])
    assert norm_of(backwards[::-1]) == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 4095, 4096, 4097, CHUNKS])
def test_order_of_additions(size: int, dtype: str) -> None:
    # Two orders often give the same bits: several seeds.
    for seed in range(20):
        numbers = np.random.default_rng(seed).standard_normal(size) * 3
        x = numbers.astype(dtype_named(dtype))
        assert norm_of(x) == norm_in_order(x)


def test_order_of_additions_of_more_chunks_than_a_chunk_holds() -> None:
    x = standard_normal(4096 * 4096 + 4096 + 3)
    assert norm_of(x) == norm_in_order(x)


@pytest.mark.parametrize("count", [1, 2, 3, 127, 128, 129, 130, 300, 4097])
def test_order_of_additions_over_tensors(count: int) -> None:
    for seed in range(20 if count < 1000 else 1):
        tensors = list(np.random.default_rng(seed).standard_normal((count, 3)))
        assert norm_of(*tensors) == norm_in_order(*tensors)


def test_order_of_additions_of_complex() -> None:
    x = normal(np.dtype(np.complex128), CHUNKS)
    assert norm_of(x) == norm_in_order(x.view(np.float64))


@pytest.mark.parametrize(
    ("dtype", "magnitude"),
    [
        ("float64", 1e200),
        ("float64", 1e-200),
        ("float64", 1e300),
        ("float64", 1e-300),
        ("float64", 1e-320),
        ("float32", 1e30),
        ("float32", 1e-30),
        ("float32", 1e-43),
        ("bfloat16", 1e30),
        ("bfloat16", 1e-30),
        ("float16", 6e4),
        ("float16", 6e-8),
        ("complex64", 1e30),
        ("complex128", 1e200),
        ("complex128", 1e-200),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000, 4097])
def test_at_every_magnitude(dtype: str, magnitude: float, size: int) -> None:
    fractions = np.random.default_rng(size).uniform(-1, 1, size)
    x = (fractions * magnitude).astype(dtype_named(dtype))
    assert norm_of(x) == pytest.approx(exact_norm([x]), rel=1e-14, abs=0)


@pytest.mark.parametrize(
    "exponent", [-1074, -1000, -600, -481, -480, -479, 479, 480, 481, 600, 1000]
)
def test_bits_are_the_same_at_every_power_of_two(exponent: int) -> None:
    # Integers of few bits, which stay what they are even among the subnormal numbers.
    x = np.random.default_rng(4).integers(-9, 10, 5000).astype(np.float64)
    assert norm_of(np.ldexp(x, exponent)) == math.ldexp(norm_of(x), exponent)


@pytest.mark.parametrize("largest", [1e200, 1.0, 1e-150])
def test_of_numbers_of_every_magnitude_at_once(largest: float) -> None:
    x = largest * 10.0 ** -np.linspace(0, 120, 700)
    assert norm_of(x) == pytest.approx(exact_norm([x]), rel=1e-14, abs=0)


LISTS = {
    "float64 tiny, float32 zeros": [np.full(10, 1e-200), np.zeros(1000, np.float32)],
    "float64 tiny, float32 tiny": [np.full(10, 1e-200), np.full(10, 1e-40, np.float32)],
    "float64 huge, normal": [np.full(10, 1e200), np.full(10, 3.0)],
    "float64 huge, float32 huge": [np.full(10, 1e200), np.full(10, 1e38, np.float32)],
    "zeros, subnormal": [np.zeros(7), np.full(5, 5e-324)],
    "zeros of many dtypes, subnormal": [
        np.zeros(3, np.float16),
        np.zeros(2, complex),
        np.full(5, 5e-324),
    ],
    "tiny, tinier": [np.full(10, 1e-170), np.full(10, 1e-180), np.full(10, 1e-300)],
    "tiny, hardly tiny": [np.full(10, 1e-146), np.full(3, 1e-144), np.full(10, 1e-145)],
    "huge, hardly huge": [np.full(10, 1e146), np.full(3, 1e144), np.full(10, 1e145)],
    "normal, huge, tiny": [np.ones(3), np.full(4, 1e200), np.full(4, 1e-200)],
    "huge, empty": [np.full(10, 1e300), np.zeros(0), np.zeros((0, 3), np.float32)],
    "float16 largest, float64 subnormal": [np.full(4, 65504, np.float16), np.full(5, 5e-324)],
    "complex huge, tiny": [np.full(4, 1e200 - 1e200j), np.full(3, 1e-200j)],
}


@pytest.mark.parametrize("name", LISTS)
def test_of_lists_of_mixed_magnitudes(name: str) -> None:
    for tensors in (LISTS[name], LISTS[name][::-1]):
        expected = exact_norm(tensors)
        assert norm_of(*tensors) == pytest.approx(expected, rel=1e-14, abs=0)
        clipped, _ = nc.clip_by_global_norm(tensors, expected / 4)
        # Where the limit is subnormal, a result is as good as numbers there can be.
        step = 5e-324 * math.sqrt(sum(x.size for x in tensors))
        assert exact_norm(clipped) == pytest.approx(expected / 4, rel=1e-2, abs=step)


@pytest.mark.parametrize("empty", [[], [None], [np.zeros(0)], [np.zeros((0, 2), np.float16), None]])
def test_of_nothing_is_zero(empty: list[Array | None]) -> None:
    assert nc.global_norm(empty) == 0.0
    assert type(nc.global_norm(empty)) is np.float64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("position", [0, 130, 4096, CHUNKS - 1])
def test_nan_wins_over_infinity(dtype: str, position: int) -> None:
    x = normal(dtype_named(dtype), CHUNKS)
    x[position] = np.inf
    assert norm_of(x) == math.inf
    x[77] = -np.inf
    assert norm_of(x) == math.inf
    nan = np.array([1, np.nan], np.float32)
    for tensors in ((x, nan), (nan, x), (np.full(3, 1e300), nan, x)):
        assert math.isnan(norm_of(*tensors))
    x[position] = np.nan
    assert math.isnan(norm_of(x))


@pytest.mark.parametrize("huge", [1e300, np.finfo(np.float64).max])
def test_nan_and_infinity_among_huge_numbers(huge: float) -> None:
    x = np.full(1000, huge)
    x[500] = np.inf
    assert norm_of(x) == math.inf
    x[700] = np.nan
    assert math.isnan(norm_of(x))


@pytest.mark.parametrize("limit", [1e308, 1.0, 1e-300])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_norm_beyond_the_range_is_infinite_and_clips(dtype: str, limit: float) -> None:
    largest = np.finfo(np.float64).max
    tensors = [np.full(6, largest, dtype), np.full((2, 3), -largest, dtype)]
    clipped, norm = nc.clip_by_global_norm(tensors, limit)
    assert norm == math.inf
    expected = limit / math.sqrt(12)
    assert np.allclose(clipped[0], expected, rtol=1e-14, atol=0)
    assert np.allclose(clipped[1], -expected, rtol=1e-14, atol=0)
    unclipped, _ = nc.clip_by_global_norm(tensors, np.inf)
    assert [x.tobytes() for x in unclipped] == [x.tobytes() for x in tensors]


# Numba allocates where tracemalloc sees it.
@pytest.mark.parametrize(
    ("dtype", "magnitude"), [*((dtype, 1.0) for dtype in DTYPES), ("float64", 1e200)]
)
def test_nothing_of_the_size_of_the_input_is_allocated(dtype: str, magnitude: float) -> None:
    x = np.full(2**20, magnitude, dtype_named(dtype))
    norm_of(x)
    tracemalloc.start()
    try:
        norm_of(x, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The sums of the chunks, and as many again of what they are added in.
    assert peak < 4 * 8 * x.size / 4096 + 100_000


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("size", [40, 30_000])
def test_bits_do_not_depend_on_none(dtype: str, size: int) -> None:
    """None has no part in the order of additions, however a list is read."""
    generator = np.random.default_rng(7)
    for _ in range(40 if size < 1000 else 3):
        sizes = generator.integers(0, size, 6)
        arrays = [generator.standard_normal(n).astype(dtype_named(dtype)) for n in sizes]
        with_none = [arrays[0], None, *arrays[1:3], None, None, *arrays[3:]]
        strided = [None if x is None else np.repeat(x, 2)[::2] for x in with_none]
        expected, norm = nc.clip_by_global_norm(arrays, 0.1)
        for t_list in (with_none, strided, dict(enumerate(with_none))):
            assert nc.global_norm(t_list) == norm
            clipped, found = nc.clip_by_global_norm(t_list, 0.1)
            assert found == norm
            results = clipped.values() if isinstance(clipped, dict) else clipped
            bits = [x.tobytes() for x in results if x is not None]
            assert bits == [x.tobytes() for x in expected]
