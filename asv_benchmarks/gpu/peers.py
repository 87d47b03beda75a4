"""optax, in a process of its own, where jax finds the GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Timer

from .places import Unavailable
from .records import Optax

_ROOT = Path(__file__).parents[2]
_SECONDS = 150

_ENVIRONMENT = {
    # The processor would do where the GPU cannot.
    "JAX_PLATFORMS": "cuda",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def measure_optax(is_quick: bool, tell: Callable[[Optax], None]) -> None:
    """Tell of each result as it comes; raise Unavailable if there is none, or no more."""
    missing = [name for name in ("jax", "optax") if importlib.util.find_spec(name) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not installed")
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "asv_benchmarks.gpu.optax_process"]
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(
            [*command, *(["--quick"] if is_quick else [])],
            stdout=subprocess.PIPE,
            stderr=messages,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
            text=True,
        )
        timer = Timer(_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                # Whatever else a library has to say.
                if line.startswith("{"):
                    tell(Optax(**json.loads(line)))
        code = process.wait()
        timer.cancel()
        if code:
            messages.seek(0)
            last = (messages.read().strip().splitlines() or [f"killed after {_SECONDS} s"])[-1]
            raise Unavailable(f"exit code {code}: {last}")
