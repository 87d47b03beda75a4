"""The updates of a step, in each place that they are in: the host, and CUDA devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from numclip import _array
from numclip import _compile_cuda as compile_cuda
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import may_be_cuda
from numclip._slices import IndexedSlices
from numclip._variable import Variable
from numclip.train import _host_updates
from numclip.train._clipping import Limits
from numclip.train._gradient_history import PlainPart
from numclip.train._overlap import check_constraints, protected
from numclip.train._slots import NO_SLOTS, Slots
from numclip.train._step_result import StepResult
from numclip.train._updates import Given, Plan, Update, Updates, check_pairs

_FINITE = Limits(None, None, None, "raise")


class Prepared(NamedTuple):
    """A step of which everything is checked and known but the norm."""

    given: Given
    places: Sequence[Updates]
    limits: Limits
    now: Mapping[str, float]

    def part(self, result: StepResult) -> PlainPart:
        """Return what a history is told of the step: it has norms taken, which are of one place."""
        (place,) = self.places
        return place.variables, place.norms, result, self.limits.norm


def updates_of(
    given: Given,
    limits: Limits,
    slots: Slots,
    plan: Plan | None,
    sums_duplicates: bool,
    takes_all_rows: bool = False,
) -> Sequence[Updates]:
    """Return the checked updates of each place; `plan` is that of the step before."""
    gradients, variables = zip(*given.pairs, strict=True)
    at_once = sums_duplicates and not takes_all_rows
    if plan is None or plan.variables != variables or _is_elsewhere(plan, variables):
        is_of_use = at_once or all([type(gradient) is np.ndarray for gradient in gradients])
        plan = _host_updates.plan_for(variables, slots.of, slots.count) if is_of_use else None
    plain = _plain(gradients, variables, slots, plan)
    if plain is not None:
        return [plain]
    checked = check_pairs(given, sums_duplicates)
    check_constraints(given)
    on_device = [each for each in checked if isinstance(each.gradient, CudaArray)]
    on_host = [each for each in checked if not isinstance(each.gradient, CudaArray)]
    known = plan if isinstance(plan, _host_updates.Plan) and not on_device else None
    if known is not None and at_once:
        planned = _host_updates.planned_updates(_protected(checked, slots, True), known)
        if planned is not None:
            return [planned]
    if limits.needs_norm and on_device:
        _check_one_place(checked)
    places: list[Updates] = []
    if on_host:
        kept = _protected(on_host, slots, sums_duplicates)
        # The next step can make as little of it, but to plan anew takes it 4 us for each variable.
        if known is not None and not known.has_all_slots:
            known = None
        places.append(_host_updates.CheckedUpdates(kept, not sums_duplicates, known))
    if on_device:
        places += _on_devices(on_device, slots, sums_duplicates)
    return places


def _is_elsewhere(plan: Plan, variables: tuple[Variable, ...]) -> bool:
    return isinstance(plan, _host_updates.Plan) == may_be_cuda(variables[0].array)


def _check_one_place(updates: Sequence[Update]) -> None:
    _array.check_one_place(
        [(f"grads_and_vars[{each.position}][0]", each.gradient) for each in updates]
    )


def _protected(updates: Sequence[Update], slots: Slots, are_summed: bool) -> Sequence[Update]:
    # Sums of rows are new arrays.
    if are_summed and all([update.rows is not None for update in updates]):
        return updates
    return protected(updates, slots.of)


def _plain(
    gradients: tuple[Any, ...], variables: tuple[Variable, ...], slots: Slots, plan: Plan | None
) -> Updates | None:
    """Return updates of arrays that kernels can read and write where they are, None for others."""
    # The kernel would find that out, but an embedding mostly comes first, and this takes no time.
    if isinstance(gradients[0], IndexedSlices):
        return None
    if isinstance(plan, _host_updates.Plan):
        return _host_updates.plain_updates(gradients, plan)
    if may_be_cuda(variables[0].array):
        from numclip.train import _cuda_updates

        return _cuda_updates.plain_updates(gradients, variables, slots.of, slots.count, plan)
    return None


def _on_devices(updates: Sequence[Update], slots: Slots, sums_duplicates: bool) -> list[Updates]:
    from numclip.train import _cuda_updates

    places: list[Updates] = []
    for device in {each.gradient.device for each in updates}:
        here = [each for each in updates if each.gradient.device == device]
        safe = protected(here, slots.of)
        places.append(_cuda_updates.CheckedUpdates(safe, sums_duplicates))
    return places


def launching(given: Given) -> AbstractContextManager[Any]:
    """Let no other thread launch between a norm and the step that goes by it."""
    return compile_cuda.LAUNCHES if may_be_cuda(given.pairs[0][1].array) else nullcontext()


def clip_places(places: Sequence[Updates], limits: Limits) -> Any:
    """Find what brings the gradients to the limits; return their norm, if it is needed."""
    norms = [updates.clip(limits) for updates in places]
    return norms[0]


def norm_of(updates: Sequence[Update], limits: Limits) -> Any:
    """Return the norm of gradients, in which rows that share an index count separately."""
    if not any([isinstance(each.gradient, CudaArray) for each in updates]):
        return _host_updates.CheckedUpdates(updates, has_duplicates=False).clip(limits)
    _check_one_place(updates)
    from numclip.train import _cuda_updates

    return _cuda_updates.norm_of_each(updates, limits)


def step_result(norm: Any, limits: Limits, message: Callable[[], str]) -> StepResult:
    """Return what a step has to tell, or raise for gradients that are not finite."""
    if norm is None:
        return StepResult()
    skipped = limits.nonfinite != "propagate" and not norm.is_finite
    if skipped and limits.nonfinite == "raise":
        raise FloatingPointError(message())
    return StepResult(norm.value, limits.global_norm, skipped)


def nonfinite_message(given: Given) -> str:
    for i, (_, variable) in enumerate(given.pairs):
        alone = updates_of(given.some([i]), _FINITE, NO_SLOTS, None, True)
        norm = alone[0].clip(_FINITE)
        if not norm.is_finite:
            return (
                f"`grads_and_vars[{given.positions[i]}][0]` must be finite, got a gradient of norm"
                f" {norm.on_host()} for {variable!r}"
            )
    raise AssertionError("some gradient of a norm that is not finite is not finite")
