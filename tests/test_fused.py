"""Clipping inside a step: the bits of coalesce, clip and apply, and what else a step does."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optimizers import (
    OPTIMIZERS,
    Array,
    Row,
    for_every_dtype,
    for_every_optimizer,
    normal,
    same,
    with_dtypes,
)

import numclip as nc

Slices = nc.IndexedSlices
Optimizer = nc.train.Optimizer


def by_value(gradients: list[Any], limit: float) -> list[Any]:
    return [None if g is None else nc.clip_by_value(g, -limit, limit) for g in gradients]


def by_norm(gradients: list[Any], limit: float) -> list[Any]:
    return [None if g is None else nc.clip_by_norm(g, limit) for g in gradients]


def by_global_norm(gradients: list[Any], limit: float) -> list[Any]:
    return nc.clip_by_global_norm(gradients, limit)[0]


CLIPS: dict[str, Callable[[list[Any], float], list[Any]]] = {
    "clipvalue": by_value,
    "clipnorm": by_norm,
    "global_clipnorm": by_global_norm,
}
by_every_option = pytest.mark.parametrize("option", CLIPS)


def coalesced(gradients: list[Any]) -> list[Any]:
    return [each.coalesce() if isinstance(each, Slices) else each for each in gradients]


SHAPES = {"dense": [(6, 3)], "slices": [(9, 3)], "mixed": [(6, 3), (9, 2), (4,), (300,), ()]}


def variables_of(kind: str, dtype: Any) -> list[nc.Variable]:
    return [nc.Variable(normal(shape, dtype, 7)) for shape in SHAPES[kind]]


def gradients_of(kind: str, dtype: Any, seed: int) -> list[Any]:
    dense = [normal(shape, dtype, seed) for shape in SHAPES[kind]]
    if kind == "dense":
        return dense
    rows = np.random.default_rng(seed).integers(7, size=6)
    rows[:2] = 5
    if kind == "slices":
        return [Slices(normal((6, 3), dtype, seed), rows)]
    return [dense[0], Slices(normal((6, 2), dtype, seed), rows), None, *dense[3:]]


def bits(gradients: list[Any]) -> list[Any]:
    arrays = [each.values if isinstance(each, Slices) else each for each in gradients]
    return [None if array is None else array.tobytes() for array in arrays]


def held(optimizer: Optimizer, variables: list[nc.Variable]) -> list[Array]:
    """Return copies of the numbers of variables and of their slots."""
    slots = [
        optimizer.get_slot(variable, name)
        for variable in variables
        for name in optimizer.get_slot_names()
    ]
    return [np.array(each) for each in (*variables, *slots) if each is not None]


def assert_same(found: list[Array], expected: list[Array]) -> None:
    assert len(found) == len(expected)
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert same(one, other), i


def assert_is_coalesce_clip_apply(
    row: Row, option: str, limit: float, kind: str, dtype: Any, count: int = 3
) -> None:
    fused, unfused = row.make(**{option: limit}), row.make()
    variables, others = variables_of(kind, dtype), variables_of(kind, dtype)
    for step in range(count):
        gradients = gradients_of(kind, dtype, step)
        before = bits(gradients)
        fused.apply_gradients(zip(gradients, variables, strict=True))
        assert bits(gradients) == before
        clipped = CLIPS[option](coalesced(gradients), limit)
        unfused.apply_gradients(zip(clipped, others, strict=True))
        assert_same(held(fused, variables), held(unfused, others))


@with_dtypes
@by_every_option
@pytest.mark.parametrize("kind", SHAPES)
def test_a_fused_clip_is_coalesce_clip_apply(row: Row, option: str, kind: str, dtype: Any) -> None:
    for limit in (0.37, 1.5, 1e4):
        assert_is_coalesce_clip_apply(row, option, limit, kind, dtype)


# Where numclip multiplies in steps, and those on either side; of the smallest number there is.
SMALL_LIMITS = [0.0, 5e-324, 1e-300, 2.0**-960, 1e-45, 2.0**-126, 2.0**-100, 2.0**-90, 2.0**-24]
# All take the same loops; compiling them for each takes most of these tests' time.
for_some_optimizers = pytest.mark.parametrize(
    "row",
    [OPTIMIZERS[name] for name in ("gradient descent", "adam", "adagrad")],
    ids=["gradient descent", "adam", "adagrad"],
)


class Named(nc.Variable):
    """What a user may derive from a Variable."""


@for_every_optimizer
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("change", ["derived", "another array", "another layout", "dense for rows"])
def test_what_a_step_remembers_of_variables_is_not_trusted(
    row: Row, kind: str, change: str
) -> None:
    optimizer, other = (row.make(global_clipnorm=1.0) for _ in range(2))
    variables, others = variables_of(kind, np.float32), variables_of(kind, np.float32)
    if change == "derived":
        variables = [Named(each.array) for each in variables]
    for step in range(3):
        gradients = gradients_of(kind, np.float32, step)
        if change == "another array" and step == 1:
            for variable in variables:
                variable.array = variable.array.copy()
        if change == "another layout" and step == 1:
            for variable in variables:
                variable.array = variable.array.copy(order="F")
        if change == "dense for rows" and step == 1:
            for i, each in enumerate(gradients):
                if isinstance(each, Slices):
                    gradients[i] = normal(variables[i].shape, np.float32, 5)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        other.apply_gradients(zip(gradients, others, strict=True))
    assert_same(held(optimizer, variables), held(other, others))


@for_some_optimizers
@by_every_option
@for_every_dtype
@pytest.mark.parametrize("limit", SMALL_LIMITS)
def test_limits_so_small_that_products_are_taken_in_steps(
    row: Row, option: str, limit: float, dtype: Any
) -> None:
    for kind in SHAPES:
        assert_is_coalesce_clip_apply(row, option, limit, kind, dtype, count=2)


@for_some_optimizers
@by_every_option
@pytest.mark.parametrize("limit", [np.inf, 1e300, np.float32(2.0), np.array(2.0), 2])
def test_limits_of_any_kind(row: Row, option: str, limit: Any) -> None:
    assert_is_coalesce_clip_apply(row, option, limit, "mixed", np.float32)


@by_every_option
def test_a_gradient_at_its_limit_stays(option: str) -> None:
    gradient, start = np.array([3.0, -4.0]), np.array([0.3, 0.7])
    limit = 4.0 if option == "clipvalue" else 5.0
    found, expected = nc.Variable(start.copy()), nc.Variable(start.copy())
    row = OPTIMIZERS["momentum"]
    result = row.make(**{option: limit}).apply_gradients([(gradient, found)])
    row.make().apply_gradients([(gradient, expected)])
    assert same(found, expected)
    assert result.scale == 1.0


@by_every_option
def test_a_limit_that_is_callable_is_called_once_in_each_step(option: str) -> None:
    limits, calls = [0.5, 2.0, 1e3], []

    def limit() -> float:
        calls.append(limits[len(calls)])
        return calls[-1]

    row = OPTIMIZERS["momentum"]
    fused, unfused = row.make(**{option: limit}), row.make()
    assert calls == []
    found, expected = variables_of("mixed", np.float32), variables_of("mixed", np.float32)
    for step, now in enumerate(limits):
        gradients = gradients_of("mixed", np.float32, step)
        fused.apply_gradients(zip(gradients, found, strict=True))
        clipped = CLIPS[option](coalesced(gradients), now)
        unfused.apply_gradients(zip(clipped, expected, strict=True))
        assert calls == limits[: step + 1]
    assert_same(held(fused, found), held(unfused, expected))


@for_every_dtype
@pytest.mark.parametrize("limit", [0.0, 0.37, 1e4, np.inf])
def test_the_result_has_the_norm_of_summed_rows_and_the_scale(dtype: Any, limit: float) -> None:
    gradients, variables = gradients_of("mixed", dtype, 0), variables_of("mixed", dtype)
    optimizer = nc.train.AdamOptimizer(global_clipnorm=limit)
    result = optimizer.apply_gradients(zip(gradients, variables, strict=True))
    norm = nc.global_norm(coalesced(gradients))
    assert norm != nc.global_norm(gradients)
    assert type(result.global_norm) is np.float64
    assert result.global_norm == norm
    assert result.scale == min(1.0, limit / norm)
    assert not result.skipped


@pytest.mark.parametrize("options", [{}, {"clipvalue": 0.1}, {"clipnorm": 0.1}], ids=str)
@pytest.mark.parametrize("nonfinite", ["propagate", "raise", "skip"])
def test_the_norm_is_only_taken_where_it_is_needed(options: Any, nonfinite: str) -> None:
    gradients, variables = gradients_of("mixed", np.float32, 0), variables_of("mixed", np.float32)
    optimizer = nc.train.AdamOptimizer(**options, nonfinite=nonfinite)
    result = optimizer.apply_gradients(zip(gradients, variables, strict=True))
    norm = None if nonfinite == "propagate" else nc.global_norm(coalesced(gradients))
    assert (result.global_norm, result.scale, result.skipped) == (norm, 1.0, False)


# Prints a digest of all numbers after some steps, for each number of threads.
DIGESTS = """
import hashlib
import numpy as np, numclip as nc
from optimizers import OPTIMIZERS, normal
kinds = (("gradient descent", "f2"), ("momentum", "f4"), ("adam", "f4"), ("adam", "f8"))
clips = ({}, {"clipvalue": 0.5}, {"clipnorm": 3.0}, {"global_clipnorm": 3.0})
shapes = ((200_001,), (40_000, 4), (5,), (300, 301))
rows = np.random.default_rng(0).integers(40_000, size=40_000)
for threads in (1, 2, 3, 4):
    nc.set_num_threads(threads)
    assert nc.get_num_threads() == threads
    digest = hashlib.sha256()
    for clip in clips:
        for name, dtype in kinds:
            variables = [nc.Variable(normal(shape, dtype)) for shape in shapes]
            optimizer = OPTIMIZERS[name].make(**clip)
            for step in range(2):
                gradients = [normal(shape, dtype, step + 1) for shape in shapes]
                if step == 0:
                    gradients[1] = nc.IndexedSlices(gradients[1], rows)
                optimizer.apply_gradients(zip(gradients, variables))
            for each in (*variables, *optimizer.variables()):
                digest.update(each.value.tobytes())
    print(digest.hexdigest())
"""


def test_any_number_of_threads_gives_the_same_bits() -> None:
    process = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "4", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    digests = process.stdout.split()
    assert len(digests) == 4
    assert len(set(digests)) == 1


def spoiled(gradients: list[Any], position: int, bad: float) -> list[Any]:
    """Return the gradients, one number of one of them replaced."""
    array = gradients[position]
    (array.values if isinstance(array, Slices) else array).flat[-1] = bad
    return gradients


OPTIONS: list[dict[str, float]] = [{}, *({option: 0.5} for option in CLIPS)]
with_every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)
POSITIONS = [0, 1, 3, 4]  # in "mixed", whose entry 2 is None
of_every_bad_number = pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])


@for_every_optimizer
@with_every_option
@of_every_bad_number
def test_skip_leaves_everything_as_it_was(row: Row, options: Any, bad: float) -> None:
    optimizer = row.make(**options, nonfinite="skip")
    expected = row.make(**options, nonfinite="skip")
    variables, others = variables_of("mixed", np.float32), variables_of("mixed", np.float32)
    global_step = nc.Variable(5)
    # Before there are slots, and after.
    for step in range(3):
        for position in POSITIONS:
            state, before = optimizer.state_dict(), held(optimizer, variables)
            gradients = spoiled(gradients_of("mixed", np.float32, step), position, bad)
            given = bits(gradients)
            pairs = zip(gradients, variables, strict=True)
            result = optimizer.apply_gradients(pairs, global_step=global_step)
            assert result.skipped
            assert not np.isfinite(result.global_norm)
            assert global_step.value == 5 + step
            assert_same(held(optimizer, variables), before)
            assert bits(gradients) == given
            assert repr(optimizer.state_dict()) == repr(state)
        assert len(optimizer.variables()) == len(before) - len(variables)
        gradients = gradients_of("mixed", np.float32, step)
        pairs = zip(gradients, variables, strict=True)
        assert not optimizer.apply_gradients(pairs, global_step=global_step).skipped
        expected.apply_gradients(zip(gradients, others, strict=True))
    assert_same(held(optimizer, variables), held(expected, others))


@for_every_optimizer
@with_every_option
@of_every_bad_number
@pytest.mark.parametrize("position", POSITIONS)
def test_raise_names_the_first_gradient_that_is_not_finite(
    row: Row, options: Any, bad: float, position: int
) -> None:
    optimizer = row.make(**options, nonfinite="raise")
    variables, global_step = variables_of("mixed", np.float32), nc.Variable(5)
    for step in range(2):
        gradients = spoiled(gradients_of("mixed", np.float32, step), position, bad)
        gradients = spoiled(gradients, POSITIONS[-1], bad)
        state, before = optimizer.state_dict(), held(optimizer, variables)
        pairs = list(zip(gradients, variables, strict=True))
        with pytest.raises(FloatingPointError, match=rf"`grads_and_vars\[{position}\]\[0\]` must"):
            optimizer.apply_gradients(pairs, global_step=global_step)
        assert_same(held(optimizer, variables), before)
        assert repr(optimizer.state_dict()) == repr(state)
        assert global_step.value == 5 + step
        gradients = gradients_of("mixed", np.float32, step)
        optimizer.apply_gradients(zip(gradients, variables, strict=True), global_step=global_step)


@for_every_optimizer
@by_every_option
@of_every_bad_number
def test_propagate_does_what_the_clips_do(row: Row, option: str, bad: float) -> None:
    for position in POSITIONS:
        fused, unfused = row.make(**{option: 0.5}), row.make()
        found, expected = variables_of("mixed", np.float32), variables_of("mixed", np.float32)
        gradients = spoiled(gradients_of("mixed", np.float32, 0), position, bad)
        fused.apply_gradients(zip(gradients, found, strict=True))
        clipped = CLIPS[option](coalesced(gradients), 0.5)
        unfused.apply_gradients(zip(clipped, expected, strict=True))
        for pair in zip(held(fused, found), held(unfused, expected), strict=True):
            np.testing.assert_array_equal(*pair)


def test_a_norm_that_overflows_float64_is_finite_where_the_numbers_are() -> None:
    variable = nc.Variable(np.zeros(2))
    optimizer = nc.train.GradientDescentOptimizer(1.0, nonfinite="skip", clipnorm=5.0)
    result = optimizer.apply_gradients([(np.array([-3e300, -4e300]), variable)])
    assert not result.skipped
    np.testing.assert_allclose(variable.value, [3.0, 4.0])


@for_every_optimizer
@by_every_option
def test_the_same_variable_twice(row: Row, option: str) -> None:
    found, expected = nc.Variable(normal((9, 3))), nc.Variable(normal((9, 3)))
    fused, unfused = row.make(**{option: 0.7}), row.make()
    for step in range(2):
        gradients = [normal((9, 3), seed=step + 1), *gradients_of("slices", float, step)]
        fused.apply_gradients((gradient, found) for gradient in gradients)
        clipped = CLIPS[option](coalesced(gradients), 0.7)
        unfused.apply_gradients((gradient, expected) for gradient in clipped)
    assert_same(held(fused, [found]), held(unfused, [expected]))


VIEWS: dict[str, Callable[[Array], list[Array]]] = {
    "apart": lambda flat: [flat[:12].reshape(4, 3), flat[12:18].reshape(2, 3), flat[18:]],
    "overlapping": lambda flat: [flat[:12].reshape(4, 3), flat[9:18].reshape(3, 3), flat[15:]],
    "in turn": lambda flat: [flat[::2], flat[1::2], flat[20:]],
}


@for_every_optimizer
@by_every_option
@pytest.mark.parametrize("kind", VIEWS)
def test_variables_that_are_views_of_one_buffer(row: Row, option: str, kind: str) -> None:
    buffers = [normal(30), normal(30)]
    fused, unfused = row.make(**{option: 0.7}), row.make()
    found, expected = ([nc.Variable(view) for view in VIEWS[kind](each)] for each in buffers)
    for step in range(3):
        gradients = [normal(each.shape, seed=step) for each in found]
        fused.apply_gradients(zip(gradients, found, strict=True))
        clipped = CLIPS[option](gradients, 0.7)
        # One at a time: what overlaps is updated in the order given.
        unfused.apply_gradients(zip(clipped, expected, strict=True))
    assert same(*buffers)
    assert_same(held(fused, found), held(unfused, expected))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_gradient_that_is_a_slot_of_the_optimizer(options: Any) -> None:
    results = []
    for copies in (False, True):
        first, second = nc.Variable(normal((4, 3))), nc.Variable(normal((4, 3), seed=1))
        optimizer = OPTIMIZERS["adam"].make(**options)
        optimizer.apply_gradients([(normal((4, 3), seed=2), first), (normal((4, 3)), second)])
        for variable in (first, second):
            slot = optimizer.get_slot(first, "v").value
            slot = slot.copy() if copies else slot
            rows = Slices(slot[::-1], np.array([3, 0, 0, 1]))
            optimizer.apply_gradients([(slot, first), (slot, second), (rows, variable)])
        results.append(held(optimizer, [first, second]))
    assert_same(*results)


# 1e39 is infinite in all dtypes but float64.
BOUNDS = [(-0.25, 0.5), (-np.inf, 0.1), (0.3, 0.3), (0.1, 1e39)]


@for_some_optimizers
@for_every_dtype
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_bounds_are_clip_by_value_after_the_step(row: Row, dtype: Any, bounds: Any) -> None:
    for options in ({}, {"global_clipnorm": 0.7}):
        numbers = normal((6, 3), dtype)
        found = nc.Variable(numbers.copy(), constraint=bounds)
        expected = nc.Variable(numbers.copy())
        optimizers = [row.make(**options) for _ in range(2)]
        for step in range(3):
            gradient = normal((6, 3), dtype, step)
            optimizers[0].apply_gradients([(gradient, found)])
            optimizers[1].apply_gradients([(gradient, expected)])
            expected.assign(nc.clip_by_value(expected.value, *bounds))
            assert_same(held(optimizers[0], [found]), held(optimizers[1], [expected]))


@for_every_optimizer
@pytest.mark.parametrize("layout", ["plain", "strided"])
def test_bounds_beside_variables_without_any(row: Row, layout: str) -> None:
    bounded, free = (
        nc.Variable(normal((12, 3))[:: 2 if layout == "strided" else 1], constraint=c)
        for c in ((-0.25, 0.25), None)
    )
    expected = [nc.Variable(each.value.copy()) for each in (bounded, free)]
    optimizers = [row.make() for _ in range(2)]
    for step in range(3):
        gradient = normal(free.shape, seed=step + 1)
        optimizers[0].apply_gradients([(gradient, bounded), (gradient, free)])
        optimizers[1].apply_gradients((gradient, each) for each in expected)
        expected[0].assign(nc.clip_by_value(expected[0].value, -0.25, 0.25))
        assert same(bounded, expected[0])
        assert same(free, expected[1])


@for_some_optimizers
@for_every_dtype
def test_bounds_hold_the_rows_that_are_updated(row: Row, dtype: Any) -> None:
    numbers, bounds = normal((9, 3), dtype), (-0.25, 0.25)
    found, expected = nc.Variable(numbers.copy(), constraint=bounds), nc.Variable(numbers.copy())
    optimizers = [row.make(clipnorm=0.7) for _ in range(2)]
    for step in range(3):
        (gradient,) = gradients_of("slices", dtype, step)
        optimizers[0].apply_gradients([(gradient, found)])
        optimizers[1].apply_gradients([(gradient, expected)])
        rows = slice(None) if row.takes_all_rows else np.unique(gradient.indices)
        expected.value[rows] = nc.clip_by_value(expected.value[rows], *bounds)
        assert_same(held(optimizers[0], [found]), held(optimizers[1], [expected]))
    if not row.takes_all_rows:
        assert np.any(np.abs(found.value.astype(float)) > 0.25)


def unit_columns(numbers: Array) -> Array:
    lengths = np.sqrt(np.sum(numbers.astype(np.float64) ** 2, axis=0))
    return (numbers / lengths).astype(numbers.dtype)


@with_dtypes
def test_a_constraint_that_is_a_function_is_applied_after_the_step(row: Row, dtype: Any) -> None:
    found = nc.Variable(normal((6, 3), dtype), constraint=unit_columns)
    beside, alone = (nc.Variable(normal(4, dtype)) for _ in range(2))
    expected = nc.Variable(normal((6, 3), dtype))
    optimizers = [row.make() for _ in range(2)]
    for step in range(3):
        gradient, other = normal((6, 3), dtype, step), normal(4, dtype, step)
        optimizers[0].apply_gradients([(gradient, found), (other, beside)])
        optimizers[1].apply_gradients([(gradient, expected), (other, alone)])
        expected.assign(unit_columns(expected.value))
    assert_same(held(optimizers[0], [found, beside]), held(optimizers[1], [expected, alone]))


@for_every_optimizer
def test_a_function_is_applied_after_each_of_two_gradients(row: Row) -> None:
    found = nc.Variable(normal((6, 3))[::2], constraint=lambda numbers: numbers.clip(-0.2, 0.2))
    expected = nc.Variable(normal((6, 3))[::2].copy(), constraint=(-0.2, 0.2))
    gradients = [normal((3, 3), seed=1), normal((3, 3), seed=2)]
    optimizers = [row.make(global_clipnorm=1.0) for _ in range(2)]
    for optimizer, variable in zip(optimizers, (found, expected), strict=True):
        optimizer.apply_gradients((gradient, variable) for gradient in gradients)
    assert_same(held(optimizers[0], [found]), held(optimizers[1], [expected]))


def raises(numbers: Array) -> Array:
    numbers[...] = 7.0
    raise RuntimeError("no such numbers")


BAD_CONSTRAINTS: dict[str, tuple[Callable[[Array], Any], type[Exception], str]] = {
    "raises": (raises, RuntimeError, "no such numbers"),
    "of another shape": (lambda numbers: numbers[:1], ValueError, "`value`"),
    "complex": (lambda numbers: numbers * 1j, TypeError, "`value`"),
    "None": (lambda numbers: None, TypeError, "`value`"),
}


@for_every_optimizer
@pytest.mark.parametrize("kind", BAD_CONSTRAINTS)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_function_that_fails_changes_nothing(row: Row, kind: str, steps_before: int) -> None:
    bad, error, text = BAD_CONSTRAINTS[kind]
    constraints = [None, lambda numbers: numbers, lambda numbers: now[0](numbers), (-1.0, 1.0)]
    now: list[Callable[[Array], Any]] = [lambda numbers: numbers]
    variables = [nc.Variable(normal((6, 3)), constraint=each) for each in constraints]
    optimizer, global_step = row.make(), nc.Variable(0)
    gradients = [normal((6, 3), seed=i) for i in range(4)]

    def step() -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True), global_step=global_step)

    for _ in range(steps_before):
        step()
    now[0] = bad
    before, state = held(optimizer, variables), repr(optimizer.state_dict())
    with pytest.raises(error, match=text):
        step()
    assert_same(held(optimizer, variables), before)
    assert repr(optimizer.state_dict()) == state
    assert global_step.value == steps_before


def overwrites(numbers: Array) -> Array:
    numbers[...] = -3.0
    return numbers


@for_every_optimizer
@pytest.mark.parametrize("function", [overwrites, lambda numbers: numbers * 0.0 - 3.0])
@pytest.mark.parametrize("layout", ["plain", "strided", "swapped"])
def test_a_function_leaves_masked_numbers_as_they_are(row: Row, function: Any, layout: str) -> None:
    start, mask = normal((6, 3)), np.arange(18).reshape(6, 3) % 3 > 0
    start[0, 0] = np.nan
    array = np.repeat(start, 2, axis=0)[::2] if layout == "strided" else start.copy()
    if layout == "swapped":
        array = array.astype(array.dtype.newbyteorder(">"))
    variable = nc.Variable(array, constraint=function, update_mask=mask)
    optimizer = row.make()
    for seed in range(2):
        gradient = normal((6, 3), seed=seed)
        optimizer.apply_gradients([(gradient, variable), (gradient, variable)])
    assert same(variable.value.astype(start.dtype), np.where(mask, -3.0, start))


SHARED: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "a part": lambda memory: (memory, memory[:1]),
    "a part first": lambda memory: (memory[:1], memory),
    "the same": lambda memory: (memory, memory),
    "turned round": lambda memory: (memory, memory[::-1]),
    "of another owner": lambda memory: (memory, np.frombuffer(memoryview(memory))),
}


@for_every_optimizer
@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("in_groups", [False, True])
def test_a_function_refuses_memory_of_another_variable(
    row: Row, kind: str, in_groups: bool
) -> None:
    memory = np.array([5.0, 6.0, 7.0])
    arrays = SHARED[kind](memory)
    variables = [
        nc.Variable(arrays[0], name="x", constraint=lambda numbers: numbers),
        nc.Variable(arrays[1], name="y"),
    ]
    optimizer: Any = row.make()
    if in_groups:
        optimizer = nc.train.GroupedOptimizer([("x", optimizer), ("y", row.make())])
    with pytest.raises(ValueError, match=r"`grads_and_vars\[1\]\[1\]` must share no memory.*'x'"):
        optimizer.apply_gradients([(np.ones(each.shape), each) for each in reversed(variables)])
    assert memory.tolist() == [5, 6, 7]
    assert optimizer.variables() == []


@for_every_optimizer
def test_a_function_takes_variables_that_alternate_in_memory(row: Row) -> None:
    memory, apart = normal(8), normal(8)
    found = [nc.Variable(memory[::2], constraint=np.abs), nc.Variable(memory[1::2])]
    expected = [nc.Variable(apart[::2].copy(), constraint=np.abs), nc.Variable(apart[1::2].copy())]
    for variables in (found, expected):
        row.make().apply_gradients([(normal(4, seed=1), each) for each in variables])
    assert all(same(*pair) for pair in zip(found, expected, strict=True))


@for_every_optimizer
def test_a_function_refuses_slices(row: Row) -> None:
    variable = nc.Variable(normal((6, 3)), constraint=unit_columns, name="embedding")
    optimizer, before = row.make(), variable.value.copy()
    with pytest.raises(TypeError, match=r"`grads_and_vars\[0\]\[0\]` must be dense.*embedding"):
        optimizer.apply_gradients([(Slices(np.ones((1, 3)), np.array([2])), variable)])
    assert same(variable, before)
    assert optimizer.variables() == []


NAMED: dict[str, Callable[[list[nc.Variable]], Any]] = {
    "list": lambda variables: variables,
    "iterator": iter,
    "mapping": lambda variables: {variable.name: variable for variable in variables},
}


@for_every_optimizer
@pytest.mark.parametrize("kind", NAMED)
def test_gradients_by_name_are_those_by_pairs(row: Row, kind: str) -> None:
    results = []
    for by_name in (False, True):
        variables = [nc.Variable(normal(4, seed=i), name=f"layer/{i}") for i in range(4)]
        gradients = {"layer/2": normal(4), "layer/0": normal(4, seed=1), "layer/3": None}
        optimizer = row.make(global_clipnorm=0.5)
        if by_name:
            optimizer.apply_gradients(gradients, variables=NAMED[kind](variables))
        else:
            named = {variable.name: variable for variable in variables}
            optimizer.apply_gradients([(each, named[name]) for name, each in gradients.items()])
        results.append(held(optimizer, variables))
    assert_same(*results)
