"""What is done with one sample, on the host and on a device alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

import numclip as nc

from ..benchmarks.workloads import Array, Shape, as_dtype
from .agreement import agree
from .outcomes import Check, of_each_dtype
from .places import Dtype, Library, Place
from .samples import DTYPES, Sample, Scale, cast, normal, samples


class Case(NamedTuple):
    """A sample at a place, and a limit that its norm is over, where that can be."""

    place: Place
    x: Any
    limit: float
    dtype: Dtype
    shape: Shape

    def put(self, values: Any) -> Any:
        return self.place.put(cast(values, self.dtype))

    def zeros(self) -> Any:
        return self.put(np.zeros(self.shape))

    def other(self, size: int = 37) -> Any:
        return self.place.put(normal(self.dtype, size, seed=1))


class Operation(NamedTuple):
    """A function of a case; what it returns has to be the same everywhere."""

    name: str
    call: Callable[[Case], Any]
    dimensions: int = 0
    dtypes: tuple[str, ...] = DTYPES
    # Whether it is done with long arrays too.
    is_for_long: bool = False


def checks_of(operations: Sequence[Operation], library: Library, scale: Scale) -> Iterator[Check]:
    """Check every operation with every sample of every dtype, or as many as the scale says."""
    return islice(_all_checks(operations, library, scale), 0, None, scale.every)


def _all_checks(operations: Sequence[Operation], library: Library, scale: Scale) -> Iterator[Check]:
    dtypes = [dtype for dtype in DTYPES if any(dtype in each.dtypes for each in operations)]
    return of_each_dtype(library, dtypes, partial(_checks_of, operations, library, scale))


def _checks_of(
    operations: Sequence[Operation], library: Library, scale: Scale, dtype: str
) -> Iterator[Check]:
    chosen = [each for each in operations if dtype in each.dtypes]
    for sample in samples(dtype, scale):
        yield from _checks_with(sample, chosen, library, dtype)
    if scale.long:
        sample = Sample(f"{scale.long:,} numbers", normal(as_dtype(dtype), scale.long))
        long = [each for each in chosen if each.is_for_long]
        yield from _checks_with(sample, long, library, dtype)


def _checks_with(
    sample: Sample, operations: Sequence[Operation], library: Library, dtype: str
) -> Iterator[Check]:
    for operation in operations:
        if sample.array.ndim >= operation.dimensions:
            build = partial(_result, operation, sample)
            name = f"{operation.name}, {dtype}, {sample.name}"
            yield Check(name, partial(agree, library, build))


def _result(operation: Operation, sample: Sample, place: Place) -> Any:
    """Return what an operation gives, and the memory around the sample after it."""
    memory = place.put(sample.memory)
    array = sample.array
    case = Case(place, sample.view(memory), _limit_for(array), array.dtype, array.shape)
    return [operation.call(case), memory]


def _limit_for(array: Array) -> float:
    norm = float(nc.global_norm([array]))
    return norm / 2 if 0 < norm < math.inf else 1.0
