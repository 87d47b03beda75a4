"""Without the extra `cuda` nothing of it is imported, and a CUDA array says what to install."""

import os
import subprocess
import sys

import pytest

HOST_ALONE = """
import sys
import numpy as np, numclip as nc
x = np.ones(100_000, np.float32)
nc.clip_by_global_norm([x, nc.IndexedSlices([[1.0]], [0])], 1.0)
nc.clip_by_norm(x.reshape(10, -1), 1.0, axes=0)
nc.clip_by_value(x, 0, [0.5])
variable = nc.Variable(x)
nc.train.AdamOptimizer().minimize(lambda: (variable * variable).sum())
print(sorted(m for m in sys.modules if m.startswith(("numba.cuda", "cuda.", "numclip._cuda_"))))
"""

DEVICE = """
import sys
sys.modules["numba.cuda"] = None
import numpy as np, numclip as nc
class Array:
    x = np.ones(3)
    __cuda_array_interface__ = x.__array_interface__
try:
    {call}
except ImportError as error:
    print(error)
print(Array.x)
"""

CALLS = (
    "nc.clip_by_norm(Array(), 1.0, out=Array())",
    "nc.clip_by_global_norm([Array()], 1.0)",
    "nc.global_norm({'a': Array()})",
    "nc.clip_by_value(Array(), 0.0, 0.5, out=Array())",
    "nc.IndexedSlices(Array(), Array()).coalesce()",
    "nc.Variable(Array())",
)


def run(program: str) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_nothing_of_cuda_is_imported_for_the_host() -> None:
    recognized = ["numclip._cuda_array", "numclip._cuda_libraries", "numclip._cuda_memory"]
    assert run(HOST_ALONE) == [str(recognized)]


@pytest.mark.parametrize("call", CALLS)
def test_a_cuda_array_says_what_to_install(call: str) -> None:
    message, array = run(DEVICE.format(call=call))
    assert message.startswith("a CUDA array needs the package numba-cuda: pip install -U")
    assert array == "[1. 1. 1.]"


def test_numbas_own_cuda_of_former_times_does_not_do() -> None:
    program = """
import sys, types, numba
numba.cuda = sys.modules["numba.cuda"] = types.SimpleNamespace(implementation="Built-in")
from numclip._compile_cuda import numba_cuda
try:
    numba_cuda()
except ImportError as error:
    print(error)
"""
    (message,) = run(program)
    assert message.startswith("a CUDA array needs the package numba-cuda: pip install -U")
