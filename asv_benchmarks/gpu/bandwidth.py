"""One array: how much of a copy's bandwidth is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

import numclip as nc

from .records import Bandwidth
from .timing import Case, alternate, exact_norm, relative_error

_AT_LEAST = 0.9


class Array(NamedTuple):
    """An array to be measured."""

    dtype: str
    nbytes: int

    @property
    def title(self) -> str:
        unit, size = ("GiB", 1 << 30) if self.nbytes >= 1 << 30 else ("MiB", 1 << 20)
        return f"{self.nbytes // size} {unit} of {self.dtype}"


ARRAYS = (
    Array("float32", 1 << 30),
    Array("float32", 4 << 30),
    Array("float16", 1 << 30),
    Array("bfloat16", 1 << 30),
    Array("float64", 1 << 30),
)
SMALL_ARRAYS = tuple(array._replace(nbytes=1 << 22) for array in ARRAYS[1:])


class _Operation(NamedTuple):
    """A call that returns a norm, how often it reads or writes a number, and if it is judged."""

    call: Callable[[], Any]
    passes: int
    is_judged: bool = False


def measure(array: Array, rounds: int) -> list[Bandwidth]:
    dtype = getattr(torch, array.dtype)
    source = torch.randn(array.nbytes // dtype.itemsize, dtype=dtype, device="cuda")
    x = source.clone()
    norm = exact_norm([source])

    def refill() -> None:
        x.copy_(source)

    def in_place(limit: float) -> Callable[[], Any]:
        return lambda: nc.clip_by_global_norm([x], limit, out=[x])[1]

    def fresh(limit: float) -> Callable[[], Any]:
        return lambda: nc.clip_by_global_norm([x], limit)[1]

    operations = {
        "norm": _Operation(lambda: nc.global_norm([x]), 1, True),
        "clip in place, over the limit": _Operation(in_place(norm / 2), 3, True),
        "clip in place, under the limit": _Operation(in_place(2 * norm), 1, True),
        "clip to a new array, over": _Operation(fresh(norm / 2), 3),
        "clip to a new array, under": _Operation(fresh(2 * norm), 3),
    }
    cases = {name: Case(operation.call, refill) for name, operation in operations.items()}
    errors = {}
    for name, case in cases.items():
        case.prepare()
        errors[name] = relative_error(case.call(), norm)
    samples = alternate({"copy": Case(refill), **cases}, rounds)
    return [
        Bandwidth(
            array.title,
            name,
            operation.passes * array.nbytes,
            samples[name],
            2 * array.nbytes,
            samples["copy"],
            errors[name],
            _AT_LEAST if operation.is_judged else None,
        )
        for name, operation in operations.items()
    ]
