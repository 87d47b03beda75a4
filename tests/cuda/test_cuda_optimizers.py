"""Optimizers give the host's bits on a device, with every way to clip."""

from typing import Any

import numpy as np
import pytest
from arrays import FLOATING, Array, dtype_named, normal
from devices import on_device, on_host
from optimizers import OPTIMIZERS

import numclip as nc


def assert_same(found: Any, expected: Array) -> None:
    found = on_host(found)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


CLIPPING: dict[str, dict[str, Any]] = {
    "no clipping": {},
    "clipvalue": {"clipvalue": 0.25},
    "clipnorm": {"clipnorm": 0.75},
    "global_clipnorm": {"global_clipnorm": 1.5},
}
RARE_CLIPPING: dict[str, dict[str, Any]] = {
    "not over the limit": {"global_clipnorm": 1e6},
    "in steps": {"global_clipnorm": 1e-300},
    "each in steps": {"clipnorm": 1e-300},
    "finite": {"nonfinite": "skip", "clipvalue": 0.5},
}
CASES = [
    pytest.param(row.make, options, dtype, id=f"{name}, {label}, {dtype}")
    for name, row in OPTIMIZERS.items()
    for label, options in CLIPPING.items()
    for dtype in (FLOATING if name in ("gradient descent", "adam") else ("float32", "float64"))
] + [
    pytest.param(OPTIMIZERS[name].make, options, dtype, id=f"{name}, {label}, {dtype}")
    for name in ("gradient descent", "adam")
    for label, options in RARE_CLIPPING.items()
    for dtype in ("float32", "float64")
]


def indices_of(gradient: Array) -> Array:
    """Return indices of which some occur more than once, and some do not."""
    return np.random.default_rng(0).integers(0, len(gradient), len(gradient))


@pytest.mark.parametrize(("make", "options", "dtype"), CASES)
def test_steps(make: Any, options: dict[str, Any], dtype: str) -> None:
    shapes = ((9, 4), (131,), (), (0,), (3, 5))
    starts = [normal(dtype_named(dtype), *shape) for shape in shapes]
    # A variable and a gradient of other strides, and one that is not first at 16 bytes.
    starts[4] = normal(dtype_named(dtype), 5, 3).T
    gradients = [normal(dtype_named(dtype), *shape) for shape in shapes]
    gradients[1] = normal(dtype_named(dtype), 262)[::2]
    constraints = [None, (-0.5, 0.5), None, None, (0.0, np.inf)]
    found: list[Any] = []
    expected: list[Any] = []
    for place, results in ((on_device, found), (np.asarray, expected)):
        variables = [
            nc.Variable(place(start.copy(order="K")), constraint=constraint)
            for start, constraint in zip(starts, constraints, strict=True)
        ]
        optimizer = make(**options)
        pairs = [(place(g), v) for g, v in zip(gradients, variables, strict=True)]
        indices = place(indices_of(gradients[0]))
        sparse = nc.IndexedSlices(place(gradients[0]), indices)
        empty = nc.IndexedSlices(place(gradients[0][:0]), place(np.arange(0)))
        for step in (pairs, [(sparse, variables[0]), *pairs[1:]], [(empty, variables[0])]):
            result = optimizer.apply_gradients(step)
            norm = result.global_norm
            results += [] if norm is None else [norm if place is on_device else np.array(norm)]
        results += [v.value for v in variables]
        results += [slot.value for v in variables for slot in slots_of(optimizer, v)]
    assert len(found) == len(expected)
    for device, host in zip(found, expected, strict=True):
        assert_same(device, host)


@pytest.mark.parametrize("options", CLIPPING.values(), ids=CLIPPING)
@pytest.mark.parametrize("name", ["gradient descent", "adam", "adagrad"])
def test_masks(name: str, options: dict[str, Any]) -> None:
    start, gradient = normal(np.dtype(np.float32), 9, 4), normal(np.dtype(np.float32), 9, 4)
    mask = np.arange(36).reshape(9, 4) % 3 > 0
    found, expected = [], []
    for place, results in ((on_device, found), (np.asarray, expected)):
        variables = [
            nc.Variable(place(start.copy()), update_mask=mask),
            nc.Variable(place(start.copy()), update_mask=mask[:, 1]),
            nc.Variable(place(start.copy())),
        ]
        optimizer = OPTIMIZERS[name].make(**options)
        optimizer.apply_gradients([(place(gradient), variable) for variable in variables])
        if not any("norm" in option for option in options):
            slices = nc.IndexedSlices(place(gradient), place(indices_of(gradient)))
            optimizer.apply_gradients([(slices, variables[0])])
        results += [v.value for v in variables]
        results += [slot.value for v in variables for slot in slots_of(optimizer, v)]
    for device, host in zip(found, expected, strict=True):
        assert_same(device, host)


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.5, "nonfinite": "raise"}])
def test_groups(options: dict[str, Any]) -> None:
    starts = [normal(np.dtype(np.float32), 9, 4) for _ in range(3)]
    found, expected = [], []
    for place, results in ((on_device, found), (np.asarray, expected)):
        variables = [
            nc.Variable(place(start.copy()), name=name)
            for start, name in zip(starts, "abc", strict=True)
        ]
        optimizer = nc.train.GroupedOptimizer(
            [("b", nc.train.GradientDescentOptimizer(0.1)), (["a", "c"], nc.train.AdamOptimizer())],
            **options,
        )
        sparse = nc.IndexedSlices(place(starts[2]), place(indices_of(starts[2])))
        gradients = [place(starts[1]), place(starts[0]), sparse]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        results += [v.value for v in variables]
    for device, host in zip(found, expected, strict=True):
        assert_same(device, host)


def test_a_norm_of_rows_of_a_masked_variable_is_refused() -> None:
    variable = nc.Variable(on_device(np.ones((3, 2))), update_mask=[True, False, True])
    gradient = nc.IndexedSlices(on_device(np.ones((1, 2))), on_device(np.array([0])))
    optimizer = nc.train.MomentumOptimizer(0.1, 0.9, global_clipnorm=1.0)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[0\]\[0\]` must be dense"):
        optimizer.apply_gradients([(gradient, variable)])
    assert np.all(on_host(variable.value) == 1.0)
    assert optimizer.variables() == []


def slots_of(optimizer: Any, variable: nc.Variable) -> list[nc.Variable]:
    return [optimizer.get_slot(variable, name) for name in optimizer.get_slot_names()]


@pytest.mark.parametrize("options", CLIPPING.values(), ids=CLIPPING)
def test_a_step_that_is_skipped(options: dict[str, Any]) -> None:
    variables = [nc.Variable(on_device(np.ones(3))), nc.Variable(on_device(np.ones((2, 2))))]
    step = nc.Variable(0)
    optimizer = nc.train.AdamOptimizer(0.1, **options, nonfinite="skip")
    bad = [on_device(np.ones(3)), on_device(np.array([[1.0, np.nan], [0.0, 1.0]]))]
    result = optimizer.apply_gradients(zip(bad, variables, strict=True), step)
    assert result.skipped
    assert step.value == 0
    assert all(np.all(on_host(variable.value) == 1.0) for variable in variables)
    assert optimizer.variables() == []
    good = [on_device(np.ones(3)), on_device(np.ones((2, 2)))]
    assert not optimizer.apply_gradients(zip(good, variables, strict=True), step).skipped
    assert step.value == 1
    assert all(np.all(on_host(variable.value) < 1.0) for variable in variables)


def test_the_first_gradient_that_is_not_finite_is_named() -> None:
    variables = [nc.Variable(on_device(np.ones(3)), name=name) for name in "ab"]
    optimizer = nc.train.MomentumOptimizer(0.1, 0.9, nonfinite="raise")
    gradients = [on_device(np.ones(3)), on_device(np.array([0.0, np.inf, 0.0]))]
    with pytest.raises(FloatingPointError, match=r"`grads_and_vars\[1\]\[0\]` must be finite.*'b'"):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    assert all(np.all(on_host(variable.value) == 1.0) for variable in variables)
    assert optimizer.variables() == []


def test_a_norm_of_variables_in_two_places_is_refused() -> None:
    variables = [nc.Variable(np.ones(3)), nc.Variable(on_device(np.ones(3)))]
    gradients = [np.ones(3), on_device(np.ones(3))]
    optimizer = nc.train.MomentumOptimizer(0.1, 0.9, global_clipnorm=1.0)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[1\]\[0\]` must be where"):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    assert np.all(variables[0].value == 1.0)
    assert np.all(on_host(variables[1].value) == 1.0)


def test_a_constraint_that_is_a_function() -> None:
    variable = nc.Variable(on_device(np.ones(3)), constraint=lambda x: on_device(on_host(x) * 0))
    nc.train.GradientDescentOptimizer(0.1).apply_gradients([(on_device(np.ones(3)), variable)])
    assert_same(variable.value, np.zeros(3))


def constrained_by(function: Any, place: Any) -> Any:
    """Return a constraint of arrays of a place by a function of arrays of the host."""
    read = np.asarray if place is np.asarray else on_host
    return lambda numbers: place(function(read(numbers)))


@pytest.mark.parametrize("options", CLIPPING.values(), ids=CLIPPING)
@pytest.mark.parametrize("name", ["gradient descent", "adam", "adagrad"])
@pytest.mark.parametrize("dtype", FLOATING)
def test_a_function_is_applied_after_each_of_two_gradients(
    name: str, options: dict[str, Any], dtype: str
) -> None:
    start = normal(dtype_named(dtype), 4, 3)
    start[:2] = -0.0
    gradients = [normal(dtype_named(dtype), 4, 3) * each for each in (5, -1)]
    found, expected = [], []
    for place, results in ((on_device, found), (np.asarray, expected)):
        bound = constrained_by(lambda x: x.clip(-0.25, 0.25).astype(x.dtype), place)
        variables = [
            nc.Variable(place(start.copy()), constraint=bound),
            nc.Variable(place(start.T.copy().T), constraint=bound, update_mask=[True, False] * 2),
            nc.Variable(place(start.copy())),
        ]
        optimizer = OPTIMIZERS[name].make(**options)
        optimizer.apply_gradients(
            [(place(gradient), each) for gradient in gradients for each in variables]
        )
        results += [v.value for v in variables]
        results += [slot.value for v in variables for slot in slots_of(optimizer, v)]
    for device, host in zip(found, expected, strict=True):
        assert_same(device, host)


@pytest.mark.parametrize("in_groups", [False, True])
def test_a_constraint_that_raises_changes_nothing(in_groups: bool) -> None:
    def fail(numbers: Any) -> Any:
        on_host(numbers)[...] = 7.0
        raise RuntimeError("no such numbers")

    rows = nc.IndexedSlices(on_device(np.ones((1, 2))), on_device(np.array([1])))
    variables = [
        nc.Variable(np.ones(3), name="host"),
        nc.Variable(on_device(np.ones(3)), name="device"),
        nc.Variable(on_device(np.ones((3, 2))), name="rows"),
        nc.Variable(on_device(np.ones(3)), name="failing", constraint=fail),
    ]
    gradients = [np.ones(3), on_device(np.ones(3)), rows, on_device(np.ones(3))]
    optimizer: Any = nc.train.MomentumOptimizer(0.1, 0.9)
    if in_groups:
        groups = [("failing", optimizer), (["host", "device", "rows"], nc.train.AdamOptimizer())]
        optimizer = nc.train.GroupedOptimizer(groups[::-1])
    with pytest.raises(RuntimeError, match="no such numbers"):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    assert np.all(variables[0].value == 1.0)
    assert all(np.all(on_host(variable.value) == 1.0) for variable in variables[1:])
    assert optimizer.variables() == []


def test_a_function_refuses_memory_of_another_variable() -> None:
    memory = np.ones(4)
    variables = [
        nc.Variable(on_device(memory), constraint=lambda numbers: numbers),
        nc.Variable(on_device(memory[1:])),
    ]
    gradients = [on_device(np.ones(4)), on_device(np.ones(3))]
    optimizer = nc.train.MomentumOptimizer(0.1, 0.9)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[0\]\[1\]` must share no memory"):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    assert np.all(memory == 1.0)
    assert optimizer.variables() == []


def test_a_state_goes_from_a_device_to_the_host_and_back() -> None:
    variables = [nc.Variable(place(np.ones(4)), name="x") for place in (on_device, np.asarray)]
    optimizers = [nc.train.AdamOptimizer(0.1) for _ in variables]
    for gradient in normal(np.dtype(np.float64), 5, 4):
        optimizers[0].apply_gradients([(on_device(gradient), variables[0])])
        optimizers[1].load_state_dict(optimizers[0].state_dict())
        variables[1].value[...] = on_host(variables[0].value)
        optimizers[1].apply_gradients([(gradient, variables[1])])
        optimizers[0].apply_gradients([(on_device(gradient), variables[0])])
        assert_same(variables[0].value, variables[1].value)
        optimizers[0].load_state_dict(optimizers[1].state_dict())


def test_a_variable_given_twice_is_updated_twice() -> None:
    start, gradient = normal(np.dtype(np.float32), 20), normal(np.dtype(np.float32), 20)
    host, device = nc.Variable(start.copy()), nc.Variable(on_device(start.copy()))
    for variable, each in ((host, gradient), (device, on_device(gradient))):
        optimizer = nc.train.AdamOptimizer(0.1)
        optimizer.apply_gradients([(each, variable), (each, variable)])
    assert_same(device.value, host.value)


def test_a_gradient_that_shows_a_variable() -> None:
    memory = normal(np.dtype(np.float32), 20)
    found = []
    for place in (on_device, np.asarray):
        numbers = memory.copy()
        variables = [nc.Variable(place(numbers[:10])), nc.Variable(place(numbers[10:]))]
        gradients = [place(numbers[5:15]), place(numbers[:10])]
        optimizer = nc.train.GradientDescentOptimizer(0.5)
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        found.append(numbers)
    assert found[0].tobytes() == found[1].tobytes()


def test_a_gradient_that_is_a_slot() -> None:
    found = []
    for place in (on_device, np.asarray):
        variable = nc.Variable(place(normal(np.dtype(np.float32), 10)))
        optimizer = nc.train.MomentumOptimizer(0.5, 0.5)
        optimizer.apply_gradients([(place(normal(np.dtype(np.float32), 10)), variable)])
        slot = optimizer.get_slot(variable, "momentum")
        assert slot is not None
        optimizer.apply_gradients([(slot.value, variable)])
        found.append([variable.value, slot.value])
    for device, host in zip(*found, strict=True):
        assert_same(device, host)


def test_assign() -> None:
    variable = nc.Variable(on_device(np.zeros((2, 3), np.float32)))
    variable.assign(np.arange(6.0).reshape(2, 3))
    assert_same(variable.value, np.arange(6, dtype=np.float32).reshape(2, 3))
    variable.assign(on_device(np.ones((3, 2), np.float32).T))
    assert_same(variable.value, np.ones((2, 3), np.float32))


def test_assign_what_shows_the_variable_in_another_layout() -> None:
    numbers = np.arange(25, dtype=np.float32).reshape(5, 5)
    for view in (lambda x: x.T, lambda x: x[::-1], lambda x: x):
        array = numbers.copy()
        variable = nc.Variable(on_device(array))
        variable.assign(on_device(view(array)))
        assert array.tobytes() == view(numbers).tobytes()


def test_a_variable_of_a_variable_is_a_copy_on_the_device() -> None:
    first = nc.Variable(on_device(np.array([1.0, 2.0])))
    second = nc.Variable(first)
    assert type(second.array) is type(first.array)
    second.assign([3.0, 4.0])
    assert on_host(first.array).tolist() == [1.0, 2.0]
    assert on_host(second.array).tolist() == [3.0, 4.0]


def test_rows_without_columns() -> None:
    variable = nc.Variable(on_device(np.ones((3, 0))))
    gradient = nc.IndexedSlices(on_device(np.ones((2, 0))), on_device(np.array([0, 2])))
    optimizer = nc.train.AdagradOptimizer(0.1)
    optimizer.apply_gradients([(gradient, variable)])
    assert on_host(optimizer.get_slot(variable, "accumulator").array).shape == (3, 0)


def test_a_variable_that_is_a_slot_of_another() -> None:
    results = []
    for place, found in ((np.asarray, np.asarray), (on_device, on_host)):
        first = nc.Variable(place(np.array([1.0, 2.0])))
        optimizer = nc.train.MomentumOptimizer(0.5, 0.5)
        gradient = place(np.array([3.0, 4.0]))
        optimizer.apply_gradients([(gradient, first)])
        second = optimizer.get_slot(first, "momentum")
        optimizer.apply_gradients([(gradient, first), (gradient, second)])
        results.append([found(first.array).tolist(), found(second.array).tolist()])
    assert results[0] == results[1]


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 2.0}])
@pytest.mark.parametrize("slices", [False, True])
def test_a_gradient_that_shows_what_another_group_changes(
    options: dict[str, Any], slices: bool
) -> None:
    found = []
    for place in (on_device, np.asarray):
        numbers = [place(normal(np.dtype(np.float64), 6, 2)) for _ in range(2)]
        x, y = (nc.Variable(each, name=name) for each, name in zip(numbers, "xy", strict=True))
        optimizer = nc.train.GroupedOptimizer(
            [(name, nc.train.MomentumOptimizer(1.0, 0.5)) for name in "xy"], **options
        )
        optimizer.apply_gradients([(y.value, x), (x.value, y)])
        gradient: Any = optimizer.get_slot(x, "momentum").value
        if slices:
            gradient = nc.IndexedSlices(gradient, place(np.arange(6)))
        optimizer.apply_gradients([(x.value, x), (gradient, y)])
        found.append([x.value, y.value])
    for device, host in zip(*found, strict=True):
        assert_same(device, host)


def test_a_variable_that_outgrew_its_slots_is_refused() -> None:
    variable = nc.Variable(on_device(np.ones(4, np.float32)), name="w")
    optimizer = nc.train.MomentumOptimizer(0.5, 0.9)
    optimizer.apply_gradients([(on_device(np.ones(4, np.float32)), variable)])
    variable.array = on_device(np.ones(6, np.float32))
    with pytest.raises(ValueError, match=r"name='w', shape=\(6,\).*shape=\(4,\)"):
        optimizer.apply_gradients([(on_device(np.ones(6, np.float32)), variable)])
    assert_same(variable.value, np.ones(6, np.float32))


@pytest.mark.parametrize("make", [nc.train.AdamOptimizer, nc.train.GradientDescentOptimizer])
def test_an_array_of_another_dtype_than_its_variable_is_refused(make: Any) -> None:
    optimizer, variable = make(0.1), nc.Variable(on_device(np.ones(4)), name="w")
    optimizer.apply_gradients([(on_device(np.ones(4)), variable)])
    variable.array = on_device(np.ones(4, np.float32))
    for dtype in (np.float32, np.float64):
        with pytest.raises(TypeError, match=r"of its dtype, got one of float32 in .*'w'"):
            optimizer.apply_gradients([(on_device(np.ones(4, dtype)), variable)])
    assert on_host(variable.array).tobytes() == np.ones(4, np.float32).tobytes()


def test_ftrl_takes_a_number_without_any_gradient_yet_for_zero() -> None:
    variable = nc.Variable(on_device(np.ones(4, np.float32)))
    optimizer = nc.train.FtrlOptimizer(0.5, initial_accumulator_value=0.0)
    optimizer.apply_gradients([(on_device(np.zeros(4, np.float32)), variable)])
    assert np.array_equal(on_host(variable.value), np.zeros(4, np.float32))


def test_the_mask_of_a_variable_is_an_array_of_the_device() -> None:
    variable = nc.Variable(on_device(np.ones((2, 2))), update_mask=[[True, False], [False, True]])
    assert type(variable.update_mask) is type(variable.array)
    assert on_host(variable.update_mask).tolist() == [1, 0, 0, 1]
