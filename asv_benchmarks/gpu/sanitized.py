"""A small set of checks, for compute-sanitizer to look at; exit 1 if one fails.

With Numba's arrays, each of which is a piece of memory of its own: what is read or written beyond
one of another library is in that library's pool, where nothing is amiss.
"""

from __future__ import annotations

import sys

from .checks import KERNELS, run_checks
from .outcomes import FAILED
from .samples import SANITIZED
from .with_numba import Numba


def main() -> int:
    outcomes = run_checks([Numba()], SANITIZED, KERNELS)
    return int(any(outcome.status == FAILED for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
