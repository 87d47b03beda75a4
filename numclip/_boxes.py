"""Autograd's boxes: what stands for an array while its gradient is being computed."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
from autograd.tracer import isbox

from numclip._slices import IndexedSlices
from numclip._variable import Variable


def current(value: Any) -> Any:
    """Return a variable's array, or its box; anything else as it is."""
    return value.value if isinstance(value, Variable) else value


def unboxed(value: Any) -> Any:
    """Return the number or array inside all boxes, also inside those of slices."""
    if isinstance(value, IndexedSlices):
        return value._replace(values=unboxed(value.values))
    while isbox(value):
        value = value._value
    return value


def unboxed_from(value: Any, trace: int) -> Any:
    """Take away the boxes of a trace, and of those inside it."""
    while isbox(value) and value._trace >= trace:
        value = value._value
    return value


def sum_to_shape(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the axes along which an array of that shape was broadcast."""
    gradient = anp.sum(gradient, axis=tuple(range(anp.ndim(gradient) - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and anp.shape(gradient)[i] != 1)
    return anp.sum(gradient, axis=stretched, keepdims=True)
