"""Memory on a CUDA device: made, filled and copied, by the caller's library and on its stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from numclip import _compile_cuda as compile_cuda
from numclip._compile_cuda import CudaKernel
from numclip._cuda_array import CudaArray, HostArray, Shape, overlap, seen, strides_of


def launch(kernel: CudaKernel, like: CudaArray, units: int, *arguments: Any) -> None:
    """Enqueue a kernel on the device of `like`, where the caller works."""
    with compile_cuda.LAUNCHES, compile_cuda.on_device(like.device):
        kernel.launch(like.device, like.library.stream(like), units, *arguments)


def empty(shape: Shape, dtype: Any, like: CudaArray) -> CudaArray:
    return seen(like.library.empty(shape, np.dtype(dtype), like), like.library)


def full(shape: Shape, value: Any, like: CudaArray) -> CudaArray:
    """Return an array that holds a scalar of NumPy's everywhere, the parts of which are equal."""
    from numclip._kernels.strided import fill_cuda

    array = empty(shape, value.dtype, like)
    if array.size:
        itemsize = min(value.dtype.itemsize, 8)
        number = np.asarray(value).reshape(1).view(f"u{itemsize}")[0]
        size = array.nbytes // itemsize
        launch(fill_cuda, like, blocks_for(size), number, size, array.address)
    return array


def upload(host: HostArray, like: CudaArray) -> CudaArray:
    """Return a copy of an array's bytes."""
    memory = np.frombuffer(bytearray(host.tobytes()), np.uint8)
    return seen(like.library.upload(memory, like), like.library)


def download(array: CudaArray) -> HostArray:
    """Return the numbers, once the device has come to them."""
    return array.library.download(array)


def in_c_order(array: CudaArray) -> CudaArray:
    """Return the array, or a copy in C order."""
    if array.strides is None:
        return array
    contiguous = empty(array.shape, array.dtype, array)
    copy(array, contiguous)
    return contiguous


def buffer_for(target: CudaArray) -> CudaArray:
    """Return `target` if a kernel can write to it, else an array to be copied to it afterwards."""
    return target if target.strides is None else empty(target.shape, target.dtype, target)


def readable(source: CudaArray, buffer: CudaArray) -> CudaArray:
    """Return the numbers as a kernel reads them while it writes the buffer."""
    if source.address == buffer.address or not overlap(source, buffer):
        return in_c_order(source)
    numbers = empty(source.shape, source.dtype, source)
    copy(source, numbers)
    return numbers


def deliver(buffer: CudaArray, target: CudaArray) -> None:
    """Copy what a kernel wrote to where it belongs, unless it wrote there."""
    if buffer is not target:
        copy(buffer, target)


def copy(source: CudaArray, target: CudaArray) -> None:
    """Copy bits between arrays of one shape and dtype, of any strides."""
    from numclip._kernels.strided import copy_strided_cuda

    if not source.size:
        return
    itemsize = min(source.dtype.itemsize, 8)
    parts = source.dtype.itemsize // itemsize
    axes = _merged(
        [
            *zip(source.shape, strides_of(source), strides_of(target), strict=True),
            (parts, itemsize, itemsize),
        ]
    )
    shape, origin, places = np.array(axes, np.int64).T.copy()
    origin //= itemsize
    places //= itemsize
    there = upload(np.concatenate([shape, origin, places]), source)
    launch(
        copy_strided_cuda,
        source,
        blocks_for(source.size * parts),
        np.dtype(f"u{itemsize}").type(0),
        source.size * parts,
        len(shape),
        there.address,
        *_extent(source.address, shape, origin, itemsize),
        *_extent(target.address, shape, places, itemsize),
    )


def copied(array: CudaArray) -> CudaArray:
    copy_of_it = empty(array.shape, array.dtype, array)
    copy(array, copy_of_it)
    return copy_of_it


def copy_masked(source: CudaArray, target: CudaArray, mask: CudaArray) -> None:
    """Copy bits where a mask of bytes is zero, to an array in C order, as the mask is."""
    from numclip._kernels.strided import copy_masked_cuda

    number = np.dtype(f"u{source.dtype.itemsize}").type(0)
    addresses = (mask.address, in_c_order(source).address, target.address)
    launch(copy_masked_cuda, source, blocks_for(source.size), number, source.size, *addresses)


def _merged(axes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join neighbours, of length and two strides each, that are walked as one axis.

    For each number a kernel divides once for each axis.
    """
    merged: list[tuple[int, int, int]] = []
    for length, *strides in axes:
        if merged and length == 1:
            continue
        if merged and all(
            before == length * step for before, step in zip(merged[-1][1:], strides, strict=True)
        ):
            length *= merged.pop()[0]
        merged.append((length, *strides))  # type: ignore[arg-type]
    return merged


def blocks_for(size: int) -> int:
    """Return how many blocks share a loop over so many numbers, one at a time."""
    return -(-size // 1024)


def _extent(
    address: int, shape: HostArray, strides: HostArray, itemsize: int
) -> tuple[int, int, int]:
    """Return the lowest address, where the first number lies from there, and how far all reach."""
    steps = ((shape - 1) * strides).tolist()
    below = -sum(step for step in steps if step < 0)
    above = sum(step for step in steps if step > 0)
    return address - below * itemsize, below, below + above + 1
