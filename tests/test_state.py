"""The state of an optimizer: a run that goes on from it, and what does not fit."""

import copy
from collections.abc import Callable
from pathlib import Path
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
)

import numclip as nc

Optimizer = nc.train.Optimizer
State = dict[str, Any]

SHAPES = ((6, 3), (9, 2), ())


def gradients_at(step: int, dtype: Any) -> list[Any]:
    rows = np.random.default_rng(step).integers(9, size=6)
    values = normal((6, 2), dtype, step)
    return [
        normal((6, 3), dtype, step),
        nc.IndexedSlices(values, rows) if step % 2 else normal((9, 2), dtype, step),
        normal((), dtype, step),
    ]


def train(optimizer: Optimizer, variables: list[nc.Variable], steps: range) -> None:
    for step in steps:
        gradients = gradients_at(step, variables[0].dtype)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))


def leaves(state: Any, path: str = "") -> dict[str, Array]:
    """Return the arrays of a nested dict by their paths."""
    if not isinstance(state, dict):
        return {path: state}
    return {
        key: x for name, part in state.items() for key, x in leaves(part, f"{path}/{name}").items()
    }


def assert_same(found: Any, expected: Any) -> None:
    one, other = leaves(found), leaves(expected)
    assert one.keys() == other.keys()
    for path, array in one.items():
        assert same(array, other[path]), path


STORES: dict[str, Callable[[State, Path], State]] = {
    "dict": lambda state, path: state,
    "file": lambda state, path: nc.save(path, state) or nc.load(path),
}
NAMES: dict[str, list[str | None]] = {
    "names": ["layer/weights", "embedding", "layer/bias"],
    "no names": [None, None, None],
    "one name": ["w", "w", "w"],
    "names of others": ["w", "w_1", "w"],
}


@for_every_optimizer
@for_every_dtype
@pytest.mark.parametrize("store", STORES)
def test_a_resumed_run_is_one_that_never_stopped(
    row: Row, dtype: Any, store: str, tmp_path: Path
) -> None:
    for names in NAMES.values():
        variables = [
            nc.Variable(normal(shape, dtype), name=name)
            for shape, name in zip(SHAPES, names, strict=True)
        ]
        optimizer = row.make()
        train(optimizer, variables, range(3))
        state = STORES[store](optimizer.state_dict(), tmp_path / "state")
        resumed = [nc.Variable(each.value.copy(), name=each.name) for each in variables]
        after = row.make()
        after.load_state_dict(state)
        assert_same(after.state_dict(), optimizer.state_dict())
        train(after, resumed, range(3, 6))
        train(optimizer, variables, range(3, 6))
        assert_same(after.state_dict(), optimizer.state_dict())
        assert all(same(*pair) for pair in zip(resumed, variables, strict=True))


@for_every_optimizer
def test_a_state_taken_before_the_first_step(row: Row, tmp_path: Path) -> None:
    nc.save(tmp_path / "state", row.make().state_dict())
    optimizers = [row.make(), row.make()]
    train(optimizers[1], [nc.Variable(normal(shape)) for shape in SHAPES], range(2))
    optimizers[1].load_state_dict(nc.load(tmp_path / "state"))
    runs = []
    for optimizer in optimizers:
        variables = [nc.Variable(normal(shape)) for shape in SHAPES]
        train(optimizer, variables, range(3))
        runs.append(
            {"optimizer": optimizer.state_dict()} | dict(enumerate(map(np.array, variables)))
        )
    assert_same(*runs)


@pytest.mark.parametrize("row", [row for row in OPTIMIZERS.values() if row.slots])
def test_the_state_has_each_slot_by_the_variables_name(row: Row) -> None:
    optimizer = row.make()
    named = {"a": nc.Variable(np.ones(2), name="a"), "Variable": nc.Variable(np.ones(3))}
    named |= {"a_1": nc.Variable(np.ones(4), name="a"), "Variable_1": nc.Variable(np.ones(5))}
    optimizer.apply_gradients((np.ones(each.shape), each) for each in named.values())
    (content,) = optimizer.state_dict().values()
    assert list(optimizer.state_dict()) == [type(optimizer).__name__]
    assert list(content["slots"]) == list(named)
    for key, slots in content["slots"].items():
        assert set(slots) == set(row.slots)
        for name, array in slots.items():
            assert same(array, optimizer.get_slot(named[key], name))


@for_every_optimizer
def test_the_state_is_a_copy(row: Row) -> None:
    variables = [nc.Variable(normal(shape)) for shape in SHAPES]
    optimizer, unseen = row.make(), row.make()
    train(optimizer, variables, range(2))
    unseen.load_state_dict(optimizer.state_dict())
    for each in (optimizer, unseen):
        state, kept = each.state_dict(), each.state_dict()
        for array in leaves(state).values():
            array[...] = 7
        assert_same(each.state_dict(), kept)
    state = optimizer.state_dict()
    kept = copy.deepcopy(state)
    for each in (optimizer, unseen):
        each.load_state_dict(state)
    train(optimizer, variables, range(2))
    train(unseen, [nc.Variable(normal(shape)) for shape in SHAPES], range(2))
    assert_same(state, kept)


@for_every_optimizer
def test_loading_keeps_the_slots_that_the_caller_holds(row: Row) -> None:
    variables = [nc.Variable(normal(shape), name=f"{shape}") for shape in SHAPES]
    optimizer = row.make()
    train(optimizer, variables, range(2))
    state, before = optimizer.state_dict(), [each.value.copy() for each in optimizer.variables()]
    slots, arrays = optimizer.variables(), [each.value for each in optimizer.variables()]
    train(optimizer, variables, range(2, 4))
    optimizer.load_state_dict(state)
    assert optimizer.variables() == slots
    for slot, array, old in zip(slots, arrays, before, strict=True):
        assert slot.value is array
        assert same(slot, old)
    train(optimizer, variables, range(2))
    assert optimizer.variables() == slots


def test_slots_that_the_state_does_not_have_are_dropped() -> None:
    first, second = nc.Variable([1.0], name="first"), nc.Variable([1.0], name="second")
    optimizer = OPTIMIZERS["momentum"].make()
    optimizer.apply_gradients([(np.ones(1), first)])
    state = optimizer.state_dict()
    optimizer.apply_gradients([(np.ones(1), second)])
    optimizer.load_state_dict(state)
    assert optimizer.get_slot(second, "momentum") is None
    assert same(optimizer.get_slot(first, "momentum"), np.ones(1))
    optimizer.apply_gradients([(np.full(1, 0.5), second)])
    assert same(optimizer.get_slot(second, "momentum"), np.full(1, 0.5))


def test_what_waits_for_its_variable_is_kept_in_the_state() -> None:
    first, second = nc.Variable([1.0], name="first"), nc.Variable([1.0], name="second")
    optimizer, after = OPTIMIZERS["adam"].make(), OPTIMIZERS["adam"].make()
    optimizer.apply_gradients([(np.ones(1), first), (np.ones(1), second)])
    after.load_state_dict(optimizer.state_dict())
    assert_same(after.state_dict(), optimizer.state_dict())
    again = nc.Variable([1.0], name="first")
    after.apply_gradients([(np.zeros(1), again)])
    optimizer.apply_gradients([(np.zeros(1), first)])
    assert_same(after.state_dict(), optimizer.state_dict())
    assert after.get_slot(second, "m") is None


def test_a_skipped_step_leaves_what_waits_for_its_variable() -> None:
    x = nc.Variable([1.0], name="x")
    optimizer = OPTIMIZERS["adam"].make()
    optimizer.apply_gradients([(np.ones(1), x)])
    after = OPTIMIZERS["adam"].make(nonfinite="skip")
    after.load_state_dict(optimizer.state_dict())
    y = nc.Variable(x.value.copy(), name="x")
    assert after.apply_gradients([(np.array([np.nan]), y)]).skipped
    assert_same(after.state_dict(), optimizer.state_dict())
    for each, variable in ((optimizer, x), (after, y)):
        each.apply_gradients([(np.full(1, 0.5), variable)])
    assert same(x, y)


def changed(state: State, *path: str, to: Any) -> State:
    """Return a copy of a state in which one entry is another; None leaves it out."""
    state = copy.deepcopy(state)
    *before, last = path
    inner = state
    for key in before:
        inner = inner[key]
    if to is None:
        del inner[last]
    else:
        inner[last] = to
    return state


ADAM = "AdamOptimizer"
M = (ADAM, "slots", "w", "m")
POWERS = (ADAM, "beta_powers_float32")
# How the state of Adam for one variable of three float64 is spoiled, the error, what it names.
BAD_STATES: dict[str, tuple[Callable[[State], Any], type[Exception], tuple[str, ...]]] = {
    "None": (lambda state: None, ValueError, ("`state`", "None")),
    "list": (lambda state: [state], ValueError, ("`state`", "AdamOptimizer")),
    "empty": (lambda state: {}, ValueError, ("`state`", ADAM)),
    "of another optimizer": (
        lambda state: {"MomentumOptimizer": state[ADAM]},
        ValueError,
        ("`state`", ADAM, "MomentumOptimizer"),
    ),
    "of two optimizers": (
        lambda state: state | {"MomentumOptimizer": {}},
        ValueError,
        ("`state`", ADAM, "MomentumOptimizer"),
    ),
    "its content a list": (
        lambda state: {ADAM: [1.0]},
        ValueError,
        ("`state['AdamOptimizer']`", "beta_powers_float64"),
    ),
    "without slots": (
        lambda state: changed(state, ADAM, "slots", to=None),
        ValueError,
        ("`state['AdamOptimizer']`", "slots"),
    ),
    "without powers": (
        lambda state: changed(state, *POWERS, to=None),
        ValueError,
        ("`state['AdamOptimizer']`", "beta_powers_float32"),
    ),
    "with something else": (
        lambda state: changed(state, ADAM, "step", to=np.ones(1)),
        ValueError,
        ("`state['AdamOptimizer']`", "step"),
    ),
    "powers of another shape": (
        lambda state: changed(state, *POWERS, to=np.ones(3, np.float32)),
        ValueError,
        ("beta_powers_float32", "(3,)"),
    ),
    "powers of another dtype": (
        lambda state: changed(state, *POWERS, to=np.ones(2)),
        ValueError,
        ("beta_powers_float32", "float64"),
    ),
    "powers that are objects": (
        lambda state: changed(state, *POWERS, to=np.array([None, None])),
        ValueError,
        ("beta_powers_float32", "object"),
    ),
    "slots a list": (
        lambda state: changed(state, ADAM, "slots", to=[1.0]),
        TypeError,
        ("['slots']", "[1.0]"),
    ),
    "slots of the variable a list": (
        lambda state: changed(state, ADAM, "slots", "w", to=[1.0]),
        ValueError,
        ("['slots']['w']", "list"),
    ),
    "slots of the variable a number": (
        lambda state: changed(state, ADAM, "slots", "w", to=5),
        ValueError,
        ("['slots']['w']", "int 5"),
    ),
    "a variable's name a number": (
        lambda state: changed(state, ADAM, "slots", 5, to={"m": np.ones(3), "v": np.ones(3)}),
        TypeError,
        ("`state['slots']`", "int 5"),
    ),
    "with something else, of another kind": (
        lambda state: changed(state, ADAM, 5, to=np.ones(1)),
        ValueError,
        ("`state['AdamOptimizer']`", "slots", "5"),
    ),
    "a slot missing": (
        lambda state: changed(state, *M, to=None),
        ValueError,
        ("['slots']['w']", "got v"),
    ),
    "a slot too many": (
        lambda state: changed(state, ADAM, "slots", "w", "mg", to=np.ones(3)),
        ValueError,
        ("['slots']['w']", "mg"),
    ),
    "a slot of another shape": (
        lambda state: changed(state, *M, to=np.ones((3, 1))),
        ValueError,
        ("['slots']['w']['m']", "(3,)", "(3, 1)"),
    ),
    "a slot of another dtype": (
        lambda state: changed(state, *M, to=np.ones(3, np.float32)),
        TypeError,
        ("['slots']['w']['m']", "float64", "float32"),
    ),
    "a slot of integers": (
        lambda state: changed(state, *M, to=np.ones(3, int)),
        TypeError,
        ("['slots']['w']['m']", "int64"),
    ),
    "a slot of objects": (
        lambda state: changed(state, *M, to=np.array([None, 1.0, 2.0])),
        TypeError,
        ("['slots']['w']['m']", "object"),
    ),
    "a slot of strings": (
        lambda state: changed(state, *M, to="abc"),
        TypeError,
        ("['slots']['w']['m']", "<U3"),
    ),
    "a slot that is a dict": (
        lambda state: changed(state, *M, to={"a": 1.0}),
        TypeError,
        ("['slots']['w']['m']", "dict"),
    ),
}
# What only the variable can tell, and what is wrong for any.
FOUND_LATER = ("a slot of another shape", "a slot of another dtype")
FOUND_AT_ONCE = [label for label in BAD_STATES if label not in FOUND_LATER]


def made() -> tuple[Optimizer, nc.Variable]:
    optimizer, variable = OPTIMIZERS["adam"].make(), nc.Variable(normal(3), name="w")
    optimizer.apply_gradients([(normal(3, seed=1), variable)])
    return optimizer, variable


@pytest.mark.parametrize("label", BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(label: str) -> None:
    spoil, error, texts = BAD_STATES[label]
    optimizer, variable = made()
    optimizer.apply_gradients([(normal(3, seed=2), variable)])
    bad = spoil(optimizer.state_dict())
    optimizer.apply_gradients([(normal(3, seed=3), variable)])
    before, slots = optimizer.state_dict(), optimizer.variables()
    with pytest.raises(error) as raised:
        optimizer.load_state_dict(bad)
    assert all(text in str(raised.value) for text in texts), raised.value
    assert type(raised.value) is error
    assert_same(optimizer.state_dict(), before)
    assert optimizer.variables() == slots


@pytest.mark.parametrize("label", FOUND_AT_ONCE)
def test_a_state_that_does_not_fit_any_variable_is_refused_before_one_is_seen(label: str) -> None:
    spoil, error, texts = BAD_STATES[label]
    bad = spoil(made()[0].state_dict())
    optimizer = OPTIMIZERS["adam"].make()
    with pytest.raises(error) as raised:
        optimizer.load_state_dict(bad)
    assert all(text in str(raised.value) for text in texts), raised.value
    assert_same(optimizer.state_dict(), OPTIMIZERS["adam"].make().state_dict())


@pytest.mark.parametrize("label", FOUND_LATER)
@pytest.mark.parametrize("seen_before", [False, True])
def test_what_does_not_fit_is_found_when_its_variable_is_first_updated(
    label: str, seen_before: bool
) -> None:
    spoil, error, texts = BAD_STATES[label]
    optimizer = OPTIMIZERS["adam"].make()
    other, variable = nc.Variable(normal(4), name="other"), nc.Variable(normal(3), name="w")
    bad = spoil(made()[0].state_dict())
    if seen_before:
        optimizer.apply_gradients([(normal(4), other)])
        bad[ADAM]["slots"]["other"] = optimizer.state_dict()[ADAM]["slots"]["other"]
    optimizer.load_state_dict(bad)
    before = optimizer.state_dict()
    arrays = [each.value.copy() for each in (other, variable)]
    global_step = nc.Variable(0)
    with pytest.raises(error) as raised:
        optimizer.apply_gradients([(normal(4), other), (normal(3), variable)], global_step)
    assert all(text in str(raised.value) for text in texts), raised.value
    assert_same(optimizer.state_dict(), before)
    assert all(same(*pair) for pair in zip((other, variable), arrays, strict=True))
    assert global_step.value == 0
    assert optimizer.get_slot(variable, "m") is None
    # A variable that it fits is not kept from its slots.
    optimizer.apply_gradients([(normal(4), other)])


@for_every_optimizer
def test_the_state_of_every_other_optimizer_is_refused(row: Row) -> None:
    optimizer = row.make()
    train(optimizer, [nc.Variable(normal(shape)) for shape in SHAPES], range(1))
    before = optimizer.state_dict()
    for other in OPTIMIZERS.values():
        given = other.make()
        train(given, [nc.Variable(normal(shape)) for shape in SHAPES], range(1))
        if type(given) is type(optimizer):
            continue
        with pytest.raises(
            ValueError, match=rf"`state` must be that of {type(optimizer).__name__}"
        ):
            optimizer.load_state_dict(given.state_dict())
    assert_same(optimizer.state_dict(), before)


def test_centered_means_are_not_taken_for_those_without() -> None:
    given, optimizer = OPTIMIZERS["centered rmsprop"].make(), OPTIMIZERS["rmsprop"].make()
    given.apply_gradients([(np.ones(1), nc.Variable([1.0], name="w"))])
    with pytest.raises(ValueError, match=r"\['slots'\]\['w'\].* rms, momentum, got .*mg"):
        optimizer.load_state_dict(given.state_dict())


def test_a_power_that_is_nan_is_not_taken_for_none() -> None:
    beta1, variable = [np.nan], nc.Variable([1.0], name="w")
    optimizer = nc.train.AdamOptimizer(0.1, lambda: beta1[0], 0.5)
    optimizer.apply_gradients([(np.ones(1), variable)])
    state = optimizer.state_dict()
    assert np.isnan(state[ADAM]["beta_powers_float64"]).tolist() == [True, False]
    resumed = nc.train.AdamOptimizer(0.1, 0.5, 0.5)
    resumed.load_state_dict(state)
    assert_same(resumed.state_dict(), state)
