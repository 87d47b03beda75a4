"""The step over variables on the host: one table, and one call for all of a dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from numclip import _array, _headers, _threads
from numclip._array import Array
from numclip._kernels import table as kernels
from numclip._kernels.elementwise import Bounds, Copy, Scale, ScaleInSteps, map_chunks
from numclip._kernels.norm import sum_chunks, sum_chunks_parallel
from numclip._kernels.rules import Everything, MaskAt
from numclip._kernels.update import (
    update_all_rows,
    update_all_rows_parallel,
    update_chunks,
    update_chunks_parallel,
)
from numclip._kernels.update_table import (
    fill_updates,
    kinds_of,
    limit_all,
    limit_each,
    number_chunks,
)
from numclip._tensors import Norm
from numclip._variable import UNBOUNDED, Variable
from numclip.train._clipping import Limits
from numclip.train._updates import Step, Update

SlotsOf: TypeAlias = Callable[[Variable], Sequence[Variable] | None]

_NUMBERS: dict[int, Any] = {kind: dtype.type(0) for dtype, kind in _headers.KIND_OF_VIEW.items()}
_FACTORS = slice(kernels.FACTOR, kernels.DOUBLE_FACTOR + 1)
_BOUNDS = slice(kernels.LOWEST, kernels.HIGHEST + 1)


class Table:
    """Gradients, what they are multiplied by, and what they update, as kernels see it."""

    def __init__(self, entries: Array, chunks: int, size: int, kept: Any) -> None:
        self.entries = entries
        self.chunks = chunks
        self._size = size
        self._kept = [kept]

    @property
    def _reals(self) -> Array:
        return self.entries.view(np.float64)

    def clip(self, limits: Limits) -> Norm | None:
        """Store the factors that bring the gradients to the limits; return their norm, if asked."""
        if not limits.takes_norms:
            return None
        sums = self._sums()
        powers = np.empty((len(self.entries), 2), np.int64)
        norm = None
        if limits.needs_norm:
            limit = math.inf if limits.global_norm is None else limits.global_norm
            norm = Norm(*limit_all(self.entries, sums, limit, powers))
        if limits.norm is not None:
            limit_each(self.entries, sums, limits.norm, powers)
        if powers.any():
            for row in np.flatnonzero(powers.any(axis=1)).tolist():
                self._scale_apart(row, *powers[row].tolist())
        return norm

    def _sums(self) -> Array:
        sums = np.empty(self.chunks)
        parts = _threads.parts_for(self._size)
        if parts == 1:
            sum_chunks(self.entries, 0, self.chunks, sums)
        else:
            _threads.in_parts(parts, sum_chunks_parallel, self.entries, self.chunks, sums)
        return sums

    def _scale_apart(self, row: int, power: int, double_power: int) -> None:
        """Scale a gradient in a copy: only where limits are near the smallest number there is."""
        single, double = self._reals[row, _FACTORS].tolist()
        entries = self.entries[row : row + 1]
        itemsize = kernels.ITEMSIZES[entries[0, kernels.KIND]]
        copy = np.empty(entries[0, kernels.SIZE] * itemsize, np.uint8)
        apart = entries.copy()
        apart[0, kernels.TARGET] = _address_of(copy)
        operation = ScaleInSteps(single, power, double, double_power)
        chunks, _ = number_chunks(apart)
        map_chunks(operation, apart, 0, chunks)
        entries[0, kernels.SOURCE] = _address_of(copy)
        self._reals[row, _FACTORS] = 1.0
        self._kept.append(copy)

    def share(self, other: Table, rows: Sequence[int]) -> None:
        """Take the factors of these rows of another, and the gradients that they are for."""
        columns = [kernels.SOURCE, kernels.FACTOR, kernels.DOUBLE_FACTOR]
        self.entries[:, columns] = other.entries[np.ix_(rows, columns)]
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
        parts = 1 if in_order else _threads.parts_for(self._size)
        operations = self._operations(step.limits, bounds, is_masked)
        for kind, like in _NUMBERS.items():
            if kinds >> kind & 1:
                hyperparameters = step.hyperparameters(_compute_type(kind))
                arguments = (hyperparameters, *operations, like, kind, self.entries)
                if parts == 1:
                    update_chunks(*arguments, 0, self.chunks)
                else:
                    _threads.in_parts(parts, update_chunks_parallel, *arguments, self.chunks)

    def update_all_rows(
        self, step: Step, bounds: Array | None, is_masked: bool, update: Update
    ) -> None:
        """Update the only variable of the table, rows without a gradient too."""
        rows, width = update.variable.shape[0], int(self.entries[0, kernels.WIDTH])
        kind = int(self.entries[0, kernels.KIND])
        hyperparameters = step.row_hyperparameters(_compute_type(kind))
        operations = self._operations(step.limits, bounds, is_masked)
        arguments = (hyperparameters, *operations, _NUMBERS[kind], self.entries)
        order = np.argsort(update.rows)
        parts = max(1, min(_threads.parts_for(rows * width), rows))
        if parts == 1:
            update_all_rows(*arguments, order, 0, rows)
        else:
            _threads.in_parts(parts, update_all_rows_parallel, *arguments, order, rows)

    def _operations(
        self, limits: Limits, bounds: Array | None, is_masked: bool
    ) -> tuple[Any, Any, Any]:
        """Return what clips gradients, bounds variables, and masks them, by the rows' numbers."""
        clip: Any = Scale(1.0, 1.0) if limits.clips else Copy()
        if limits.value is not None:
            clip = Bounds(-limits.value, limits.value)
        if bounds is not None:
            self._reals[:, _BOUNDS] = bounds
        bound = Copy() if bounds is None else Bounds(0.0, 0.0)
        return clip, bound, MaskAt(0, 0) if is_masked else Everything()


def _compute_type(kind: int) -> type[np.floating[Any]]:
    return np.float64 if kind == kernels.FLOAT64 else np.float32


def _address_of(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


class Plan(NamedTuple):
    """What is known of variables that a step comes with, and stays so until the next."""

    variables: tuple[Variable, ...]
    slots: Array
    bounds: Array | None
    has_all_slots: bool


def plan_for(variables: tuple[Any, ...], slots_of: SlotsOf, count: int) -> Plan | None:
    """Return a plan for variables that plain kernels may update; None for others.

    Slots that are not made yet have the address 0.
    """
    if not all([type(variable) is Variable for variable in variables]):
        return None
    for variable in variables:
        if type(variable.array) is not np.ndarray or callable(variable.constraint):
            return None
        if variable.update_mask is not None:
            return None
        if not _array.is_floating(variable.dtype):
            return None
        _headers.recognize(variable.dtype)
    addresses = _addresses_of(variables, slots_of, count)
    return Plan(variables, addresses, _bounds_of(variables), bool(addresses.all()))


def _addresses_of(variables: Sequence[Variable], slots_of: SlotsOf, count: int) -> Array:
    addresses = np.zeros((len(variables), count), np.int64)
    for row, variable in zip(addresses, variables, strict=True):
        slots = slots_of(variable)
        if slots is not None:
            row[:] = [_address_of(slot.array) for slot in slots]
    return addresses


def _bounds_of(variables: Sequence[Variable]) -> Array | None:
    """Return the lowest and the highest number of each variable, None if all have no bounds."""
    bounds = [variable.bounds for variable in variables]
    return (
        None
        if all(each is None for each in bounds)
        else np.array([each or UNBOUNDED for each in bounds])
    )


class PlainUpdates:
    """Gradients and variables that kernels read and write where they are."""

    def __init__(self, plan: Plan, table: Table) -> None:
        self.variables = plan.variables
        self.plan = plan
        self._table = table

    def clip(self, limits: Limits) -> Norm | None:
        return self._table.clip(limits)

    def share(self, other: PlainUpdates | CheckedUpdates, rows: Sequence[int]) -> None:
        self._table.share(other._table, rows)

    def apply(self, step: Step) -> None:
        slots = self.plan.slots
        if not self.plan.has_all_slots:
            slots = _addresses_of(self.variables, step.slots_of, slots.shape[1])
            self.plan = self.plan._replace(slots=slots, has_all_slots=True)
        columns = slice(kernels.FIRST_SLOT, kernels.FIRST_SLOT + slots.shape[1])
        self._table.entries[:, columns] = slots
        self._table.update(step, self.plan.bounds)


def plain_updates(gradients: tuple[Any, ...], plan: Plan) -> PlainUpdates | None:
    """Return updates that need no copies and no order; None for any others."""
    if not _headers.can_be_read():
        return None
    arrays = tuple([variable.array for variable in plan.variables])
    entries = np.empty((len(arrays), kernels.WIDE_COLUMNS), np.int64)
    addresses = (id(gradients), id(arrays))
    chunks, size = fill_updates(entries, *addresses, plan.slots, _headers.LAYOUT, _headers.TENSORS)
    if chunks < 0:
        return None
    return PlainUpdates(plan, Table(entries, chunks, size, (gradients, arrays)))


class CheckedUpdates:
    """Gradients and variables of any layout, dense or by rows, which were checked one by one."""

    def __init__(self, updates: Sequence[Update], has_duplicates: bool) -> None:
        self.variables = [update.variable for update in updates]
        self._updates = updates
        self._has_duplicates = has_duplicates
        self._table = _table_of(updates)

    def clip(self, limits: Limits) -> Norm | None:
        if limits.takes_norms and any(self._is_masked(i) for i in range(len(self._updates))):
            self._table = _table_of([_without_masked(update) for update in self._updates])
        return self._table.clip(limits)

    def share(self, other: PlainUpdates | CheckedUpdates, rows: Sequence[int]) -> None:
        self._table.share(other._table, rows)

    def apply(self, step: Step) -> None:
        # What a constraint makes of a variable is kept apart until all of them have returned.
        apart: dict[Variable, _Buffers] = {}
        for batch in self._batches(step):
            variables = [self.variables[i] for i in batch]
            if callable(variables[0].constraint):
                variable = variables[0]
                if variable not in apart:
                    apart[variable] = _Buffers(variable, step, copied=True)
                self._update(batch, [apart[variable]], step)
                apart[variable].constrain()
            else:
                buffers = [_Buffers(variable, step) for variable in variables]
                self._update(batch, buffers, step)
                for each in buffers:
                    each.deliver()
        for each in apart.values():
            each.deliver()

    def _batches(self, step: Step) -> Iterator[list[int]]:
        """Yield updates that can be made at once: all that may be, if no variables overlap."""
        everything = range(len(self._updates))
        constrained = [i for i in everything if callable(self.variables[i].constraint)]
        together: dict[bool, list[int]] = {False: [], True: []}
        if _are_apart(self.variables):
            for i in everything:
                if i not in constrained and not self._takes_all_rows(i, step):
                    together[self._is_masked(i)].append(i)
        alone = set(everything).difference(constrained, *together.values())
        yield from ([i] for i in constrained)
        yield from ([i] for i in sorted(alone))
        yield from (batch for batch in together.values() if batch)

    def _takes_all_rows(self, i: int, step: Step) -> bool:
        return step.takes_all_rows and self._updates[i].rows is not None

    def _is_masked(self, i: int) -> bool:
        return self.variables[i].update_mask is not None

    def _update(self, batch: list[int], buffers: list[_Buffers], step: Step) -> None:
        table = self._table.rows(batch)
        variables = [self.variables[i] for i in batch]
        for row, variable, each in zip(table.entries, variables, buffers, strict=True):
            row[kernels.TARGET] = _address_of(each.number)
            row[kernels.FIRST_SLOT : kernels.FIRST_SLOT + len(each.slots)] = [
                _address_of(slot) for slot in each.slots
            ]
            if variable.update_mask is not None:
                row[kernels.MASK] = _address_of(variable.update_mask)
        bounds, is_masked = _bounds_of(variables), self._is_masked(batch[0])
        if self._takes_all_rows(batch[0], step):
            table.update_all_rows(step, bounds, is_masked, self._updates[batch[0]])
        else:
            table.update(step, bounds, is_masked, self._has_duplicates)


class _Buffers:
    """Where kernels write a variable and its slots, to be copied there if that is elsewhere."""

    def __init__(self, variable: Variable, step: Step, copied: bool = False) -> None:
        self._variable = variable
        self._targets = [variable.array, *(slot.array for slot in step.slots_of(variable))]
        take = _copy if copied else _array.working_copy
        self.number, *self.slots = [take(target) for target in self._targets]

    def constrain(self) -> None:
        assert callable(self._variable.constraint)
        kept = self._variable.constraint(self.number)
        taken = Variable(self.number, name=self._variable.name)
        taken.assign(kept)

    def deliver(self) -> None:
        for buffer, target in zip([self.number, *self.slots], self._targets, strict=True):
            _array.deliver(buffer, target)


def _copy(array: Array) -> Array:
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _are_apart(variables: Sequence[Variable]) -> bool:
    """Tell whether no variable may share memory with another."""
    spans = sorted(byte_bounds(variable.array) for variable in variables if variable.size)
    return all(end <= start for (_, end), (start, _) in pairwise(spans))


def _table_of(updates: Sequence[Update]) -> Table:
    flats = [_array.flat(update.gradient) for update in updates]
    entries = np.zeros((len(updates), kernels.WIDE_COLUMNS), np.int64)
    for row, flat, update in zip(entries, flats, updates, strict=True):
        row[kernels.SOURCE] = _address_of(flat)
        row[kernels.SIZE] = flat.size
        row[kernels.KIND] = _headers.KIND_OF_VIEW[flat.dtype]
        if update.rows is not None:
            row[kernels.ROWS] = _address_of(update.rows)
            row[kernels.WIDTH] = math.prod(update.variable.shape[1:])
    chunks, size = number_chunks(entries)
    return Table(entries, chunks, size, (flats, updates))


def _without_masked(update: Update) -> Update:
    """Return an update of which what the variable's mask holds still is zero, for a norm."""
    mask = update.variable.update_mask
    if mask is None:
        return update
    kept = mask if update.rows is None else mask[update.rows]
    zero = np.zeros((), update.gradient.dtype)
    return update._replace(gradient=np.where(kept, update.gradient, zero))


def protected(updates: Sequence[Update], slots_of: SlotsOf) -> list[Update]:
    """Copy gradients that show what the step changes: they have to be what they were before."""
    changed = set()
    for update in updates:
        for held in (update.variable, *(slots_of(update.variable) or ())):
            changed.add(id(_array.owner(held.array)))
    return [
        update
        if id(_array.owner(update.gradient)) not in changed
        else update._replace(gradient=update.gradient.copy())
        for update in updates
    ]
