"""Where and with what a comparison was made."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import NamedTuple

from ..benchmarks.peers import THREADS
from .measure import Measurer, Settings

_MODULES = {
    "numclip": ("numclip", "numba"),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow",),
    "optax": ("optax", "jax"),
    "scipy": ("scipy",),
}


class Setting(NamedTuple):
    """What a reader has to know to judge the figures."""

    date: str
    processor: str
    system: str
    versions: dict[str, str]
    threads: int
    load: float
    settings: Settings


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def _versions(measurer: Measurer, peers: list[str]) -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for peer in peers:
        found |= {module: measurer.version(peer, module) for module in _MODULES[peer]}
    return found


def describe_setting(measurer: Measurer, peers: list[str], settings: Settings) -> Setting:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Setting(
        datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        _processor(),
        f"{platform.system()} {platform.machine()}",
        _versions(measurer, peers),
        THREADS,
        load,
        settings,
    )
