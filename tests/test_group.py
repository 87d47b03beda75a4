"""Groups of variables, each with an optimizer, and limits of its own or in common."""

from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from optimizers import OPTIMIZERS, normal, same

import numclip as nc
from numclip.train import _host_table

Descent, Momentum, Adam, Grouped = (
    nc.train.GradientDescentOptimizer,
    nc.train.MomentumOptimizer,
    nc.train.AdamOptimizer,
    nc.train.GroupedOptimizer,
)
NAMES = ("backbone/kernel", "backbone/bias", "neck/kernel", "head/kernel")


def variables(**options: Any) -> list[nc.Variable]:
    return [
        nc.Variable(normal((3, 2), np.float32, i), name=name, **options)
        for i, name in enumerate(NAMES)
    ]


def gradients(seed: int = 10) -> list[Any]:
    return [normal((3, 2), np.float32, seed + i) for i in range(len(NAMES))]


def all_the_same(first: list[nc.Variable], second: list[nc.Variable]) -> bool:
    return all(same(*pair) for pair in zip(first, second, strict=True))


def test_each_group_is_updated_by_its_optimizer() -> None:
    found, expected = variables(), variables()
    grouped = Grouped([("backbone", Descent(0.01)), (["neck", "head"], Adam(0.1))])
    apart = [Descent(0.01), Adam(0.1)]
    step = nc.Variable(0)
    for seed in (10, 20, 30):
        pairs = list(zip(gradients(seed), expected, strict=True))
        grouped.apply_gradients(zip(gradients(seed), found, strict=True), global_step=step)
        apart[0].apply_gradients(pairs[:2])
        apart[1].apply_gradients(pairs[2:])
    assert all_the_same(found, expected)
    assert step.value == 3
    assert grouped.get_slot(found[0], "m") is None
    assert same(grouped.get_slot(found[2], "m"), apart[1].get_slot(expected[2], "m"))
    assert grouped.get_slot_names() == ["m", "v"]
    assert [slot.name for slot in grouped.variables()] == [
        slot.name for slot in apart[1].variables()
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_group_of_all_is_its_optimizer(name: str) -> None:
    found, expected = variables(), variables()
    make = OPTIMIZERS[name].make
    grouped, alone = Grouped([(None, make())]), make()
    for seed in (10, 20):
        grouped.apply_gradients(zip(gradients(seed), found, strict=True))
        alone.apply_gradients(zip(gradients(seed), expected, strict=True))
    assert all_the_same(found, expected)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("limit", [0.5, 1e6, 1e-300])
@pytest.mark.parametrize("kinds", [(Descent, Descent), (Adam, Adam), (Descent, Adam)])
def test_a_common_limit_is_that_of_one_optimizer(kinds: Any, limit: float, is_sparse: bool) -> None:
    """The bits of clipping all gradients by their norm, then stepping group by group."""
    found, expected = variables(), variables()
    given = gradients()
    if is_sparse:
        given[1] = nc.IndexedSlices(given[1], [2, 0, 2])
    groups = [("head", kinds[0](0.1)), (["backbone", "neck"], kinds[1](0.1))]
    result = Grouped(groups, global_clipnorm=limit).apply_gradients(zip(given, found, strict=True))
    summed = [g.coalesce() if isinstance(g, nc.IndexedSlices) else g for g in given]
    clipped, norm = nc.clip_by_global_norm(summed, limit)
    kinds[0](0.1).apply_gradients([(clipped[3], expected[3])])
    kinds[1](0.1).apply_gradients(list(zip(clipped, expected, strict=True))[:3])
    assert all_the_same(found, expected)
    assert result.global_norm == norm
    assert result.scale == (limit / norm if norm > limit else 1.0)


def test_each_group_has_its_own_limit() -> None:
    found, expected = variables(), variables()
    makes = [lambda: Descent(0.1, global_clipnorm=0.5), lambda: Adam(0.1, clipnorm=0.25)]
    grouped = Grouped([("backbone", makes[0]()), (["neck", "head"], makes[1]())])
    result = grouped.apply_gradients(zip(gradients(), found, strict=True))
    pairs = list(zip(gradients(), expected, strict=True))
    makes[0]().apply_gradients(pairs[:2])
    makes[1]().apply_gradients(pairs[2:])
    assert all_the_same(found, expected)
    assert result.global_norm is None


def test_a_group_without_a_gradient_is_left_alone() -> None:
    found = variables()
    grouped = Grouped([("backbone", Descent(0.1)), (["neck", "head"], Adam(0.1))])
    before = [variable.value.tobytes() for variable in found[2:]]
    grouped.apply_gradients(zip([*gradients()[:2], None, None], found, strict=True))
    assert [variable.value.tobytes() for variable in found[2:]] == before
    assert grouped.variables() == []


def test_minimize() -> None:
    x, y = nc.Variable(2.0, name="x"), nc.Variable(3.0, name="y")
    grouped = Grouped([("x", Descent(0.1)), ("y", Descent(0.01))])
    grouped.minimize(lambda: x**2 + y**2)
    assert (float(x), float(y)) == pytest.approx((1.6, 2.94))


def test_a_frozen_variable_belongs_to_no_group() -> None:
    found = variables()
    found[3].trainable = False
    grouped = Grouped([(["backbone", "neck"], Descent(0.1))], global_clipnorm=1.0)
    before = found[3].value.tobytes()
    grouped.apply_gradients(zip(gradients(), found, strict=True))
    assert found[3].value.tobytes() == before


@pytest.mark.parametrize(
    ("nonfinite", "together"), [("raise", True), ("skip", True), ("raise", False), ("skip", False)]
)
def test_gradients_that_are_not_finite(nonfinite: str, together: bool) -> None:
    found, step = variables(), nc.Variable(0)
    before = [variable.value.tobytes() for variable in found]
    given = gradients()
    given[3] = given[3] * np.float32(np.nan)
    inner = {} if together else {"nonfinite": nonfinite}
    grouped = Grouped(
        [(["backbone", "neck"], Descent(0.1, **inner)), ("head", Adam(0.1, **inner))],
        **({"nonfinite": nonfinite} if together else {}),
    )
    if nonfinite == "raise":
        with pytest.raises(
            FloatingPointError, match=r"`grads_and_vars\[3\]\[0\]` must be .*head/kernel"
        ):
            grouped.apply_gradients(zip(given, found, strict=True), step)
        assert [variable.value.tobytes() for variable in found] == before
    else:
        assert grouped.apply_gradients(zip(given, found, strict=True), step).skipped
        same_as_before = [
            variable.value.tobytes() == bits for variable, bits in zip(found, before, strict=True)
        ]
        assert same_as_before == ([True] * 4 if together else [False] * 3 + [True])
    assert step.value == 0
    assert grouped.variables() == []


def test_a_function_is_asked_only_about_names_of_variables() -> None:
    found = variables()
    names: list[str] = []

    def is_kernel(name: str) -> bool:
        names.append(name)
        return name.split("/")[1] == "kernel"

    grouped = Grouped([(is_kernel, Descent(0.1)), ("backbone/bias", Adam())])
    assert names == []
    grouped.apply_gradients(zip(gradients(), found, strict=True))
    assert names == list(NAMES)


def test_a_variable_stays_in_its_group_until_others_come() -> None:
    first, second = Descent(0.1), Adam(0.1)
    x, y = nc.Variable([0.0], name="a/x"), nc.Variable([0.0], name="b/y")
    grouped = Grouped([("a", first), ("b", second)])
    for name, slots in (("a/x", None), ("b/x", None)):
        x.name = name
        grouped.apply_gradients([(np.ones(1), x)])
        assert second.get_slot(x, "m") is slots
    grouped.apply_gradients([(np.ones(1), x), (np.ones(1), y)])
    assert second.get_slot(x, "m") is not None


def test_a_state_goes_on_to_the_bit() -> None:
    def make() -> nc.train.GroupedOptimizer:
        return Grouped([("backbone", Descent(0.1)), (["neck", "head"], Adam(0.1))])

    whole, resumed = variables(), variables()
    first, second, third = make(), make(), make()
    for seed in (10, 20):
        first.apply_gradients(zip(gradients(seed), whole, strict=True))
    second.apply_gradients(zip(gradients(10), resumed, strict=True))
    third.load_state_dict(second.state_dict())
    third.apply_gradients(zip(gradients(20), resumed, strict=True))
    assert all_the_same(whole, resumed)


def test_a_state_that_does_not_fit_one_group_changes_none() -> None:
    found = variables()
    grouped = Grouped([("backbone", Adam(0.1)), (["neck", "head"], Adam(0.1))])
    grouped.apply_gradients(zip(gradients(), found, strict=True))
    before = grouped.state_dict()
    state = grouped.state_dict()
    state["GroupedOptimizer"]["0"]["AdamOptimizer"]["slots"]["backbone/kernel"]["m"][:] = 0.0
    state["GroupedOptimizer"]["1"] = {"MomentumOptimizer": {"slots": {}}}
    of_mixed_keys = {"GroupedOptimizer": {"0": {}, 1: {}}}
    for bad in (state, {}, {"GroupedOptimizer": {"0": {}}}, of_mixed_keys, None):
        with pytest.raises(ValueError, match="`state` must be that of"):
            grouped.load_state_dict(bad)  # type: ignore[arg-type]
    after = grouped.state_dict()
    slots = [
        each["GroupedOptimizer"]["0"]["AdamOptimizer"]["slots"]["backbone/kernel"]["m"]
        for each in (before, after)
    ]
    assert same(*slots)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([("backbone", Descent(0.1))], "neck/kernel.*which is in none"),
        ([(None, Descent(0.1)), ("head", Adam())], r"head/kernel.*which is in \[0, 1\]"),
    ],
    ids=["in no group", "in two groups"],
)
def test_every_variable_is_in_exactly_one_group(groups: Any, message: str) -> None:
    found = variables()
    before = [variable.value.tobytes() for variable in found]
    with pytest.raises(ValueError, match=f"`grads_and_vars` must .*{message}"):
        Grouped(groups).apply_gradients(zip(gradients(), found, strict=True))
    assert [variable.value.tobytes() for variable in found] == before


def test_an_error_in_one_group_changes_none() -> None:
    found = variables()
    before = [variable.value.tobytes() for variable in found]
    grouped = Grouped([("backbone", Adam(0.1)), (["neck", "head"], Adam(0.1))])
    given = gradients()
    given[3] = given[3][:2]
    # Where it was given, not where it is in its group.
    with pytest.raises(ValueError, match=r"`grads_and_vars\[3\]\[0\]` must be of shape"):
        grouped.apply_gradients(zip(given, found, strict=True))
    assert [variable.value.tobytes() for variable in found] == before
    assert grouped.variables() == []


SHARED = Descent(0.1)


@pytest.mark.parametrize(
    ("groups", "options", "error", "message"),
    [
        ([], {}, ValueError, "`groups` must not be empty"),
        (5, {}, TypeError, "`groups` must be pairs"),
        ({"a": Descent(0.1)}, {}, TypeError, "`groups` must be pairs"),
        ([Descent(0.1)], {}, TypeError, r"`groups\[0\]` must be a pair"),
        ([("a", 0.1)], {}, TypeError, r"`groups\[0\]\[1\]` must be an optimizer"),
        ([(3, Descent(0.1))], {}, TypeError, "`include"),
        ([("a", SHARED), ("b", SHARED)], {}, ValueError, "one in two groups"),
        (
            [("a", Descent(0.1, clipnorm=1.0))],
            {"global_clipnorm": 1.0},
            ValueError,
            r"`groups\[0\]\[1\]` must have no limit",
        ),
        ([("a", Descent(0.1))], {"global_clipnorm": -1.0}, ValueError, "`global_clipnorm`"),
        ([("a", Descent(0.1))], {"name": ""}, ValueError, "`name` must not be empty"),
    ],
)
def test_groups_refused(
    groups: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Grouped(groups, **options)


def test_many_small_variables_take_one_call_for_each_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    store = nc.VariableStore()
    for name in ("backbone", "head"):
        with store.scope(name):
            for i in range(500):
                store.variable(f"w{i}", np.zeros(3, np.float32))
    calls: list[Any] = []
    loop, parallel = _host_table._UPDATE_LOOPS

    def counted(*arguments: Any) -> None:
        calls.append(arguments)
        loop(*arguments)

    monkeypatch.setattr(_host_table, "_UPDATE_LOOPS", (counted, parallel))
    grouped = Grouped([("backbone", Descent(0.1)), ("head", Adam(0.1))], global_clipnorm=1.0)
    for _ in range(2):
        calls.clear()
        grouped.apply_gradients([(np.ones(3, np.float32), each) for each in store.values()])
        assert len(calls) == 2
    assert all(np.all(each.value < 0.0) for each in store.values())


def test_a_group_without_memory_for_its_slots_leaves_no_slots_in_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Any) -> Any:
        raise MemoryError

    found, first, second = variables(), Adam(0.1), Adam(0.1)
    grouped = Grouped([("backbone", first), (["neck", "head"], second)])
    monkeypatch.setattr(second, "_make_slots", fail)
    with pytest.raises(MemoryError):
        grouped.apply_gradients(list(zip(gradients(), found, strict=True)))
    assert all_the_same(found, variables())
    assert all(first.get_slot(variable, "m") is None for variable in found)
    monkeypatch.undo()
    grouped.apply_gradients(list(zip(gradients(), found, strict=True)))
    expected = variables()
    Adam(0.1).apply_gradients(list(zip(gradients(), expected, strict=True)))
    assert all_the_same(found, expected)


def test_rows_of_groups_that_are_only_checked_are_taken_one_after_another() -> None:
    """Nothing is multiplied, so that no group takes the rows' sums for its rows."""
    found, expected = (nc.Variable(np.zeros((9, 300)), name="x") for _ in range(2))
    rows = nc.IndexedSlices(normal((4, 300), np.float64, 1), [3, 3, 3, 1])
    Grouped([(None, Descent(1.0))], nonfinite="skip").apply_gradients([(rows, found)])
    Descent(1.0).apply_gradients([(rows, expected)])
    assert same(found, expected)


def shows_a_value(x: nc.Variable, y: nc.Variable, _: Any) -> list[Any]:
    return [(y.value, x), (x.value, y)]


def shows_a_slot(x: nc.Variable, y: nc.Variable, slot: nc.Variable) -> list[Any]:
    return [(np.array([1.5, 2.5]), x), (slot.value, y)]


def shows_rows_of_a_value(x: nc.Variable, y: nc.Variable, _: Any) -> list[Any]:
    return [(np.array([1.5, 2.5]), x), (nc.IndexedSlices(x.value[1:], [0]), y)]


def shows_memory_of_a_value(x: nc.Variable, y: nc.Variable, _: Any) -> list[Any]:
    return [(np.array([1.5, 2.5]), x), (np.frombuffer(memoryview(x.value), np.float64), y)]


SHOWN = (shows_a_value, shows_a_slot, shows_rows_of_a_value, shows_memory_of_a_value)


@pytest.mark.parametrize("pairs_of", SHOWN)
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 1e6}, {"global_clipnorm": 2.0}])
@pytest.mark.parametrize("names", [[["x"], ["y"]], [["y"], ["x"]], [["x", "y"]]])
def test_a_gradient_that_shows_what_another_group_changes_is_read_before(
    pairs_of: Any, options: dict[str, Any], names: list[list[str]]
) -> None:
    found = []
    for grouped in (True, False):
        x, y = nc.Variable([1.0, 2.0], name="x"), nc.Variable([10.0, 20.0], name="y")
        if grouped:
            optimizer: Any = Grouped([(each, Momentum(1.0, 0.5)) for each in names], **options)
        else:
            optimizer = Momentum(1.0, 0.5, **options)
        optimizer.apply_gradients([(np.array([0.25, 0.5]), x), (np.zeros(2), y)])
        pairs = pairs_of(x, y, optimizer.get_slot(x, "momentum"))
        if not grouped:
            pairs = [(deepcopy(gradient), variable) for gradient, variable in pairs]
        optimizer.apply_gradients(pairs)
        found.append([x, y])
    assert all_the_same(*found)


def test_functions_are_called_once_where_gradients_are_copied() -> None:
    calls: list[float] = []

    def rate() -> float:
        calls.append(1.0)
        return 1.0

    x, y = nc.Variable([1.0, 2.0], name="x"), nc.Variable([10.0, 20.0], name="y")
    grouped = Grouped([("x", Descent(rate)), ("y", Descent(rate))])
    grouped.apply_gradients([(y.value, x), (x.value, y)])
    assert len(calls) == 2
    assert (x.value.tolist(), y.value.tolist()) == ([-9, -18], [9, 18])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_constraint_that_raises_in_one_group_changes_none(name: str, is_loaded: bool) -> None:
    def fail(array: Any) -> Any:
        array[...] = 7.0
        raise RuntimeError("no such numbers")

    def run(bad: Any, state: Any) -> tuple[list[nc.Variable], nc.train.GroupedOptimizer, bool]:
        found = variables()
        found[2] = nc.Variable(found[2].value, name=found[2].name, constraint=bad)
        groups = ("backbone", "neck", "head")
        grouped = Grouped([(group, OPTIMIZERS[name].make()) for group in groups])
        if state is not None:
            grouped.load_state_dict(state)
        before = repr(grouped.state_dict())
        with suppress(RuntimeError):
            grouped.apply_gradients(zip(gradients(), found, strict=True))
        return found, grouped, repr(grouped.state_dict()) == before

    state = run(np.abs, None)[1].state_dict() if is_loaded else None
    found, grouped, is_unchanged = run(fail, state)
    assert is_unchanged
    assert all_the_same(found, variables())
    # And the next step is the first.
    found[2] = nc.Variable(found[2].value, name=found[2].name, constraint=np.abs)
    grouped.apply_gradients(zip(gradients(), found, strict=True))
    expected, apart, _ = run(np.abs, state)
    assert all_the_same(found, expected)
    assert repr(grouped.state_dict()) == repr(apart.state_dict())
