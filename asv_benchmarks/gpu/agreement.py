"""Whether a device gives what the host gives, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Array
from .places import HOST, Library, Place


class Disagreement(Exception):
    """A result is not what it should be."""


def agree(library: Library, build: Callable[[Place], Any]) -> None:
    """Raise unless something gives the same in both places."""
    require_same(build(HOST), build(library), library)


def require_same(expected: Any, got: Any, library: Library) -> None:
    found = difference(expected, got, library)
    if found:
        raise Disagreement(found)


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Disagreement(otherwise)


def difference(expected: Any, got: Any, library: Library, where: str = "result") -> str:
    """Describe the first difference; nothing where there is none.

    Arrays of the host have to be matched by arrays of the library, all else by equal things.
    """
    if isinstance(expected, np.ndarray | np.generic):
        return _difference_of_array(np.asarray(expected), got, library, where)
    if isinstance(expected, nc.IndexedSlices):
        if not isinstance(got, nc.IndexedSlices):
            return f"{where} is of {type(got).__name__}, not IndexedSlices"
        expected, got = expected._asdict(), got._asdict()
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) or list(got) != list(expected):
            return f"{where} is {type(got).__name__}, not a mapping of {list(expected)}"
        pairs = [(f"{where}.{key}", expected[key], got[key]) for key in expected]
    elif isinstance(expected, list | tuple):
        if not isinstance(got, Sequence) or len(got) != len(expected):
            return f"{where} is {type(got).__name__}, not a sequence of {len(expected)}"
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(expected, got, strict=True))]
    else:
        return "" if got == expected else f"{where} is {got!r}, not {expected!r}"
    found = (difference(wanted, came, library, name) for name, wanted, came in pairs)
    return next(filter(None, found), "")


def _difference_of_array(expected: Array, got: Any, library: Library, where: str) -> str:
    if not library.holds(got):
        return f"{where} is of {type(got).__name__}, not an array of {library.name} on the device"
    there = library.get(got)
    if (there.dtype, there.shape) != (expected.dtype, expected.shape):
        return (
            f"{where} is of dtype {there.dtype} and shape {there.shape},"
            f" not {expected.dtype} and {expected.shape}"
        )
    return difference_of_bits(expected, there, where)


def difference_of_bits(expected: Array, got: Array, where: str = "result") -> str:
    """Compare numbers of one dtype and shape; NaN equals NaN whatever its bits."""
    wanted, came = _parts(expected), _parts(got)
    bits = f"u{wanted.dtype.itemsize}"
    differ = wanted.view(bits) != came.view(bits)
    if not differ.any():
        return ""
    if wanted.dtype.kind not in "iu":
        differ &= ~(np.isnan(wanted) & np.isnan(came))
    places = np.flatnonzero(differ)
    if not places.size:
        return ""
    first = places[0]
    return (
        f"{where} differs in {places.size:,} of {wanted.size:,} numbers, first in number"
        f" {first:,}: {came[first]!r}, not {wanted[first]!r}"
    )


def _parts(array: Array) -> Array:
    """Return the numbers one after another, a complex one as two."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind == "c":
        return flat.view(f"f{flat.dtype.itemsize // 2}")
    return flat
