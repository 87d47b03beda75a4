"""The loops of all optimizers: one for each number of slots, whatever the rule.

A rule is a function of a NamedTuple of hyperparameters, a number of the variable, one of the
gradient and a tuple of one number from each slot; it returns the new number and the new tuple.
Loops find it by the NamedTuple's class: a rule handed over as an argument, or a loop made by a
factory, would be compiled anew in each process.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from numclip._compile import kernel, overload, rule
from numclip._kernels.half import narrow, widen

_RULES = {}


def rule_of(hyperparameters: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the rule for this class of hyperparameters."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        # Numba takes a rule for `updated` only if their signatures agree to the annotation.
        function.__annotations__ = {}
        _RULES[hyperparameters] = rule(function)
        return _RULES[hyperparameters]

    return register


def updated(hyperparameters, number, gradient, slots):
    return _RULES[type(hyperparameters)](hyperparameters, number, gradient, slots)


@overload(updated)
def _updated(hyperparameters, number, gradient, slots):
    return _RULES.get(hyperparameters.instance_class)


@kernel
def update_0(hyperparameters, numbers, gradient):
    for i in range(numbers.size):
        number, _ = updated(hyperparameters, widen(numbers[i]), widen(gradient[i]), ())
        numbers[i] = narrow(number, numbers[i])


@kernel
def update_2(hyperparameters, numbers, gradient, slot_0, slot_1):
    for i in range(numbers.size):
        number, (new_0, new_1) = updated(
            hyperparameters,
            widen(numbers[i]),
            widen(gradient[i]),
            (widen(slot_0[i]), widen(slot_1[i])),
        )
        numbers[i] = narrow(number, numbers[i])
        slot_0[i] = narrow(new_0, slot_0[i])
        slot_1[i] = narrow(new_1, slot_1[i])


@kernel
def update_rows_0(hyperparameters, numbers, gradient, rows):
    for position in range(rows.size):
        update_0(hyperparameters, numbers[rows[position]], gradient[position])


@kernel
def update_all_rows_2(hyperparameters, numbers, gradient, rows, slot_0, slot_1):
    """Update every row; `rows` are those of the gradient, each once, the others' is zero."""
    zeros = np.zeros(numbers.shape[1], gradient.dtype)
    order = np.argsort(rows)
    position = 0
    for row in range(numbers.shape[0]):
        if position < order.size and rows[order[position]] == row:
            update_2(
                hyperparameters, numbers[row], gradient[order[position]], slot_0[row], slot_1[row]
            )
            position += 1
        else:
            update_2(hyperparameters, numbers[row], zeros, slot_0[row], slot_1[row])
