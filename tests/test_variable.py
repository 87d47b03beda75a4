"""Variables wrap arrays and are used as arrays are."""

import operator
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = ["f2", ml_dtypes.bfloat16, "f4", "f8", "c8", "c16", "i1", "u2", "i8", ">f4"]


def wrapped() -> dict[str, Array]:
    grid = np.arange(24.0).reshape(4, 6)
    return {
        "vector": np.arange(3.0),
        "scalar": np.array(2.0),
        "empty": np.zeros((0, 3)),
        "strided": grid[::2, 1::3],
        "reversed": grid[0, ::-1],
        "fortran": np.asfortranarray(grid),
        "view": grid[1],
    }


@pytest.mark.parametrize("name", wrapped())
def test_wraps_without_a_copy(name: str) -> None:
    array = wrapped()[name]
    variable = nc.Variable(array)
    assert variable.value is array
    variable.assign(np.full(array.shape, 7.0))
    assert np.all(array == 7.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_takes_every_dtype(dtype: Any) -> None:
    array = np.ones((2, 3), dtype)
    variable = nc.Variable(array)
    assert variable.value is array
    assert (variable.dtype, variable.shape, variable.ndim, variable.size) == (dtype, (2, 3), 2, 6)


@pytest.mark.parametrize("value", [3.0, 3, [1.0, 2.0], ((1, 2), (3, 4)), np.float32(2), 1j])
def test_numbers_and_lists_become_new_arrays(value: Any) -> None:
    variable = nc.Variable(value)
    expected = np.asarray(value)
    np.testing.assert_array_equal(variable.value, expected)
    assert variable.dtype == expected.dtype
    assert variable.value.flags.writeable


def test_a_variable_of_a_variable_is_a_copy() -> None:
    first = nc.Variable([1.0, 2.0])
    second = nc.Variable(first)
    second.assign([3.0, 4.0])
    assert first.value.tolist() == [1.0, 2.0]


def test_a_read_only_array_is_refused() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    with pytest.raises(ValueError, match="`initial_value` must be writable"):
        nc.Variable(array)
    with pytest.raises(ValueError, match="`initial_value` must be writable"):
        nc.Variable(np.broadcast_to(1.0, (3,)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("f8", np.float32([1, 2])),
        ("f4", np.float64([1, 2])),
        ("f4", [1, 2]),
        ("f2", [1.0, 2.0]),
        (ml_dtypes.bfloat16, [1.0, 2.0]),
        (">f8", np.array([1.0, 2.0])),
        ("i4", np.int64([1, 2])),
        ("c8", [1.0, 2.0]),
    ],
)
def test_assign_casts_to_the_variables_dtype(dtype: Any, value: Any) -> None:
    array = np.zeros(2, dtype)
    variable = nc.Variable(array)
    assert variable.assign(value) is variable
    assert variable.value is array
    assert array.dtype == dtype
    np.testing.assert_array_equal(array.astype(complex), [1, 2])


def test_assign_takes_what_overlaps_the_variable() -> None:
    variable = nc.Variable(np.arange(4.0))
    variable.assign(variable.value[::-1])
    assert variable.value.tolist() == [3.0, 2.0, 1.0, 0.0]


def test_assign_takes_a_variable() -> None:
    assert nc.Variable([1.0]).assign(nc.Variable([5.0])).value.tolist() == [5.0]


def test_equality_and_hash_are_by_identity() -> None:
    first, second = nc.Variable([1.0, 2.0]), nc.Variable([1.0, 2.0])
    assert first == first
    assert first != second
    assert not first == np.array([1.0, 2.0])
    assert len({first, second, first}) == 2
    assert {first: "first", second: "second"}[second] == "second"
    assert second in [first, second]
    first.assign([9.0, 9.0])
    assert first in {first}


ARITHMETIC = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.matmul,
    operator.pow,
    operator.mod,
]
ORDER = [operator.lt, operator.le, operator.gt, operator.ge]
OTHERS: dict[str, Any] = {
    "array": np.array([[2.0, 1.0], [0.5, 3.0]]),
    "vector": np.array([2.0, 0.5]),
    "list": [2.0, 0.5],
    "nested list": [[2.0, 1.0], [0.5, 3.0]],
    "tuple": (2.0, 0.5),
    "float": 2.0,
    "int": 2,
    "float64": np.float64(2.0),
    "float32": np.float32(2.0),
    "int64": np.int64(2),
    "0-d array": np.array(2.0),
    "integer array": np.array([1, 2]),
    "float32 array": np.float32([2.0, 0.5]),
}


def same(first: Any, second: Any) -> bool:
    first, second = np.asarray(first), np.asarray(second)
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


OPERATIONS = [
    pytest.param(function, other, id=f"{function.__name__}, {name}")
    for function in ARITHMETIC + ORDER
    for name, other in OTHERS.items()
    if function is not operator.matmul or np.ndim(other) > 0
]


@pytest.mark.parametrize(("function", "other"), OPERATIONS)
def test_operators_on_either_side(function: Callable[[Any, Any], Any], other: Any) -> None:
    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    variable = nc.Variable(array)
    assert same(function(variable, other), function(array, other))
    assert same(function(other, variable), function(other, array))
    assert same(function(nc.Variable(array), variable), function(array, array))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_operators_keep_numpys_dtypes(dtype: str) -> None:
    array = np.ones(2, dtype)
    variable = nc.Variable(array)
    for other in (2, 2.0, np.float64(2.0), np.ones(2, "f8"), np.ones(2, "f4")):
        assert (variable * other).dtype == (array * other).dtype
        assert (other * variable).dtype == (other * array).dtype


def test_operators_leave_the_variable_as_it_is() -> None:
    variable = nc.Variable([1.0, 2.0])
    result = variable + 1.0
    assert isinstance(result, np.ndarray)
    assert variable.value.tolist() == [1.0, 2.0]


def test_unary_operators_and_indexing() -> None:
    array = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
    variable = nc.Variable(array)
    assert same(-variable, -array)
    assert same(+variable, array)
    assert same(abs(variable), abs(array))
    assert same(variable.T, array.T)
    assert len(variable) == 2
    for index in (0, -1, (1, 2), slice(None, None, -1), [1, 0, 1], array > 0, ..., (None, 0)):
        assert same(variable[index], array[index])
    assert [row.tolist() for row in variable] == array.tolist()


@pytest.mark.parametrize("function", [np.sum, np.tanh, np.linalg.norm, np.sort, np.asarray])
def test_numpy_functions_take_it(function: Callable[[Any], Any]) -> None:
    array = np.array([3.0, -1.0, 2.0])
    assert same(function(nc.Variable(array)), function(array))


def test_numpy_is_refused_a_cast_without_a_copy() -> None:
    variable = nc.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="copy"):
        np.array(variable, np.float32, copy=False)
    assert np.array(variable, copy=False) is variable.array


def test_numpy_reads_the_array_itself() -> None:
    array = np.array([3.0, -1.0])
    variable = nc.Variable(array)
    assert np.asarray(variable) is array
    assert not np.shares_memory(np.array(variable), array)
    assert np.asarray(variable, np.float32).dtype == np.float32
    assert np.array(variable, np.complex64).tolist() == [3.0, -1.0]


def test_clips_take_it() -> None:
    variable = nc.Variable([3.0, 4.0])
    np.testing.assert_allclose(nc.clip_by_norm(variable, 1.0), [0.6, 0.8])
    assert nc.global_norm([variable]) == 5.0


def test_integer_variables() -> None:
    step = nc.Variable(0, trainable=False, name="global_step")
    assert step.dtype == np.int64
    step.assign(step + 1)
    assert step.value == 1
    assert (step * 2.5, 10 - step) == (2.5, 9)


def test_a_scalar_variable_is_a_number() -> None:
    assert int(nc.Variable(3)) == 3
    assert float(nc.Variable(0.5)) == 0.5
    assert bool(nc.Variable(2.0))
    assert not bool(nc.Variable(0.0))


def test_trainable_and_name() -> None:
    assert nc.Variable(1.0).trainable is True
    assert nc.Variable(1.0).name is None
    variable = nc.Variable(1.0, False, "rate")
    assert (variable.trainable, variable.name) == (False, "rate")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        (nc.Variable([1.0, 2.0], name="w"), "Variable(name='w', shape=(2,), dtype=float64)"),
        (nc.Variable(np.float32(1)), "Variable(shape=(), dtype=float32)"),
        (nc.Variable(np.zeros((0, 3), int)), "Variable(shape=(0, 3), dtype=int64)"),
    ],
)
def test_repr(variable: nc.Variable, text: str) -> None:
    assert repr(variable) == text


def test_a_variable_has_no_other_attributes() -> None:
    variable = nc.Variable(1.0)
    with pytest.raises(AttributeError):
        variable.traineable = False  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        variable.value = 2.0  # type: ignore[misc]
