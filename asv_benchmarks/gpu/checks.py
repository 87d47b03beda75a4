"""Everything that is checked, in order."""

from __future__ import annotations

from collections.abc import Sequence

from . import (
    check_accumulator,
    check_large,
    check_lists,
    check_norms,
    check_optimizers,
    check_slices,
    check_streams,
    check_values,
)
from .outcomes import Outcome, Part, run_part
from .places import Library
from .samples import Scale

# What the simulator can run, and compute-sanitizer in a minute.
KERNELS = (
    Part("clip_by_value", check_values.floats),
    Part("clip_by_value of integers", check_values.integers),
    Part("clip_by_norm", check_norms.checks),
    Part("clip_by_global_norm", check_lists.checks),
    Part("IndexedSlices", check_slices.checks),
    Part("optimizers", check_optimizers.checks),
    Part("GradientAccumulator", check_accumulator.checks),
)
LARGE = Part("large arrays", check_large.checks)
STREAMS = Part("streams", check_streams.checks)
PARTS = (*KERNELS, STREAMS, LARGE)


def run_checks(
    libraries: Sequence[Library], scale: Scale, parts: Sequence[Part] = PARTS
) -> list[Outcome]:
    """Run all parts with each library, and print what comes of them as it comes."""
    return [
        outcome
        for library in libraries
        for part in parts
        for outcome in run_part(library, part, scale)
    ]
