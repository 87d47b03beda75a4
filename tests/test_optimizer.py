"""Optimizers: steps bit for bit, whatever holds the numbers, and what the methods take."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
from optimizers import (
    DTYPES,
    OPTIMIZERS,
    RATE,
    Array,
    ByHand,
    Row,
    for_every_dtype,
    for_every_optimizer,
    normal,
    same,
)

import numclip as nc
from numclip.train import _host_updates

Optimizer = nc.train.Optimizer
Slices = nc.IndexedSlices


@for_every_optimizer
@for_every_dtype
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_steps_are_those_of_numpy_bit_for_bit(row: Row, dtype: Any, size: int) -> None:
    array = normal(size, dtype)
    by_hand, variable, optimizer = ByHand(row, array), nc.Variable(array), row.make()
    for step in range(20):
        gradient = normal(size, dtype, seed=step + 1)
        by_hand.apply(gradient)
        optimizer.apply_gradients([(gradient, variable)])
        by_hand.assert_agrees(variable, optimizer)


@for_every_optimizer
@for_every_dtype
def test_steps_by_rows_are_those_of_numpy_bit_for_bit(row: Row, dtype: Any) -> None:
    random = np.random.default_rng(0)
    array = normal((9, 5), dtype)
    by_hand, variable, optimizer = ByHand(row, array), nc.Variable(array), row.make()
    for step in range(20):
        gradient = Slices(normal((6, 5), dtype, seed=step + 1), random.integers(8, size=6))
        by_hand.apply(gradient)
        optimizer.apply_gradients([(gradient, variable)])
        by_hand.assert_agrees(variable, optimizer)


def steps(row: Row, variable: nc.Variable, gradients: list[Any]) -> Any:
    """Apply gradients one after another; return the values of the variable and its slots."""
    optimizer = row.make()
    for gradient in gradients:
        optimizer.apply_gradients([(gradient, variable)])
    held = [variable, *optimizer.variables()]
    return [np.array(each.value, float, order="C") for each in held]


def laid_out(array: Array) -> dict[str, Array]:
    """Return copies of a matrix that lie in memory in all ways."""
    strided = np.zeros((2 * len(array), 3 * array.shape[1]), array.dtype)[::2, ::3]
    turned = np.zeros(array.shape, array.dtype)[::-1, ::-1]
    transposed = np.zeros(array.shape[::-1], array.dtype).T
    unaligned = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copies = {
        "strided": strided,
        "reversed": turned,
        "transposed": transposed,
        "unaligned": unaligned,
    }
    for each in copies.values():
        each[...] = array
    if array.dtype != ml_dtypes.bfloat16:
        copies["byte-swapped"] = array.astype(array.dtype.newbyteorder())
    return copies | {"fortran": np.asfortranarray(array), "plain": array.copy()}


LAYOUTS = [
    pytest.param(layout, dtype, id=f"{layout}, {np.dtype(dtype).name}")
    for dtype in DTYPES
    for layout in laid_out(np.zeros((3, 2), dtype))
]


@for_every_optimizer
@pytest.mark.parametrize(("layout", "dtype"), LAYOUTS)
def test_variables_of_any_layout(row: Row, layout: str, dtype: Any) -> None:
    array, gradient = normal((5, 4), dtype), normal((5, 4), dtype, 1)
    other = laid_out(array)[layout]
    found = steps(row, nc.Variable(other), [gradient.astype(other.dtype)] * 3)
    expected = steps(row, nc.Variable(array), [gradient] * 3)
    assert all(same(*pair) for pair in zip(found, expected, strict=True))


@for_every_optimizer
@pytest.mark.parametrize(("layout", "dtype"), LAYOUTS)
def test_gradients_of_any_layout(row: Row, layout: str, dtype: Any) -> None:
    array, gradient = normal((5, 4), dtype), normal((5, 4), dtype, 1)
    other = laid_out(gradient)[layout]
    # A gradient is of its variable's dtype, byte order included.
    variables = [array.astype(each.dtype) for each in (gradient, other)]
    slices = [Slices(each, np.array([4, 0, 2, 0, 4])) for each in (gradient, other)]
    for pair in ([gradient, other], slices):
        expected, found = (
            steps(row, nc.Variable(variable.copy()), [each] * 2)
            for variable, each in zip(variables, pair, strict=True)
        )
        assert all(same(*each) for each in zip(found, expected, strict=True))


@for_every_optimizer
def test_what_lies_between_the_numbers_of_a_variable_stays(row: Row) -> None:
    memory = np.full((6, 6), 7.0)
    variable = nc.Variable(memory[::2, 1::2])
    steps(row, variable, [np.ones((3, 3)), Slices(np.ones((2, 3)), np.array([1, 2]))])
    assert np.all(variable.value < 7.0)
    memory[::2, 1::2] = 7.0
    assert np.all(memory == 7.0)


@for_every_optimizer
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (2, 0, 3), (2, 3, 4)], ids=str)
def test_variables_of_any_shape(row: Row, shape: tuple[int, ...]) -> None:
    array, gradient = normal(shape), normal(shape, seed=1)
    results = [
        steps(row, nc.Variable(array.reshape(other).copy()), [gradient.reshape(other)] * 2)
        for other in (shape, (-1,) if array.size else (0,))
    ]
    assert results[0][0].shape == shape
    assert all(same(x.ravel(), y) for x, y in zip(*results, strict=True))


@for_every_optimizer
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (3,), (3, 2), (3, 2, 2)], ids=str)
def test_slices_without_rows(row: Row, shape: tuple[int, ...]) -> None:
    variable, optimizer = nc.Variable(normal(shape)), row.make()
    nothing = Slices(np.zeros((0, *shape[1:])), np.array([], int), shape)
    by_hand = ByHand(row, variable.value)
    by_hand.apply(nothing)
    optimizer.apply_gradients([(nothing, variable)])
    by_hand.assert_agrees(variable, optimizer)


OVERLAPS: dict[str, Callable[[Array], tuple[Array, Any]]] = {
    "itself": lambda memory: (memory, memory),
    "rows reversed": lambda memory: (memory, memory[::-1]),
    "columns reversed": lambda memory: (memory, memory[:, ::-1]),
    "transposed": lambda memory: (memory, memory.T),
    "shifted down": lambda memory: (memory[:-1], memory[1:]),
    "shifted up": lambda memory: (memory[1:], memory[:-1]),
    "strided": lambda memory: (memory[::2], memory[1::2]),
    "of a strided variable": lambda memory: (memory[:, ::2], memory[:, ::-2]),
    "slices of itself": lambda memory: (memory, Slices(memory, np.arange(6))),
    "slices of itself, turned round": lambda memory: (memory, Slices(memory, np.arange(6)[::-1])),
    "slices of itself, duplicates": lambda memory: (
        memory,
        Slices(memory, np.array([1, 2, 3, 1, 0, 1])),
    ),
    "slices of some rows": lambda memory: (memory, Slices(memory[:3], np.array([1, 2, 3]))),
    "slices of a reversed view": lambda memory: (memory, Slices(memory[::-1], np.arange(6))),
}


@for_every_optimizer
@pytest.mark.parametrize("name", OVERLAPS)
def test_a_gradient_that_overlaps_its_variable_is_read_before_it_changes(
    row: Row, name: str
) -> None:
    array, gradient = OVERLAPS[name](normal((6, 6)))
    apart = gradient * 1.0 if isinstance(gradient, Slices) else gradient.copy()
    expected = steps(row, nc.Variable(array.copy()), [apart])
    found = steps(row, nc.Variable(array), [gradient])
    assert all(same(*pair) for pair in zip(found, expected, strict=True))


@for_every_optimizer
def test_a_gradient_that_is_another_variables_value_is_read_before_it_changes(row: Row) -> None:
    first, second = nc.Variable([1.0, 2.0]), nc.Variable([10.0, 20.0])
    expected = steps(row, nc.Variable([10.0, 20.0]), [first.value.copy()])
    row.make().apply_gradients([(np.array([5.0, 6.0]), first), (first.value, second)])
    assert same(second, expected[0])


def two_owners(memory: bytearray) -> tuple[Array, Array]:
    return np.frombuffer(memory, offset=0, count=4), np.frombuffer(memory, offset=8, count=4)


def a_view_by_strides(memory: bytearray) -> tuple[Array, Array]:
    numbers = np.frombuffer(memory)
    return numbers[:4], np.lib.stride_tricks.as_strided(numbers[1:], (4,), (8,))


def an_array_of_its_own(memory: bytearray) -> tuple[Array, Array]:
    numbers = np.frombuffer(memory).copy()
    return np.lib.stride_tricks.as_strided(numbers, (4,), (8,)), numbers[1:]


@for_every_optimizer
@pytest.mark.parametrize("of", [two_owners, a_view_by_strides, an_array_of_its_own])
@pytest.mark.parametrize("makes_checks", [False, True])
def test_a_gradient_that_overlaps_under_another_owner_is_read_before(
    row: Row, of: Callable[[bytearray], tuple[Array, Array]], makes_checks: bool
) -> None:
    array, gradient = of(bytearray(normal(5, np.float64).tobytes()))
    apart = gradient.copy()
    if makes_checks:
        array, gradient, apart = array[::-1], gradient[::-1], apart[::-1]
    expected = steps(row, nc.Variable(array.copy()), [apart])
    found = steps(row, nc.Variable(array), [gradient])
    assert all(same(*pair) for pair in zip(found, expected, strict=True))


ALL_ROWS = pytest.mark.parametrize("name", [x for x in OPTIMIZERS if OPTIMIZERS[x].takes_all_rows])


@ALL_ROWS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam_by_rows_is_dense_adam(name: str, dtype: Any) -> None:
    random = np.random.default_rng(0)
    array = normal((20, 3), dtype)
    sparse, dense = nc.Variable(array.copy()), nc.Variable(array.copy())
    optimizers = [OPTIMIZERS[name].make() for _ in range(2)]
    for step in range(10):
        gradient = Slices(normal((8, 3), dtype, step), random.integers(0, 20, 8), (20, 3))
        optimizers[0].apply_gradients([(gradient, sparse)])
        optimizers[1].apply_gradients([(gradient.to_dense(), dense)])
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-13}
    np.testing.assert_allclose(sparse.value, dense.value, **tolerance)
    for slot in "mv":
        found = (optimizers[0].get_slot(sparse, slot), optimizers[1].get_slot(dense, slot))
        np.testing.assert_allclose(*(np.asarray(each) for each in found), **tolerance)


@for_every_optimizer
def test_rows_without_a_gradient_stay_unless_the_means_of_all_rows_decay(row: Row) -> None:
    variable, optimizer = nc.Variable(np.ones((3, 2))), row.make()
    optimizer.apply_gradients([(np.ones((3, 2)), variable)])
    arrays = [each.value for each in (variable, *optimizer.variables())]
    before = [array.copy() for array in arrays]
    optimizer.apply_gradients([(Slices(np.full((1, 2), 0.5), np.array([1])), variable)])
    for array, old in zip(arrays, before, strict=True):
        assert np.all(array[1] != old[1])
        assert np.all((array[::2] != old[::2]) == row.takes_all_rows)


@pytest.mark.parametrize("index_dtype", ["i1", "u1", "i2", "u4", "i8", "u8", ">i4"])
@for_every_optimizer
def test_indices_of_any_dtype(row: Row, index_dtype: str) -> None:
    values, indices = normal((4, 2)), np.array([3, 0, 3, 1])
    results = [
        steps(row, nc.Variable(normal((5, 2), seed=1)), [Slices(values, each, shape)])
        for each, shape in (
            (indices, (5, 2)),
            (indices.astype(index_dtype), None),
            (indices.tolist(), np.array([5, 2])),
        )
    ]
    for other in results[1:]:
        assert all(same(*pair) for pair in zip(results[0], other, strict=True))


@for_every_optimizer
@pytest.mark.parametrize("container", [list, tuple, iter, lambda pairs: (pair for pair in pairs)])
def test_pairs_come_from_any_iterable(row: Row, container: Any) -> None:
    variables = [nc.Variable([1.0]), nc.Variable([2.0, 3.0])]
    gradients = [np.array([1.0]), np.array([1.0, -1.0])]
    row.make().apply_gradients(
        container([[gradients[0], variables[0]], (gradients[1], variables[1])])
    )
    other = [nc.Variable([1.0]), nc.Variable([2.0, 3.0])]
    row.make().apply_gradients(zip(gradients, other, strict=True))
    assert [each.value.tolist() for each in variables] == [each.value.tolist() for each in other]


@for_every_optimizer
def test_gradients_as_lists_and_variables(row: Row) -> None:
    for gradient in ([0.5, -1.0], nc.Variable([0.5, -1.0]), (0.5, -1.0)):
        found = steps(row, nc.Variable([1.0, 2.0]), [gradient])
        expected = steps(row, nc.Variable([1.0, 2.0]), [np.array([0.5, -1.0])])
        assert all(same(*pair) for pair in zip(found, expected, strict=True))


@for_every_optimizer
def test_a_read_only_gradient(row: Row) -> None:
    gradient = np.broadcast_to(np.array(0.5), (2, 3))
    steps(row, nc.Variable(np.ones((2, 3))), [gradient])
    assert np.all(gradient == 0.5)


@for_every_optimizer
def test_none_leaves_its_variable_without_slots(row: Row) -> None:
    first, second = nc.Variable([1.0]), nc.Variable([2.0])
    optimizer = row.make()
    result = optimizer.apply_gradients([(None, first), (np.array([1.0]), second)])
    assert (result.global_norm, result.scale, result.skipped) == (None, 1.0, False)
    assert first.value.tolist() == [1.0]
    assert second.value[0] < 2.0
    assert all(optimizer.get_slot(first, slot) is None for slot in optimizer.get_slot_names())
    assert len(optimizer.variables()) == len(optimizer.get_slot_names())


@for_every_optimizer
def test_the_same_variable_twice_is_updated_twice(row: Row) -> None:
    variable, gradients = nc.Variable(normal(5)), [normal(5, seed=1), normal(5, seed=2)]
    by_hand, optimizer = ByHand(row, variable.value), row.make()
    for _ in range(2):
        by_hand.apply(*gradients)
        optimizer.apply_gradients([(gradient, variable) for gradient in gradients])
    by_hand.assert_agrees(variable, optimizer)


@for_every_optimizer
def test_variables_of_all_dtypes_in_one_optimizer_are_as_alone(row: Row) -> None:
    variables = [nc.Variable(normal(9, dtype)) for dtype in DTYPES]
    by_hand = [ByHand(row, variable.value) for variable in variables]
    optimizer = row.make()
    for step in range(5):
        gradients = [normal(9, dtype, step) for dtype in DTYPES]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for reference, gradient in zip(by_hand, gradients, strict=True):
            reference.apply(gradient)
    for variable, reference in zip(variables, by_hand, strict=True):
        reference.assert_agrees(variable, optimizer)


@for_every_optimizer
def test_a_variable_that_joins_later_has_fresh_slots_and_meets_the_number_of_the_step(
    row: Row,
) -> None:
    early, late = nc.Variable(np.float32([1.0])), nc.Variable(np.array([1.0]))
    optimizer, by_hand = row.make(), ByHand(row, late.value)
    optimizer.apply_gradients([(np.float32([1.0]), early)])
    by_hand.time = 2
    for gradient in (np.array([1.0]), np.array([-0.5])):
        optimizer.apply_gradients([(gradient, late)])
        by_hand.apply(gradient)
    by_hand.assert_agrees(late, optimizer)


GLOBAL_STEPS: dict[str, Callable[[], Any]] = {
    "Variable": lambda: nc.Variable(3, trainable=False, name="global_step"),
    "0-d array": lambda: np.array(3),
    "array of one": lambda: np.array([3], np.uint8),
    "Variable of one": lambda: nc.Variable(np.array([[3]], np.int32)),
    "byte-swapped": lambda: np.array(3, ">i4"),
    "entry of an array": lambda: np.array([1, 3])[1:],
}


@for_every_optimizer
@pytest.mark.parametrize("kind", GLOBAL_STEPS)
def test_global_step_is_incremented(row: Row, kind: str) -> None:
    step, variable, optimizer = GLOBAL_STEPS[kind](), nc.Variable([1.0]), row.make()
    optimizer.apply_gradients([(np.ones(1), variable), (np.ones(1), variable)], step)
    optimizer.apply_gradients([(np.ones(1), variable)], global_step=step)
    optimizer.minimize(lambda: anp.sum(variable**2), step)
    assert np.asarray(step).item() == 6


def test_slots_have_names_shapes_and_dtypes() -> None:
    variables = [nc.Variable(np.ones(2, np.float32), name="b/w"), nc.Variable(1.0, name="a")]
    optimizer = nc.train.AdamOptimizer()
    assert optimizer.get_slot_names() == ["m", "v"]
    assert optimizer.variables() == []
    optimizer.apply_gradients((np.ones_like(each.value), each) for each in variables)
    names = [slot.name for slot in optimizer.variables()]
    assert names == ["a/Adam", "a/Adam_1", "b/w/Adam", "b/w/Adam_1"]
    m = optimizer.get_slot(variables[0], "m")
    assert (m.shape, m.dtype, m.trainable, m.name) == ((2,), np.float32, False, "b/w/Adam")
    assert optimizer.get_slot(variables[0], "v").name == "b/w/Adam_1"
    assert optimizer.get_slot(variables[0], "momentum") is None
    assert optimizer.get_slot(nc.Variable(1.0), "m") is None
    assert set(optimizer.variables()) == {
        optimizer.get_slot(each, slot) for each in variables for slot in "mv"
    }


def test_slots_of_unnamed_variables_and_named_optimizers() -> None:
    optimizer, variable = nc.train.AdamOptimizer(name="Fast"), nc.Variable(1.0)
    optimizer.apply_gradients([(np.array(1.0), variable)])
    assert [slot.name for slot in optimizer.variables()] == ["Variable/Fast", "Variable/Fast_1"]
    assert optimizer.get_name() == "Fast"


def test_an_optimizer_without_slots() -> None:
    optimizer, variable = nc.train.GradientDescentOptimizer(1.0), nc.Variable(1.0)
    optimizer.apply_gradients([(np.array(1.0), variable)])
    assert (optimizer.get_slot_names(), optimizer.variables()) == ([], [])
    assert optimizer.get_slot(variable, "m") is None
    assert optimizer.get_name() == "GradientDescent"


# As `inspect.signature` shows those of tf.compat.v1.train in TensorFlow 2.21; the last argument of
# its AdamOptimizer, the names of graph variables, has no meaning here.
SIGNATURES = {
    "GradientDescentOptimizer": "learning_rate, use_locking=False, name='GradientDescent'",
    "MomentumOptimizer": (
        "learning_rate, momentum, use_locking=False, name='Momentum', use_nesterov=False"
    ),
    "AdagradOptimizer": (
        "learning_rate, initial_accumulator_value=0.1, use_locking=False, name='Adagrad'"
    ),
    "AdadeltaOptimizer": (
        "learning_rate=0.001, rho=0.95, epsilon=1e-08, use_locking=False, name='Adadelta'"
    ),
    "AdamOptimizer": (
        "learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, use_locking=False, name='Adam'"
    ),
    "RMSPropOptimizer": (
        "learning_rate, decay=0.9, momentum=0.0, epsilon=1e-10, use_locking=False, centered=False,"
        " name='RMSProp'"
    ),
    "FtrlOptimizer": (
        "learning_rate, learning_rate_power=-0.5, initial_accumulator_value=0.1,"
        " l1_regularization_strength=0.0, l2_regularization_strength=0.0, use_locking=False,"
        " name='Ftrl', accum_name=None, linear_name=None,"
        " l2_shrinkage_regularization_strength=0.0, beta=None"
    ),
    "ProximalGradientDescentOptimizer": (
        "learning_rate, l1_regularization_strength=0.0, l2_regularization_strength=0.0,"
        " use_locking=False, name='ProximalGradientDescent'"
    ),
    "ProximalAdagradOptimizer": (
        "learning_rate, initial_accumulator_value=0.1, l1_regularization_strength=0.0,"
        " l2_regularization_strength=0.0, use_locking=False, name='ProximalAdagrad'"
    ),
    "AdagradDAOptimizer": (
        "learning_rate, global_step, initial_gradient_squared_accumulator_value=0.1,"
        " l1_regularization_strength=0.0, l2_regularization_strength=0.0, use_locking=False,"
        " name='AdagradDA'"
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_constructors_have_tensorflows_signatures(name: str) -> None:
    signature = inspect.signature(getattr(nc.train, name))
    *parameters, clipping = (
        each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()
    )
    assert clipping.kind is inspect.Parameter.VAR_KEYWORD
    assert str(inspect.Signature(parameters)) == f"({SIGNATURES[name]})"


def test_constructors_take_positions() -> None:
    variable, other = nc.Variable(normal(3)), nc.Variable(normal(3))
    nc.train.AdamOptimizer(0.2, 0.5, 0.6, 0.7, True, "A").apply_gradients([(np.ones(3), variable)])
    nc.train.AdamOptimizer(
        learning_rate=0.2, beta1=0.5, beta2=0.6, epsilon=0.7, use_locking=False, name="B"
    ).apply_gradients([(np.ones(3), other)])
    assert same(variable, other)
    assert nc.train.AdamOptimizer().get_name() == "Adam"
    assert nc.train.GradientDescentOptimizer(0.1, True, "C").get_name() == "C"


@for_every_optimizer
def test_slots_are_tensorflows(row: Row) -> None:
    optimizer, variable = row.make(name="Own"), nc.Variable(np.ones(2, np.float16), name="w")
    optimizer.apply_gradients([(np.zeros(2, np.float16), variable)])
    assert optimizer.get_slot_names() == sorted(row.slots)
    slots = [optimizer.get_slot(variable, name) for name in row.slots]
    assert [slot.name for slot in slots] == ["w/Own", "w/Own_1", "w/Own_2"][: len(slots)]
    assert {(slot.shape, slot.dtype, slot.trainable) for slot in slots} <= {
        ((2,), np.dtype(np.float16), False)
    }


def test_dual_averaging_penalizes_by_the_steps_taken() -> None:
    step, variable = nc.Variable(0), nc.Variable([5.0])
    optimizer = nc.train.AdagradDAOptimizer(
        1.0, step, initial_gradient_squared_accumulator_value=1.0, l1_regularization_strength=1.0
    )
    values = []
    for gradient in (4.0, 4.0, 0.0):
        optimizer.apply_gradients([(np.array([gradient]), variable)], global_step=step)
        values.append(variable.value.item())
    np.testing.assert_allclose(values, [-3 / 17**0.5, -6 / 33**0.5, -5 / 33**0.5], rtol=1e-15)


def test_callable_hyperparameters_are_called_once_in_each_step() -> None:
    calls: list[str] = []

    def given(name: str, value: float) -> Callable[[], float]:
        return lambda: calls.append(name) or value

    optimizer = nc.train.AdamOptimizer(
        given("rate", RATE), given("beta1", 0.8), given("beta2", 0.95), given("epsilon", 1e-4)
    )
    variables = [nc.Variable(normal(4)), nc.Variable(normal(4, np.float32))]
    by_hand = ByHand(OPTIMIZERS["adam"], variables[0].value)
    assert calls == []
    for step in range(1, 4):
        gradient = normal(4, seed=step)
        optimizer.apply_gradients([(gradient, variables[0]), (np.float32(gradient), variables[1])])
        by_hand.apply(gradient)
        assert sorted(calls) == sorted(["rate", "beta1", "beta2", "epsilon"] * step)
    by_hand.assert_agrees(variables[0], optimizer)


def test_a_learning_rate_that_changes() -> None:
    step, variable = nc.Variable(0), nc.Variable([0.0])
    optimizer = nc.train.GradientDescentOptimizer(lambda: 2.0**-step.value)
    for _ in range(3):
        optimizer.apply_gradients([(np.array([1.0]), variable)], global_step=step)
    assert variable.value.tolist() == [-1.75]


@pytest.mark.parametrize(
    "rate", [0.5, np.float32(0.5), np.array(0.5), nc.Variable(0.5), lambda: np.float16(0.5)]
)
def test_learning_rates_of_any_kind(rate: Any) -> None:
    variable = nc.Variable([1.0])
    nc.train.GradientDescentOptimizer(rate).apply_gradients([(np.array([1.0]), variable)])
    assert variable.value.tolist() == [0.5]


@for_every_optimizer
def test_minimize_is_compute_and_apply(row: Row) -> None:
    variables = [nc.Variable(normal((3, 3))), nc.Variable(normal((3, 3)))]

    def loss_of(w: nc.Variable) -> Callable[[], Any]:
        return lambda: anp.sum(anp.tanh(w @ w) ** 2) + anp.sum(nc.gather(w, [0, 0]))

    optimizers = [row.make(), row.make()]
    for _ in range(3):
        assert not optimizers[0].minimize(loss_of(variables[0])).skipped
        pairs = optimizers[1].compute_gradients(loss_of(variables[1]))
        optimizers[1].apply_gradients(pairs)
    assert same(*variables)


def test_minimize_only_the_given_variables() -> None:
    x, y = nc.Variable(2.0), nc.Variable(3.0)
    optimizer = nc.train.GradientDescentOptimizer(0.5)
    optimizer.minimize(lambda: x * y, var_list=[y])
    assert (x.value, y.value) == (2.0, 2.0)
    optimizer.minimize(lambda: x * y, var_list=iter([x]), grad_loss=2.0)
    assert (x.value, y.value) == (0.0, 2.0)


@pytest.mark.parametrize("value", [3.0, [3.0, 4.0]], ids=["scalar", "vector"])
def test_a_single_variable_as_the_list(value: Any) -> None:
    x, y = nc.Variable(value), nc.Variable(1.0)
    pairs = nc.train.AdamOptimizer().compute_gradients(lambda: x**2 * y, var_list=x)
    assert [variable for _, variable in pairs] == [x]
    assert same(pairs[0][0], 2 * x.value)


@pytest.mark.parametrize("gate", [Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH])
@pytest.mark.parametrize("aggregation", [None, 0, 1, 2])
def test_arguments_without_effect(gate: int, aggregation: int | None) -> None:
    x = nc.Variable(3.0)
    optimizer = nc.train.AdamOptimizer()
    pairs = optimizer.compute_gradients(lambda: x**2, [x], gate, aggregation, True)
    assert pairs == [(6.0, x)]
    assert (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH) == (0, 1, 2)


def test_unrelated_variables_of_a_list_come_with_none() -> None:
    x, y = nc.Variable(3.0), nc.Variable(4.0)
    pairs = nc.train.AdamOptimizer().compute_gradients(lambda: x**2, [y, x])
    assert pairs == [(None, y), (6.0, x)]


@for_every_optimizer
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_spoils_its_own_elements_only(row: Row, bad: float) -> None:
    gradient = np.array([1.0, bad, 1.0])
    found = steps(row, nc.Variable(np.zeros(3)), [gradient])
    expected = steps(row, nc.Variable(np.zeros(3)), [np.ones(3)])
    for array, reference in zip(found, expected, strict=True):
        assert not np.isfinite(array[1])
        assert same(array[::2], reference[::2])


@for_every_optimizer
def test_it_trains(row: Row) -> None:
    random = np.random.default_rng(0)
    inputs, truth = random.standard_normal((50, 3)), np.array([1.0, -2.0, 0.5])
    w = nc.Variable(np.zeros(3, np.float32), name="w")
    optimizer = row.make()

    def loss() -> Any:
        return anp.mean((inputs @ w - inputs @ truth) ** 2)

    before = loss()
    for _ in range(200):
        optimizer.minimize(loss)
    # Penalties keep it from zero.
    assert loss() < before / 100


@pytest.mark.parametrize("norm", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_has_no_scale(norm: float) -> None:
    result = nc.train.StepResult(np.float64(norm), 1.0, True)
    assert np.isnan(result.scale)
    assert repr(result) == f"StepResult(global_norm={norm}, scale=nan, skipped=True)"


@pytest.mark.parametrize("power", [-0.5, -0.75])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_ftrl_takes_a_number_without_any_gradient_yet_for_zero(
    power: float, is_sparse: bool
) -> None:
    """TensorFlow asks whether the linear term is beyond its penalty before it divides by 0."""
    variable = nc.Variable(np.array([[5.0], [2.0]]))
    optimizer = nc.train.FtrlOptimizer(0.5, power, initial_accumulator_value=0.0)
    for number in (0.0, 2.0):
        dense = np.array([[0.0], [number]])
        gradient = nc.IndexedSlices(dense, [0, 1]) if is_sparse else dense
        optimizer.apply_gradients([(gradient, variable)])
    raised = 4.0**-power
    expected = -(2.0 - raised / 0.5 * 0.0) / (raised / 0.5)
    np.testing.assert_allclose(variable.value, [[0.0], [expected]], rtol=1e-15)


INITIAL = {
    "adagrad": ("accumulator", "initial_accumulator_value"),
    "proximal adagrad": ("accumulator", "initial_accumulator_value"),
    "adagrad da": (
        "gradient_squared_accumulator",
        "initial_gradient_squared_accumulator_value",
    ),
}


@pytest.mark.parametrize("label", INITIAL)
def test_what_sums_begin_with_has_to_be_positive_in_the_variables_dtype(label: str) -> None:
    slot, argument = INITIAL[label]
    kinds = {
        "adagrad": partial(nc.train.AdagradOptimizer, 0.1),
        "proximal adagrad": partial(nc.train.ProximalAdagradOptimizer, 0.1),
        "adagrad da": partial(nc.train.AdagradDAOptimizer, 0.1, nc.Variable(0)),
    }
    optimizer = kinds[label](**{argument: 1e-8})
    single = nc.Variable(np.ones(2, np.float32))
    half = nc.Variable(np.ones(2, np.float16), name="half")
    pairs = [(np.ones(2, np.float32), single), (np.zeros(2, np.float16), half)]
    message = f"slot '{slot}' must begin above 0, and 1e-08 is 0 in float16.*half"
    with pytest.raises(ValueError, match=message):
        optimizer.apply_gradients(pairs)
    assert same(single, np.ones(2, np.float32))
    assert same(half, np.ones(2, np.float16))
    assert optimizer.variables() == []
    optimizer.apply_gradients(pairs[:1])
    assert optimizer.get_slot(single, slot) is not None


def test_centered_rmsprop_names_its_slots_in_tensorflows_order() -> None:
    optimizer, variable = OPTIMIZERS["centered rmsprop"].make(), nc.Variable([1.0], name="x")
    optimizer.apply_gradients([(np.ones(1), variable)])
    names = {slot: optimizer.get_slot(variable, slot).name for slot in ("rms", "mg", "momentum")}
    assert names == {"rms": "x/RMSProp", "mg": "x/RMSProp_1", "momentum": "x/RMSProp_2"}


SPOILED = {  # by an infinite gradient: the slots that become infinite, and those that become NaN
    "adam": ("mv", ""),
    "adadelta": (["accum"], ["accum_update"]),
    "rmsprop": (["rms"], ["momentum"]),
    "centered rmsprop": (["rms", "mg"], ["momentum"]),
}


@pytest.mark.parametrize("label", SPOILED)
def test_an_infinite_gradient_leaves_infinite_means(label: str) -> None:
    optimizer, variable = OPTIMIZERS[label].make(), nc.Variable([1.0, 1.0])
    optimizer.apply_gradients([(np.array([np.inf, 1.0]), variable)])
    infinite, spoiled = SPOILED[label]
    assert np.isnan(variable.value).tolist() == [True, False]
    for slot in infinite:
        assert np.isinf(optimizer.get_slot(variable, slot).value).tolist() == [True, False]
    for slot in spoiled:
        assert np.isnan(optimizer.get_slot(variable, slot).value).tolist() == [True, False]


@pytest.mark.parametrize("make", [nc.train.GradientDescentOptimizer, nc.train.AdagradOptimizer])
def test_variables_are_looked_at_once_even_if_one_is_of_another_order_of_bytes(
    make: Callable[[float], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    plan_for = _host_updates.plan_for

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return plan_for(*arguments)

    monkeypatch.setattr(_host_updates, "plan_for", counted)
    variables = [nc.Variable(normal(3)), nc.Variable(normal(3).astype(">f8"))]
    alone = [nc.Variable(each.value.astype(float)) for each in variables]
    optimizer, expected = make(0.1), [make(0.1), make(0.1)]
    for step in range(5):
        gradient = normal(3, seed=step)
        if step == 2:
            calls.clear()
        optimizer.apply_gradients([(gradient, each) for each in variables])
        if step >= 2:
            assert calls == []
    for step in range(5):
        for one, variable in zip(expected, alone, strict=True):
            one.apply_gradients([(normal(3, seed=step), variable)])
    assert same(variables[0], alone[0])
    assert np.array_equal(variables[1].value, alone[1].value)
