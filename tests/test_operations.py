"""Every operation on every hostile array, against references computed by other means."""

import math
from typing import Any

import numpy as np
import pytest
from arrays import HOSTILE, INPUT_ONLY, Array, Dtype, dimensions_of, dtype_named, normal
from operations import (
    OPERATIONS,
    REDUCTIONS,
    Operation,
    Reduction,
    alone,
    exact_norm,
    itself,
    leaves,
    no_tolerance,
    numbers_differ,
    parts,
    structure,
)

import numclip as nc

# Limits as parts of the norm; those in `FRACTIONS` alone are zero, or leave all as it is.
CLIPPING = (1e-3, 0.7)
FRACTIONS = (0.0, *CLIPPING, 3.0, math.inf)


def cases(table: tuple[Any, ...], without: tuple[str, ...] = ()) -> list[Any]:
    dimensions = {name: dimensions_of(name) for name in HOSTILE if name not in without}
    return [
        pytest.param(row, dtype, array, id=f"{row.name}-{dtype}-{array}")
        for row in table
        for dtype in row.dtypes
        for array in dimensions
        if dimensions[array] >= row.dimensions
    ]


def bits(tensors: list[Array]) -> list[bytes]:
    return [x.tobytes() for x in tensors]


def fresh(operation: Operation, dtype: Dtype, array: str) -> Any:
    """Return an operand that can be written to."""
    x = HOSTILE[array](dtype)
    x.flags.writeable = True
    return operation.operand(x)


@pytest.mark.parametrize(("operation", "dtype", "array"), cases(OPERATIONS))
def test_result(operation: Operation, dtype: str, array: str) -> None:
    operand = operation.operand(HOSTILE[array](dtype_named(dtype)))
    tensors = leaves(operand)
    before = bits(tensors)
    squares = operation.squares(tensors)
    for fraction in FRACTIONS:
        limit = operation.limit(tensors, squares, fraction)
        result = operation.call(operand, limit, None)
        assert structure(result) == structure(operand)
        assert bits(tensors) == before
        expected = operation.expected(tensors, squares, limit)
        within = operation.is_within(tensors, squares, limit)
        for x, got, wanted in zip(tensors, leaves(result), expected, strict=True):
            assert not np.may_share_memory(got, x)
            found = parts(got)
            tolerance = operation.tolerance(x.dtype, x.size)
            assert not numbers_differ(found, wanted, *tolerance), (limit, found, wanted)
            if operation.tolerance != no_tolerance:
                unchanged = np.broadcast_to(within, found.shape)
                assert found[unchanged].tobytes() == parts(x)[unchanged].tobytes()


@pytest.mark.parametrize(("operation", "dtype", "array"), cases(OPERATIONS, INPUT_ONLY))
def test_out(operation: Operation, dtype: str, array: str) -> None:
    operand, out, in_place = (fresh(operation, dtype_named(dtype), array) for _ in range(3))
    tensors = leaves(operand)
    before = bits(tensors)
    limit = 0.01
    expected = bits(leaves(operation.call(operand, limit, None)))
    for x in leaves(out):
        x.fill(7)
    for t, target in ((operand, out), (in_place, in_place)):
        result = operation.call(t, limit, target)
        assert result is target or type(target) in (list, tuple, dict)
        assert all(a is b for a, b in zip(leaves(result), leaves(target), strict=True))
        assert bits(leaves(target)) == expected
    assert bits(tensors) == before


PROJECTIONS = tuple(operation for operation in OPERATIONS if operation.is_projection)


@pytest.mark.parametrize(("operation", "dtype", "array"), cases(PROJECTIONS))
def test_projection(operation: Operation, dtype: str, array: str) -> None:
    operand = operation.operand(HOSTILE[array](dtype_named(dtype)))
    squares = operation.squares(leaves(operand))
    is_finite = math.inf not in np.ravel(squares)
    for fraction in CLIPPING:
        limit = operation.limit(leaves(operand), squares, fraction)
        once = operation.call(operand, limit, None)
        assert not (is_finite and operation.is_above(leaves(once), limit)), limit
        again = operation.call(once, limit, None)
        assert bits(leaves(again)) == bits(leaves(once)), limit


@pytest.mark.parametrize(("reduction", "dtype", "array"), cases(REDUCTIONS))
def test_norm(reduction: Reduction, dtype: str, array: str) -> None:
    operand = reduction.operand(HOSTILE[array](dtype_named(dtype)))
    before = bits(leaves(operand))
    norm = reduction.call(operand)
    assert type(norm) is np.float64
    expected = exact_norm(leaves(operand))
    assert norm == pytest.approx(expected, rel=1e-14, abs=5e-324, nan_ok=True)
    assert bits(leaves(operand)) == before


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint64"])
def test_clip_by_value_of_integers(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.random.default_rng(8).integers(info.min, info.max, 300, dtype, endpoint=True)
    before = x.tobytes()
    for lowest, highest in ((info.min, info.max), (info.min + 3, info.max // 2), (5, 5)):
        result = nc.clip_by_value(x, lowest, highest)
        assert result.dtype == x.dtype
        assert result.tolist() == [max(min(v, highest), lowest) for v in x.tolist()]
        assert not np.may_share_memory(result, x)
    assert x.tobytes() == before


SINGLE = tuple(
    operation
    for operation in OPERATIONS
    if operation.operand in (itself, alone) and operation.dimensions < 2
)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("operation", SINGLE, ids=lambda operation: operation.name)
@pytest.mark.parametrize("shift", [-3, 3])
def test_out_may_overlap_its_own_input(operation: Operation, dtype: str, shift: int) -> None:
    memory = normal(dtype_named(dtype), 600)
    x, out = memory[3:-3], memory[3 + shift : 597 + shift]
    expected = bits(leaves(operation.call(operation.operand(x), 0.5, None)))
    operation.call(operation.operand(x), 0.5, operation.operand(out))
    assert bits([out]) == expected
