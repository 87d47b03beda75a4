"""Two-dimensional convolution of images, and its two gradients.

All three are products of strided windows of an image and a matrix, and each of them is linear in
both of its arrays; so the gradients of each are the other two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import isbox

from numclip import _array
from numclip._array import Array
from numclip._boxes import current
from numclip._image_windows import Frame, Pair, convolved, correlated

Shape = tuple[int, ...]


class Geometry(NamedTuple):
    """How windows lie in an image: each field has one entry for the height, one for the width."""

    strides: Pair
    dilations: Pair
    padding: tuple[Pair, Pair]

    def extent(self, axis: int, filter_size: int) -> int:
        """Return over how many pixels a filter reaches."""
        return (filter_size - 1) * self.dilations[axis] + 1

    def positions(self, image: Shape, filters: Shape) -> Pair:
        """Return how many rows of windows there are, and how many in each."""
        rows, columns = (
            (image[axis + 1] + sum(self.padding[axis]) - self.extent(axis, filters[axis]))
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return rows, columns


def _calculated_in(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of sums: halves are multiplied as float32, and rounded once."""
    return np.promote_types(dtype, np.float32)


def _padding_frame(image: Array, geometry: Geometry) -> Frame:
    (top, bottom), (left, right) = geometry.padding
    _, height, width, _ = image.shape
    return Frame((top, left), (1, 1), (top + height + bottom, left + width + right))


@primitive  # type: ignore[untyped-decorator]
def _conv2d(image: Array, filters: Array, geometry: Geometry) -> Array:
    wide = filters.astype(_calculated_in(filters.dtype), copy=False)
    positions = geometry.positions(image.shape, filters.shape)
    frame = _padding_frame(image, geometry)
    result = convolved(image, frame, wide, geometry.strides, geometry.dilations, positions)
    return result.astype(filters.dtype, copy=False)


@primitive  # type: ignore[untyped-decorator]
def _backprop_input(filters: Array, upstream: Array, sizes: Shape, geometry: Geometry) -> Array:
    """Convolve the upstream gradient, its pixels a stride apart, with the filters turned round."""
    wide = _calculated_in(filters.dtype)
    reach = [geometry.extent(axis, filters.shape[axis]) - 1 for axis in (0, 1)]
    starts = reach[0] - geometry.padding[0][0], reach[1] - geometry.padding[1][0]
    frame = Frame(starts, geometry.strides, (sizes[1] + reach[0], sizes[2] + reach[1]))
    turned = np.ascontiguousarray(filters[::-1, ::-1].swapaxes(2, 3), wide)
    result = convolved(upstream, frame, turned, (1, 1), geometry.dilations, (sizes[1], sizes[2]))
    return result.astype(filters.dtype, copy=False)


@primitive  # type: ignore[untyped-decorator]
def _backprop_filter(image: Array, upstream: Array, sizes: Shape, geometry: Geometry) -> Array:
    wide = upstream.astype(_calculated_in(image.dtype), copy=False)
    frame, size = _padding_frame(image, geometry), (sizes[0], sizes[1])
    result = correlated(image, frame, wide, size, geometry.strides, geometry.dilations)
    return result.astype(image.dtype, copy=False)


defvjp(
    _conv2d,
    lambda ans, image, filters, geometry: (
        lambda g: _backprop_input(filters, g, anp.shape(image), geometry)
    ),
    lambda ans, image, filters, geometry: (
        lambda g: _backprop_filter(image, g, anp.shape(filters), geometry)
    ),
)
defvjp(
    _backprop_input,
    lambda ans, filters, upstream, sizes, geometry: (
        lambda g: _backprop_filter(g, upstream, anp.shape(filters), geometry)
    ),
    lambda ans, filters, upstream, sizes, geometry: lambda g: _conv2d(g, filters, geometry),
)
defvjp(
    _backprop_filter,
    lambda ans, image, upstream, sizes, geometry: (
        lambda g: _backprop_input(g, upstream, anp.shape(image), geometry)
    ),
    lambda ans, image, upstream, sizes, geometry: lambda g: _conv2d(image, g, geometry),
)


def conv2d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    r"""Convolve images with filters, as neural networks do, which turn no filter round.

    .. math::
        y_{nhwo} = \sum_{ijc} x_{n,\; s_h h + d_h i - p_h,\; s_w w + d_w j - p_w,\; c} f_{ijco}

    Parameters
    ----------
    input : array or Variable of shape (images, height, width, channels)
        float16, bfloat16, float32 or float64. Beyond its edges it is zero.
    filters : array or Variable of shape (height, width, channels, outputs)
        Of the dtype of `input`.
    strides : int, pair of int, or four
        How far apart windows are, s; of four, which are TensorFlow's, the first and the last are 1.
    padding : {"VALID", "SAME"} or pairs of int
        How many zeros p are before the first row and column, and after the last. "VALID": none, so
        that windows lie inside. "SAME": as many as give ceil(size / stride) windows, the odd one
        at the end. Pairs of before and after, ``((top, bottom), (left, right))``, or four of them
        of which the first and the last are zero.
    data_format : {"NHWC"}
        The order of the axes.
    dilations : int, pair of int, or four, optional
        How far apart the pixels of a window are, d; 1 by default.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    array of shape (images, rows, columns, outputs)
        Of the dtype of `input`. Halves are summed in float32 and rounded once. Its gradients are
        `conv2d_backprop_input` and `conv2d_backprop_filter`, of which each has the other two for
        its own.

    Raises
    ------
    TypeError
        If the dtypes are others or differ, or `strides`, `padding` or `dilations` are no integers.
    ValueError
        If shapes do not fit, filters are empty or larger than the image with its padding, or
        `strides`, `padding`, `dilations` or `data_format` is none of its values.

    References
    ----------
    ``tf.nn.conv2d`` of TensorFlow. M. Cho, D. Brand, MEC: memory-efficient convolution for deep
    neural network, ICML 2017.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> image = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> nc.nn.conv2d(image, np.ones((2, 2, 1, 1)), strides=1, padding="VALID")[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    with _array.named(name):
        image, kernel = _as_images(input, "input"), _as_images(filters, "filters")
        _check_dtype(kernel, "filters", image, "input")
        geometry = _geometry(image.shape, kernel.shape, strides, padding, data_format, dilations)
        return _conv2d(image, kernel, geometry)


def conv2d_backprop_input(
    input_sizes: Any,
    filters: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Return the gradient of `conv2d` with respect to its input: a transposed convolution.

    Parameters
    ----------
    input_sizes : four int
        The shape of the input.
    filters : array or Variable of shape (height, width, channels, outputs)
        float16, bfloat16, float32 or float64.
    out_backprop : array or Variable of shape (images, rows, columns, outputs)
        The gradient of what `conv2d` returns, of the dtype of `filters`.
    strides, padding, data_format, dilations
        As of `conv2d`.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    array of the shape `input_sizes`
        Of the dtype of `filters`.

    Raises
    ------
    TypeError
        As `conv2d` does.
    ValueError
        As `conv2d` does.

    References
    ----------
    ``tf.compat.v1.nn.conv2d_backprop_input`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> filters, upstream = np.ones((2, 2, 1, 1)), np.ones((1, 2, 2, 1))
    >>> nc.nn.conv2d_backprop_input((1, 3, 3, 1), filters, upstream, 1, "VALID")[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    with _array.named(name):
        kernel = _as_images(filters, "filters")
        upstream = _as_images(out_backprop, "out_backprop")
        _check_dtype(upstream, "out_backprop", kernel, "filters")
        sizes = _as_sizes(input_sizes, "input_sizes")
        geometry = _geometry(sizes, kernel.shape, strides, padding, data_format, dilations)
        _check_upstream(upstream, sizes, kernel.shape, geometry)
        return _backprop_input(kernel, upstream, sizes, geometry)


def conv2d_backprop_filter(
    input: Any,
    filter_sizes: Any,
    out_backprop: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Return the gradient of `conv2d` with respect to its filters.

    Parameters
    ----------
    input : array or Variable of shape (images, height, width, channels)
        float16, bfloat16, float32 or float64.
    filter_sizes : four int
        The shape of the filters.
    out_backprop : array or Variable of shape (images, rows, columns, outputs)
        The gradient of what `conv2d` returns, of the dtype of `input`.
    strides, padding, data_format, dilations
        As of `conv2d`.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    array of the shape `filter_sizes`
        Of the dtype of `input`.

    Raises
    ------
    TypeError
        As `conv2d` does.
    ValueError
        As `conv2d` does.

    References
    ----------
    ``tf.compat.v1.nn.conv2d_backprop_filter`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> image, upstream = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((1, 2, 2, 1))
    >>> nc.nn.conv2d_backprop_filter(image, (2, 2, 1, 1), upstream, 1, "VALID")[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    with _array.named(name):
        image = _as_images(input, "input")
        upstream = _as_images(out_backprop, "out_backprop")
        _check_dtype(upstream, "out_backprop", image, "input")
        sizes = _as_sizes(filter_sizes, "filter_sizes")
        geometry = _geometry(
            image.shape, sizes, strides, padding, data_format, dilations, "filter_sizes"
        )
        _check_upstream(upstream, image.shape, sizes, geometry)
        return _backprop_filter(image, upstream, sizes, geometry)


def _as_images(value: Any, argument: str) -> Any:
    """Take floating numbers of four dimensions, recorded or not."""
    images = current(value)
    if not isbox(images):
        images = _array.as_array(images, argument, _array.is_floating, _array.FLOATING)
    if not _array.is_floating(images.dtype):
        raise TypeError(f"`{argument}` must be {_array.FLOATING}, got {_array.describe(value)}")
    if len(images.shape) != 4:
        raise ValueError(f"`{argument}` must have four dimensions, got shape {images.shape}")
    return images


def _check_dtype(second: Any, second_name: str, first: Any, first_name: str) -> None:
    if not _array.same_dtype(second.dtype, first.dtype):
        raise TypeError(
            f"`{second_name}` must be of the dtype {first.dtype} of `{first_name}`,"
            f" got {second.dtype}"
        )


def _check_upstream(upstream: Any, image: Shape, filters: Shape, geometry: Geometry) -> None:
    expected = (image[0], *geometry.positions(image, filters), filters[3])
    if upstream.shape != expected:
        raise ValueError(
            f"`out_backprop` must be of the shape {expected} of the convolution,"
            f" got {upstream.shape}"
        )


def _as_sizes(value: Any, argument: str) -> Shape:
    sizes = tuple(_array.as_integers(value, argument).reshape(-1).tolist())
    if len(sizes) != 4 or min(sizes) < 0:
        raise ValueError(f"`{argument}` must be four sizes, got {_array.describe(value)}")
    return sizes


def _geometry(
    image: Shape,
    filters: Shape,
    strides: Any,
    padding: Any,
    data_format: Any,
    dilations: Any,
    argument: str = "filters",
) -> Geometry:
    if data_format != "NHWC":
        raise ValueError(f'`data_format` must be "NHWC", got {data_format!r}')
    if filters[2] != image[3]:
        raise ValueError(
            f"`{argument}` must be for the {image[3]} channels of the images, got shape {filters}"
        )
    if min(filters[:3]) < 1:
        raise ValueError(f"`{argument}` must not be empty, got shape {filters}")
    steps = _as_pair(strides, "strides")
    spread = _as_pair(1 if dilations is None else dilations, "dilations")
    geometry = Geometry(steps, spread, ((0, 0), (0, 0)))
    geometry = geometry._replace(padding=_as_padding(padding, image, filters, geometry))
    for axis in (0, 1):
        padded = image[axis + 1] + sum(geometry.padding[axis])
        if geometry.extent(axis, filters[axis]) > padded:
            raise ValueError(
                f"`{argument}` must not be larger than the images with their padding, {padded}"
                f" pixels, got {geometry.extent(axis, filters[axis])}"
            )
    return geometry


def _as_pair(value: Any, argument: str) -> Pair:
    """Take one number for both axes, one for each, or TensorFlow's four for all axes."""
    given = _array.as_integers(value, argument)
    numbers = given.reshape(-1).tolist()
    if given.ndim > 1 or len(numbers) not in (1, 2, 4):
        raise ValueError(
            f"`{argument}` must be one number, two or four, got {_array.describe(value)}"
        )
    if len(numbers) == 4 and (numbers[0] != 1 or numbers[3] != 1):
        raise ValueError(f"`{argument}` must be 1 for images and channels, got {numbers}")
    rows, columns = numbers[1:3] if len(numbers) == 4 else (numbers * 2)[:2]
    if rows < 1 or columns < 1:
        raise ValueError(f"`{argument}` must be positive, got {_array.describe(value)}")
    return rows, columns


def _as_padding(
    padding: Any, image: Shape, filters: Shape, geometry: Geometry
) -> tuple[Pair, Pair]:
    if isinstance(padding, str):
        if padding == "VALID":
            return (0, 0), (0, 0)
        if padding == "SAME":
            return _same(0, image, filters, geometry), _same(1, image, filters, geometry)
        raise ValueError(f'`padding` must be "VALID", "SAME" or pairs of int, got {padding!r}')
    pairs = _array.as_integers(padding, "padding")
    if pairs.shape not in ((2, 2), (4, 2)) or np.any(pairs < 0):
        raise ValueError(
            '`padding` must be "VALID", "SAME" or two or four pairs of zero or more,'
            f" got {_array.describe(padding)}"
        )
    if len(pairs) == 4 and (np.any(pairs[0]) or np.any(pairs[3])):
        raise ValueError(
            f"`padding` must be zero for images and channels, got {_array.describe(padding)}"
        )
    (top, bottom), (left, right) = pairs[-3:-1].tolist() if len(pairs) == 4 else pairs.tolist()
    return (top, bottom), (left, right)


def _same(axis: int, image: Shape, filters: Shape, geometry: Geometry) -> Pair:
    size, stride = image[axis + 1], geometry.strides[axis]
    windows = -(-size // stride)
    zeros = (windows - 1) * stride + geometry.extent(axis, filters[axis]) - size
    before = max(zeros, 0) // 2
    return before, max(zeros, 0) - before
