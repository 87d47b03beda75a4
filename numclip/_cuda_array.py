"""CUDA arrays of other libraries: seen where they are, made by whom they came from."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from numclip import _compile_cuda as compile_cuda
from numclip._compile_cuda import CudaKernel

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
        strides = _strides_of(self)
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


def _strides_of(array: CudaArray) -> Shape:
    return _strides_in_c_order(array) if array.strides is None else array.strides


def _strides_in_c_order(array: CudaArray) -> Shape:
    strides = []
    step = array.dtype.itemsize
    for length in reversed(array.shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


class Columns(NamedTuple):
    """Where arrays of one library and one device lie, all in C order: a number for each."""

    like: CudaArray
    addresses: HostArray
    sizes: HostArray
    dtypes: Sequence[np.dtype[Any]]

    def spans(self) -> tuple[HostArray, HostArray]:
        """Return first and last addresses of those that hold anything, sorted by the first."""
        itemsizes = np.array([dtype.itemsize for dtype in self.dtypes], np.int64)
        order = np.argsort(self.addresses)
        order = order[self.sizes[order] > 0]
        starts = self.addresses[order]
        return starts, starts + (self.sizes * itemsizes)[order]


def _columns_of_views(library: Library, arrays: Sequence[Any]) -> Columns | None:
    views = [library.view(array, "array") for array in arrays]
    first = views[0]
    if first is None or any(
        view is None or view.strides is not None or view.device != first.device for view in views
    ):
        return None
    present = [view for view in views if view is not None]
    return Columns(
        first,
        np.array([view.address for view in present], np.int64),
        np.array([view.size for view in present], np.int64),
        [view.dtype for view in present],
    )


class _Torch:
    """PyTorch."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        # One loop for each question: 0.5 us for a tensor, and 3 for its view.
        try:
            devices = {array.get_device() for array in arrays}
            in_c_order = all([array.is_contiguous() for array in arrays])
            are_lazy = any([array.is_neg() or array.is_conj() for array in arrays])
        except RuntimeError:  # a layout without strides
            return None
        like = self.view(arrays[0], "array")
        if len(devices) != 1 or not in_c_order or are_lazy or like is None:
            return None
        return Columns(
            like,
            np.array([array.data_ptr() for array in arrays], np.int64),
            np.array([array.numel() for array in arrays], np.int64),
            [_numpy_dtype(array.dtype) for array in arrays],
        )

    def empty_like_each(self, arrays: Sequence[Any]) -> list[Any]:
        torch = sys.modules["torch"]
        return [torch.empty_like(array, requires_grad=False) for array in arrays]

    def view(self, array: Any, argument: str) -> CudaArray | None:
        if not array.is_cuda:
            return None
        torch = sys.modules["torch"]
        if array.layout is not torch.strided:
            raise TypeError(f"`{argument}` must be strided, got a tensor of layout {array.layout}")
        if array.is_conj() or array.is_neg():
            raise ValueError(f"`{argument}` must be resolved, got a conjugate or negative view")
        dtype = _numpy_dtype(array.dtype)
        strides = None
        if not array.is_contiguous():
            strides = tuple([dtype.itemsize * step for step in array.stride()])
        shape = tuple(array.shape)
        return CudaArray(array, self, array.get_device(), array.data_ptr(), dtype, shape, strides)

    def empty(self, shape: Shape, dtype: np.dtype[Any], like: CudaArray) -> Any:
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=like.array.device)

    def upload(self, host: HostArray, like: CudaArray) -> Any:
        torch = sys.modules["torch"]
        return torch.from_numpy(host).to(like.array.device, non_blocking=True)

    def download(self, array: CudaArray) -> HostArray:
        return np.asarray(array.array.cpu().numpy())

    def stream(self, like: CudaArray) -> int:
        return int(sys.modules["torch"].cuda.current_stream(like.device).cuda_stream)

    def sort(self, keys: Any) -> tuple[Any, Any] | None:
        ordered, order = sys.modules["torch"].sort(keys, stable=True)
        return ordered, order


@cache
def _numpy_dtype(torch_dtype: Any) -> np.dtype[Any]:
    name = str(torch_dtype).removeprefix("torch.")
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError("bfloat16 needs a package: pip install ml_dtypes") from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


class _Cupy:
    """CuPy."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        return _columns_of_views(self, arrays)

    def empty_like_each(self, arrays: Sequence[Any]) -> list[Any]:
        cupy = sys.modules["cupy"]
        with arrays[0].device:
            return [cupy.empty(array.shape, array.dtype) for array in arrays]

    def view(self, array: Any, argument: str) -> CudaArray | None:
        strides = None if array.flags.c_contiguous else array.strides
        address = array.data.ptr
        return CudaArray(
            array, self, array.device.id, address, array.dtype, tuple(array.shape), strides
        )

    def empty(self, shape: Shape, dtype: np.dtype[Any], like: CudaArray) -> Any:
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(like.device):
            return cupy.empty(shape, dtype)

    def upload(self, host: HostArray, like: CudaArray) -> Any:
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(like.device):
            return cupy.asarray(host)

    def download(self, array: CudaArray) -> HostArray:
        return np.asarray(array.array.get())

    def stream(self, like: CudaArray) -> int:
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(like.device):
            return int(cupy.cuda.get_current_stream().ptr)

    def sort(self, keys: Any) -> tuple[Any, Any] | None:
        with keys.device:
            order = sys.modules["cupy"].argsort(keys, kind="stable")
            return keys[order], order


class _Numba:
    """Numba's device arrays, and what offers `__cuda_array_interface__` and no way to make more."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        return _columns_of_views(self, arrays)

    def empty_like_each(self, arrays: Sequence[Any]) -> list[Any]:
        return [self.empty(view.shape, view.dtype, view) for view in map(self._seen, arrays)]

    def _seen(self, array: Any) -> CudaArray:
        return seen(array, self)

    def view(self, array: Any, argument: str) -> CudaArray | None:
        if compile_cuda.is_simulated() and hasattr(array, "__array_interface__"):
            interface, dtype = array.__array_interface__, array.dtype
        else:
            # Some types have the interface, and of their arrays those on a device alone.
            interface = getattr(array, "__cuda_array_interface__", None)
            if interface is None:
                return None
            dtype = getattr(array, "dtype", None)
            if not isinstance(dtype, np.dtype):
                dtype = np.dtype(interface["typestr"])
        if interface.get("mask") is not None:
            raise TypeError(f"`{argument}` must not be masked")
        address, _ = interface["data"]
        shape, strides = tuple(interface["shape"]), interface.get("strides")
        device = compile_cuda.device_of(array)
        found = CudaArray(array, self, device, address or 0, dtype, shape, strides)
        in_c_order = strides is None or 0 in shape or found.layout().flags.c_contiguous
        return found._replace(strides=None) if in_c_order else found

    def empty(self, shape: Shape, dtype: np.dtype[Any], like: CudaArray) -> Any:
        stream = compile_cuda.stream_at(self.stream(like))
        return compile_cuda.numba_cuda().device_array(shape, dtype, stream=stream)

    def upload(self, host: HostArray, like: CudaArray) -> Any:
        stream = compile_cuda.stream_at(self.stream(like))
        return compile_cuda.numba_cuda().to_device(host, stream=stream)

    def download(self, array: CudaArray) -> HostArray:
        compile_cuda.wait_for(self.stream(array))
        return np.asarray(array.array.copy_to_host())

    def stream(self, like: CudaArray) -> int:
        if compile_cuda.is_simulated():
            return 0
        stream = like.array.__cuda_array_interface__.get("stream")
        # 1 is the default stream, which is 0 here too.
        return 0 if stream is None or stream == 1 else int(stream)

    def sort(self, keys: Any) -> tuple[Any, Any] | None:
        return None


class _Dlpack(_Numba):
    """What offers `__dlpack__` alone; results are Numba's arrays."""

    def view(self, array: Any, argument: str) -> CudaArray | None:
        if not hasattr(type(array), "__dlpack_device__"):
            return super().view(array, argument)
        if array.__dlpack_device__()[0] not in _CUDA_IN_DLPACK:
            return None
        found = compile_cuda.dlpack_view(array)
        strides = None
        if found.strides is not None:
            strides = tuple([found.dtype.itemsize * step for step in found.strides])
        shape = tuple(found.shape)
        return CudaArray(array, self, found.device_id, found.ptr, found.dtype, shape, strides)

    def stream(self, like: CudaArray) -> int:
        return 0


# kDLCUDA and kDLCUDAManaged.
_CUDA_IN_DLPACK = (2, 13)

_TORCH, _CUPY, _NUMBA, _DLPACK = _Torch(), _Cupy(), _Numba(), _Dlpack()


# By the type of an array.
_LIBRARIES: dict[Any, Library | None] = {np.ndarray: None}


def _library_of(kind: type[Any]) -> Library | None:
    # A class that a user derives from a library's is of that library.
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "torch" in packages:
        return _TORCH if hasattr(kind, "is_cuda") else None
    if "cupy" in packages:
        return _CUPY if hasattr(kind, "__cuda_array_interface__") else None
    if hasattr(kind, "__cuda_ndarray__") or hasattr(kind, "__cuda_array_interface__"):
        return _NUMBA
    if hasattr(kind, "__dlpack_device__") and not issubclass(kind, np.ndarray | np.generic):
        return _DLPACK
    return None


def _library(kind: type[Any]) -> Library | None:
    if kind not in _LIBRARIES:
        _LIBRARIES[kind] = _library_of(kind)
    return _LIBRARIES[kind]


def may_be_cuda(value: object) -> bool:
    """Tell whether a value is of a library that has CUDA arrays."""
    return _library(type(value)) is not None


def columns(arrays: Sequence[Any]) -> Columns | None:
    """Return where CUDA arrays lie; None if they are not of one library, plain and all alike."""
    libraries = {_library(kind) for kind in set(map(type, arrays))}
    library = libraries.pop()
    if library is None or libraries:
        return None
    found = library.columns(arrays)
    if found is None or not all(dtype.isnative for dtype in set(found.dtypes)):
        return None
    if np.any((found.addresses == 0) & (found.sizes > 0)):
        return None
    compile_cuda.numba_cuda()
    smallest = max([min(dtype.itemsize, 8) for dtype in set(found.dtypes)])
    return None if np.any(found.addresses % smallest) else found


def cuda_array(value: Any, argument: str) -> CudaArray | None:
    """Return where the numbers of a CUDA array lie, None for anything else."""
    library = _library(type(value))
    if library is None:
        return None
    found = library.view(value, argument)
    if found is None:
        return None
    compile_cuda.numba_cuda()
    if not found.dtype.isnative:
        raise TypeError(f"`{argument}` must be of native byte order, got dtype {found.dtype}")
    if found.size and not found.address:
        raise TypeError(f"`{argument}` must have memory of its own, got {type(value).__name__}")
    if found.address % min(found.dtype.itemsize, 8):
        raise ValueError(f"`{argument}` must be aligned, got the address {found.address:#x}")
    return found


def launch(kernel: CudaKernel, like: CudaArray, units: int, *arguments: Any) -> None:
    """Enqueue a kernel on the device of `like`, where the caller works."""
    with compile_cuda.LAUNCHES, compile_cuda.on_device(like.device):
        kernel.launch(like.device, like.library.stream(like), units, *arguments)


def seen(array: Any, library: Library) -> CudaArray:
    found = library.view(array, "array")
    assert found is not None
    return found


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


def overlap(first: CudaArray, second: CudaArray) -> bool:
    """Tell whether the spans of memory overlap in which two arrays lie."""
    first_low, first_high = span(first)
    second_low, second_high = span(second)
    return first_low < second_high and second_low < first_high


def span(array: CudaArray) -> tuple[int, int]:
    if array.strides is None:
        return array.address, array.address + array.nbytes
    return byte_bounds(array.layout())


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
            *zip(source.shape, _strides_of(source), _strides_of(target), strict=True),
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
