"""The border: what is an array here, how a kernel sees it, and where a result may be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from numclip import _cuda_memory
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array
from numclip._dtypes import SEEN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# What is limited, or held by a variable: on the host, or where a CUDA device has it.
Tensor: TypeAlias = Array | CudaArray

FLOATING = "float16, bfloat16, float32 or float64"
INEXACT = f"{FLOATING}, complex64 or complex128"

# The dtype as which a kernel sees the numbers: real parts and imaginary parts one after another,
# and halves as integers (see _kernels/half.py).
_SEEN_AS = {np.dtype(name): seen.dtype for name, seen in SEEN.items() if name != "bfloat16"}


_CACHE_LINE = 64
# From this number of bytes on, NumPy asks for large pages.
_HUGE = 1 << 22


def _seen_as(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the kernels' dtype for a dtype, None for one that no kernel takes."""
    seen = _SEEN_AS.get(dtype)
    if seen is None and dtype.name == "bfloat16":
        return SEEN["bfloat16"].dtype
    if seen is None and not dtype.isnative:
        return _seen_as(dtype.newbyteorder("="))
    return seen


def is_floating(dtype: np.dtype[Any]) -> bool:
    return _seen_as(dtype) is not None and dtype.kind != "c"


def is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu"


def is_inexact(dtype: np.dtype[Any]) -> bool:
    return _seen_as(dtype) is not None


def same_dtype(first: np.dtype[Any], second: np.dtype[Any]) -> bool:
    """Tell whether two dtypes are the same but for the order of bytes."""
    return first == second or first.newbyteorder("=") == second.newbyteorder("=")


def describe(value: object) -> str:
    """Say in an error message what came."""
    dtype = getattr(value, "dtype", None)
    shape = getattr(value, "shape", None)
    if dtype is not None and isinstance(shape, tuple | list):
        return f"{type(value).__name__} of dtype {dtype} and shape {tuple(shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


class RecordedError(TypeError):
    """Numbers are asked for, and what came stands for an array that is being differentiated."""


def _refuse_recorded(value: object, argument: str, expected: str) -> None:
    """Refuse what NumPy would make an array of objects of, one element after another."""
    if isinstance(value, np.ndarray) or not hasattr(type(value), "_node"):
        return
    recorded: Any = value
    if recorded._trace >= 0:
        raise RecordedError(
            f"`{argument}` must be {expected}, got {describe(value)}, which is being differentiated"
        )


def _refuse_masked(value: object, argument: str, expected: str) -> None:
    """Refuse masked elements, which NumPy would take for numbers like the others."""
    # Plain arrays come most, and numpy.ma takes 16 ms to import.
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray and np.ma.is_masked(value):
        raise TypeError(
            f"`{argument}` must be {expected}, got {describe(value)} with masked elements, whose"
            " mask would be lost: `filled` gives them numbers"
        )


def as_array(
    value: object,
    argument: str,
    accepts: Callable[[np.dtype[Any]], bool] = is_inexact,
    expected: str = INEXACT,
) -> Array:
    """Take what np.asarray takes, of an accepted dtype."""
    _refuse_cuda(value, argument)
    return _as_host_array(value, argument, accepts, expected)


def _refuse_cuda(value: object, argument: str) -> None:
    # NumPy would copy the arrays of some libraries, and wait for them.
    if cuda_array(value, argument) is not None:
        raise TypeError(f"`{argument}` must be on the host, got {describe(value)} on a CUDA device")


def _as_host_array(
    value: object, argument: str, accepts: Callable[[np.dtype[Any]], bool], expected: str
) -> Array:
    _refuse_recorded(value, argument, expected)
    _refuse_masked(value, argument, expected)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{argument}` must be {expected}, got {describe(value)}") from error
    if not accepts(array.dtype):
        raise TypeError(f"`{argument}` must be {expected}, got {_with_dtype(value, array)}")
    return array


def as_tensor(
    value: object,
    argument: str,
    accepts: Callable[[np.dtype[Any]], bool] = is_inexact,
    expected: str = INEXACT,
) -> Tensor:
    """Take, besides what `as_array` takes, a CUDA array of an accepted dtype."""
    found = cuda_array(value, argument)
    if found is None:
        return _as_host_array(value, argument, accepts, expected)
    if not accepts(found.dtype):
        raise TypeError(f"`{argument}` must be {expected}, got {describe(value)}")
    return found


def raw(tensor: Tensor) -> Any:
    """Return the array as the caller knows it."""
    return tensor.array if isinstance(tensor, CudaArray) else tensor


def on_host(value: Any) -> Array:
    """Return an array's numbers, once the device has come to them if they are on one."""
    found = value if isinstance(value, CudaArray) else cuda_array(value, "value")
    return np.asarray(value) if found is None else _cuda_memory.download(found)


def _with_dtype(value: object, array: Array) -> str:
    """Say what came, and for what is no array, of what dtype NumPy takes it to be."""
    taken_for = "" if hasattr(value, "dtype") else f", of dtype {array.dtype}"
    return describe(value) + taken_for


def as_integers(value: object, argument: str) -> Array:
    """Take integers of any shape; an empty list holds none."""
    _refuse_cuda(value, argument)
    return _as_host_integers(value, argument)


def _as_host_integers(value: object, argument: str) -> Array:
    _refuse_recorded(value, argument, "integers")
    _refuse_masked(value, argument, "integers")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{argument}` must be integers, got {describe(value)}") from error
    if array.size == 0 and array.dtype == np.float64:
        array = array.astype(np.int64)
    if not is_integer(array.dtype):
        raise TypeError(f"`{argument}` must be integers, got {_with_dtype(value, array)}")
    return array


def as_integer_tensor(value: object, argument: str) -> Tensor:
    """Take, besides what `as_integers` takes, a CUDA array of integers."""
    found = cuda_array(value, argument)
    if found is None:
        return _as_host_integers(value, argument)
    if not is_integer(found.dtype):
        raise TypeError(f"`{argument}` must be integers, got {describe(value)}")
    return found


def as_scalar(value: object, argument: str) -> float:
    """Take one real number."""
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return np.inf if value > 0 else -np.inf
    array = as_real(value, argument)
    if array.ndim != 0:
        raise ValueError(f"`{argument}` must be a scalar, got an array of shape {array.shape}")
    return float(array)


def as_real(value: object, argument: str) -> Array:
    """Take real numbers of any dtype."""
    return as_array(
        value,
        argument,
        lambda dtype: dtype.kind in "biu" or is_floating(dtype) or dtype == np.longdouble,
        "real numbers",
    )


def as_limit(value: object, argument: str) -> float:
    """Take one number to limit a norm by: not negative, not NaN."""
    limit = as_scalar(value, argument)
    if not limit >= 0:
        raise ValueError(f"`{argument}` must not be negative or NaN, got {limit}")
    return limit


def as_norm(value: object, argument: str) -> float:
    """Take one number that may be a norm: not negative."""
    norm = as_scalar(value, argument)
    if norm < 0:
        raise ValueError(f"`{argument}` must not be negative, got {norm}")
    return norm


def rounded(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers in another dtype: zero or infinite where they are beyond its range."""
    with np.errstate(over="ignore", under="ignore"):
        return numbers.astype(dtype.newbyteorder("="), copy=False)


def is_flat(array: Array) -> bool:
    """Tell whether a kernel can work on the array's own memory."""
    flags = array.flags
    return flags.c_contiguous and flags.aligned and array.dtype.isnative


def flat(array: Array) -> Array:
    """Return the numbers in C order as kernels take them: a view where that can be, else a copy."""
    seen = _seen_as(array.dtype)
    assert seen is not None
    if not is_flat(array):
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return array.reshape(-1).view(seen)


def read_only(view: Array) -> Array:
    """Mark a view as input: kernels are compiled for read-only inputs alone."""
    view.flags.writeable = False
    return view


def numbers_of(array: Array, target: Array) -> Array:
    """Return the numbers as a kernel's input, to be read while it writes `target`."""
    numbers = flat(array)
    if shares_memory(numbers, target) and not same_memory(array, target):
        numbers = numbers.copy()
    return read_only(numbers)


def buffer_for(target: Array) -> Array:
    """Return `target` if a kernel can write to it, else an array to be copied to it afterwards."""
    if is_flat(target):
        return target
    return np.empty(target.shape, target.dtype.newbyteorder("="))


def working_copy(target: Array) -> Array:
    """Return `target` if a kernel can update it, else a copy to be copied back afterwards."""
    if is_flat(target):
        return target
    return np.array(target, dtype=target.dtype.newbyteorder("="), order="C")


def deliver(buffer: Array, target: Array) -> None:
    """Copy what a kernel wrote to where it belongs, unless it wrote there."""
    if buffer is not target:
        target[...] = buffer


def check_target(target: object, like: Tensor, argument: str) -> Tensor:
    """Take an array that results of the dtype and shape of `like` can be written to."""
    found: Tensor
    if isinstance(like, CudaArray):
        found = _as_cuda_target(target, like, argument)
    elif isinstance(target, np.ndarray):
        found = target
    else:
        raise TypeError(f"`{argument}` must be a NumPy array, got {describe(target)}")
    if not same_dtype(found.dtype, like.dtype):
        raise TypeError(f"`{argument}` must be of dtype {like.dtype}, got {found.dtype}")
    if found.shape != like.shape:
        raise ValueError(f"`{argument}` must be of shape {like.shape}, got {found.shape}")
    if not isinstance(found, CudaArray) and not found.flags.writeable:
        raise ValueError(f"`{argument}` must be writable, got a read-only array")
    return found


def _as_cuda_target(target: object, like: CudaArray, argument: str) -> CudaArray:
    found = cuda_array(target, argument)
    if found is None:
        raise TypeError(f"`{argument}` must be a CUDA array, got {describe(target)}")
    if found.device != like.device:
        raise ValueError(
            f"`{argument}` must be on CUDA device {like.device}, got one on device {found.device}"
        )
    return found


def check_one_place(tensors: Sequence[tuple[str, Tensor]]) -> None:
    """Refuse tensors that are not all on the host, or all on one CUDA device."""
    first_name, first = tensors[0]
    for name, tensor in tensors:
        if place_of(tensor) != place_of(first):
            raise ValueError(
                f"`{name}` must be where `{first_name}` is, {place_of(first)},"
                f" got an array {place_of(tensor)}"
            )


def place_of(tensor: Tensor) -> str:
    return f"on CUDA device {tensor.device}" if isinstance(tensor, CudaArray) else "on the host"


def check_disjoint(targets: Sequence[Tensor], inputs: Sequence[Tensor], argument: str) -> None:
    """Refuse targets that overlap each other, or inputs other than their own."""
    entries = []
    for position, (target, own) in enumerate(zip(targets, inputs, strict=True)):
        entries.append((position, target, True))
        if own is not target:
            entries.append((position, own, False))
    for i, j in overlapping([tensor for _, tensor, _ in entries]):
        (position, _, is_target), (other_position, _, other_is_target) = entries[i], entries[j]
        if position != other_position and (is_target or other_is_target):
            raise ValueError(
                f"`{argument}` must not overlap: its entries {position} and {other_position},"
                " or the input of one of them, share memory"
            )


def overlapping(tensors: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Yield the positions of each two tensors that share memory."""
    layouts = [_layout(tensor) for tensor in tensors]
    spans = [(*byte_bounds(layout), i) for i, layout in enumerate(layouts)]
    spans.sort(key=lambda span: span[0])
    for place, (_, end, i) in enumerate(spans):
        for following in range(place + 1, len(spans)):
            start, _, j = spans[following]
            if start >= end:
                break
            if shares_memory(layouts[i], layouts[j]):
                yield i, j


def _layout(tensor: Tensor) -> Array:
    return tensor.layout() if isinstance(tensor, CudaArray) else tensor


def new_like(tensor: Tensor) -> Tensor:
    if isinstance(tensor, CudaArray):
        return _cuda_memory.empty(tensor.shape, tensor.dtype, tensor)
    return empty_like(tensor)


def empty_like(array: Array) -> Array:
    return np.empty(array.shape, array.dtype)


def empty_like_each(arrays: Sequence[Array | None]) -> tuple[Array | None, ...]:
    """Return a new array like each, all in one piece of memory if they are large.

    What costs then are page faults, of which large pages have fewer: clipping ResNet-50 took 21 ms
    in place of 28 and more.
    """
    sizes = [0 if array is None else array.nbytes for array in arrays]
    if len(arrays) == 1 or sum(sizes) < _HUGE:
        return tuple([None if array is None else empty_like(array) for array in arrays])
    starts = list(accumulate([_padded(size) for size in sizes], initial=0))
    memory = np.empty(starts.pop(), np.uint8)
    return tuple(
        [
            None if array is None else _array_in(memory, start, array)
            for array, start in zip(arrays, starts, strict=True)
        ]
    )


def _padded(size: int) -> int:
    return -(-size // _CACHE_LINE) * _CACHE_LINE


def _array_in(memory: Array, start: int, like: Array) -> Array:
    if not is_inexact(like.dtype):
        return empty_like(like)
    return np.ndarray(like.shape, like.dtype, memory, start)


def owner(array: Tensor) -> object:
    """Return the object whose memory an array shows."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def shares_memory(first: Array, second: Array) -> bool:
    if not np.may_share_memory(first, second):
        return False
    try:
        return bool(np.shares_memory(first, second, max_work=100_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def address_of(array: Array) -> int:
    # `array.ctypes.data` takes a step of rows 10 us longer: more code, which is not in the cache.
    return int(array.__array_interface__["data"][0])


def same_memory(first: Array, second: Array) -> bool:
    """Tell whether two arrays of one shape and dtype are the same numbers at the same place."""
    return first is second or (
        first.shape == second.shape
        and address_of(first) == address_of(second)
        and first.strides == second.strides
    )


_NAMED = (TypeError, ValueError, IndexError, FloatingPointError, RecordedError)


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Open the message of any error with the name that the caller gave, if one was given."""
    try:
        yield
    except (TypeError, ValueError, IndexError, FloatingPointError) as error:
        # A class of the user's may be made of something else than one message.
        if name is None or type(error) not in _NAMED:
            raise
        raise type(error)(f"{name}: {error}") from error
