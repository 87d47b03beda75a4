"""Stand-ins for PyTorch and CuPy, of arrays whose memory is the host's.

They offer what the documentation of both says of the parts that numclip uses, and no more.
"""

from __future__ import annotations

import ctypes
from types import ModuleType, SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

TORCH, CUPY = ModuleType("torch"), ModuleType("cupy")

STRIDED = object()
DEVICE = SimpleNamespace(type="cuda", index=0)


class Dtype:
    def __init__(self, name: str) -> None:
        self.name = name
        self.is_complex = name.startswith("complex")

    def __str__(self) -> str:
        return f"torch.{self.name}"


DTYPES = {
    name: Dtype(name)
    for name in (
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8"),
    )
}


class Tensor:
    """A tensor of PyTorch's on a CUDA device."""

    is_cuda = True
    has_memory = True
    layout = STRIDED
    device = DEVICE

    def __init__(self, array: Any) -> None:
        self.numbers = array

    @property
    def dtype(self) -> Dtype:
        return DTYPES[self.numbers.dtype.name]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.numbers.shape)

    def is_conj(self) -> bool:
        return False

    def is_neg(self) -> bool:
        return False

    def is_contiguous(self) -> bool:
        if self.layout is not STRIDED:
            raise RuntimeError("a sparse tensor has no strides")
        return bool(self.numbers.flags.c_contiguous)

    def stride(self) -> tuple[int, ...]:
        return tuple(step // self.numbers.itemsize for step in self.numbers.strides)

    def get_device(self) -> int:
        return 0

    def numel(self) -> int:
        return int(self.numbers.size)

    def data_ptr(self) -> int:
        return int(self.numbers.__array_interface__["data"][0]) if self.has_memory else 0

    def cpu(self) -> Any:
        return SimpleNamespace(numpy=lambda: self.numbers.copy())

    def to(self, device: Any, non_blocking: bool) -> Tensor:
        assert device is DEVICE
        return Tensor(self.numbers.copy())

    def __neg__(self) -> Tensor:
        return Tensor(-self.numbers)

    def __mul__(self, other: Any) -> Tensor:
        return Tensor(self.numbers * other)

    def __sub__(self, other: Tensor) -> Tensor:
        return Tensor(self.numbers - other.numbers)

    def __abs__(self) -> Tensor:
        return Tensor(abs(self.numbers))

    def __lt__(self, other: float) -> Tensor:
        return Tensor(self.numbers < other)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def max(self) -> Tensor:
        return Tensor(self.numbers.max())


Tensor.__module__ = "torch"


def _torch_empty(shape: Any, *, dtype: Dtype, device: Any) -> Tensor:
    assert device is DEVICE
    kind = ml_dtypes.bfloat16 if dtype.name == "bfloat16" else dtype.name
    return Tensor(np.empty(shape, kind))


def _torch_sort(keys: Tensor, stable: bool) -> tuple[Tensor, Tensor]:
    assert stable
    order = np.argsort(keys.numbers, kind="stable")
    return Tensor(keys.numbers[order]), Tensor(order)


vars(TORCH).update(
    DTYPES,
    strided=STRIDED,
    Tensor=Tensor,
    empty=_torch_empty,
    sort=_torch_sort,
    empty_like=lambda like, requires_grad: Tensor(np.empty_like(like.numbers)),
    from_numpy=Tensor,
    cuda=SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=0)),
)


class Device:
    """A device of CuPy's, which is the current one in a `with`."""

    def __init__(self, number: int) -> None:
        assert number == 0
        self.id = number

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class ndarray:
    """An array of CuPy's."""

    __cuda_array_interface__ = None

    @property
    def device(self) -> Any:
        return Device(0)

    def __init__(self, array: Any) -> None:
        self.numbers = array

    @property
    def dtype(self) -> Any:
        return self.numbers.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.numbers.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self.numbers.strides)

    @property
    def flags(self) -> Any:
        return SimpleNamespace(c_contiguous=self.numbers.flags.c_contiguous)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.numbers.__array_interface__["data"][0], device_id=0)

    def get(self) -> Any:
        return self.numbers.copy()

    @property
    def size(self) -> int:
        return int(self.numbers.size)

    def __getitem__(self, index: ndarray) -> ndarray:
        return ndarray(self.numbers[index.numbers])

    def __neg__(self) -> ndarray:
        return ndarray(-self.numbers)

    def __mul__(self, other: Any) -> ndarray:
        return ndarray(self.numbers * other)

    def __sub__(self, other: ndarray) -> ndarray:
        return ndarray(self.numbers - other.numbers)

    def __abs__(self) -> ndarray:
        return ndarray(abs(self.numbers))

    def __lt__(self, other: float) -> ndarray:
        return ndarray(self.numbers < other)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def max(self) -> ndarray:
        return ndarray(self.numbers.max())


ndarray.__module__ = "cupy"


def _cupy_argsort(keys: ndarray, kind: str) -> ndarray:
    assert kind == "stable"
    return ndarray(np.argsort(keys.numbers, kind="stable"))


vars(CUPY).update(
    empty=lambda shape, dtype: ndarray(np.empty(shape, dtype)),
    asarray=lambda host: ndarray(np.array(host)),
    argsort=_cupy_argsort,
    cuda=SimpleNamespace(Device=Device, get_current_stream=lambda: SimpleNamespace(ptr=0)),
)


class DlpackExporter:
    """An array of a library that numclip does not know, with DLPack alone."""

    def __init__(self, array: Any, device: tuple[int, int] = (2, 0)) -> None:
        self.numbers = array
        self.device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        """Return what NumPy gives, with another device written in it, after the address."""
        assert stream == 1
        capsule = self.numbers.__dlpack__()
        find = ctypes.pythonapi.PyCapsule_GetPointer
        find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        (ctypes.c_int32 * 2).from_address(find(capsule, b"dltensor") + 8)[:] = self.device
        return capsule


class Exporter:
    """An array of a library that numclip does not know, with CUDA's interface for arrays."""

    def __init__(self, array: Any, stream: int | None = None) -> None:
        self.numbers = array
        self.stream = stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = self.numbers.__array_interface__
        return {
            "version": 3,
            "shape": interface["shape"],
            "typestr": interface["typestr"],
            "data": interface["data"],
            "strides": interface["strides"],
            "stream": self.stream,
        }
