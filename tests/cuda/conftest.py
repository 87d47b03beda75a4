"""What runs in CUDA's simulator only: in a process of its own, as `make test` starts one."""

import os
import sys
import warnings

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def simulator() -> None:
    # The simulator waits for its threads in a loop, which they have to interrupt: 0.1 s for a
    # call in place of 1.
    sys.setswitchinterval(5e-5)
    # Kernels run as Python, where NumPy warns of what overflows and of NaN.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
