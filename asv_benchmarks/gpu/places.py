"""Where arrays can be: on the host, or with a library that has them on a CUDA device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from ..benchmarks.workloads import Array, as_dtype

Dtype = np.dtype[Any]


class Unavailable(Exception):
    """Something that could be checked or measured is not there."""


class Place(Protocol):
    """What a check asks of the host, too."""

    name: str

    def put(self, host: Array) -> Any:
        """Return a copy there, in the same order of memory: C's, or Fortran's."""


class Library(Place, Protocol):
    """What a check asks of a library."""

    # Whether it promises that a call returns while the device is at work.
    never_waits: bool

    def get(self, array: Any) -> Array:
        """Return a copy on the host, once all work on the array is done."""

    def holds(self, value: Any) -> bool:
        """Tell whether a value is an array of the library, on the current device."""

    def random(self, size: int, dtype: Dtype) -> Any:
        """Return normally distributed numbers that are made where they are needed."""

    def synchronize(self) -> None:
        """Wait for the device."""

    def release(self) -> None:
        """Give memory back that is kept for later."""

    def new_stream(self) -> Any:
        """Return a stream of its own."""

    def address_of(self, stream: Any) -> int:
        """Return CUDA's own handle of a stream."""

    def work_on(self, stream: Any) -> AbstractContextManager[Any]:
        """Have the work in a `with` block enqueued on a stream."""

    def bound(self, array: Any, stream: Any) -> Any:
        """Return the array as one that is used on a stream."""

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        """Enqueue a copy on a stream."""


class Host:
    """The host, whose results are the right ones."""

    name = "host"

    def put(self, host: Array) -> Array:
        return np.array(host, order="K")


HOST = Host()


def is_bfloat16(dtype: Dtype) -> bool:
    return dtype.name == "bfloat16"


def why_not(library: Library, dtype: str) -> str:
    """Say why a library cannot hold a dtype; nothing where it can."""
    try:
        host = np.ones(3, as_dtype(dtype))
        library.get(library.put(host))
    except ImportError as error:
        return f"{dtype}: {error}"
    except Exception as error:
        return f"{library.name} has no {dtype}: {error}"
    return ""
