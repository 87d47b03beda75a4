"""CUDA's simulator with a coroutine for each thread of a block.

The simulator's own are threads of the operating system, which wait for one another by asking in a
loop: the tests of optimizers took 111 s in place of 6. Here each thread runs up to its next
barrier, in an order that is shuffled at each: what lacks one finds what was not written yet.
"""

from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from greenlet import getcurrent, greenlet
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.kernelapi import Dim3


class _Thread(greenlet):
    """What a kernel finds as its current thread."""

    def __init__(self, block: Any, place: Any) -> None:
        super().__init__()
        self.blockIdx = Dim3(*block)
        self.threadIdx = Dim3(*place)

    def syncthreads(self) -> None:
        self.parent.switch()


class _Block:
    def __init__(self, random: Random, function: Any, grid: Any, shape: Any, debug: bool) -> None:
        self._random = random
        self._function = function
        self._shape = shape

    def run(self, block: Any, *arguments: Any) -> None:
        threads = [_Thread(block, place) for place in np.ndindex(*self._shape)]
        for thread in threads:
            thread.run = lambda: self._function(*arguments)
        while threads:
            self._random.shuffle(threads)
            for thread in threads:
                thread.switch()
            waiting = [thread for thread in threads if not thread.dead]
            assert len(waiting) in (0, len(threads)), "a barrier that not all threads come to"
            threads = waiting


class _Threading:
    current_thread = staticmethod(getcurrent)


def use_coroutines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BlockManager", partial(_Block, Random(0)))
    monkeypatch.setattr(kernelapi, "threading", _Threading)
