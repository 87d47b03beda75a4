"""The step over variables on a CUDA device: one launch for all dense ones of a dtype."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from numclip import _cuda_libraries, _cuda_memory
from numclip._cuda_array import Columns, CudaArray, HostArray
from numclip._cuda_slices import groups_of, sum_groups, width_of
from numclip._cuda_tensors import (
    FLOATING,
    TABLES,
    CudaNorm,
    CudaTensors,
    Limited,
    table_of,
    table_of_columns,
)
from numclip._dtypes import NUMBERS, SEEN
from numclip._kernels import table as kernels
from numclip._kernels.update import update_all_rows_cuda, update_cuda, update_rows_cuda
from numclip._variable import UNBOUNDED, Variable
from numclip.train._clipping import Limits
from numclip.train._gradient_descent import _GradientDescent
from numclip.train._overlap import SlotsOf, Spans
from numclip.train._updates import Step, Update

_BOUNDS = slice(kernels.LOWEST, kernels.HIGHEST + 1)

_COPIED = _GradientDescent(-1.0)
_SHAPE = attrgetter("shape")


def _on_device(variable: Variable) -> CudaArray:
    found = _cuda_libraries.cuda_array(variable.array, "variable")
    assert found is not None
    return found


class _Clip(NamedTuple):
    """What a kernel clips by: the address of a state, 0 for none, and two bounds."""

    state: int
    lowest: float
    highest: float


def _clip_of(limits: Limits, limited: Limited | None) -> _Clip:
    state = 0 if limited is None else limited.state
    if limits.value is None:
        return _Clip(state, -np.inf, np.inf)
    return _Clip(state, -limits.value, limits.value)


class _Table:
    """Dense gradients and what they update, as kernels see it."""

    def __init__(self, entries: Any, like: CudaArray) -> None:
        self.entries = entries
        self._like = like

    def update(self, step: Step, limited: Limited | None) -> None:
        """Update all at once, or one by one where each gradient has a limit of its own."""
        if step.limits.norm is None:
            self._launch(self.entries, step, limited)
            return
        for row in range(len(self.entries)):
            entries = self.entries[row : row + 1].copy()
            norm_of_row = CudaTensors(self._like, entries, ())
            self._launch(entries, step, norm_of_row.limited(step.limits.norm))

    def _launch(self, entries: Any, step: Step, limited: Limited | None) -> None:
        table = TABLES.get(entries, self._like)
        clip = _clip_of(step.limits, limited)
        for kind in table.kinds:
            hyperparameters = step.hyperparameters(
                np.float64 if kind == kernels.FLOAT64 else np.float32
            )
            place = (table.address, table.rows, table.chunks)
            arguments = (hyperparameters, NUMBERS[kind], kind, *place, *clip)
            _cuda_memory.launch(update_cuda, self._like, table.chunks, *arguments)


class Plan(NamedTuple):
    """What is known of variables that a step comes with, and stays so until the next."""

    variables: tuple[Variable, ...]
    there: Columns
    # All of the table but the gradients' addresses, and those of slots that are not made yet.
    entries: Any
    has_all_slots: bool
    # Whether either all variables have slots, or none.
    is_complete: bool
    # Where variables and slots begin and end, sorted.
    starts: HostArray
    ends: HostArray

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become None in copies, and in other processes: the addresses are not of their slots."""
        return type(None), ()

    def holds(self, there: Columns) -> bool:
        """Tell whether the variables are still where they were."""
        return (
            there.like.device == self.there.like.device
            and there.kinds == self.there.kinds
            and there.dtypes == self.there.dtypes
            and np.array_equal(there.addresses, self.there.addresses)
            and np.array_equal(there.sizes, self.there.sizes)
        )

    def meets(self, gradients: Columns) -> bool:
        """Tell whether any gradient may show what a step writes."""
        if not len(self.starts):
            return False
        first, last = gradients.spans()
        # The last of those written that begins before a gradient ends.
        before = np.searchsorted(self.starts, last) - 1
        return bool(np.any((before >= 0) & (self.ends[before] > first)))


def _plan_for(
    variables: tuple[Variable, ...], there: Columns, slots_of: SlotsOf, count: int
) -> Plan | None:
    """Return a plan for variables that a kernel may update at once; None for others."""
    if any([each.update_mask is not None or callable(each.constraint) for each in variables]):
        return None
    dtypes = there.dtypes or [*there.kinds] * len(variables)
    are_floating = all([dtype.name in FLOATING for dtype in there.kinds])
    if not are_floating or [each.dtype for each in variables] != dtypes:
        return None
    held = [slots_of(variable) or () for variable in variables]
    slots = [slot.array for of_one in held for slot in of_one]
    kept = _cuda_libraries.columns(slots) if slots else None
    if slots and (kept is None or kept.like.device != there.like.device):
        return None
    spans = [each.spans() for each in (there, kept) if each is not None]
    starts, ends = (np.concatenate(column) for column in zip(*spans, strict=True))
    order = np.argsort(starts)
    starts, ends = starts[order], ends[order]
    if np.any(ends[:-1] > starts[1:]):
        return None
    entries = table_of_columns(there)
    counts = set(map(len, held))
    has_all_slots = counts == {count}
    if kept is not None and has_all_slots:
        columns = slice(kernels.FIRST_SLOT, kernels.FIRST_SLOT + count)
        entries[:, columns] = kept.addresses.reshape(-1, count)
        has_all_slots = bool(np.all(kept.sizes.reshape(-1, count) == there.sizes[:, np.newaxis]))
    _set_bounds(entries, variables)
    return Plan(variables, there, entries, has_all_slots, len(counts) == 1, starts, ends)


class PlainUpdates:
    """Gradients and variables that are plain arrays, all alike, and share no memory."""

    def __init__(self, plan: Plan, gradients: Columns, there: Columns) -> None:
        self.plan = plan
        self.variables = plan.variables
        self.has_all_slots = plan.has_all_slots
        self._entries = plan.entries.copy()
        self._entries[:, kernels.SOURCE] = gradients.addresses
        # None where it lacks slots that there are.
        self.entries = self._entries if plan.is_complete else None
        self.own_their_data = False
        self._like = there.like
        self._limited: Limited | None = None
        self.norms: CudaArray | None = None

    def clip(self, limits: Limits) -> CudaNorm | None:
        if not limits.needs_norm:
            return None
        tensors = CudaTensors(self._like, self._entries, ())
        norm, self.norms, self._limited = _norm_of(tensors, limits)
        return norm

    def share(self, other: PlainUpdates | CheckedUpdates, rows: Sequence[int]) -> None:
        self._limited = other._limited

    def constrain(self, step: Step) -> None:
        """Nothing is left to do: variables that functions constrain are checked one by one."""

    def apply(self, step: Step) -> None:
        if not self.has_all_slots:
            columns = zip(*[step.slots_of(variable) for variable in self.variables], strict=True)
            for i, slots in enumerate(columns):
                found = _cuda_libraries.columns([slot.array for slot in slots])
                assert found is not None
                self._entries[:, kernels.FIRST_SLOT + i] = found.addresses
        _Table(self._entries, self._like).update(step, self._limited)


def _norm_of(
    tensors: CudaTensors, limits: Limits
) -> tuple[CudaNorm, CudaArray | None, Limited | None]:
    """Return the norm, those of all tensors, and what brings it to the limit if there is one."""
    limit = np.inf if limits.global_norm is None else limits.global_norm
    limited = tensors.limited(limit, limits.keeps_norms)
    norm = limited.norm
    if limits.nonfinite != "propagate":
        norm = norm._replace(is_finite=limited.is_finite())
    return norm, limited.norms, None if limits.global_norm is None else limited


def norm_of_each(updates: Sequence[Update], limits: Limits) -> CudaNorm:
    """Return the norm of gradients, in which rows that share an index count separately."""
    return _norm_of(_tensors_of([_without_masked(update) for update in updates]), limits)[0]


def _set_bounds(entries: Any, variables: Sequence[Variable]) -> None:
    bounds = [variable.bounds or UNBOUNDED for variable in variables]
    entries.view(np.float64)[:, _BOUNDS] = bounds


def plain_updates(
    gradients: tuple[Any, ...],
    variables: tuple[Variable, ...],
    slots_of: SlotsOf,
    count: int,
    plan: Any,
) -> PlainUpdates | None:
    """Return updates that need no copies and no order, None if there are others among them.

    `plan` is that of the step before, if it is of the same variables and on a device.
    """
    arrays = [variable.array for variable in variables]
    found, there = _cuda_libraries.columns(gradients), _cuda_libraries.columns(arrays)
    if (
        found is None
        or there is None
        or found.like.device != there.like.device
        or found.kinds != there.kinds
        or found.dtypes != there.dtypes
        or list(map(_SHAPE, gradients)) != list(map(_SHAPE, arrays))
    ):
        return None
    if not (isinstance(plan, Plan) and plan.has_all_slots and plan.holds(there)):
        plan = _plan_for(variables, there, slots_of, count)
    return None if plan is None or plan.meets(found) else PlainUpdates(plan, found, there)


class CheckedUpdates:
    """Gradients and variables of any layout of one device, which were checked one by one."""

    def __init__(self, updates: Sequence[Update], sums_duplicates: bool) -> None:
        self.variables = [update.variable for update in updates]
        self._updates = list(updates)
        self._in_order = not sums_duplicates
        self._limited: Limited | None = None
        self.norms: CudaArray | None = None
        self.plan = None
        self.has_all_slots = False
        self.entries = None
        self.own_their_data = False
        self._constrained: dict[Variable, _Buffers] = {}

    def clip(self, limits: Limits) -> CudaNorm | None:
        if not limits.takes_norms:
            return None
        # A norm is that of the rows' sums, which for that are written once.
        summed = [_without_masked(_coalesced(update)) for update in self._updates]
        if not self._in_order:
            self._updates = summed
        if not limits.needs_norm:
            return None
        norm, self.norms, self._limited = _norm_of(_tensors_of(summed), limits)
        return norm

    def share(self, other: PlainUpdates | CheckedUpdates, rows: Sequence[int]) -> None:
        self._limited = other._limited

    def constrain(self, step: Step) -> None:
        for update in self._updates:
            variable = update.variable
            if callable(variable.constraint):
                if variable not in self._constrained:
                    self._constrained[variable] = _Buffers(variable, step, copied=True)
                _update_dense([update], [self._constrained[variable]], step, self._limited)
                self._constrained[variable].constrain()

    def apply(self, step: Step) -> None:
        for batch in self._batches():
            buffers = [_Buffers(update.variable, step) for update in batch]
            if batch[0].rows is None:
                _update_dense(batch, buffers, step, self._limited)
            else:
                _update_rows(batch[0], buffers[0], step, self._limited, self._in_order)
            for each in buffers:
                each.deliver()
        for each in self._constrained.values():
            each.deliver()

    def _batches(self) -> Iterator[list[Update]]:
        """Yield updates that can be made at once, in order."""
        updates = [each for each in self._updates if each.variable not in self._constrained]
        if Spans([_on_device(update.variable) for update in updates]).are_disjoint:
            dense = [update for update in updates if update.rows is None]
            if dense:
                yield dense
            updates = [update for update in updates if update.rows is not None]
        for update in updates:
            yield [update]


class _Buffers:
    """Where kernels write a variable and its slots, to be copied there if that is elsewhere."""

    def __init__(self, variable: Variable, step: Step, copied: bool = False) -> None:
        self._variable = variable
        self._targets = [_on_device(each) for each in (variable, *step.slots_of(variable))]
        take = _cuda_memory.copied if copied else _cuda_memory.in_c_order
        self.number, *self.slots = [take(target) for target in self._targets]

    def constrain(self) -> None:
        assert callable(self._variable.constraint)
        kept = self._variable.constraint(self.number.array)
        taken = Variable(self.number.array, name=self._variable.name)
        taken.assign(kept)
        mask = self._variable._mask
        if mask is not None:
            _cuda_memory.copy_masked(self._targets[0], self.number, mask)

    def deliver(self) -> None:
        for buffer, target in zip([self.number, *self.slots], self._targets, strict=True):
            _cuda_memory.deliver(buffer, target)


def _tensors_of(updates: Sequence[Update]) -> CudaTensors:
    gradients = [_cuda_memory.in_c_order(update.gradient) for update in updates]
    return CudaTensors(gradients[0], table_of(gradients, gradients), gradients)


def _coalesced(update: Update) -> Update:
    if update.rows is None or not update.rows.size:
        return update
    values, indices = sum_groups(update.gradient, update.rows, np.dtype(np.int64))
    found = [_cuda_libraries.cuda_array(array, "gradient") for array in (values, indices)]
    assert found[0] is not None and found[1] is not None
    return update._replace(gradient=found[0], rows=groups_of(found[1]))


def _without_masked(update: Update) -> Update:
    """Return an update of which what the variable's mask holds still is zero, for a norm."""
    mask = update.variable._mask
    if mask is None:
        return update
    if update.rows is not None:
        raise ValueError(
            f"`grads_and_vars[{update.position}][0]` must be dense where a norm is limited and its"
            f" variable is masked on a CUDA device, got IndexedSlices for {update.variable!r}"
        )
    gradient = _cuda_memory.in_c_order(update.gradient)
    kept = _cuda_memory.full(gradient.shape, np.zeros((), gradient.dtype)[()], gradient)
    entries = table_of([gradient], [kept])
    entries[0, kernels.MASK] = mask.address
    entries.view(np.float64)[0, _BOUNDS] = UNBOUNDED
    table = TABLES.get(entries, gradient)
    # What is not masked is subtracted from zero, times -1.
    for kind in table.kinds:
        place = (NUMBERS[kind], kind, table.address, table.rows, table.chunks)
        clip = _Clip(0, *UNBOUNDED)
        _cuda_memory.launch(update_cuda, gradient, table.chunks, _COPIED, *place, *clip)
    return update._replace(gradient=kept)


def _table_for(
    updates: Sequence[Update], gradients: Sequence[CudaArray], buffers: Sequence[_Buffers]
) -> Any:
    entries = table_of(gradients, [each.number for each in buffers])
    for row, update, each in zip(entries, updates, buffers, strict=True):
        row[kernels.FIRST_SLOT : kernels.FIRST_SLOT + len(each.slots)] = [
            slot.address for slot in each.slots
        ]
        mask = update.variable._mask
        if mask is not None:
            row[kernels.MASK] = mask.address
    _set_bounds(entries, [update.variable for update in updates])
    return entries


def _update_dense(
    updates: Sequence[Update], buffers: Sequence[_Buffers], step: Step, limited: Limited | None
) -> None:
    gradients = [_cuda_memory.in_c_order(update.gradient) for update in updates]
    entries = _table_for(updates, gradients, buffers)
    _Table(entries, buffers[0].number).update(step, limited)


def _update_rows(
    update: Update, buffers: _Buffers, step: Step, limited: Limited | None, in_order: bool
) -> None:
    number = buffers.number
    width, rows, groups = width_of(number), number.shape[0], update.rows
    if not width:
        return
    if step.limits.norm is not None and groups.size:
        limited = _tensors_of([update]).limited(step.limits.norm)
    values = _cuda_memory.in_c_order(update.gradient)
    entries = _table_for([update], [values], [buffers])
    entries[0, kernels.WIDTH] = width
    table = TABLES.get(entries, number)
    kind = np.float64 if number.dtype == np.float64 else np.float32
    place = (SEEN[number.dtype.name].number, table.address, rows, groups.size, *groups.sorted)
    clip = _clip_of(step.limits, limited)
    if step.takes_all_rows:
        places = groups.places(rows)
        arguments = (step.row_hyperparameters(kind), *place, places.address, *clip)
        blocks = _cuda_memory.blocks_for(rows * width)
        _cuda_memory.launch(update_all_rows_cuda, number, blocks, *arguments)
    else:
        arguments = (step.hyperparameters(kind), *place, int(in_order), *clip)
        blocks = _cuda_memory.blocks_for(groups.size * width)
        _cuda_memory.launch(update_rows_cuda, number, blocks, *arguments)
