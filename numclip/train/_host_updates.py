"""The step over variables on the host: plain arrays in one call, others one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from numclip import _array, _headers
from numclip._array import Array, address_of
from numclip._kernels import table as kernels
from numclip._kernels.update_table import fill_updates, number_chunks
from numclip._slices import sum_duplicates
from numclip._tensors import Norm
from numclip._variable import UNBOUNDED, Variable
from numclip.train._clipping import Limits
from numclip.train._host_table import Table
from numclip.train._overlap import SlotsOf, Spans
from numclip.train._updates import Step, Update


class Plan(NamedTuple):
    """What is known of variables that a step comes with, and stays so until the next."""

    variables: tuple[Variable, ...]
    slots: Array
    # Of the slots of each variable, or of those that it will get: how many numbers, of what kind.
    sizes: Array
    bounds: Array | None
    has_all_slots: bool
    # Those that may be written at once, by gradients of any layout; none if some lie elsewhere.
    arrays: Sequence[Array]

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become None in copies, and in other processes: the addresses are not of their slots."""
        return type(None), ()


def plan_for(variables: tuple[Any, ...], slots_of: SlotsOf, count: int) -> Plan | None:
    """Return a plan for variables that plain kernels may update; None for others.

    Slots that are not made yet have the address 0.
    """
    if not all([type(variable) is Variable for variable in variables]):
        return None
    for variable in variables:
        held = [variable, *(slots_of(variable) or ())]
        if not all([type(each.array) is np.ndarray for each in held]):
            return None
        if callable(variable.constraint) or variable.update_mask is not None:
            return None
        if not _array.is_floating(variable.dtype):
            return None
        _headers.recognize(variable.dtype)
    slots = _addresses_of(variables, slots_of, count)
    arrays = [variable.array for variable in variables]
    if not all(map(_array.is_flat, arrays)) or not _are_apart(variables):
        arrays = []
    sizes = _sizes_of(variables, slots_of)
    return Plan(variables, slots, sizes, _bounds_of(variables), bool(slots.all()), arrays)


def _addresses_of(variables: Sequence[Variable], slots_of: SlotsOf, count: int) -> Array:
    addresses = np.zeros((len(variables), count), np.int64)
    for row, variable in zip(addresses, variables, strict=True):
        slots = slots_of(variable)
        if slots is not None:
            row[:] = [address_of(slot.array) for slot in slots]
    return addresses


def _sizes_of(variables: Sequence[Variable], slots_of: SlotsOf) -> Array:
    held = [(slots_of(variable) or [variable])[0].array for variable in variables]
    return np.array([(array.size, _headers.kind_of(array.dtype)) for array in held], np.int64)


def _bounds_of(variables: Sequence[Variable]) -> Array | None:
    """Return the lowest and the highest number of each variable, None if all have no bounds."""
    bounds = [variable.bounds for variable in variables]
    return (
        None
        if all(each is None for each in bounds)
        else np.array([each or UNBOUNDED for each in bounds])
    )


class PlainUpdates:
    """Variables that kernels write where they are, all at once, and their gradients."""

    def __init__(self, plan: Plan, table: Table, own_their_data: bool = False) -> None:
        self.variables = plan.variables
        self.plan = plan
        self.has_all_slots = plan.has_all_slots
        self.own_their_data = own_their_data
        self.norms: Array | None = None
        self._table = table

    @property
    def entries(self) -> Array:
        return self._table.entries

    def clip(self, limits: Limits) -> Norm | None:
        norm = self._table.clip(limits)
        self.norms = self._table.norms
        return norm

    def share(self, other: PlainUpdates | CheckedUpdates, rows: Sequence[int]) -> None:
        self._table.share(other._table, rows)

    def constrain(self, step: Step) -> None:
        """Nothing is left to do: a plan has no functions."""

    def apply(self, step: Step) -> None:
        if not self.has_all_slots:
            slots = _addresses_of(self.variables, step.slots_of, self.plan.slots.shape[1])
            self.plan = self.plan._replace(slots=slots, has_all_slots=True)
            _set_slots(self._table, slots)
        self._table.update(step, self.plan.bounds)


def _set_slots(table: Table, slots: Array) -> None:
    count = slots.shape[1]
    if count:
        table.entries[:, kernels.FIRST_SLOT : kernels.FIRST_SLOT + count] = slots


def plain_updates(gradients: tuple[Any, ...], plan: Plan) -> PlainUpdates | None:
    """Return updates that need no copies and no order; None for any others."""
    if not _headers.can_be_read():
        return None
    arrays = tuple([variable.array for variable in plan.variables])
    entries = np.empty((len(arrays), kernels.WIDE_COLUMNS), np.int64)
    known = (plan.slots, plan.sizes, _headers.LAYOUT, _headers.TENSORS)
    chunks, size, own_their_data = fill_updates(entries, id(gradients), id(arrays), *known)
    if chunks < 0:
        return None
    return PlainUpdates(plan, Table(entries, chunks, size, (gradients, arrays)), own_their_data)


def planned_updates(updates: Sequence[Update], plan: Plan) -> PlainUpdates | None:
    """Return checked updates, each of another variable; None where the plan cannot be kept to."""
    if len(plan.arrays) != len(updates):
        return None
    table = _table_of(updates)
    rows = zip(table.entries, plan.arrays, plan.sizes, updates, strict=True)
    for row, array, (size, _), update in rows:
        if update.variable.array is not array or array.size != size:
            return None
        row[kernels.TARGET] = address_of(array)
    _set_slots(table, plan.slots)
    return PlainUpdates(plan, table)


class CheckedUpdates:
    """Gradients and variables of any layout, dense or by rows, which were checked one by one."""

    def __init__(
        self, updates: Sequence[Update], has_duplicates: bool, plan: Plan | None = None
    ) -> None:
        self.plan = plan
        self.has_all_slots = False
        self.variables = [update.variable for update in updates]
        self._updates = updates
        self._has_duplicates = has_duplicates
        self._table = _table_of(updates)
        self.norms: Array | None = None
        self.entries = None
        self.own_their_data = False
        self._constrained: dict[Variable, _Buffers] = {}

    def clip(self, limits: Limits) -> Norm | None:
        if limits.takes_norms and any(self._is_masked(i) for i in range(len(self._updates))):
            self._updates = [_without_masked(update) for update in self._updates]
            self._table = _table_of(self._updates)
        table = self._table
        if limits.takes_norms and self._has_duplicates:
            # A norm is that of the rows' sums, which are not what is updated by.
            table = _table_of([_coalesced(update) for update in self._updates])
        norm = table.clip(limits)
        self.norms = table.norms
        return norm

    def share(self, other: PlainUpdates | CheckedUpdates, rows: Sequence[int]) -> None:
        self._table.share(other._table, rows)

    def constrain(self, step: Step) -> None:
        for i, variable in enumerate(self.variables):
            if callable(variable.constraint):
                if variable not in self._constrained:
                    self._constrained[variable] = _Buffers(variable, step, copied=True)
                self._update([i], [self._constrained[variable]], step)
                self._constrained[variable].constrain()

    def apply(self, step: Step) -> None:
        for batch in self._batches(step):
            buffers = [_Buffers(self.variables[i], step) for i in batch]
            self._update(batch, buffers, step)
            for each in buffers:
                each.deliver()
        for each in self._constrained.values():
            each.deliver()

    def _batches(self, step: Step) -> Iterator[list[int]]:
        """Yield updates that can be made at once: all that may be, if no variables overlap."""
        left = [i for i, each in enumerate(self.variables) if each not in self._constrained]
        together: dict[bool, list[int]] = {False: [], True: []}
        if _are_apart([self.variables[i] for i in left]):
            for i in left:
                if not self._takes_all_rows(i, step):
                    together[self._is_masked(i)].append(i)
        alone = set(left).difference(*together.values())
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
            row[kernels.TARGET] = address_of(each.number)
            row[kernels.FIRST_SLOT : kernels.FIRST_SLOT + len(each.slots)] = [
                address_of(slot) for slot in each.slots
            ]
            if variable.update_mask is not None:
                row[kernels.MASK] = address_of(variable.update_mask)
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
        mask = self._variable.update_mask
        if mask is not None:
            np.copyto(self.number, self._variable.array, where=~mask)

    def deliver(self) -> None:
        for buffer, target in zip([self.number, *self.slots], self._targets, strict=True):
            _array.deliver(buffer, target)


def _copy(array: Array) -> Array:
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _are_apart(variables: Sequence[Variable]) -> bool:
    """Tell whether no variable may share memory with another."""
    return Spans(variable.array for variable in variables).are_disjoint


def _table_of(updates: Sequence[Update]) -> Table:
    flats = [_array.flat(update.gradient) for update in updates]
    entries = np.zeros((len(updates), kernels.WIDE_COLUMNS), np.int64)
    for row, flat, update in zip(entries, flats, updates, strict=True):
        row[kernels.SOURCE] = address_of(flat)
        row[kernels.SIZE] = flat.size
        row[kernels.KIND] = _headers.KIND_OF_VIEW[flat.dtype]
        if update.rows is not None:
            row[kernels.ROWS] = address_of(update.rows)
            row[kernels.WIDTH] = math.prod(update.variable.shape[1:])
    chunks, size = number_chunks(entries)
    return Table(entries, chunks, size, (flats, updates))


def _coalesced(update: Update) -> Update:
    if update.rows is None:
        return update
    shape, argument = update.variable.shape, f"grads_and_vars[{update.position}][0]"
    values, rows = sum_duplicates(update.gradient, update.rows, shape, argument)
    return update._replace(gradient=values, rows=np.ascontiguousarray(rows, np.int64))


def _without_masked(update: Update) -> Update:
    """Return an update of which what the variable's mask holds still is zero, for a norm."""
    mask = update.variable.update_mask
    if mask is None:
        return update
    kept = mask if update.rows is None else mask[update.rows]
    zero = np.zeros((), update.gradient.dtype)
    return update._replace(gradient=np.where(kept, update.gradient, zero))
