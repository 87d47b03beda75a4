"""What an issue report has to say of the machine: ``python -m numclip info``."""

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table

import numclip
from numclip import _compile, _compile_cuda, _kernel_cache, _threads
from numclip._kernels.clip import clip_arrays
from numclip._pace import LARGE_SIZE

# Looked up and not imported: PyTorch alone would take seconds.
PACKAGES = (
    *("numpy", "scipy", "numba", "llvmlite", "autograd", "rich"),
    *("ml_dtypes", "matplotlib", "safetensors", "tbb", "numba-cuda"),
    *("torch", "cupy", "cupy-cuda12x", "cupy-cuda13x"),
)


def info(as_json: bool) -> int:
    """Print the facts, and return the exit code."""
    console = Console(markup=False, emoji=False, highlight=False)
    if as_json:
        console.print_json(data=facts(), highlight=False, ensure_ascii=True)
    else:
        console.print(_table_of(facts()))
    return 0


def facts() -> dict[str, Any]:
    """Collect the facts, as JSON could hold them; what cannot be found out is None.

    Where there is something to say about that, it is under the name `problem`.
    """
    return {
        "numclip": numclip.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "processor": _processor(),
        "threads": _use_of_threads(),
        "cuda": _cuda(),
        "cache": _cache(_kernel_cache.cache_folder(clip_arrays)),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("NUMCLIP_", "NUMBA_"))
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    name, instruction_sets = _compile.processor()
    return {
        "architecture": platform.machine(),
        "name": name,
        "count": os.cpu_count(),
        "instruction_sets": instruction_sets,
    }


def _use_of_threads() -> dict[str, Any]:
    layer, most = _compile.thread_layer(), _compile.most_threads()
    try:
        threads, problem = _threads.get_num_threads(), None
        used = _threads.parts_for(LARGE_SIZE) > 1
    except ValueError as error:  # a bad NUMCLIP_NUM_THREADS
        threads, problem, used = None, str(error), False
    return {"numclip": threads, "most": most, "layer": layer, "used": used, "problem": problem}


def _cuda() -> dict[str, Any]:
    if _version("numba-cuda") is None:
        return _without_cuda("numba-cuda is not installed")
    if _compile_cuda.is_simulated():
        return _without_cuda("simulated, by NUMBA_ENABLE_CUDASIM")
    try:
        driver, devices = _compile_cuda.driver_and_devices()
    except Exception as error:  # whatever a driver or its absence raises is the answer
        return _without_cuda(" ".join(str(error).split()) or type(error).__name__)
    named = [{"name": name, "compute_capability": version} for name, version in devices]
    return {"driver": driver, "devices": named, "problem": None}


def _without_cuda(problem: str) -> dict[str, Any]:
    return {"driver": None, "devices": [], "problem": problem}


def _cache(folder: str | None) -> dict[str, Any]:
    if folder is None:
        problem = "no folder that could hold it can be written"
        return {"folder": None, "files": None, "bytes": None, "problem": problem}
    try:
        with os.scandir(folder) as entries:
            sizes = [
                entry.stat().st_size for entry in entries if entry.name.endswith((".nbi", ".nbc"))
            ]
    except OSError as error:
        return {"folder": folder, "files": None, "bytes": None, "problem": error.strerror}
    return {"folder": folder, "files": len(sizes), "bytes": sum(sizes), "problem": None}


def _table_of(found: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for section in (_software, _hardware, _surroundings):
        for name, text in section(found):
            table.add_row(name, _without_home(text))
        table.add_section()
    return table


def _without_home(text: str) -> str:
    """Leave out the user's name, which is in most paths, as a report will be public."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


def _software(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "numclip", found["numclip"]
    yield "Python", f"{found['python']}, {found['implementation']}"
    yield "platform", found["platform"]
    for name, version in found["packages"].items():
        if version is not None:
            yield name, version
    yield "not installed", ", ".join(k for k, v in found["packages"].items() if v is None) or "-"


def _hardware(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    processor, threads, cuda = found["processor"], found["threads"], found["cuda"]
    yield "processors", f"{processor['count']} of {processor['name']}, {processor['architecture']}"
    yield "instruction sets", " ".join(processor["instruction_sets"])
    yield "threads", threads["problem"] or f"{threads['numclip']} of {threads['most']}"
    layer = threads["layer"] or "none"
    yield "threading layer", layer if threads["used"] else f"{layer}; numclip runs on one thread"
    yield "CUDA", cuda["problem"] or f"driver {cuda['driver']}"
    for device in cuda["devices"]:
        yield "GPU", f"{device['name']}, compute capability {device['compute_capability']}"


def _surroundings(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    cache = found["cache"]
    if cache["folder"] is not None:
        yield "cache folder", cache["folder"]
    yield "cache", cache["problem"] or f"{cache['files']} files, {cache['bytes'] / 1e6:.1f} MB"
    yield from found["environment"].items()
