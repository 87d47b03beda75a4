"""The other end of a worker's pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from .peers import ENVIRONMENT

# Where the package that this module is in can be imported from, under whichever name.
_ROOT = Path(__file__).parents[(__package__ or "").count(".") + 1]


class WorkerError(Exception):
    """A worker could not do what it was told."""


def environment() -> dict[str, str]:
    """Return an environment in which every library uses the same number of threads.

    And in which numclip's modules are compiled once, as the others' were when they were installed.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    variables = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


class Process:
    """A worker in a process of its own."""

    def __init__(self) -> None:
        self._messages = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=environment(),
            text=True,
        )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, command: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        request = json.dumps({"command": command, "arguments": arguments})
        try:
            print(request, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the process ended: {self._last_messages()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def _last_messages(self) -> str:
        code = self._process.wait()
        self._messages.seek(0)
        return f"exit {code}, {self._messages.read()[-500:].strip()}"

    def close(self) -> None:
        if self._process.stdin is not None:
            # What was not sent has nobody to read it, where the process ended by itself.
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._messages.close()
