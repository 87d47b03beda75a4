"""The sum of one variable's gradients on a CUDA device: of rows, until one is dense."""

from __future__ import annotations

from typing import Any

import numpy as np

from numclip import _cuda_memory
from numclip._cuda_array import CudaArray, seen
from numclip._cuda_slices import groups_of, join, scatter_groups, sum_groups
from numclip._dtypes import SEEN
from numclip._kernels.accumulate import add_products_cuda, store_quotients_cuda
from numclip._slices import IndexedSlices
from numclip._variable import Variable
from numclip.train._updates import Update

_INT64 = np.dtype(np.int64)
# What is added to -0.0 keeps its sign, zeros too.
_NOTHING = np.float64(-0.0)


class CudaGradientSum:
    """As `GradientSum`, to the same bits; `like` is an array where the variable is."""

    def __init__(self, variable: Variable, like: CudaArray) -> None:
        self.shape = variable.shape
        self._dtype = variable.dtype
        self._like = like
        self._dense: CudaArray | None = None
        # Values and indices: those of the first are summed, and differ from one another.
        self._rows: list[tuple[CudaArray, CudaArray]] = []
        self._summed = 0

    def add(self, update: Update, weight: float) -> None:
        if update.rows is None:
            if self._dense is None:
                self._dense = self._made_dense()
            _add_products(update.gradient, weight, self._dense)
            return
        values = _cuda_memory.full(update.gradient.shape, _NOTHING, self._like)
        _add_products(update.gradient, weight, values)
        if self._dense is not None:
            spread = _cuda_memory.full(self.shape, _NOTHING, self._like)
            scatter_groups(values, update.rows, spread)
            _add_products(spread, 1.0, self._dense)
            return
        self._rows.append((values, _cuda_memory.copied(update.rows.indices)))
        # As on the host; each time the device is waited for.
        if sum(indices.size for _, indices in self._rows) > 2 * self._summed:
            self._sum_rows()

    def _made_dense(self) -> CudaArray:
        if not any(indices.size for _, indices in self._rows):
            return _cuda_memory.full(self.shape, _NOTHING, self._like)
        dense = _cuda_memory.full(self.shape, np.float64(0.0), self._like)
        values, indices = self._joined()
        scatter_groups(values, groups_of(indices), dense)
        self._rows = []
        return dense

    def _joined(self) -> tuple[CudaArray, CudaArray]:
        values, indices = zip(*self._rows, strict=True)
        library = self._like.library
        return seen(join(values, "values"), library), seen(join(indices, "indices"), library)

    def _sum_rows(self) -> tuple[CudaArray, CudaArray]:
        """Sum all rows, in order of occurrence."""
        values, indices = self._joined()
        summed, distinct = [
            seen(array, self._like.library)
            for array in sum_groups(values, groups_of(indices), _INT64)
        ]
        self._rows, self._summed = [(summed, distinct)], distinct.size
        return summed, distinct

    def divided_by(self, divisor: float) -> Any:
        if self._dense is not None:
            return self._quotients(self._dense, divisor)
        values, indices = self._sum_rows() if len(self._rows) > 1 else self._rows[0]
        quotients = self._quotients(values, divisor)
        return IndexedSlices(quotients, _cuda_memory.copied(indices).array, self.shape)

    def _quotients(self, sums: CudaArray, divisor: float) -> Any:
        quotients = _cuda_memory.empty(sums.shape, self._dtype, self._like)
        number = SEEN[self._dtype.name].number
        arguments = (number, divisor, sums.size, sums.address, quotients.address)
        _launch(store_quotients_cuda, sums, arguments)
        return quotients.array


def _add_products(numbers: CudaArray, weight: float, sums: CudaArray) -> None:
    source = _cuda_memory.in_c_order(numbers)
    number = SEEN[source.dtype.name].number
    arguments = (number, weight, source.size, source.address, sums.address)
    _launch(add_products_cuda, sums, arguments)


def _launch(kernel: Any, sums: CudaArray, arguments: tuple[Any, ...]) -> None:
    _cuda_memory.launch(kernel, sums, _cuda_memory.blocks_for(sums.size), *arguments)
