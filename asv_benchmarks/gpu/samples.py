"""Arrays that careless kernels get wrong, by name, and how large they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..benchmarks.workloads import Array, Shape, as_dtype
from .places import Dtype, is_bfloat16

FLOATING = ("float16", "bfloat16", "float32", "float64")
DTYPES = (*FLOATING, "complex64", "complex128")


class Scale(NamedTuple):
    """How many numbers the arrays of a check have."""

    sizes: tuple[int, ...]
    shapes: tuple[Shape, ...]
    # Of views, and of lists.
    columns: int
    tensors: int
    # Rows of IndexedSlices, and steps of an optimizer.
    rows: tuple[int, ...]
    steps: int
    # Arrays that only some operations are checked with, none where 0.
    long: int = 0
    # More numbers than an int32 can count, and how many of them are compared at a time.
    huge: Shape = (0, 0)
    window: int = 1 << 20
    # One of so many pairs of a sample and an operation is checked; all of both have their turn
    # where this is a prime that does not divide the number of operations.
    every: int = 1


FULL = Scale(
    sizes=(0, 1, 127, 4095, 4096, 4097, 100_003, (1 << 20) + 3),
    shapes=((), (67, 131), (3, 100_003), (100_003, 3), (5, 7, 9), (0, 3)),
    columns=131,
    tensors=1000,
    rows=(0, 1, 1000, 100_003),
    steps=5,
    long=20_000_003,
    huge=((1 << 16) + 1, 1 << 15),
)
QUICK = FULL._replace(
    sizes=(0, 1, 127, 4097, 100_003),
    shapes=((67, 131), (5, 7, 9)),
    rows=(0, 1000),
    steps=2,
    long=(1 << 20) + 3,
    huge=(1025, 1024),
    window=1 << 12,
)
# Every thread of the simulator is one of the operating system's.
TINY = Scale(
    sizes=(0, 1, 130),
    shapes=((), (3, 5)),
    columns=5,
    tensors=3,
    rows=(0, 9),
    steps=2,
    huge=(5, 6),
    window=4,
    every=23,
)
# compute-sanitizer looks at each access to memory.
SANITIZED = TINY._replace(sizes=(1, 127, 4097), shapes=((), (3, 131), (9, 4097)), rows=(1, 300))


class Sample(NamedTuple):
    """An array that lies somehow in memory."""

    name: str
    memory: Array
    view: Callable[[Any], Any] = lambda memory: memory

    @property
    def array(self) -> Array:
        viewed: Array = self.view(self.memory)
        return viewed


def cast(values: Any, dtype: Dtype) -> Array:
    """Convert float64; in a complex dtype the imaginary parts are the same numbers, reversed."""
    reals = np.asarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind != "c":
            return reals.astype(dtype)
        numbers = np.empty(reals.shape, np.complex128)
        numbers.real = reals
        numbers.imag = np.flip(reals)
        return numbers.astype(dtype)


def normal(dtype: Dtype, *shape: int, seed: int = 0) -> Array:
    return cast(np.random.default_rng(seed).standard_normal(shape), dtype)


def numeric_limits(dtype: Dtype) -> Any:
    if is_bfloat16(dtype):
        import ml_dtypes

        return ml_dtypes.finfo(dtype)
    return np.finfo(dtype)


def samples(dtype: str, scale: Scale) -> Iterator[Sample]:
    """Make one array after another, so that none has to be kept."""
    kind = as_dtype(dtype)
    for size in scale.sizes:
        yield Sample(f"{size:,} numbers", normal(kind, size))
    for shape in scale.shapes:
        yield Sample(f"shape {shape}", normal(kind, *shape))
    yield from _views(kind, scale.columns)
    yield from _hostile(kind)


def _views(dtype: Dtype, columns: int) -> Iterator[Sample]:
    size = 8 * columns
    yield Sample("from the second number", normal(dtype, size), lambda memory: memory[1:])
    yield Sample("from the fourth number", normal(dtype, size), lambda memory: memory[3:])
    yield Sample("every second column", normal(dtype, 5, columns), lambda memory: memory[:, ::2])
    yield Sample("transposed", np.asfortranarray(normal(dtype, 4, columns)))


def _hostile(dtype: Dtype) -> Iterator[Sample]:
    limits = numeric_limits(dtype)
    smallest, largest = float(limits.smallest_normal), float(limits.max)
    fractions = np.random.default_rng(5).uniform(-1, 1, (2, 5))
    named = {
        "zeros": np.zeros((2, 3)),
        "negative zeros": np.full((2, 3), -0.0),
        "a row of zeros": [[0.0, 0.0, 0.0], [1.0, -2.0, 2.0]],
        "NaN": [[1.0, np.nan, -3.0], [4.0, 5.0, -6.0]],
        "infinity": [[1.0, -np.inf, -3.0], [4.0, 5.0, -6.0]],
        "NaN and infinity": [[np.inf, np.nan, -np.inf], [4.0, 5.0, -6.0]],
        "subnormal": fractions * (smallest / 2),
        "tiny": fractions * smallest * 64,
        "largest": np.full((2, 2), largest),
        "largest and subnormal": [[largest, float(limits.smallest_subnormal), -largest, 0, 1]],
    }
    if smallest < 1e-200:
        named["1e-200"] = fractions * 1e-200
        named["1e200"] = fractions * 1e200
        named["1e-200 and 1e200"] = fractions * [[1e-200], [1e200]]
    for name, values in named.items():
        yield Sample(name, cast(values, dtype))
