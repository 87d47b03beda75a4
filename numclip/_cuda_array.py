"""What a CUDA array is: where its numbers lie, and what is asked of the library it comes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

Shape: TypeAlias = tuple[int, ...]
HostArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Library(Protocol):
    """What numclip asks of a library whose arrays it is given."""

    def view(self, array: Any, argument: str) -> CudaArray | None:
        """Return where an array's numbers lie, None if that is not on a CUDA device."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        """Return where arrays lie, None if they are not all alike and in C order."""

    def empty(self, shape: Shape, dtype: np.dtype[Any], like: CudaArray) -> Any:
        """Return a new array in C order, on the device of `like`."""

    def empty_like_each(self, arrays: Sequence[Any]) -> list[Any]:
        """Return a new array for each of those that `columns` took."""

    def upload(self, host: HostArray, like: CudaArray) -> Any:
        """Return a copy on the device of `like`, enqueued where `stream` says."""

    def download(self, array: CudaArray) -> HostArray:
        """Return a copy in the host's memory, once all work on it is done."""

    def stream(self, like: CudaArray) -> int:
        """Return the stream that the caller works on."""

    def sort(self, keys: Any) -> tuple[Any, Any] | None:
        """Return integers sorted, and where each was, equal ones in order; None if it cannot."""


class CudaArray(NamedTuple):
    """An array on a CUDA device, and where its numbers lie.

    Strides are in bytes, None for C order.
    """

    array: Any
    library: Library
    device: int
    address: int
    dtype: np.dtype[Any]
    shape: Shape
    strides: Shape | None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def transpose(self, order: Sequence[int]) -> CudaArray:
        strides = strides_of(self)
        return self._replace(
            shape=tuple([self.shape[i] for i in order]),
            strides=tuple([strides[i] for i in order]),
        )

    def in_rows(self, length: int) -> list[CudaArray]:
        """Return parts of so many elements each, of an array in C order."""
        step = length * self.dtype.itemsize
        addresses = range(self.address, self.address + self.nbytes, step)
        return [self._replace(address=address, shape=(length,)) for address in addresses]

    def layout(self) -> HostArray:
        """Return an array of NumPy's at the same address, to compare with others.

        Its numbers must not be read: there are none in the host's memory.
        """
        return np.asarray(_Interface(self))


class _Interface:
    def __init__(self, array: CudaArray) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (array.address, False),
            "shape": array.shape,
            "strides": array.strides,
            "typestr": f"|V{array.dtype.itemsize}",
        }


def strides_of(array: CudaArray) -> Shape:
    return _strides_in_c_order(array) if array.strides is None else array.strides


def _strides_in_c_order(array: CudaArray) -> Shape:
    strides = []
    step = array.dtype.itemsize
    for length in reversed(array.shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def seen(array: Any, library: Library) -> CudaArray:
    found = library.view(array, "array")
    assert found is not None
    return found


class Columns(NamedTuple):
    """Where arrays of one library and one device lie, all in C order: a number for each.

    `kinds` are their dtypes, and `dtypes` that of each, None where they are all of one.
    """

    like: CudaArray
    addresses: HostArray
    sizes: HostArray
    kinds: frozenset[np.dtype[Any]]
    dtypes: Sequence[np.dtype[Any]] | None

    def spans(self) -> tuple[HostArray, HostArray]:
        """Return first and last addresses of those that hold anything, sorted by the first."""
        nbytes = self.sizes * self.by_dtype(lambda dtype: dtype.itemsize)
        order = np.argsort(self.addresses)
        order = order[self.sizes[order] > 0]
        starts = self.addresses[order]
        return starts, starts + nbytes[order]

    def by_dtype(self, number_of: Callable[[np.dtype[Any]], int]) -> int | HostArray:
        """Return a number for each dtype: one for all arrays where they are of one dtype."""
        numbers = {dtype: number_of(dtype) for dtype in self.kinds}
        if self.dtypes is None:
            (number,) = numbers.values()
            return number
        return np.array([numbers[dtype] for dtype in self.dtypes], np.int64)


def columns_of(
    like: CudaArray,
    addresses: Iterable[int],
    sizes: Iterable[int],
    dtypes: Sequence[np.dtype[Any]],
) -> Columns:
    """Return columns of arrays like `like`; one dtype may stand for all."""
    kinds = frozenset(dtypes)
    return Columns(
        like,
        np.fromiter(addresses, np.int64),
        np.fromiter(sizes, np.int64),
        kinds,
        None if len(kinds) == 1 else dtypes,
    )


def columns_of_views(library: Library, arrays: Sequence[Any]) -> Columns | None:
    views = [library.view(array, "array") for array in arrays]
    first = views[0]
    if first is None or any(
        view is None or view.strides is not None or view.device != first.device for view in views
    ):
        return None
    present = [view for view in views if view is not None]
    return columns_of(
        first,
        [view.address for view in present],
        [view.size for view in present],
        [view.dtype for view in present],
    )


def overlap(first: CudaArray, second: CudaArray) -> bool:
    """Tell whether the spans of memory overlap in which two arrays lie."""
    first_low, first_high = span(first)
    second_low, second_high = span(second)
    return first_low < second_high and second_low < first_high


def span(array: CudaArray) -> tuple[int, int]:
    if array.strides is None:
        return array.address, array.address + array.nbytes
    return byte_bounds(array.layout())
