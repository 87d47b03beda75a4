"""Arrays that careless code gets wrong, by name, in every dtype that norms are taken of.

A function in `HOSTILE` makes a fresh array of the dtype it is given, the same one at every call.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]

FLOATING = ("float16", "bfloat16", "float32", "float64")
DTYPES = (*FLOATING, "complex64", "complex128")

# Around the lanes and around the chunk of the norm's order of additions.
SIZES = (2, 127, 128, 129, 4095, 4096, 4097)


def dtype_named(name: str) -> Dtype:
    if name == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(name)


def numeric_limits(dtype: Dtype) -> Any:
    """Return `finfo` of the dtype, of the parts for a complex one."""
    native = dtype.newbyteorder("=")
    if dtype.name == "bfloat16":
        return pytest.importorskip("ml_dtypes").finfo(native)
    return np.finfo(native)


def cast(values: Any, dtype: Dtype) -> Array:
    """Convert float64; in a complex dtype the imaginary parts are the same numbers, reversed."""
    reals = np.asarray(values, np.float64)
    if dtype.kind != "c":
        return reals.astype(dtype)
    numbers = np.empty(reals.shape, np.complex128)
    numbers.real = reals
    numbers.imag = np.flip(reals)
    return numbers.astype(dtype)


def normal(dtype: Dtype, *shape: int) -> Array:
    generator = np.random.default_rng(sum(shape))
    return cast(generator.standard_normal(shape), dtype)


def of_magnitude(dtype: Dtype, magnitude: Any, size: int = 5) -> Array:
    """Return numbers of both signs, up to `magnitude`."""
    fractions = np.random.default_rng(size).uniform(-1, 1, size)
    fractions[0] = 1
    return cast(fractions * np.float64(magnitude), dtype)


def subnormal(dtype: Dtype) -> Array:
    return of_magnitude(dtype, numeric_limits(dtype).smallest_normal * 0.5)


def tiny(dtype: Dtype) -> Array:
    return of_magnitude(dtype, np.float64(numeric_limits(dtype).smallest_normal) * 64)


def huge(dtype: Dtype) -> Array:
    return of_magnitude(dtype, numeric_limits(dtype).max)


def huge_and_subnormal(dtype: Dtype) -> Array:
    limits = numeric_limits(dtype)
    return cast([limits.max, limits.smallest_subnormal, -limits.max, 0, 1], dtype)


def with_entries(dtype: Dtype, *entries: float) -> Array:
    """Return two rows, the first of which holds the entries."""
    numbers = normal(dtype, 2, 70)
    numbers[0, 1 : 1 + len(entries)] = entries
    return numbers


def unaligned(dtype: Dtype) -> Array:
    numbers = normal(dtype, 131)
    memory = bytearray(b"\0" + numbers.tobytes())
    return np.ndarray(numbers.shape, dtype, memory, offset=1)


def read_only(dtype: Dtype) -> Array:
    numbers = normal(dtype, 5, 7)
    numbers.flags.writeable = False
    return numbers


def byte_swapped(dtype: Dtype) -> Array:
    return normal(dtype, 3, 43).astype(dtype.newbyteorder())


HOSTILE: dict[str, Callable[[Dtype], Array]] = {
    "empty": lambda dtype: normal(dtype, 0),
    "no rows": lambda dtype: normal(dtype, 0, 3),
    "no columns": lambda dtype: normal(dtype, 3, 0),
    "0-d": lambda dtype: normal(dtype),
    "one element": lambda dtype: normal(dtype, 1),
    **{f"{size} elements": lambda dtype, size=size: normal(dtype, size) for size in SIZES},
    "matrix": lambda dtype: normal(dtype, 6, 33),
    "three dimensions": lambda dtype: normal(dtype, 3, 4, 5),
    "zeros": lambda dtype: cast(np.zeros((2, 3)), dtype),
    "negative zeros": lambda dtype: cast(np.full((2, 3), -0.0), dtype),
    "a row of zeros": lambda dtype: cast([[0.0, 0.0, 0.0], [1.0, -2.0, 2.0]], dtype),
    "constant": lambda dtype: cast(np.full(300, 0.7), dtype),
    "NaN": lambda dtype: with_entries(dtype, np.nan),
    "infinity": lambda dtype: with_entries(dtype, np.inf),
    "negative infinity": lambda dtype: with_entries(dtype, -np.inf),
    "NaN and infinity": lambda dtype: with_entries(dtype, np.inf, np.nan, -np.inf),
    "subnormal": subnormal,
    "smallest subnormal": lambda dtype: cast([numeric_limits(dtype).smallest_subnormal], dtype),
    "tiny": tiny,
    "huge": huge,
    "largest": lambda dtype: cast(np.full((2, 2), numeric_limits(dtype).max), dtype),
    "huge and subnormal": huge_and_subnormal,
    "strided": lambda dtype: normal(dtype, 400)[1::3],
    "strided columns": lambda dtype: normal(dtype, 6, 33)[:, ::2],
    "reversed": lambda dtype: normal(dtype, 130)[::-1],
    "Fortran order": lambda dtype: np.asfortranarray(normal(dtype, 6, 33)),
    "transposed": lambda dtype: normal(dtype, 3, 4, 5).transpose(2, 0, 1),
    "byte-swapped": byte_swapped,
    "unaligned": unaligned,
    "read-only": read_only,
    "broadcast": lambda dtype: np.broadcast_to(normal(dtype, 1, 9), (4, 9)),
}

# The rows of this one share memory, so that nothing can be written to it.
INPUT_ONLY = ("broadcast",)


def dimensions_of(name: str) -> int:
    return HOSTILE[name](np.dtype(np.float64)).ndim
