"""What is kept of a step for the next one holds only while everything is where it was."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import libraries
import numpy as np
import pytest
from arrays import Array, dtype_named, normal
from devices import on_device, on_host
from optimizers import OPTIMIZERS

import numclip as nc
from numclip import _cuda_libraries
from numclip.train import _cuda_updates, _host_updates

# On the host, and on a device.
PLANS = (_host_updates.Plan, _cuda_updates.Plan)

SHAPES = ((9, 4), (131,), (), (0,), (3, 5))

Place = Callable[[Array], Any]


class Run:
    """An optimizer and its variables, on the host or on the device."""

    def __init__(self, make: Any, place: Place, dtypes: tuple[str, ...] = ("float32",)) -> None:
        self.place = place
        self.optimizer = make(global_clipnorm=0.5)
        self.variables = [
            nc.Variable(place(normal(dtype_named(dtypes[i % len(dtypes)]), *shape)))
            for i, shape in enumerate(SHAPES)
        ]

    def gradients(self, factor: int) -> list[Any]:
        found = [normal(each.dtype, *each.shape) for each in self.variables]
        return [self.place(np.asarray(factor * each, each.dtype)) for each in found]

    def step(self, gradients: list[Any]) -> None:
        self.optimizer.apply_gradients(list(zip(gradients, self.variables, strict=True)))

    def replace_an_array(self) -> None:
        self.variables[1].array = self.place(normal(np.dtype(np.float32), 131))

    def load_slots(self) -> None:
        self.optimizer.load_state_dict(self.optimizer.state_dict())


def numbers(run: Run) -> list[Array]:
    slots = [each.value for each in run.optimizer.variables()]
    held = [*(each.value for each in run.variables), *slots]
    return [each if run.place is np.asarray else on_host(each) for each in held]


def both(make: Any, then: Callable[[Run], None], dtypes: tuple[str, ...] = ("float32",)) -> None:
    """Do the same on the host and on the device, and compare bits."""
    found = []
    for place in (np.asarray, on_device):
        run = Run(make, place, dtypes)
        for factor in (1, -2, 3):
            run.step(run.gradients(factor))
        then(run)
        for factor in (4, -5):
            run.step(run.gradients(factor))
        found.append(numbers(run))
    for expected, device in zip(*found, strict=True):
        assert device.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtypes", [("float32",), ("float32", "float64"), ("bfloat16",)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_that_follow_each_other(name: str, dtypes: tuple[str, ...]) -> None:
    both(OPTIMIZERS[name].make, lambda run: None, dtypes)


@pytest.mark.parametrize("change", [Run.replace_an_array, Run.load_slots])
def test_what_changes_between_two_steps(change: Callable[[Run], None]) -> None:
    both(OPTIMIZERS["momentum"].make, change)


def test_gradients_of_which_one_shows_a_variable() -> None:
    def step(run: Run) -> None:
        gradients = run.gradients(9)
        gradients[4] = run.variables[1].array[:15].reshape(3, 5)
        run.step(gradients)

    both(OPTIMIZERS["momentum"].make, step)


def test_gradients_of_which_one_shows_a_slot() -> None:
    def step(run: Run) -> None:
        gradients = run.gradients(9)
        slot = run.optimizer.get_slot(run.variables[1], "momentum")
        gradients[4] = slot.array[:15].reshape(3, 5)
        run.step(gradients)

    both(OPTIMIZERS["momentum"].make, step)


def test_variables_without_numbers() -> None:
    variables = [nc.Variable(on_device(np.ones((0, 3), np.float32))) for _ in range(2)]
    optimizer = nc.train.MomentumOptimizer(0.5, 0.9, global_clipnorm=1.0)
    gradients = [on_device(np.ones((0, 3), np.float32)) for _ in range(2)]
    for _ in range(3):
        result = optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        assert on_host(result.global_norm) == 0.0


def test_slots_of_two_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable came from another library when its slot was made."""
    monkeypatch.setitem(sys.modules, "torch", libraries.TORCH)
    gradient = normal(np.dtype(np.float32), 131)
    found = []
    for place, other in ((np.asarray, np.asarray), (on_device, libraries.Tensor)):
        variables = [nc.Variable(each(np.ones(131, np.float32))) for each in (place, other)]
        optimizer = nc.train.MomentumOptimizer(0.5, 0.9)
        first = [each(gradient.copy()) for each in (place, other)]
        optimizer.apply_gradients(list(zip(first, variables, strict=True)))
        variables[1].array = place(np.ones(131, np.float32))
        second = [place(gradient.copy()) for _ in variables]
        optimizer.apply_gradients(list(zip(second, variables, strict=True)))
        found.append([each.array for each in variables])
    for expected, device in zip(*found, strict=True):
        assert on_host(device).tobytes() == expected.tobytes()


def move(run: Run, variable: nc.Variable) -> None:
    to_host = run.place is on_device
    variable.array = on_host(variable.array) if to_host else on_device(variable.array)


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.slots])
@pytest.mark.parametrize("place", [np.asarray, on_device])
@pytest.mark.parametrize("moved", [slice(1, 2), slice(None)])
def test_a_variable_that_left_its_slots_behind(name: str, place: Place, moved: slice) -> None:
    run, like = (Run(OPTIMIZERS[name].make, place) for _ in range(2))
    for each in (run, like):
        each.optimizer = OPTIMIZERS[name].make()  # a norm is of one place
        for factor in (1, -2, 3):
            each.step(each.gradients(factor))
    for variable in run.variables[moved]:
        move(run, variable)
    before = [bytes_of(each) for each in (*run.variables, *run.optimizer.variables())]
    gradients = run.gradients(4)
    other = on_host if place is on_device else on_device
    gradients[moved] = [other(each) for each in gradients[moved]]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"shape=\(.*must be where its slots are, on .*got an"):
            run.step(gradients)
    after = [bytes_of(each) for each in (*run.variables, *run.optimizer.variables())]
    assert after == before
    run.load_slots()
    for _ in range(3):
        run.step(gradients)
        like.step(like.gradients(4))
    for each, expected in zip(run.variables, like.variables, strict=True):
        assert bytes_of(each) == bytes_of(expected)
    if moved == slice(None):
        assert type(run.optimizer._slots.plan) is PLANS[place is np.asarray]


def bytes_of(variable: nc.Variable) -> bytes:
    array = variable.array
    return (array if type(array) is np.ndarray else on_host(array)).tobytes()


@pytest.mark.parametrize("place", [np.asarray, on_device])
def test_without_slots_a_variable_may_move(place: Place) -> None:
    run, like = (Run(OPTIMIZERS["gradient descent"].make, place) for _ in range(2))
    for each in (run, like):
        each.step(each.gradients(1))
    for variable in run.variables:
        move(run, variable)
    run.place = on_device if place is np.asarray else np.asarray
    for each in (run, like):
        each.step(each.gradients(2))
    for each, expected in zip(run.variables, like.variables, strict=True):
        assert bytes_of(each) == bytes_of(expected)
    assert type(run.optimizer._slots.plan) is PLANS[place is np.asarray]


def test_a_plan_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what a step comes with only gradients and variables are looked at anew."""
    asked: list[int] = []
    columns = _cuda_libraries.columns

    def count(arrays: Any) -> Any:
        asked.append(len(arrays))
        return columns(arrays)

    run = Run(OPTIMIZERS["adam"].make, on_device)
    for factor in (1, 2, 3):
        run.step(run.gradients(factor))
    monkeypatch.setattr(_cuda_libraries, "columns", count)
    run.step(run.gradients(3))
    assert asked == [len(SHAPES), len(SHAPES)]
    plan = run.optimizer._slots.plan
    assert copy.deepcopy(plan) is None
