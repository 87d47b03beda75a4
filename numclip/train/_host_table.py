"""Gradients on the host and what they update, as one table for kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from numclip import _headers, _threads
from numclip._array import Array, address_of
from numclip._compile import by_classes
from numclip._kernels import table as kernels
from numclip._kernels.elementwise import Bounds, Copy, Scale, ScaleInSteps, map_chunks
from numclip._kernels.rules import Everything, MaskAt
from numclip._kernels.update import (
    update_all_rows,
    update_all_rows_parallel,
    update_chunks,
    update_chunks_parallel,
)
from numclip._kernels.update_table import (
    kinds_of,
    limit_norms,
    limit_norms_parallel,
    number_chunks,
)
from numclip._tensors import Norm
from numclip.train._clipping import Limits
from numclip.train._updates import Step, Update

_UPDATE_LOOPS = by_classes(update_chunks), by_classes(update_chunks_parallel)
_NUMBERS: dict[int, Any] = {kind: dtype.type(0) for dtype, kind in _headers.KIND_OF_VIEW.items()}
# What kernels take the numbers of from each row of a table.
_SCALE, _BOUNDED, _MASKED = Scale(1.0, 1.0), Bounds(0.0, 0.0), MaskAt(0, 0)
_COPY, _EVERYTHING = Copy(), Everything()
_NO_NORMS = np.empty(0)
_FACTORS = slice(kernels.FACTOR, kernels.DOUBLE_FACTOR + 1)
_BOUNDS = slice(kernels.LOWEST, kernels.HIGHEST + 1)


class Table:
    """Gradients, what they are multiplied by, and what they update, as kernels see it."""

    def __init__(self, entries: Array, chunks: int, size: int, kept: Any) -> None:
        self.entries = entries
        self.chunks = chunks
        self._size = size
        self._kept = [kept]
        self._scaled_apart: list[int] = []
        # Of each gradient, where they were asked for.
        self.norms: Array | None = None

    @property
    def _reals(self) -> Array:
        return self.entries.view(np.float64)

    def clip(self, limits: Limits) -> Norm | None:
        """Store the factors that bring the gradients to the limits; return their norm, if asked."""
        if not limits.takes_norms:
            return None
        if limits.keeps_norms:
            self.norms = np.empty(len(self.entries))
        limits_each = limits.norm is not None
        limit = limits.norm if limits_each else limits.global_norm
        norm = self._limit_norms(math.inf if limit is None else limit, limits_each)
        return norm if limits.needs_norm else None

    def _limit_norms(self, limit: float, limits_each: bool) -> Norm:
        powers = np.empty((len(self.entries), 2), np.int64)
        norms = _NO_NORMS if self.norms is None else self.norms
        arguments = (self.entries, self.chunks, limit, limits_each, powers, norms)
        parts = min(_threads.parts_for(self._size), self.chunks)
        if parts <= 1:
            root, exponent, in_steps = limit_norms(*arguments)
        else:
            root, exponent, in_steps = _threads.on_threads(parts, limit_norms_parallel, *arguments)
        if in_steps:
            for row in np.flatnonzero(powers.any(axis=1)).tolist():
                self._scale_apart(row, *powers[row].tolist())
                self._scaled_apart.append(row)
        return Norm(root, exponent)

    def _scale_apart(self, row: int, power: int, double_power: int) -> None:
        """Scale a gradient in a copy: only where limits are near the smallest number there is."""
        single, double = self._reals[row, _FACTORS].tolist()
        entries = self.entries[row : row + 1]
        itemsize = kernels.ITEMSIZES[entries[0, kernels.KIND]]
        copy = np.empty(entries[0, kernels.SIZE] * itemsize, np.uint8)
        apart = entries.copy()
        apart[0, kernels.TARGET] = address_of(copy)
        operation = ScaleInSteps(single, power, double, double_power)
        chunks, _ = number_chunks(apart)
        map_chunks(operation, apart, 0, chunks)
        entries[0, kernels.SOURCE] = address_of(copy)
        self._reals[row, _FACTORS] = 1.0
        self._kept.append(copy)

    def share(self, other: Table, rows: Sequence[int]) -> None:
        """Take the factors of these rows of another, and the gradients that it has scaled."""
        self.entries[:, _FACTORS] = other.entries[rows, _FACTORS]
        for row in other._scaled_apart:
            if row in rows:
                source = other.entries[row, kernels.SOURCE]
                self.entries[rows.index(row), kernels.SOURCE] = source
        self._kept.append(other)

    def rows(self, chosen: Sequence[int]) -> Table:
        """Return a table of some rows, or this one if those are all."""
        if len(chosen) == len(self.entries):
            return self
        entries = self.entries[chosen]
        chunks, size = number_chunks(entries)
        return Table(entries, chunks, size, self._kept)

    def update(
        self, step: Step, bounds: Array | None, is_masked: bool = False, in_order: bool = False
    ) -> None:
        """Update each variable by its gradient, which is dense or of some rows.

        All of them have masks, or none. Rows that occur more than once have to be taken in order.
        """
        kinds = kinds_of(self.entries)
        size = 0 if in_order else self._size
        operations = self._operations(step.limits, bounds, is_masked)
        for kind, like in _NUMBERS.items():
            if kinds >> kind & 1:
                hyperparameters = step.hyperparameters(_compute_type(kind))
                arguments = (hyperparameters, *operations, like, kind, self.entries)
                _threads.in_parts(size, self.chunks, *_UPDATE_LOOPS, *arguments)

    def update_all_rows(
        self, step: Step, bounds: Array | None, is_masked: bool, update: Update
    ) -> None:
        """Update the only variable of the table, rows without a gradient too."""
        rows, width = update.variable.shape[0], int(self.entries[0, kernels.WIDTH])
        kind = int(self.entries[0, kernels.KIND])
        hyperparameters = step.row_hyperparameters(_compute_type(kind))
        operations = self._operations(step.limits, bounds, is_masked)
        order = np.argsort(update.rows)
        arguments = (hyperparameters, *operations, _NUMBERS[kind], self.entries, order)
        loops = (update_all_rows, update_all_rows_parallel)
        _threads.in_parts(rows * width, rows, *loops, *arguments)

    def _operations(
        self, limits: Limits, bounds: Array | None, is_masked: bool
    ) -> tuple[Any, Any, Any]:
        """Return what clips gradients, bounds variables, and masks them, by the rows' numbers."""
        clip: Any = _SCALE if limits.clips else _COPY
        if limits.value is not None:
            clip = Bounds(-limits.value, limits.value)
        if bounds is not None:
            self._reals[:, _BOUNDS] = bounds
        bound = _COPY if bounds is None else _BOUNDED
        return clip, bound, _MASKED if is_masked else _EVERYTHING


def _compute_type(kind: int) -> type[np.floating[Any]]:
    return np.float64 if kind == kernels.FLOAT64 else np.float32
