"""How numclip compiles: what a rule is, what a kernel is, and when a compiled kernel is stale."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit, types
from numba.extending import overload, register_jitable

__all__ = ["kernel", "overload", "rule", "sources_hash", "types"]

_OPTIONS = {"error_model": "numpy", "nogil": True}


def sources_hash() -> str:
    """Digest numclip's own sources."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = (sources_hash(),)


def rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let kernels call a function of scalars, which stays an ordinary function in Python."""
    return register_jitable(error_model="numpy")(function)  # type: ignore[no-any-return]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over arrays for the CPU, at its first call, and keep it on disk."""
    try:
        dispatcher = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder that could hold the cache is writable
        return njit(**_OPTIONS)(function)  # type: ignore[no-any-return]
    if not _stamp_cache(dispatcher):
        return njit(**_OPTIONS)(function)  # type: ignore[no-any-return]
    return dispatcher  # type: ignore[no-any-return]


def _stamp_cache(dispatcher: Any) -> bool:
    """Key a kernel's disk cache by all of numclip's sources.

    Numba's own stamp is that of the kernel's file alone: a rule changed in another file would
    leave the old machine code in use. Without Numba's private attribute there is no disk cache.
    """
    cache_file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if not hasattr(cache_file, "_source_stamp"):
        return False
    cache_file._source_stamp = _STAMP
    return True
