"""Every kernel compiles for a GPU, and to what makes it fast and its bits the host's."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numba.cuda
import numpy as np
import pytest
from cuda_signatures import SIGNATURES, Arguments, kernels, types_of
from numba import types
from numba.cuda import api, dispatcher

from numclip._compile_cuda import CudaKernel, signature_of, with_cuda, without_contraction
from numclip.train._ftrl import _Ftrl

CAPABILITIES = ((7, 5), (8, 0), (9, 0))

# Kernels that are as fast as memory, and what each loads and stores at once; halves come by eight
# bytes, as a thread takes four lanes of any dtype.
STREAMING = (
    "sum_chunks_cuda",
    "scale_chunks_cuda",
    "map_chunks_cuda",
    "clip_rows_cuda",
    "update_cuda",
)
VECTORS = {np.float32: "v4.f32", np.float64: "v2.f64", np.uint16: "v2.u32", np.int16: "v2.u32"}

KERNELS = dict(kernels())


@pytest.fixture(scope="module", params=CAPABILITIES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
def capability(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Compile for a device that is not there."""
    device = SimpleNamespace(compute_capability=request.param, id=0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (api, dispatcher):
            patch.setattr(module, "get_current_device", lambda: device)
        yield request.param


def compiled(kernel: CudaKernel, arguments: Arguments, capability: tuple[int, int]) -> str:
    signature = types.void(*signature_of(arguments))
    with without_contraction():
        ptx, _ = numba.cuda.compile_ptx(with_cuda(kernel.function), signature, cc=capability)
    return str(ptx)


def found(pattern: str, ptx: str) -> list[str]:
    return sorted(set(re.findall(pattern, ptx)))


CASES = [
    pytest.param(name, arguments, id="-".join([name, *(t.__name__ for t in types_of(arguments))]))
    for name, signatures in SIGNATURES.items()
    for arguments in signatures
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_kernel(name: str, arguments: Arguments, capability: tuple[int, int]) -> None:
    ptx = compiled(KERNELS[name], arguments, capability)
    assert f".target sm_{capability[0]}{capability[1]}" in ptx
    # A product that is not rounded before it is added, and what is not rounded to nearest; CUDA's
    # own power function has both.
    if not any(isinstance(each, _Ftrl) for each in arguments):
        assert found(r"\bfma\.\S+|\bmad\.(?:rn|f)\S+", ptx) == []
        assert found(r"\b(?:div|sqrt|rcp)\.(?:approx|full)\S*|\S*\.ftz\S*", ptx) == []
    # Addresses of which the hardware would have to find out what memory they are of.
    assert found(r"\b(?:ld|st)\.(?:volatile\.)?[vfbus]\d\S*", ptx) == []
    if name in STREAMING:
        number = next(type(each) for each in arguments if isinstance(each, np.generic))
        assert f"ld.global.{VECTORS[number]}" in ptx
        if name != "sum_chunks_cuda":
            assert f"st.global.{VECTORS[number]}" in ptx
        assert ".local" not in ptx


def test_the_linker_does_not_compile_once_more() -> None:
    """What is linked is what was looked at: from its own form the linker would contract."""
    for kernel in KERNELS.values():
        assert kernel.dispatcher().targetoptions["lto"] is False


def test_every_kernel_is_compiled() -> None:
    assert set(SIGNATURES) == set(KERNELS)


def test_contraction_is_found() -> None:
    def kernel(a: Any, b: Any, target: Any) -> None:
        target[0] += a * b

    signature = types.void(types.float64, types.float64, types.CPointer(types.float64))
    ptx, _ = numba.cuda.compile_ptx(kernel, signature, cc=(9, 0))
    assert found(r"\bfma\.\S+", str(ptx))
    with without_contraction():
        ptx, _ = numba.cuda.compile_ptx(kernel, signature, cc=(9, 0))
    assert not found(r"\bfma\.\S+", str(ptx))
