"""The libraries whose CUDA arrays are taken: each says where its arrays lie, and makes new ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

from numclip import _compile_cuda as compile_cuda
from numclip._cuda_array import (
    Columns,
    CudaArray,
    HostArray,
    Library,
    Shape,
    columns_of,
    columns_of_views,
    seen,
)
from numclip._dtypes import dtype_named

# Each question is asked of all arrays of a list in a loop of the interpreter's own: that takes 25
# to 250 ns an array, where to look at each by itself takes 1 to 4 us.
_DTYPE, _SIZE, _FLAGS = attrgetter("dtype"), attrgetter("size"), attrgetter("flags")


class _Torch:
    """PyTorch."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        tensor = sys.modules["torch"].Tensor
        kinds = set(map(_DTYPE, arrays))
        try:
            devices = set(map(tensor.get_device, arrays))
            in_c_order = all(map(tensor.is_contiguous, arrays))
            are_lazy = any(map(tensor.is_neg, arrays))
        except RuntimeError:  # a layout without strides
            return None
        if any([kind.is_complex for kind in kinds]):
            are_lazy = are_lazy or any(map(tensor.is_conj, arrays))
        like = self.view(arrays[0], "array")
        if len(devices) != 1 or not in_c_order or are_lazy or like is None:
            return None
        dtypes = [*kinds] if len(kinds) == 1 else map(_DTYPE, arrays)
        numbers = map(tensor.data_ptr, arrays), map(tensor.numel, arrays)
        return columns_of(like, *numbers, list(map(_numpy_dtype, dtypes)))

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
    return dtype_named(str(torch_dtype).removeprefix("torch."))


class _Cupy:
    """CuPy."""

    _ADDRESS, _DEVICE = attrgetter("data.ptr"), attrgetter("data.device_id")
    _IN_C_ORDER = attrgetter("flags.c_contiguous")

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        if len(set(map(self._DEVICE, arrays))) != 1 or not all(map(self._IN_C_ORDER, arrays)):
            return None
        numbers = map(self._ADDRESS, arrays), map(_SIZE, arrays)
        return columns_of(seen(arrays[0], self), *numbers, list(map(_DTYPE, arrays)))

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
    """Numba's device arrays."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        if not all([flags["C_CONTIGUOUS"] for flags in map(_FLAGS, arrays)]):
            return None
        if len(set(compile_cuda.devices_of(arrays))) != 1:
            return None
        numbers = compile_cuda.addresses_of(arrays), map(_SIZE, arrays)
        return columns_of(seen(arrays[0], self), *numbers, list(map(_DTYPE, arrays)))

    def empty_like_each(self, arrays: Sequence[Any]) -> list[Any]:
        views = [seen(array, self) for array in arrays]
        return [self.empty(view.shape, view.dtype, view) for view in views]

    def view(self, array: Any, argument: str) -> CudaArray | None:
        # Not by its __cuda_array_interface__, which has arrays with strides of zero in C order.
        strides = None if array.flags["C_CONTIGUOUS"] else tuple(array.strides)
        (device,), (address,) = compile_cuda.devices_of([array]), compile_cuda.addresses_of([array])
        return CudaArray(array, self, device, address, array.dtype, tuple(array.shape), strides)

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
        return 0 if compile_cuda.is_simulated() else _handle(like.array.stream)

    def sort(self, keys: Any) -> tuple[Any, Any] | None:
        return None


class _Interface(_Numba):
    """What offers `__cuda_array_interface__` and no way to make more; results are Numba's."""

    def columns(self, arrays: Sequence[Any]) -> Columns | None:
        return columns_of_views(self, arrays)

    def view(self, array: Any, argument: str) -> CudaArray | None:
        if _is_of_numba(array):  # a result
            return super().view(array, argument)
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
        device = compile_cuda.current_device()
        found = CudaArray(array, self, device, address or 0, dtype, shape, strides)
        in_c_order = strides is None or 0 in shape or found.layout().flags.c_contiguous
        return found._replace(strides=None) if in_c_order else found

    def stream(self, like: CudaArray) -> int:
        if _is_of_numba(like.array):
            return super().stream(like)
        stream = like.array.__cuda_array_interface__.get("stream")
        return 0 if stream is None else _handle(stream)


def _is_of_numba(array: Any) -> bool:
    return hasattr(type(array), "__cuda_ndarray__")


def _handle(stream: Any) -> int:
    handle = int(stream)
    # 1 is the default stream, which is 0 here too.
    return 0 if handle == 1 else handle


class _Dlpack(_Interface):
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

_TORCH, _CUPY, _NUMBA = _Torch(), _Cupy(), _Numba()
_INTERFACE, _DLPACK = _Interface(), _Dlpack()


# By the type of an array.
_LIBRARIES: dict[Any, Library | None] = {np.ndarray: None}


def _library_of(kind: type[Any]) -> Library | None:
    # A class that a user derives from a library's is of that library.
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "torch" in packages:
        return _TORCH if hasattr(kind, "is_cuda") else None
    if "cupy" in packages:
        return _CUPY if hasattr(kind, "__cuda_array_interface__") else None
    if hasattr(kind, "__cuda_ndarray__"):
        return _NUMBA
    if hasattr(kind, "__cuda_array_interface__"):
        return _INTERFACE
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
    try:
        found = library.columns(arrays)
    except (TypeError, ValueError):  # raised again, of the entry by its name
        return None
    if found is None or not all([dtype.isnative for dtype in found.kinds]):
        return None
    if not found.addresses.all() and np.any(found.sizes[found.addresses == 0] > 0):
        return None
    compile_cuda.numba_cuda()
    smallest = max([min(dtype.itemsize, 8) for dtype in found.kinds])
    return None if (found.addresses % smallest).any() else found


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
