"""How numclip compiles for a GPU, and launches: the only module that imports numba.cuda.

It does so when the first kernel is launched; nothing of the extra `cuda` is needed before.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any

from numba import config, float64, int64, typeof

from numclip._compile import stamp_cache

INSTALL = "pip install 'numba-cuda[cu13]', or 'numba-cuda[cu12]' for a driver of CUDA 12"

# One warp, to which a barrier costs little. The simulator runs each as a thread of the operating
# system; any number of them gives the same bits.
WARP = 32
SIMULATED_THREADS = 4
SIMULATED_BLOCKS = 3

# Threads that a multiprocessor holds, and blocks, on the devices of compute capability 8 and 9.
_THREADS_OF_A_MULTIPROCESSOR = 2048
_BLOCKS_OF_A_MULTIPROCESSOR = 32

# The launches of one call follow each other, whatever other threads launch. The simulator runs one
# kernel at a time.
LAUNCHES = RLock()


@cache
def numba_cuda() -> ModuleType:
    """Import numba.cuda, or say what to install."""
    try:
        from numba import cuda
    except ImportError as error:
        raise ImportError(f"a CUDA array needs the package numba-cuda: {INSTALL}") from error
    if getattr(cuda, "implementation", "NVIDIA") == "Built-in":
        raise ImportError(f"a CUDA array needs the package numba-cuda: {INSTALL}")
    return cuda  # type: ignore[no-any-return]


def is_simulated() -> bool:
    return bool(config.ENABLE_CUDASIM)


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
    def compiled(self) -> Any:
        return _device_function(self._function)


@cache
def _device_function(function: Callable[..., Any]) -> Any:
    return numba_cuda().jit(device=True)(with_cuda(function))


def cuda_function(function: Callable[..., Any]) -> _CudaFunction:
    """Let kernels for the GPU call a function."""
    return _CudaFunction(function)


def with_cuda(function: Any) -> Callable[..., Any]:
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
        self._blocks = min(_THREADS_OF_A_MULTIPROCESSOR // threads, _BLOCKS_OF_A_MULTIPROCESSOR)
        self._compiled: dict[Any, Any] = {}
        self._configured: dict[Any, Any] = {}

    def launch(self, device: int, stream: int, units: int, *arguments: Any) -> None:
        """Enqueue the loop on as many blocks as the device has room for, or as there are units."""
        if units == 0:
            return
        if is_simulated():
            self._simulate(units, arguments)
            return
        blocks = min(units, self._blocks * _multiprocessors(device))
        key = (device, stream, blocks, *map(type, arguments))
        configured = self._configured.get(key)
        if configured is None:
            configured = self._configure(blocks, stream, device, arguments)
            self._configured[key] = configured
        configured(*arguments)

    def _configure(self, blocks: int, stream: int, device: int, arguments: Any) -> Any:
        key = (device, *map(type, arguments))
        if key not in self._compiled:
            self._compiled[key] = self._compile(signature_of(arguments))
        if len(self._configured) > 1000:
            self._configured.clear()
        where = numba_cuda().external_stream(stream) if stream else 0
        with warnings.catch_warnings():
            # Of grids that are as small as the arrays are.
            warnings.simplefilter("ignore")
            return self._compiled[key][blocks, self._threads, where, self._shared_bytes]

    def _compile(self, signature: Any) -> Any:
        dispatcher = numba_cuda().jit(with_cuda(self.function), cache=True)
        if not stamp_cache(dispatcher):
            dispatcher = numba_cuda().jit(with_cuda(self.function))
        with without_contraction():
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    def _simulate(self, units: int, arguments: Any) -> None:
        kernel = numba_cuda().jit(self.function)
        blocks = min(units, SIMULATED_BLOCKS)
        kernel[blocks, SIMULATED_THREADS, 0, self._shared_bytes](*arguments)


def cuda_kernel(
    threads: int = WARP, shared_bytes: int = 0
) -> Callable[[Callable[..., Any]], CudaKernel]:
    """Make a loop for the GPU, which so many threads of a block share."""
    return lambda function: CudaKernel(function, threads, shared_bytes)


def signature_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([_type_of(argument) for argument in arguments])


def _type_of(argument: Any) -> Any:
    if type(argument) is int:
        return int64
    return float64 if type(argument) is float else typeof(argument)


@cache
def _multiprocessors(device: int) -> int:
    return int(numba_cuda().gpus[device].MULTIPROCESSOR_COUNT)


@contextmanager
def without_contraction() -> Iterator[None]:
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


@contextmanager
def on_device(device: int) -> Iterator[None]:
    """Launch on a device, and give the thread back the one that it had."""
    if is_simulated():
        yield
        return
    with numba_cuda().gpus[device]:
        yield


def current_device() -> int:
    return 0 if is_simulated() else int(numba_cuda().get_current_device().id)
