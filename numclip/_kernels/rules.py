"""An optimizer's rule: what a step makes of one number of a variable and of its slots.

A rule is a function of a NamedTuple of hyperparameters, a number of the variable, one of the
gradient and a tuple of one number from each slot; it returns the new number and the new tuple.
Loops find it by the NamedTuple's class: a rule handed over as an argument, or a loop made by a
factory, would be compiled anew in each process.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numclip._compile import overload, pointer_at, rule, types
from numclip._kernels.elementwise import mapped
from numclip._kernels.half import narrow, widen
from numclip._kernels.memory import numbers_at
from numclip._kernels.slots import narrow_slots, widen_slots
from numclip._kernels.table import FIRST_SLOT, entry

_BYTE = np.uint8(0)

RULES = {}
_SLOTS = {}


def rule_of(
    hyperparameters: type[Any], slots: int
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the rule for this class, which has so many slots."""
    assert slots < len(_SLOTS_AT), "a rule of more slots needs a line more in `_SLOTS_AT`"

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        # Numba takes a rule for `updated` only if their signatures agree to the annotation.
        function.__annotations__ = {}
        RULES[hyperparameters] = rule(function)
        _SLOTS[hyperparameters] = slots
        return RULES[hyperparameters]

    return register


def updated(hyperparameters, number, gradient, slots):
    return RULES[type(hyperparameters)](hyperparameters, number, gradient, slots)


@overload(updated)
def _updated(hyperparameters, number, gradient, slots):
    return RULES.get(hyperparameters.instance_class)


class Everything(NamedTuple):
    """In place of a mask: all numbers are updated."""


class MaskAt(NamedTuple):
    """A mask in a GPU's memory, or none, at address 0."""

    address: int
    size: int


def _is_updated(mask, place):
    if isinstance(mask, Everything) or mask.address == 0:
        return True
    return numbers_at(mask.address, mask.size, _BYTE)[place] != 0


@overload(_is_updated)
def _overload_is_updated(mask, place):
    if isinstance(mask, types.CPointer):
        return lambda mask, place: mask[place] != 0
    if mask.instance_class is Everything:
        return lambda mask, place: True
    return lambda mask, place: (
        mask.address == 0 or numbers_at(mask.address, mask.size, _BYTE)[place] != 0
    )


@rule
def step(hyperparameters, clip, bound, mask, place, number, gradient, slots):
    """Return what is stored for a number and its slots, from what was."""
    new, new_slots = updated(
        hyperparameters, widen(number), widen(mapped(clip, gradient)), widen_slots(slots)
    )
    if not _is_updated(mask, place):
        return number, slots
    return mapped(bound, narrow(new, number)), narrow_slots(new_slots, slots)


def _slot_at(table, row, i, size, like):
    return numbers_at(entry(table, row, FIRST_SLOT + i), size, like)


@overload(_slot_at)
def _overload_slot_at(table, row, i, size, like):
    if isinstance(table, types.CPointer):  # on a GPU
        return _slot_at
    return lambda table, row, i, size, like: pointer_at(table[row, FIRST_SLOT + i], like)


def slots_at(hyperparameters, table, row, size, like):
    """Return the slots that a row of the table has the addresses of."""
    count = _SLOTS[type(hyperparameters)]
    return tuple([_slot_at(table, row, i, size, like) for i in range(count)])


@overload(slots_at)
def _overload_slots_at(hyperparameters, table, row, size, like):
    return _SLOTS_AT[_SLOTS[hyperparameters.instance_class]]


_SLOTS_AT = (
    lambda hyperparameters, table, row, size, like: (),
    lambda hyperparameters, table, row, size, like: (_slot_at(table, row, 0, size, like),),
    lambda hyperparameters, table, row, size, like: (
        _slot_at(table, row, 0, size, like),
        _slot_at(table, row, 1, size, like),
    ),
    lambda hyperparameters, table, row, size, like: (
        _slot_at(table, row, 0, size, like),
        _slot_at(table, row, 1, size, like),
        _slot_at(table, row, 2, size, like),
    ),
)
