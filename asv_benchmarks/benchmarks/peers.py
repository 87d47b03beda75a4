"""What can clip gradients: numclip, and what one would use instead.

Each has a module in libraries/, with a function for each operation that the library offers; it
takes a workload's arrays and returns a `Case`. It is imported when the library is asked for, so
that a process holds one library alone: two OpenMP runtimes in a process stall each other by
milliseconds. The folder has no `__init__.py`, or asv would import all of it at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .workloads import Array

PEERS = ("numclip", "numpy", "torch", "tensorflow", "optax")

THREADS = 2

# Has to be set before the libraries are imported.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "MKL_NUM_THREADS": str(THREADS),
    "NPROC": str(THREADS),  # the size of XLA's thread pool
    "NUMBA_NUM_THREADS": str(THREADS),
    "OMP_NUM_THREADS": str(THREADS),
    "OPENBLAS_NUM_THREADS": str(THREADS),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def _do_nothing() -> None:
    pass


class Case(NamedTuple):
    """One operation of one library on one workload, ready to be called."""

    call: Callable[[Any], Any]
    """Takes the limit."""

    norm: Callable[[Any], float]
    """Takes what the call returned, and returns the norm that the library found."""

    restore: Callable[[], None] = _do_nothing
    """Gives the gradients the values that they had before any call."""

    as_limit: Callable[[float], Any] = float
    """Makes of a number what the call takes as a limit."""

    shrinks: bool = False
    """Whether a call over the limit leaves gradients that are no longer over it."""


def is_installed(peer: str) -> bool:
    return importlib.util.find_spec(peer) is not None


def set_environment() -> None:
    """Set what the user has not set, unless it is too late: Numba then stops with an error."""
    if "numba" not in sys.modules:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)


def prepare(peer: str, operation: str, arrays: list[Array]) -> Case:
    """Return a case, called once, so that what compiles has compiled.

    Raises NotImplementedError, as asv wants it, where a peer is missing or has no such operation.
    """
    if peer != "machine" and not is_installed(peer):
        raise NotImplementedError(f"{peer} is not installed")
    module = importlib.import_module(f".libraries.with_{peer}", __package__)
    if not hasattr(module, operation):
        raise NotImplementedError(f"{peer} has no {operation}")
    case: Case = getattr(module, operation)(arrays)
    case.call(case.as_limit(1.0))
    case.restore()
    return case
