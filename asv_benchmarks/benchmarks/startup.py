"""What a process pays before its first clipped gradient."""

from __future__ import annotations

import statistics
import subprocess
import sys
from time import perf_counter

from .common import PEERS
from .peers import is_installed
from .processes import environment
from .programs import FIRST_CLIP

_ROUNDS = 11
_WITHOUT_CACHE = """
import os, tempfile
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()
"""


class StartUp:
    """Each runs in a process of its own, started and, where it caches, warmed by `setup`."""

    timeout = 300.0
    params = (PEERS,)
    param_names = ("peer",)

    def setup(self, peer: str) -> None:
        if not is_installed(peer):
            raise NotImplementedError(f"{peer} is not installed")
        subprocess.run([sys.executable, "-c", FIRST_CLIP[peer]], check=True, capture_output=True)

    def timeraw_import(self, peer: str) -> str:
        return f"import {peer}"

    def timeraw_first_clip(self, peer: str) -> str:
        return _printing_to_nowhere(FIRST_CLIP[peer])


def timeraw_first_clip_that_compiles() -> str:
    return _printing_to_nowhere(_WITHOUT_CACHE + FIRST_CLIP["numclip"])


def _printing_to_nowhere(program: str) -> str:
    # asv reads the time from what the process prints.
    return f"print = lambda *_: None\n{program}"


def _seconds(program: str) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment())
    return perf_counter() - start


def track_import_over_numba() -> float:
    """Return by how much `import numclip` takes longer than `import numba`."""
    _seconds("import numclip")
    return statistics.median(
        _seconds("import numclip") - _seconds("import numba") for _ in range(_ROUNDS)
    )


track_import_over_numba.unit = "seconds"  # type: ignore[attr-defined]
