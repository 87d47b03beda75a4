"""How numclip compiles: what a rule is, and what a kernel is."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name
from numba import (
    carray,
    config,
    get_num_threads,
    njit,
    prange,
    set_num_threads,
    threading_layer,
    typeof,
    types,
)
from numba.core import cgutils, codegen
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic, models, overload, register_jitable, register_model

from numclip._kernel_cache import keep_on_disk

__all__ = [
    "array_at",
    "by_classes",
    "cgutils",
    "converts_float16",
    "float16_to_float32",
    "float32_to_float16",
    "get_num_threads",
    "integer_at",
    "intrinsic",
    "ir",
    "kernel",
    "locked_kernel",
    "models",
    "overload",
    "parallel_kernel",
    "pointer_at",
    "pointer_to",
    "prange",
    "processor_name",
    "register_model",
    "rule",
    "set_num_threads",
    "subkernel",
    "types",
]


def rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let kernels call a function of scalars, which stays an ordinary function in Python."""
    return register_jitable(error_model="numpy")(function)  # type: ignore[no-any-return]


def subkernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let kernels call a loop over arrays, of which no copy of its own is kept on disk.

    A kernel takes 0.4 ms to set up at import, and a part of kernels nothing.
    """
    return rule(function)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over arrays for the CPU, at its first call, and keep it on disk."""
    return _compiled(function, nogil=True)


def parallel_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, as `kernel`, a loop over `prange`, each turn of which calls a kernel."""
    return _compiled(function, nogil=True, parallel=True)


def locked_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, as `kernel`, what looks into Python objects and so holds the interpreter's lock."""
    return _compiled(function)


def by_classes(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Call a kernel whose arguments' classes tell their types, without looking at them any further.

    Numba looks for the fields of a NamedTuple at each call, for half a microsecond. Where one is no
    float, as in a rule of a user's, it still does: a form for integers would cut a float short.
    """
    forms: dict[tuple[type[Any], ...], Callable[..., Any]] = {}

    def call(*arguments: Any) -> Any:
        classes = tuple(map(type, arguments))
        form = forms.get(classes)
        if form is None:
            fields = [field for each in arguments if isinstance(each, tuple) for field in each]
            if not all([type(field) is float for field in fields]):
                return kernel(*arguments)
            form = kernel.compile(tuple(map(typeof, arguments)))  # type: ignore[attr-defined]
            forms[classes] = form
        return form(*arguments)

    return call


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    options = {"error_model": "numpy", **options}
    with _compiling():
        try:
            dispatcher = njit(cache=True, **options)(function)
        except RuntimeError:  # no folder that could hold the cache is writable
            dispatcher = None
        if not keep_on_disk(dispatcher):
            dispatcher = njit(**options)(function)
    if config.DISABLE_JIT:
        dispatcher.compile = _compiling()(dispatcher.compile)
    return dispatcher  # type: ignore[no-any-return]


@contextmanager
def _compiling() -> Iterator[None]:
    """Compile also where NUMBA_DISABLE_JIT is set.

    With it users look into functions of their own, and kernels do what Python cannot.
    """
    before, config.DISABLE_JIT = config.DISABLE_JIT, 0
    try:
        yield
    finally:
        config.DISABLE_JIT = before


@intrinsic  # type: ignore[untyped-decorator]
def pointer_at(typing_context: Any, address: Any, like: Any) -> Any:
    pointer = types.CPointer(like.dtype if isinstance(like, types.DType) else like)

    def convert(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, like), convert


@register_jitable  # type: ignore[untyped-decorator]
def array_at(address: Any, size: Any, like: Any) -> Any:
    """Return the numbers that lie at an address, of the type of `like`."""
    return carray(pointer_at(address, like), (size,))


@register_jitable  # type: ignore[untyped-decorator]
def integer_at(address: Any, like: Any) -> Any:
    """Return the integer that lies at an address, of the type of `like`."""
    return carray(pointer_at(address, like), (1,))[0]


@intrinsic  # type: ignore[untyped-decorator]
def pointer_to(typing_context: Any, array: Any) -> Any:
    """Return a pointer to the numbers of an array, which does not keep the array alive.

    Numba counts references to each slice of an array; to index a pointer costs nothing.
    """

    def take(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, *arguments).data

    return types.CPointer(array.dtype)(array), take


def stop_compiling() -> None:
    """Wait until no thread compiles, and let none begin before `go_on_compiling`."""
    global_compiler_lock.acquire()


def go_on_compiling() -> None:
    global_compiler_lock.release()


def most_threads() -> int:
    return int(config.NUMBA_NUM_THREADS)


def threads_were_started() -> bool:  # pragma: no cover (in forked children, which count no lines)
    try:
        threading_layer()
    except ValueError:
        return False
    return True


@cache
def thread_layer() -> str | None:
    """Start Numba's threads, and name the layer that runs them."""
    try:
        from numba.np.ufunc.parallel import _launch_threads

        _launch_threads()
        return str(threading_layer())
    except (ImportError, ValueError):  # no such layer, or no longer this way to start one
        return None


def threads_are_safe() -> bool:
    """Tell whether the layer that runs Numba's threads lets two Python threads use it at once.

    The layer that Numba falls back to, workqueue, aborts the process then.
    """
    return thread_layer() in ("tbb", "omp")


def processor_name() -> str:
    """Name the processor that kernels are compiled for, as LLVM does."""
    return str(config.CPU_NAME or get_host_cpu_name())


def processor() -> tuple[str, list[str]]:
    """Name the processor that kernels are compiled for, and its instruction sets."""
    if config.CPU_FEATURES is None:
        features = codegen.get_host_cpu_features()
    else:
        features = config.CPU_FEATURES
    return processor_name(), sorted(
        part[1:] for part in features.split(",") if part.startswith("+")
    )


def converts_float16() -> bool:
    """Tell whether the processor that kernels are compiled for has instructions for float16.

    Without them LLVM calls a function that is not there, and the process dies.
    """
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True  # pragma: no cover (on another processor)
    if config.CPU_NAME is None:
        return bool(get_host_cpu_features().get("f16c", False))
    return "+f16c" in (config.CPU_FEATURES or "")


@intrinsic  # type: ignore[untyped-decorator]
def float16_to_float32(typing_context: Any, stored: Any) -> Any:
    def convert(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), convert


@intrinsic  # type: ignore[untyped-decorator]
def float32_to_float16(typing_context: Any, value: Any) -> Any:
    def convert(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), convert
