"""What an optimizer gives for a step: its hyperparameters, and the loops that apply its rule."""

from __future__ import annotations

from typing import Any, NamedTuple

from numclip._compile_cuda import CudaKernel


class Loop(NamedTuple):
    """A loop on the host and on a GPU.

    One over rows takes those that have a gradient, or all of them.
    """

    hyperparameters: Any
    kernel: Any
    cuda_kernel: CudaKernel
    takes_all_rows: bool = False
