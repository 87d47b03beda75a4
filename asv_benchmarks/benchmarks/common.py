"""What the benchmarks share.

numclip is not imported before a benchmark is set up: asv forks its processes from one that has
imported all benchmarks, and a child of a process that has used threads runs on one alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .answers import quick_norm
from .peers import PEERS as PEERS
from .peers import Case, prepare, set_environment
from .sampling import limits_of
from .workloads import WORKLOADS, arrays_of

set_environment()

# A benchmark makes as many calls as clip about so many elements, on every machine: 65 of one 1k,
# one of an mlp. A call alone would be too short to time.
_ELEMENTS = 1 << 16


@lru_cache(maxsize=1)
def _prepared(peer: str, operation: str, workload: str, dtype: str) -> tuple[Case, float]:
    """Return a case and its norm; asv sets a benchmark up anew before each of its samples."""
    arrays = arrays_of(WORKLOADS[workload], dtype)
    return prepare(peer, operation, arrays), quick_norm(arrays)


# The fewest samples, the most, and after how many seconds there are to be no more: a benchmark is
# set up anew before each, and with asv's own numbers a whole run takes hours.
REPEAT = (3, 10, 1.0)


class Benchmark:
    """Calls of one operation of a peer, which is prepared, and called once, in `setup`."""

    timeout = 300.0
    repeat = REPEAT

    def prepare(
        self,
        peer: str,
        operation: str,
        workload: str,
        dtype: str = "float32",
        regime: str = "over",
    ) -> None:
        case, norm = _prepared(peer, operation, workload, dtype)
        case.restore()
        calls = max(1, _ELEMENTS // WORKLOADS[workload].size)
        first, *self.limits = limits_of(case, norm, regime, calls)
        self.call = case.call
        self.call(first)

    def run(self) -> None:
        call: Any = self.call
        for limit in self.limits:
            call(limit)
