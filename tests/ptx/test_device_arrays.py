"""The arrays of Numba and CuPy themselves say where they lie; here, without a GPU, on the host."""

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cupy
import ml_dtypes
import numpy as np
import pytest
from arrays import Array
from numba.cuda.cudadrv import devicearray, driver

from numclip import _compile_cuda, _cuda_libraries
from numclip._cuda_array import columns_of_views, strides_of

DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64, np.int32)


def _numba_memory(x: Array) -> Any:
    context = SimpleNamespace(device=SimpleNamespace(id=0))
    pointer = driver.binding.CUdeviceptr(x.ctypes.data if x.size else 0)
    return driver.MemoryPointer(context=context, pointer=pointer, size=x.nbytes, owner=x)


def numba_array(x: Array) -> Any:
    memory = _numba_memory(x)
    return devicearray.DeviceNDArray(x.shape, x.strides, x.dtype, gpu_data=memory)


def numba_mapped_array(x: Array) -> Any:
    array = x.view(devicearray.MappedNDArray)
    array.device_setup(_numba_memory(x))
    return array


def cupy_array(x: Array) -> Any:
    memory = cupy.cuda.UnownedMemory(x.ctypes.data if x.size else 0, x.nbytes, x, device_id=0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(x.shape, x.dtype, pointer, strides=x.strides)


@pytest.fixture(params=[numba_array, numba_mapped_array, cupy_array])
def wrap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    # Numba asks the driver for a context for an array that holds nothing.
    monkeypatch.setattr(
        devicearray.devices, "get_context", lambda: _numba_memory(np.ones(1)).context
    )
    made: Callable[..., Any] = request.param
    return made


def counted(dtype: Any, *shape: int) -> Array:
    return np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)


LAYOUTS: dict[str, Callable[[Any], Array]] = {
    "in C order": lambda dtype: counted(dtype, 3, 4, 5),
    "a part": lambda dtype: counted(dtype, 3, 4, 5)[1:, :],
    "of no dimension": lambda dtype: counted(dtype),
    "empty": lambda dtype: counted(dtype, 3, 0),
    "transposed": lambda dtype: counted(dtype, 3, 4, 5).T,
    "a column": lambda dtype: counted(dtype, 3, 4)[:, 2],
    "of one row": lambda dtype: counted(dtype, 4, 4)[:1, :],
    "with a step": lambda dtype: counted(dtype, 33)[::2],
    "backwards": lambda dtype: counted(dtype, 6)[::-1],
    "repeated": lambda dtype: np.broadcast_to(counted(dtype, 4), (3, 4)),
    "one number repeated": lambda dtype: np.broadcast_to(counted(dtype), (7,)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_numbers_lie(wrap: Callable[..., Any], layout: str, dtype: Any) -> None:
    x = LAYOUTS[layout](dtype)
    found = _cuda_libraries.cuda_array(wrap(x), "t")
    assert found is not None
    assert (found.dtype, found.shape, found.device) == (x.dtype, x.shape, 0)
    assert found.strides is not None or x.flags.c_contiguous
    assert b"".join(_read(found, place) for place in np.ndindex(*x.shape)) == x.tobytes()


def _read(found: Any, place: tuple[int, ...]) -> bytes:
    offset = sum(i * step for i, step in zip(place, strides_of(found), strict=True))
    return ctypes.string_at(found.address + offset, found.dtype.itemsize)


@pytest.mark.parametrize("dtypes", [(np.float32,), DTYPES])
def test_lists(wrap: Callable[..., Any], dtypes: tuple[Any, ...]) -> None:
    held = [counted(dtype, *shape) for dtype in dtypes for shape in ((3, 4), (0,), (), (7,))]
    arrays = [wrap(x) for x in held]
    found = _cuda_libraries.columns(arrays)
    assert found is not None
    expected = columns_of_views(found.like.library, arrays)
    assert expected is not None
    assert found.addresses.tolist() == expected.addresses.tolist()
    assert found.sizes.tolist() == [x.size for x in held]
    assert found.kinds == {x.dtype for x in held}
    assert found.dtypes == (None if len(dtypes) == 1 else [x.dtype for x in held])


@pytest.mark.parametrize("layout", ["transposed", "with a step", "backwards", "repeated"])
def test_lists_that_are_not_all_in_c_order(wrap: Callable[..., Any], layout: str) -> None:
    held = [counted(np.float32, 5), LAYOUTS[layout](np.float32)]
    assert _cuda_libraries.columns([wrap(x) for x in held]) is None


def test_a_part_of_what_is_mapped_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile_cuda, "current_device", lambda: 0)
    whole = numba_mapped_array(counted(np.float32, 8))
    assert _cuda_libraries.columns([whole, whole[2:]]) is None
    with pytest.raises(TypeError, match="`t` must have memory of its own, got MappedNDArray"):
        _cuda_libraries.cuda_array(whole[2:], "t")


@pytest.mark.parametrize(("handle", "stream"), [(7, 7), (1, 0), (0, 0)])
def test_the_stream_of_an_array_of_numba(handle: int, stream: int) -> None:
    array = numba_array(counted(np.float32, 3))
    if handle:
        array = array.bind(driver.Stream(driver.binding.CUstream(handle), None))
    found = _cuda_libraries.cuda_array(array, "t")
    assert found is not None
    assert found.library.stream(found) == stream
