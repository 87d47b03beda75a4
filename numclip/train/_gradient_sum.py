"""The sum of one variable's gradients on the host: of rows, until one is dense."""

from __future__ import annotations

from typing import Any

import numpy as np

from numclip import _array, _threads
from numclip._array import Array
from numclip._kernels.accumulate import (
    add_products,
    add_products_parallel,
    store_quotients,
    store_quotients_parallel,
)
from numclip._slices import IndexedSlices, sum_duplicates
from numclip._variable import Variable
from numclip.train._updates import Update


class GradientSum:
    """Sums in float64, each gradient times a weight; to be read as often as asked."""

    def __init__(self, variable: Variable) -> None:
        self.shape = variable.shape
        self._dtype = variable.dtype.newbyteorder("=")
        self._dense: Array | None = None
        self._values = np.empty((0, *self.shape[1:]))
        self._indices = np.empty(0, np.int64)
        self._later: list[tuple[Array, Array]] = []

    def add(self, update: Update, weight: float) -> None:
        if update.rows is None:
            if self._dense is None:
                self._dense = self._made_dense()
            _add_products(update.gradient, weight, self._dense)
            return
        values = np.full(update.gradient.shape, -0.0)
        _add_products(update.gradient, weight, values)
        self._later.append((values, update.rows.copy()))
        # Summed when they are as many as the sums, each row is touched twice at most, on average.
        waiting = sum(len(indices) for _, indices in self._later)
        if self._dense is not None or waiting > len(self._indices):
            self._sum_rows()

    def _made_dense(self) -> Array:
        self._sum_rows()
        if not len(self._indices):
            # What is added to -0.0 keeps its sign, zeros too.
            return np.full(self.shape, -0.0)
        dense = np.zeros(self.shape)
        dense[self._indices] = self._values
        self._values, self._indices = self._values[:0].copy(), self._indices[:0].copy()
        return dense

    def _sum_rows(self) -> None:
        """Sum the rows that came since, in order of occurrence after those before."""
        if not self._later:
            return
        before = [] if self._dense is not None else [(self._values, self._indices)]
        values, indices = map(np.concatenate, zip(*before, *self._later, strict=True))
        summed, distinct = sum_duplicates(values, indices, self.shape, "grads_and_vars")
        self._later = []
        if self._dense is None:
            self._values, self._indices = summed, distinct
        else:
            self._dense[distinct] += summed

    def divided_by(self, divisor: float) -> Any:
        if self._dense is not None:
            return self._quotients(self._dense, divisor)
        self._sum_rows()
        values = self._quotients(self._values, divisor)
        return IndexedSlices(values, self._indices.copy(), self.shape)

    def _quotients(self, sums: Array, divisor: float) -> Array:
        quotients = np.empty(sums.shape, self._dtype)
        _call(store_quotients, store_quotients_parallel, sums, divisor, quotients)
        return quotients


def _add_products(numbers: Array, weight: float, sums: Array) -> None:
    _call(add_products, add_products_parallel, numbers, weight, sums)


def _call(loop: Any, parallel: Any, source: Array, factor: float, target: Array) -> None:
    arguments = (_array.read_only(_array.flat(source)), factor, _array.flat(target))
    _threads.in_parts(source.size, source.size, loop, parallel, *arguments)
