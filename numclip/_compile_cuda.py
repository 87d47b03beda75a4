"""How numclip compiles for a GPU, and launches: the only module that imports numba.cuda.

It does so when the first kernel is launched; nothing of the extra `cuda` is needed before.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from operator import attrgetter
from threading import RLock, local
from types import FunctionType, ModuleType
from typing import Any

from numba import config, float64, int64, typeof

from numclip._kernel_cache import keep_on_disk

INSTALL = "pip install -U 'numba-cuda[cu13]', or 'numba-cuda[cu12]' for a driver of CUDA 12"

# One warp, to which a barrier costs little. The simulator runs each as a thread of the operating
# system; any number of them gives the same bits.
WARP = 32
SIMULATED_THREADS = 4
SIMULATED_BLOCKS = 3

# Grids, on streams, that are kept at hand for each kernel.
_MOST_CONFIGURATIONS = 1000

# The launches of one call follow each other, whatever other threads launch. The simulator runs one
# kernel at a time.
LAUNCHES = RLock()


@cache
def numba_cuda() -> ModuleType:
    """Import numba.cuda, or say what to install."""
    try:
        from numba import cuda
    except (ImportError, AttributeError) as error:  # not there, or older than this Numba
        raise ImportError(f"a CUDA array needs the package numba-cuda: {INSTALL}") from error
    if getattr(cuda, "implementation", "NVIDIA") == "Built-in":
        raise ImportError(f"a CUDA array needs the package numba-cuda: {INSTALL}")
    return cuda  # type: ignore[no-any-return]


def is_simulated() -> bool:
    return bool(config.ENABLE_CUDASIM)


def driver_and_devices() -> tuple[str, list[tuple[str, str]]]:
    """Return the version of the driver, and the name and compute capability of each device."""
    cuda = numba_cuda()
    if (problem := cuda.cuda_error()) is not None:
        raise RuntimeError(problem)
    devices = [(str(gpu.name), _dotted(gpu.compute_capability)) for gpu in cuda.gpus]
    return _dotted(cuda.cudadrv.driver.get_version()), devices


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


class _Cuda:
    """Stands for numba.cuda in the sources of kernels, and for the simulator's while they run."""

    def __getattr__(self, name: str) -> Any:
        from numba.cuda.simulator.kernel import _get_kernel_context

        return getattr(_get_kernel_context(), name)


cuda = _Cuda()


class _CudaFunction:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    @property
    def compiled(self) -> Any:  # on a GPU alone
        return _device_function(self._function)


@cache
def _device_function(function: Callable[..., Any]) -> Any:  # on a GPU alone
    return numba_cuda().jit(device=True)(with_cuda(function))


def cuda_function(function: Callable[..., Any]) -> _CudaFunction:
    """Let kernels for the GPU call a function."""
    return _CudaFunction(function)


def with_cuda(function: Any) -> Callable[..., Any]:  # on a GPU alone
    """Return the function with numba.cuda, and compiled functions, for what stands for them."""
    names = dict(function.__globals__)
    for name in function.__code__.co_names:
        if isinstance(names.get(name), _CudaFunction):
            names[name] = names[name].compiled
    names["cuda"] = numba_cuda()
    return FunctionType(function.__code__, names, function.__name__)


class CudaKernel:
    """A loop for the GPU.

    It is compiled, and kept on disk, at the first launch with arguments of these types: integers,
    which addresses are too, are int64, Python's floats float64, NumPy's scalars what they are.
    """

    def __init__(self, function: Callable[..., Any], threads: int, shared_bytes: int) -> None:
        self.function = function
        self._threads = threads
        self._shared_bytes = shared_bytes
        self._compiled: dict[Any, tuple[Any, int]] = {}
        self._configured: dict[Any, Any] = {}

    def launch(self, device: int, stream: int, units: int, *arguments: Any) -> None:
        """Enqueue the loop on as many blocks as the device has room for, or as there are units."""
        if units == 0:
            return
        if is_simulated():
            self._simulate(units, arguments)
        else:  # on a GPU alone
            types = tuple(map(type, arguments))
            compiled = self._compiled.get((device, types))
            if compiled is None:
                compiled = self._compiled[device, types] = self._compile(arguments)
            dispatcher, room = compiled
            blocks = min(units, room)
            key = (device, stream, blocks, types)
            configured = self._configured.get(key)
            if configured is None:
                configured = self._configure(dispatcher, blocks, stream)
                self._configured[key] = configured
            configured(*arguments)

    def _configure(self, dispatcher: Any, blocks: int, stream: int) -> Any:  # on a GPU alone
        if len(self._configured) > _MOST_CONFIGURATIONS:
            self._configured.clear()
        where = stream_at(stream)
        with warnings.catch_warnings():
            # Of grids that are as small as the arrays are.
            warnings.simplefilter("ignore")
            return dispatcher[blocks, self._threads, where, self._shared_bytes]

    def _compile(self, arguments: tuple[Any, ...]) -> tuple[Any, int]:  # on a GPU alone
        """Return the kernel for arguments of these types, and how many blocks run at once."""
        dispatcher = self.dispatcher()
        with without_contraction():
            dispatcher.compile(signature_of(arguments))
        dispatcher.disable_compile()
        kernel = next(iter(dispatcher.overloads.values()))
        return dispatcher, int(
            kernel.max_cooperative_grid_blocks(self._threads, self._shared_bytes)
        )

    def dispatcher(self) -> Any:  # on a GPU alone
        """Return the kernel as Numba has it, before it is compiled."""
        # Without lto=False the linker compiles once more, and contracts.
        jit = partial(numba_cuda().jit, lto=False)
        try:
            dispatcher = jit(with_cuda(self.function), cache=True)
        except RuntimeError:  # no folder that could hold the cache is writable
            return jit(with_cuda(self.function))
        return dispatcher if keep_on_disk(dispatcher) else jit(with_cuda(self.function))

    def _simulate(self, units: int, arguments: Any) -> None:
        kernel = numba_cuda().jit(self.function)
        blocks = min(units, SIMULATED_BLOCKS)
        kernel[blocks, SIMULATED_THREADS, 0, self._shared_bytes](*arguments)


def cuda_kernel(
    threads: int = WARP, shared_bytes: int = 0
) -> Callable[[Callable[..., Any]], CudaKernel]:
    """Make a loop for the GPU, which so many threads of a block share."""
    return lambda function: CudaKernel(function, threads, shared_bytes)


def signature_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:  # on a GPU alone
    return tuple([_type_of(argument) for argument in arguments])


def _type_of(argument: Any) -> Any:  # on a GPU alone
    if type(argument) is int:
        return int64
    return float64 if type(argument) is float else typeof(argument)


@contextmanager
def without_contraction() -> Iterator[None]:  # on a GPU alone
    """Have NVVM round each product before it is added, as the processor does.

    numba-cuda has no option for it: what it hands its options to is replaced meanwhile. Where that
    is not to be found, kernels work, and float64's last bit may differ from the processor's.
    """
    from numba.cuda.cudadrv import nvvm

    original = getattr(nvvm, "compile_ir", None)
    if original is None or "options" not in inspect.signature(original).parameters:
        yield
        return

    def compile_ir(llvmir: Any, **options: Any) -> Any:
        return original(llvmir, **{**options, "fma": False})

    nvvm.compile_ir = compile_ir
    try:
        yield
    finally:
        nvvm.compile_ir = original


class _Current(local):
    """The device that launches of this thread go to, None outside of a call."""

    device: int | None = None


_current = _Current()


@contextmanager
def on_device(device: int) -> Iterator[None]:
    """Launch on a device, and give the thread back the one that it had."""
    if is_simulated() or _current.device == device:
        yield
    else:  # on a GPU alone
        before, _current.device = _current.device, device
        try:
            with numba_cuda().gpus[device]:
                yield
        finally:
            _current.device = before


_DEVICE, _POINTER = attrgetter("gpu_data.context.device.id"), attrgetter("device_ctypes_pointer")


def devices_of(arrays: Sequence[Any]) -> list[int]:
    """Return the devices of Numba's arrays."""
    return [0] * len(arrays) if is_simulated() else _devices_of(arrays)


def _devices_of(arrays: Sequence[Any]) -> list[int]:  # on a GPU alone
    try:
        return list(map(_DEVICE, arrays))
    except AttributeError:  # a part of an array that is mapped has no memory of its own
        return [current_device()] * len(arrays)


def addresses_of(arrays: Sequence[Any]) -> list[int]:
    """Return where Numba's arrays begin, 0 where that is nowhere."""
    if is_simulated():
        return [array.__array_interface__["data"][0] for array in arrays]
    return _addresses_of(arrays)  # on a GPU alone


def _addresses_of(arrays: Sequence[Any]) -> list[int]:  # on a GPU alone
    return [pointer.value or 0 for pointer in map(_POINTER, arrays)]


def current_device() -> int:
    """Return the device that this thread works on."""
    return 0 if is_simulated() else int(numba_cuda().get_current_device().id)


def dlpack_view(array: Any) -> Any:
    """Return where an array of a CUDA device lies, for use on the default stream."""
    numba_cuda()
    from cuda.core.utils import StridedMemoryView

    return StridedMemoryView.from_dlpack(array, stream_ptr=_DEFAULT_STREAM)


# As DLPack has it.
_DEFAULT_STREAM = 1


def stream_at(handle: int) -> Any:
    return numba_cuda().external_stream(handle) if handle else 0


def wait_for(stream: int) -> None:
    if stream:  # on a GPU alone
        stream_at(stream).synchronize()
