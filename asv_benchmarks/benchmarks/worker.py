"""A process that holds one library, and prepares and times its calls as it is told.

Commands come as lines of JSON on standard input, and each has a line of JSON for an answer.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from .answers import quick_norm
from .peers import Case, prepare
from .sampling import calls_for, limits_of, over_limit, seconds_per_call
from .workloads import WORKLOADS, Array, arrays_of


class _Worker:
    def __init__(self) -> None:
        self._loaded: list[Any] = []
        self._arrays: list[Array] = []
        self._norm = 0.0
        self._cases: dict[tuple[str, str], Case] = {}

    def load(self, workload: str, dtype: str, is_capped: bool) -> None:
        if self._loaded == [workload, dtype, is_capped]:
            return
        self._cases.clear()
        chosen = WORKLOADS[workload]
        self._arrays = arrays_of(chosen.capped() if is_capped else chosen, dtype)
        self._norm = quick_norm(array for array in self._arrays if array.dtype.kind != "i")
        self._loaded = [workload, dtype, is_capped]

    def release(self) -> None:
        self._cases.clear()

    def prepare(self, peer: str, operation: str) -> None:
        if (peer, operation) not in self._cases:
            self._cases[peer, operation] = prepare(peer, operation, self._arrays)

    def calls(self, peer: str, operation: str, regime: str, seconds: float) -> int:
        return calls_for(self._cases[peer, operation], self._norm, regime, seconds)

    def time(self, peer: str, operation: str, regime: str, calls: int) -> float:
        case = self._cases[peer, operation]
        return seconds_per_call(case, limits_of(case, self._norm, regime, calls), calls)

    def norm(self, peer: str, operation: str) -> float:
        """Return the norm that the library finds, given a limit that the gradients are over."""
        case = self._cases[peer, operation]
        case.restore()
        return case.norm(case.call(case.as_limit(over_limit(self._norm))))

    def version(self, module: str) -> str:
        return str(importlib.import_module(module).__version__)


def _answer(commands: dict[str, Callable[..., Any]], request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": commands[request["command"]](*request["arguments"])}
    except Exception as error:  # whatever a library raises is the answer
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = _Worker()
    names = ("load", "release", "prepare", "calls", "time", "norm", "version")
    commands = {name: getattr(worker, name) for name in names}
    for line in sys.stdin:
        print(json.dumps(_answer(commands, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
