"""The libraries whose arrays numclip takes; each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from .places import Library, Unavailable
from .with_cupy import Cupy
from .with_numba import Numba
from .with_torch import Torch

LIBRARIES: dict[str, Callable[[], Library]] = {"torch": Torch, "cupy": Cupy, "numba": Numba}


def library_named(name: str) -> Library:
    """Return a library that can be used, or raise Unavailable."""
    try:
        return LIBRARIES[name]()
    except ImportError as error:
        raise Unavailable(f"{name} is not there: {error}") from error
