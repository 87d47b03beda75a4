"""Variables whose array is another than when their slots were made."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optimizers import OPTIMIZERS, Row, for_every_optimizer, normal, same

import numclip as nc

WITH_SLOTS = {name: row for name, row in OPTIMIZERS.items() if row.slots}


def replace(variable: nc.Variable) -> None:
    variable.array = np.zeros((6, 2))


def resize(variable: nc.Variable) -> None:
    variable.array.resize((6, 2), refcheck=False)


GRADIENTS: dict[str, Callable[[], Any]] = {
    "array": lambda: np.ones((6, 2)),
    "list": lambda: np.ones((6, 2)).tolist(),
    "rows": lambda: nc.IndexedSlices(np.ones((2, 2)), [5, 0]),
}


@pytest.mark.parametrize("row", WITH_SLOTS.values(), ids=WITH_SLOTS)
@pytest.mark.parametrize("change", [replace, resize])
@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_variable_that_outgrew_its_slots_is_refused_before_anything_is_written(
    row: Row, change: Callable[[nc.Variable], None], kind: str
) -> None:
    optimizer = row.make()
    other, variable = nc.Variable(normal(3), name="other"), nc.Variable(np.ones((4, 2)), name="w")
    for _ in range(2):
        optimizer.apply_gradients([(np.ones(3), other), (np.ones((4, 2)), variable)])
    change(variable)
    before = [each.value.copy() for each in (other, variable, *optimizer.variables())]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"name='w', shape=\(6, 2\).*shape=\(4, 2\)"):
            optimizer.apply_gradients([(np.ones(3), other), (GRADIENTS[kind](), variable)])
    after = [other, variable, *optimizer.variables()]
    assert all(same(*pair) for pair in zip(after, before, strict=True))


@pytest.mark.parametrize("row", WITH_SLOTS.values(), ids=WITH_SLOTS)
def test_a_state_of_the_new_shape_gives_a_variable_new_slots(row: Row) -> None:
    optimizer, given = row.make(), row.make()
    variable, like = nc.Variable(np.ones((4, 2)), name="w"), nc.Variable(np.zeros((6, 2)), name="w")
    optimizer.apply_gradients([(np.ones((4, 2)), variable)])
    given.apply_gradients([(np.ones((6, 2)), like)])
    variable.array = like.value.copy()
    optimizer.load_state_dict(given.state_dict())
    for each, updated in ((optimizer, variable), (given, like)):
        each.apply_gradients([(normal((6, 2)), updated)])
    assert same(variable, like)
    assert all(same(*pair) for pair in zip(optimizer.variables(), given.variables(), strict=True))


@pytest.mark.parametrize("row", WITH_SLOTS.values(), ids=WITH_SLOTS)
def test_a_slot_keeps_its_array(row: Row) -> None:
    optimizer, variable = row.make(), nc.Variable(np.ones(4), name="w")
    optimizer.apply_gradients([(np.ones(4), variable)])
    for slot in optimizer.variables():
        before = slot.array
        with pytest.raises(AttributeError, match=r"'w/.* is a slot and keeps its array"):
            slot.array = np.ones(4)
        assert slot.array is before
        assert np.all(slot.assign(np.full(4, 0.5)).array == 0.5)


def test_without_slots_a_variable_may_be_of_another_shape() -> None:
    optimizer, variable = nc.train.GradientDescentOptimizer(1.0), nc.Variable(np.zeros(4))
    optimizer.apply_gradients([(np.ones(4), variable)])
    variable.array = np.zeros(6)
    optimizer.apply_gradients([(np.ones(6), variable)])
    assert same(variable, np.full(6, -1.0))


@for_every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_of_another_dtype_than_its_variable_is_refused(row: Row, dtype: Any) -> None:
    optimizer, variable = row.make(), nc.Variable(np.ones(4, dtype), name="w")
    optimizer.apply_gradients([(np.ones(4, dtype), variable)])
    other = np.dtype(np.float64 if dtype is np.float32 else np.float32)
    variable.array = np.ones(4, other)
    with pytest.raises(TypeError, match=rf"`grads_and_vars\[0\]\[1\]` .*dtype, got one of {other}"):
        optimizer.apply_gradients([(np.ones(4, dtype), variable)])
    assert same(variable, np.ones(4, other))


def test_a_mask_of_another_size_than_its_variable_is_refused() -> None:
    variable = nc.Variable(np.ones(4), name="w", update_mask=[True, False, True, True])
    variable.array = np.ones(6)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[0\]\[1\]` .*mask, 4, got"):
        nc.train.GradientDescentOptimizer(1.0).apply_gradients([(np.ones(6), variable)])
    assert same(variable, np.ones(6))
