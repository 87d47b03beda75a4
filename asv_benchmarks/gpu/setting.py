"""Where and with what the proof was made."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import platform
import subprocess
from contextlib import suppress
from typing import NamedTuple

_MODULES = ("numclip", "numpy", "numba", "numba_cuda", "torch", "cupy", "jax", "optax", "ml_dtypes")


class Setting(NamedTuple):
    """What a reader has to know to judge the figures."""

    date: str
    device: str
    driver: str
    versions: dict[str, str]
    # What each part of the proof took.
    seconds: dict[str, float]


def is_simulated() -> bool:
    from numba import config

    return bool(config.ENABLE_CUDASIM)


def why_no_device() -> str:
    """Say why nothing can be proved here; nothing where it can be."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    from numba import cuda

    try:
        return "" if cuda.is_available() else "no CUDA device, or no driver and compiler for it"
    except Exception as error:
        return f"no CUDA device: {error}"


def _device_name() -> str:
    if is_simulated():
        return "Numba's simulator of CUDA"
    from numba import cuda

    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return found.stdout.split()[0]
    return "unknown"


def _version_of(module: str) -> str:
    with suppress(Exception):
        return str(importlib.import_module(module).__version__)
    return ""


def describe_setting(seconds: dict[str, float]) -> Setting:
    found = {name: _version_of(name) for name in _MODULES}
    versions = {name: version for name, version in found.items() if version}
    return Setting(
        datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        _device_name(),
        "none" if is_simulated() else _driver(),
        {"Python": platform.python_version(), **versions},
        seconds,
    )
