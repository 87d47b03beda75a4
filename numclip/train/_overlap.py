"""Which gradients show memory that a step changes, and copies of those."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from numclip import _array, _cuda_array, _cuda_memory
from numclip._array import Tensor
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array
from numclip._slices import IndexedSlices
from numclip._variable import Variable
from numclip.train._updates import Given, Update

SlotsOf = Callable[[Variable], Sequence[Variable] | None]


class Spans:
    """Where in memory arrays lie."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.are_disjoint = True
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted([_span(tensor) for tensor in tensors if tensor.size]):
            if self._ends and self._ends[-1] > start:
                self.are_disjoint = False
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def meet(self, tensor: Tensor) -> bool:
        """Tell whether a tensor may share memory with any."""
        if not tensor.size:
            return False
        start, end = _span(tensor)
        last = bisect_left(self._starts, end) - 1
        return last >= 0 and self._ends[last] > start


def _span(tensor: Tensor) -> tuple[int, int]:
    return _cuda_array.span(tensor) if isinstance(tensor, CudaArray) else byte_bounds(tensor)


def tensor_of(variable: Variable) -> Tensor:
    array: Any = variable.array
    if type(array) is np.ndarray:
        return array
    found = cuda_array(array, "variable")
    return array if found is None else found


def check_constraints(given: Given) -> None:
    """Refuse a function as the constraint of a variable that shares memory with another.

    What functions return is written once all have returned: an update of the other would be lost.
    """
    if not any([callable(variable.constraint) for _, variable in given.pairs]):
        return
    variables = list(dict.fromkeys(given.variables))
    for pair in _array.overlapping([tensor_of(variable) for variable in variables]):
        found = [variables[i] for i in pair]
        found.sort(key=lambda variable: not callable(variable.constraint))
        if callable(found[0].constraint):
            first, second = [given.positions[given.variables.index(each)] for each in found]
            raise ValueError(
                f"`grads_and_vars[{first}][1]` must share no memory with"
                f" `grads_and_vars[{second}][1]`, as its constraint is a function,"
                f" got {found[0]!r} and {found[1]!r}"
            )


def protected(updates: Sequence[Update], slots_of: SlotsOf) -> Sequence[Update]:
    """Copy gradients that show what the step changes: they have to be what they were before."""
    held = held_by([update.variable for update in updates], slots_of)
    shown = _shown([update.gradient for update in updates], held)
    if not any(shown):
        return updates
    return [
        update._replace(gradient=_copy(update.gradient)) if is_shown else update
        for update, is_shown in zip(updates, shown, strict=True)
    ]


def held_by(variables: Iterable[Variable], slots_of: SlotsOf) -> list[Tensor]:
    """Return where variables and their slots are."""
    return [
        tensor_of(held)
        for variable in variables
        for held in (variable, *(slots_of(variable) or ()))
    ]


def protected_pairs(given: Given, held: Sequence[Tensor]) -> Given:
    """Do as `protected` with gradients as they came, each of which fits its variable."""
    tensors = [_tensor_in(gradient) for gradient, _ in given.pairs]
    shown = _shown(tensors, held)
    if not any(shown):
        return given
    pairs = [
        (_with_copy(gradient, tensor), variable) if is_shown else (gradient, variable)
        for (gradient, variable), tensor, is_shown in zip(given.pairs, tensors, shown, strict=True)
    ]
    return given._replace(pairs=pairs)


def _tensor_in(gradient: Any) -> Tensor:
    values = gradient.values if isinstance(gradient, IndexedSlices) else gradient
    if isinstance(values, int | float | list | tuple):
        return np.empty(0)  # of no memory that anything else shows
    return _array.as_tensor(values, "gradient")


def _with_copy(gradient: Any, tensor: Tensor) -> Any:
    values = _array.raw(_copy(tensor))
    return gradient._replace(values=values) if isinstance(gradient, IndexedSlices) else values


def _shown(tensors: Sequence[Tensor], held: Sequence[Tensor]) -> list[bool]:
    """Tell of each tensor whether it may share memory with any that is held."""
    owners, holders = map(_array.owner, tensors), list(map(_array.owner, held))
    changed = set(map(id, holders))
    found = [(_owns_memory(owner), id(owner) in changed) for owner in owners]
    if all(map(_owns_memory, holders)) and all([owns for owns, _ in found]):
        return [is_changed for _, is_changed in found]
    # Of other owners, two may have the same memory.
    spans = Spans(held)
    return [spans.meet(tensor) for tensor in tensors]


def _owns_memory(owner: object) -> bool:
    return isinstance(owner, np.ndarray) and owner.flags.owndata


def _copy(tensor: Tensor) -> Tensor:
    return _cuda_memory.copied(tensor) if isinstance(tensor, CudaArray) else tensor.copy()
