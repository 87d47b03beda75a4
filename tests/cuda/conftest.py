"""What runs in CUDA's simulator only: in a process of its own, as `make test` starts one."""

import os
import warnings
from typing import Any

import pytest
from coroutines import use_coroutines
from cuda_signatures import SIGNATURES, types_of

from numclip._compile_cuda import CudaKernel

# Alone where the simulator is not on: nothing of the rest works there.
if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    use_coroutines(monkeypatch)
    # Kernels run as Python, where NumPy warns of what overflows and of NaN.
    warnings.filterwarnings("ignore", category=RuntimeWarning)


@pytest.fixture(autouse=True)
def known_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no kernel be launched with types that are not compiled in tests/ptx."""
    known = {name: {types_of(each) for each in cases} for name, cases in SIGNATURES.items()}
    launch = CudaKernel.launch

    def checked(self: CudaKernel, device: int, stream: int, units: int, *arguments: Any) -> None:
        assert types_of(arguments) in known[self.function.__name__]
        launch(self, device, stream, units, *arguments)

    monkeypatch.setattr(CudaKernel, "launch", checked)
