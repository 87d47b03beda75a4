"""How a history is told of a step: what is taken before it, and what after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numclip import _cuda_memory
from numclip._cuda_libraries import cuda_array
from numclip._variable import Variable
from numclip.train._clipping import Limits
from numclip.train._gradient_history import Change, GradientHistory, Part
from numclip.train._places import clip_places, updates_of
from numclip.train._slots import Slots
from numclip.train._step_result import StepResult
from numclip.train._updates import Given, Updates

_NORMS = Limits(None, None, None, "propagate", keeps_norms=True)


class Recording:
    """A step that is to be kept; made before it changes a variable, and ended after it."""

    def __init__(
        self, history: GradientHistory, variables: Sequence[Variable], parts: Sequence[Part]
    ) -> None:
        self._history = history
        self._variables = variables
        self._parts = parts
        self._changes: _Changes | None = None
        if history._takes_ratios() and not all(part.skipped for part in parts):
            self._changes = _Changes(list(dict.fromkeys(variables)))

    def end(self) -> None:
        change = None if self._changes is None else self._changes.end()
        self._history._add(self._variables, self._parts, change)


def parts_of(places: Sequence[Updates], limits: Limits, result: StepResult) -> list[Part]:
    norm, limit, skipped = result.global_norm, result.limit, result.skipped
    return [Part(each.variables, each.norms, norm, limit, limits.norm, skipped) for each in places]


class _Changes:
    """Copies of variables, and what becomes of them."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        self._variables = variables
        self._copies = [Variable(_copy(variable)) for variable in variables]
        self._before = self._norms()

    def _norms(self) -> Any:
        given = Given([(each.array, each) for each in self._copies], range(len(self._copies)))
        places = updates_of(given, _NORMS, Slots((), lambda name: 0.0, ""), None, True)
        clip_places(places, _NORMS)
        return places[0].norms

    def end(self) -> Change:
        from numclip.train._gradient_descent import GradientDescentOptimizer

        # Leaves what was before less what is after, which has the update's norm.
        GradientDescentOptimizer(1.0).apply_gradients(
            [(each.array, copy) for each, copy in zip(self._variables, self._copies, strict=True)]
        )
        return Change(self._variables, self._before, self._norms())


def _copy(variable: Variable) -> Any:
    found = cuda_array(variable.array, "variable")
    if found is None:
        dtype = variable.dtype.newbyteorder("=")
        return np.array(variable.array, dtype=dtype, order="C")
    copied = _cuda_memory.empty(found.shape, found.dtype, found)
    _cuda_memory.copy(found, copied)
    return copied.array
