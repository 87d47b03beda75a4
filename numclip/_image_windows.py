"""Products of the windows of images, through strided views and BLAS, on as many threads as pay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from numclip import _threads
from numclip._array import Array

Pair = tuple[int, int]

# Up to this size filters stay in the cache while each row of the output is a product of its own,
# whose windows need no copy. 32x28x28x16 with 32 3x3 filters took 2.2 ms in place of 4.4 so, and
# 32x7x7x512 with 512 of them 304 ms in place of 56.
_FILTERS_IN_CACHE = 1 << 16

# Products of so many multiplications OpenBLAS takes on the thread that asks for them. With larger
# ones its own threads wait for work on the cores that ours need: both gradients took 8.5 ms in
# place of 6.0, and with these 3.5.
_OWN_THREAD = 1 << 18

# Windows of fewer numbers in all take as long on one thread as on two: 16x28x28x16 with 32 3x3
# filters have 1.8 million and take 1.1 ms in place of 1.0, 8x28x28x16 0.58 in place of 0.90.
_SERIAL_WINDOWS = 1 << 21


class Frame(NamedTuple):
    """An image of zeros, and where in it the pixels of another lie, some steps apart."""

    starts: Pair
    steps: Pair
    sizes: Pair

    def around(self, image: Array, dtype: np.dtype[Any]) -> Array:
        """Put an image into the frame; what is outside is left out."""
        if self == ((0, 0), (1, 1), image.shape[1:3]):
            return image.astype(dtype, copy=False)
        result = np.zeros((image.shape[0], *self.sizes, image.shape[3]), dtype)
        targets, sources = [], []
        for start, step, size, count in zip(*self, image.shape[1:3], strict=True):
            first = max(0, -(start // step))
            target = range(size)[start + first * step :: step][: max(0, count - first)]
            targets.append(slice(target.start, target.stop, step))
            sources.append(slice(first, first + len(target)))
        result[:, targets[0], targets[1]] = image[:, sources[0], sources[1]]
        return result


def _windows(image: Array, size: Pair, strides: Pair, dilations: Pair) -> Array:
    """Return the windows of an image, (images, rows, columns, filter rows, filter columns, depth).

    The image is copied, once for each filter column, such that a window is one run of memory where
    filter rows are not dilated.
    """
    rows, columns = ((n - 1) * dilation + 1 for n, dilation in zip(size, dilations, strict=True))
    strips = sliding_window_view(image, columns, axis=2)[:, :, :: strides[1], :, :: dilations[1]]
    strips = np.ascontiguousarray(strips.transpose(0, 2, 1, 4, 3))
    windows = sliding_window_view(strips, rows, axis=2)[:, :, :: strides[0], ..., :: dilations[0]]
    return windows.transpose(0, 2, 1, 5, 3, 4)


def _is_small(length: int, outputs: int, dtype: np.dtype[Any]) -> bool:
    return length * outputs * dtype.itemsize <= _FILTERS_IN_CACHE


def _in_slices(count: int, windows: int, function: Callable[[slice], None]) -> None:
    """Call a function for slices of so many, at once where windows have numbers enough for it."""
    parts = min(_threads.get_num_threads(), count) if windows >= _SERIAL_WINDOWS else 1
    _threads.call_each(
        function, [slice(i * count // parts, (i + 1) * count // parts) for i in range(parts)]
    )


def _add_products(first: Array, second: Array, total: Array) -> None:
    # One of large filters is as large as they are, and need not be copied.
    if len(first) == 1:
        np.matmul(first[0], second[0], out=total)
    else:
        np.matmul(first, second).sum(axis=0, out=total)


def convolved(
    image: Array, frame: Frame, filters: Array, strides: Pair, dilations: Pair, positions: Pair
) -> Array:
    """Multiply the windows of a framed image with filters."""
    length, outputs = math.prod(filters.shape[:3]), filters.shape[3]
    matrix = filters.reshape(length, outputs)
    result = np.empty((len(image), *positions, outputs), filters.dtype)
    if not result.size:
        return result
    is_small = _is_small(length, outputs, filters.dtype)

    def convolve(images: slice) -> None:
        framed = frame.around(image[images], filters.dtype)
        windows = _windows(framed, filters.shape[:2], strides, dilations)
        products = windows.shape[:3] if is_small else (math.prod(windows.shape[:3]),)
        target = result[images].reshape(*products, outputs)
        np.matmul(windows.reshape(*products, length), matrix, out=target)

    _in_slices(len(image), len(image) * math.prod(positions) * length if is_small else 0, convolve)
    return result


def correlated(
    image: Array, frame: Frame, upstream: Array, size: Pair, strides: Pair, dilations: Pair
) -> Array:
    """Multiply the windows of a framed image with the upstream gradient, and sum over all."""
    images, rows, columns, outputs = upstream.shape
    length = math.prod(size) * image.shape[3]
    is_small = _is_small(length, outputs, upstream.dtype)
    # Blocks of images, whatever the number of threads: their sums are added in one order.
    of_row = columns * length * outputs
    block = max(1, _OWN_THREAD // max(1, of_row) if is_small else images)
    totals = np.empty((-(-images // block), length, outputs), upstream.dtype)
    products = rows if is_small else 1

    def correlate(blocks: slice) -> None:
        some = slice(blocks.start * block, blocks.stop * block)
        framed = frame.around(image[some], upstream.dtype)
        windows = _windows(framed, size, strides, dilations).swapaxes(0, 1)
        of_windows = upstream[some].swapaxes(0, 1)
        for i, total in enumerate(totals[blocks]):
            here = slice(i * block, (i + 1) * block)
            matrices = windows[:, here].reshape(products, -1, length)
            upstreams = of_windows[:, here].reshape(*matrices.shape[:2], outputs)
            _add_products(matrices.swapaxes(1, 2), upstreams, total)

    _in_slices(len(totals), images * rows * columns * length if is_small else 0, correlate)
    total: Array = totals[0] if len(totals) == 1 else totals.sum(axis=0)
    return total.reshape(*size, image.shape[3], outputs)
