"""The types of arguments that each kernel for a GPU is launched with.

Tests in the simulator see that there are no others; those of PTX compile all of them.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from numclip import _kernels, train
from numclip._compile_cuda import CudaKernel
from numclip._kernels.elementwise import Bounds
from numclip._kernels.rules import RULES

Arguments: TypeAlias = tuple[Any, ...]

# What kernels see of float32, float64, float16 and bfloat16.
NUMBERS = (np.float32(0), np.float64(0), np.uint16(0), np.int16(0))
INTEGERS = tuple(np.dtype(f"{sign}{size}").type(0) for sign in "iu" for size in (1, 2, 4, 8))
BITS = INTEGERS[4:]
# A norm that the caller knows is of any floating dtype.
NORMS = NUMBERS


def integers(count: int) -> Arguments:
    """Return arguments that are addresses, lengths and flags."""
    return (1,) * count


def of_each(numbers: Any, count: int) -> list[Arguments]:
    return [(number, *integers(count)) for number in numbers]


def with_hyperparameters(kind: Any, count: int) -> list[Arguments]:
    hyperparameters = kind(*[0.5] * len(kind._fields))
    return [(hyperparameters, number, *integers(count)) for number in NUMBERS]


# A rule for gradients by rows alone has its own name.
RULES_OF_ALL_ROWS = [kind for kind in RULES if kind.__name__.endswith("Rows")]
ONE_RULE = [kind for kind in RULES if kind not in RULES_OF_ALL_ROWS]


def of_each_rule(rules: Any, count: int) -> list[Arguments]:
    bounds = (-1.0, 1.0)
    return [(*each, *bounds) for kind in rules for each in with_hyperparameters(kind, count)]


SIGNATURES: dict[str, list[Arguments]] = {
    "sum_chunks_cuda": of_each(NUMBERS, 5),
    "sum_pieces_cuda": [integers(6)],
    "find_largest_cuda": [integers(6)],
    "rescue_sums_cuda": [integers(9)],
    "finish_norm_cuda": [(*integers(11), 1.0, *integers(3))],
    "take_norm_cuda": [(norm, 1, 1, 1.0, 1) for norm in NORMS],
    "scale_chunks_cuda": of_each(NUMBERS, 6),
    "map_chunks_cuda": with_hyperparameters(Bounds, 4),
    "clip_rows_cuda": of_each(NUMBERS, 8),
    "clip_columns_cuda": of_each(NUMBERS, 8),
    "copy_strided_cuda": of_each(BITS, 9),
    "bound_strided_cuda": of_each({type(n): n for n in (*NUMBERS, *INTEGERS)}.values(), 10),
    "convert_integers_cuda": [
        arguments
        for integer in INTEGERS
        for arguments in (
            (integer, np.int64(0), *integers(3)),
            (np.int64(0), integer, *integers(3)),
        )
        if not isinstance(integer, np.int64)
    ],
    "fill_cuda": [(number, *integers(2)) for number in BITS],
    "copy_masked_cuda": [(number, *integers(4)) for number in BITS],
    "merge_runs_cuda": [integers(6)],
    "flag_groups_cuda": [integers(4)],
    "find_range_cuda": [integers(3)],
    "number_groups_cuda": [integers(3)],
    "store_indices_cuda": [integers(6)],
    "add_rows_cuda": of_each(NUMBERS, 8),
    "add_products_cuda": [(number, 1.0, *integers(3)) for number in NUMBERS],
    "store_quotients_cuda": [(number, 1.0, *integers(3)) for number in NUMBERS],
    "place_groups_cuda": [integers(4)],
    "update_cuda": of_each_rule(ONE_RULE, 5),
    "update_rows_cuda": of_each_rule(ONE_RULE, 7),
    "update_all_rows_cuda": of_each_rule(RULES_OF_ALL_ROWS, 7),
}


def kernels() -> Iterator[tuple[str, CudaKernel]]:
    """Yield every kernel for a GPU that there is."""
    for package in (_kernels, train):
        for module in pkgutil.iter_modules(package.__path__):
            contents = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            for name, value in contents.items():
                if (
                    isinstance(value, CudaKernel)
                    and value.function.__module__ == contents["__name__"]
                ):
                    yield name, value


def types_of(arguments: Arguments) -> tuple[type[Any], ...]:
    return tuple(map(type, arguments))
