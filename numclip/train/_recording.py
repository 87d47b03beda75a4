"""How a history is told of a step: what is taken before it, and what after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numclip import _cuda_memory
from numclip._cuda_libraries import cuda_array
from numclip._variable import Variable
from numclip.train._clipping import Limits
from numclip.train._gradient_history import Change, GradientHistory
from numclip.train._places import clip_places, updates_of
from numclip.train._slots import NO_SLOTS
from numclip.train._step_result import StepResult
from numclip.train._updates import Given

_NORMS = Limits(None, None, None, "propagate", keeps_norms=True)


def changes_from(
    history: GradientHistory, given: Given, results: Sequence[StepResult]
) -> Changes | None:
    """Return what a history is to be told of a step that has not been made, if it asks for that."""
    if not history._takes_ratios() or all(result.skipped for result in results):
        return None
    return Changes(list(dict.fromkeys(given.variables)))


class Changes:
    """Copies of variables, and what becomes of them."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        self._variables = variables
        self._copies = [Variable(_copy(variable)) for variable in variables]
        self._before = self._norms()

    def _norms(self) -> Any:
        given = Given([(each.array, each) for each in self._copies], range(len(self._copies)))
        places = updates_of(given, _NORMS, NO_SLOTS, None, True)
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
    return _cuda_memory.copied(found).array
