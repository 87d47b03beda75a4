"""compute-sanitizer, which sees what reads or writes beyond its memory, or races."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from .outcomes import FAILED, PASSED, SKIPPED, Outcome, say

_NAME = "compute-sanitizer"
_FOLDER = "/usr/local/cuda/bin"
_TOOLS = ("memcheck", "racecheck")
_SECONDS = 120
_ROOT = Path(__file__).parents[2]


def sanitize() -> list[Outcome]:
    """Run the small set of checks under each tool."""
    return list(_outcomes())


def _outcomes() -> Iterator[Outcome]:
    program = shutil.which(_NAME) or shutil.which(_NAME, path=_FOLDER)
    for tool in _TOOLS:
        start = perf_counter()
        if program is None:
            status, detail = SKIPPED, f"{_NAME} is not on the PATH, nor in {_FOLDER}"
        else:
            status, detail = _run(program, tool)
        say(f"{_NAME} {tool}: {status}, {detail}, {perf_counter() - start:.1f} s")
        yield Outcome("numba", _NAME, tool, status, detail)


def _run(program: str, tool: str) -> tuple[str, str]:
    command = [
        *(program, "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "9"),
        *(sys.executable, "-m", "asv_benchmarks.gpu.sanitized"),
    ]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        # With the program that it runs.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return SKIPPED, f"not done after {_SECONDS} s"
    return judged(process.returncode, output)


def judged(code: int, output: str) -> tuple[str, str]:
    """Return what a run came to, and its summary line, or how its output ends."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    summaries = [line for line in lines if "SUMMARY" in line]
    if any("not supported" in line for line in lines) and not summaries:
        return SKIPPED, "compute-sanitizer does not support this device"
    told = summaries[-1] if summaries else " / ".join(lines[-3:])
    return (PASSED if code == 0 and summaries else FAILED), f"{told}, exit code {code}"
