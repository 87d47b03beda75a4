"""Gradients of losses that read variables, against finite differences and closed forms."""

import operator
import threading
from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
from autograd.tracer import trace_stack
from gradients import finite_differences
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[..., Any]


def compute_gradients(loss: Function, variables: Any = None) -> dict[nc.Variable, Any]:
    pairs = nc.train.GradientDescentOptimizer(1.0).compute_gradients(loss, variables)
    return {variable: gradient for gradient, variable in pairs}


def dense(gradient: Any) -> Any:
    return gradient.to_dense() if isinstance(gradient, nc.IndexedSlices) else gradient


def x_and_w() -> list[Array]:
    random = np.random.default_rng(0)
    return [random.uniform(0.5, 2.0, shape) for shape in ((3, 4), (4, 4))]


# Functions of an x of shape (3, 4) and a w of shape (4, 4).
FUNCTIONS: dict[str, Function] = {
    "x @ w": lambda x, w: x @ w,
    "w @ x": lambda x, w: w @ x.T,
    "x[1] @ w": lambda x, w: x[1] @ w,
    "w @ x[1]": lambda x, w: w @ x[1],
    "dot": lambda x, w: anp.dot(x, w),
    "dot of parts": lambda x, w: anp.dot(w[1], x[2]) * w,
    "dot, turned round": lambda x, w: anp.dot(w, anp.transpose(x)),
    "matmul": lambda x, w: anp.matmul(x, w),
    "tensordot": lambda x, w: anp.tensordot(w, x, axes=[[1], [1]]),
    "einsum": lambda x, w: anp.einsum("ij,jk->ik", x, w),
    "einsum, turned round": lambda x, w: anp.einsum("jk,ij,jk->ki", w, x, w),
    "outer": lambda x, w: anp.outer(x[0], w[1]),
    "inner": lambda x, w: anp.inner(x, w),
    "kron": lambda x, w: anp.kron(x, w),
    "concatenate": lambda x, w: anp.concatenate([x, w, x]) ** 2,
    "concatenate, last axis": lambda x, w: anp.concatenate((w[:3], x), axis=1) ** 2,
    "vstack": lambda x, w: anp.vstack([w, x]) ** 2,
    "stack": lambda x, w: anp.stack([x, w[1:]]) ** 2,
    "array of numbers": lambda x, w: anp.array([x[0, 1], w[2, 3]]) ** 2,
    "add": lambda x, w: (x + w[0]) ** 2,
    "subtract": lambda x, w: (w[0] - x) ** 2,
    "multiply": lambda x, w: w[:, :1].T * x,
    "divide": lambda x, w: x / w[0],
    "divide, turned round": lambda x, w: w[0] / x,
    "power": lambda x, w: x ** w[0],
    "power, turned round": lambda x, w: w[0] ** x,
    "modulo": lambda x, w: w[1] % x[0],
    "minus and absolute": lambda x, w: abs(-x - w[2]),
    "tanh": lambda x, w: anp.tanh(x) @ anp.tanh(w),
    "exp, log and square root": lambda x, w: anp.exp(x) @ anp.log(w) + anp.sqrt(x),
    "sigmoid": lambda x, w: 1 / (1 + anp.exp(-(x @ w))),
    "logaddexp": lambda x, w: anp.logaddexp(x, w[3]),
    "arctan2": lambda x, w: anp.arctan2(w[0], x),
    "maximum": lambda x, w: anp.maximum(x, w[0]),
    "minimum": lambda x, w: anp.minimum(w[0], x),
    "where": lambda x, w: anp.where(x > w[0], x * w[1], x - w[2]),
    "clip": lambda x, w: anp.clip(x, 0.7, 1.4) * w[0],
    "sum over an axis": lambda x, w: anp.sum(x, axis=1) @ w[:3],
    "mean": lambda x, w: anp.mean(x) * anp.mean(w, axis=0),
    "variance": lambda x, w: anp.var(x, axis=0) + anp.std(w),
    "maximum of all": lambda x, w: anp.max(x) * anp.min(w),
    "product": lambda x, w: anp.prod(x, axis=0) * anp.prod(w, axis=1),
    "norm": lambda x, w: anp.linalg.norm(x) * anp.linalg.norm(w),
    "solve": lambda x, w: anp.linalg.solve(w + 5 * np.eye(4), x.T),
    "inverse and determinant": lambda x, w: (
        x @ anp.linalg.inv(w + 5 * np.eye(4)) * anp.linalg.det(w + 5 * np.eye(4))
    ),
    "log of the sum of exponentials": lambda x, w: anp.log(anp.sum(anp.exp(x @ w), axis=1)),
    "index": lambda x, w: x[2, 1] * w[1, 2],
    "slice": lambda x, w: x[::2, 1:] * w[:2, :3],
    "list as index": lambda x, w: x[:, [0, 0, 3]] ** 2 * w[2, [1, 1, 1]],
    "mask": lambda x, w: x[:, np.array([True, False, True, False])] @ w[:2],
    "new axis and ellipsis": lambda x, w: x[None, ..., 0] * w[..., 1, None],
    "transpose and reshape": lambda x, w: x.T.reshape(2, 6) * anp.reshape(w[:3], (2, 6)),
    "cumulative sum": lambda x, w: anp.cumsum(x, axis=1) * w[0],
    "sort": lambda x, w: anp.sort(x[0]) * w,
    "gather": lambda x, w: nc.gather(x, [2, 0, 2]) @ nc.gather(w, [1, 1, 0, 3]),
    "quadratic form": lambda x, w: x @ w @ x.T,
    "one twice": lambda x, w: x * x + w[0] * x + anp.sum(w),
    "only x": lambda x, w: x**3,
    "only w": lambda x, w: w**3,
}
# How each of x and w is given: recorded, frozen while the other is recorded, or a plain array.
RECORDED, FROZEN, PLAIN = "recorded", "frozen", "plain"
WAYS = [
    (RECORDED, RECORDED),
    (RECORDED, FROZEN),
    (FROZEN, RECORDED),
    (RECORDED, PLAIN),
    (PLAIN, RECORDED),
]


@pytest.mark.parametrize("ways", WAYS, ids=", ".join)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_finite_differences(name: str, ways: tuple[str, str]) -> None:
    function, arrays = FUNCTIONS[name], x_and_w()
    given = [
        array if way == PLAIN else nc.Variable(array, trainable=way == RECORDED)
        for array, way in zip(arrays, ways, strict=True)
    ]
    found = compute_gradients(lambda: function(*given))
    for position, (each, way) in enumerate(zip(given, ways, strict=True)):
        if way == FROZEN:
            assert each not in found
        elif way == RECORDED and name == f"only {'wx'[position]}":
            assert found.get(each) is None
        elif way == RECORDED:
            expected = finite_differences(function, arrays, position)
            np.testing.assert_allclose(dense(found[each]), expected, rtol=1e-6, atol=1e-7)


OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.matmul,
    operator.pow,
    operator.mod,
]
OTHERS: dict[str, Any] = {
    "frozen": nc.Variable(np.array([2.0, 3.0, 0.5]), trainable=False),
    "frozen scalar": nc.Variable(2.0, trainable=False),
    "frozen integers": nc.Variable(np.array([2, 3, 1]), trainable=False),
    "array": np.array([2.0, 3.0, 0.5]),
    "integer array": np.array([2, 3, 1]),
    "float32 array": np.float32([2.0, 3.0, 0.5]),
    "0-d array": np.array(2.0),
    "list": [2.0, 3.0, 0.5],
    "tuple": (2.0, 3.0, 0.5),
    "float": 2.0,
    "int": 2,
    "float64": np.float64(2.0),
    "float32": np.float32(2.0),
    "int64": np.int64(2),
}
PAIRS = [
    pytest.param(function, other, id=f"{function.__name__}, {name}")
    for function in OPERATORS
    for name, other in OTHERS.items()
    if function is not operator.matmul or np.ndim(other) > 0
]


@pytest.mark.parametrize(("function", "other"), PAIRS)
def test_operators_with_another_on_either_side(function: Function, other: Any) -> None:
    array = np.array([1.5, 0.7, 2.6])
    number = np.asarray(other, float)
    recorded = nc.Variable(array)
    for use in (lambda x, y: function(x, y), lambda x, y: function(y, x)):
        expected = finite_differences(lambda x, use=use: use(x, number), [array], 0)
        (by_variable,) = nc.gradients(lambda use=use: use(recorded, other), recorded)
        # autograd's boxes take no list for an exponent.
        taken = np.asarray(other) if isinstance(other, list | tuple) else other
        (by_value,) = nc.gradients(lambda use=use, y=taken: use(recorded.value, y), recorded)
        np.testing.assert_allclose(by_variable, expected, rtol=1e-6)
        np.testing.assert_array_equal(by_value, by_variable)


TIES: dict[str, Function] = {
    "maximum": anp.maximum,
    "minimum": anp.minimum,
    "fmax": anp.fmax,
    "fmin": anp.fmin,
    "where less or equal": lambda x, y: anp.where(x <= y, 2 * x, y),
}


@pytest.mark.parametrize("name", TIES)
@pytest.mark.parametrize("is_first", [True, False], ids=["recorded first", "frozen first"])
def test_a_frozen_variable_is_as_its_array_where_values_tie(name: str, is_first: bool) -> None:
    function = TIES[name]
    recorded = nc.Variable([1.0, 2.0, 3.0])
    frozen = nc.Variable([1.0, 2.5, 3.0], trainable=False)

    def loss(other: Any) -> Any:
        return function(recorded, other) if is_first else function(other, recorded)

    with_variable, with_array = (
        compute_gradients(lambda other=other: loss(other))[recorded]
        for other in (frozen, frozen.value)
    )
    np.testing.assert_array_equal(with_variable, with_array)


PLAIN_NUMPY: dict[str, Function] = {
    "sum": np.sum,
    "mean": np.mean,
    "tanh": np.tanh,
    "dot": lambda x: np.dot(x, np.ones(3)),
    "dot, turned round": lambda x: np.dot(np.ones(3), x),
    "maximum": lambda x: np.maximum(x, 0.0),
    "multiply": lambda x: np.multiply(np.ones(3), x),
    "concatenate": lambda x: np.concatenate([x, np.ones(3)]),
    "stack": lambda x: np.stack([np.ones(3), x]),
    "array": lambda x: np.array([x, x]),
    "asarray": np.asarray,
    "asarray as float32": lambda x: np.asarray(x, np.float32),
    "where": lambda x: np.where(np.ones(3, bool), x, 0.0),
    "einsum": lambda x: np.einsum("i,i", x, np.ones(3)),
    "norm": np.linalg.norm,
    "into an array": lambda x: np.zeros(3).__setitem__(slice(None), x),
    "a new Variable's value": lambda x: nc.Variable(np.ones(3)).assign(x) * 1.0,
}


@pytest.mark.parametrize("name", PLAIN_NUMPY)
def test_plain_numpy_functions_refuse_a_recorded_variable(name: str) -> None:
    x = nc.Variable([1.0, 2.0, 3.0], name="x")
    with pytest.raises(TypeError, match="Variable"):
        nc.gradients(lambda: PLAIN_NUMPY[name](x), x)
    PLAIN_NUMPY[name](x)
    assert trace_stack.top == -1


def test_scipy_finds_the_gradients_of_a_network_right() -> None:
    random = np.random.default_rng(0)
    inputs, labels = random.standard_normal((8, 4)), random.integers(0, 3, 8)
    w, v = nc.Variable(np.zeros((4, 5))), nc.Variable(np.zeros((5, 3)))

    def loss() -> Any:
        scores = anp.tanh(inputs @ w) @ v
        sums = anp.log(anp.sum(anp.exp(scores), axis=1))
        return anp.mean(sums - scores[np.arange(8), labels])

    def at(function: Function) -> Function:
        def of_flat(x: Array) -> Any:
            w.assign(x[:20].reshape(4, 5))
            v.assign(x[20:].reshape(5, 3))
            return function()

        return of_flat

    def gradient() -> Array:
        return np.concatenate([each.ravel() for each in nc.gradients(loss, [w, v])])

    point = random.standard_normal(35)
    assert np.abs(at(gradient)(point)).max() > 0.01
    assert check_grad(at(loss), at(gradient), point) < 1e-6


def test_none_for_what_a_loss_does_not_depend_on() -> None:
    x, y, z = (nc.Variable([1.0, 2.0]) for _ in range(3))
    gradients = nc.gradients(lambda: (x**2 + 0 * (y.value > 0), z.value)[0], [y, x, z])
    assert gradients[0] is gradients[2] is None
    assert gradients[1].tolist() == [2.0, 4.0]
    assert nc.gradients(lambda: 1.0, [x]) == [None]
    assert nc.gradients(lambda: x, []) == []


def test_without_a_list_the_trainable_variables_that_were_read_in_order() -> None:
    a, b, c, unread = (nc.Variable(2.0, name=name) for name in "abcd")
    frozen = nc.Variable(3.0, trainable=False)
    pairs = nc.train.AdamOptimizer().compute_gradients(lambda: frozen * c + (b, a * c)[1])
    assert [variable for _, variable in pairs] == [c, a]
    pairs = nc.train.AdamOptimizer().compute_gradients(lambda: (b.value, a * c)[1])
    assert [variable for _, variable in pairs] == [b, a, c]
    assert pairs[0][0] is None
    assert unread not in [variable for _, variable in pairs]


def test_a_frozen_variable_that_is_asked_for_has_a_gradient() -> None:
    x, frozen = nc.Variable(2.0), nc.Variable(3.0, trainable=False)
    assert nc.gradients(lambda: x * frozen, [frozen, x]) == [2.0, 3.0]
    assert nc.gradients(lambda: x * frozen, frozen) == [2.0]


def test_an_integer_variable_has_no_gradient() -> None:
    x, step = nc.Variable(3.0), nc.Variable(2, name="global_step")
    found = compute_gradients(lambda: x**2 / (1.0 + step))
    assert found[x] == 2.0
    assert found.get(step) is None
    nc.train.GradientDescentOptimizer(0.5).minimize(lambda: x**2 / (1.0 + step), step)
    assert (x.value, step.value) == (2.0, 3)


def test_several_uses_are_summed() -> None:
    x = nc.Variable([1.0, 2.0, 3.0])
    (gradient,) = nc.gradients(lambda: x**2 + 3 * x + anp.sin(x) * x[0] - x, x)
    sine, cosine = np.sin(x.value), np.cos(x.value)
    expected = 2 * x.value + 2 + cosine * x.value[0] + np.array([sine.sum(), 0, 0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize(
    "loss",
    [
        lambda x: x**2,
        lambda x: anp.sum(x**2),
        lambda x: anp.mean(x * np.array([1.0, 2.0, 3.0])),
        lambda x: x @ np.ones((3, 2)) * np.float64(2.0),
        lambda x: anp.sum(x) * x + nc.gather(x, [2, 2])[0],
        lambda x: nc.gather(x, [2, 2]) * np.array([1.0, 2.0]),
        lambda x: x,
    ],
    ids=["square", "sum", "mean", "product", "mixed gather", "gather", "itself"],
)
def test_a_gradient_is_of_its_variables_dtype(loss: Function, dtype: Any) -> None:
    x = nc.Variable(np.array([1.0, 2.0, 3.0]).astype(dtype))
    wide = nc.Variable(x.value.astype(float))
    (gradient,), (expected,) = (nc.gradients(lambda v=v: loss(v), v) for v in (x, wide))
    assert gradient.dtype == dtype
    assert gradient.shape == (3,)
    np.testing.assert_allclose(dense(gradient).astype(float), dense(expected), rtol=2.0**-6)


def test_variables_of_two_dtypes_in_one_loss() -> None:
    x, y = nc.Variable(np.float32([1.0, 2.0])), nc.Variable(np.array([0.1, 0.2]))
    gradients = nc.gradients(lambda: anp.sum(x * y + x**2), [x, y])
    assert [gradient.dtype for gradient in gradients] == [np.float32, np.float64]
    np.testing.assert_array_equal(gradients[0], (y.value + 2 * x.value).astype(np.float32))


def test_a_complex_loss_of_parts() -> None:
    x = nc.Variable([1.0, 2.0])
    (gradient,) = nc.gradients(lambda: anp.real(anp.exp(1j * x)), x)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, -np.sin(x.value))


def test_a_gradient_is_of_its_variables_shape_after_where() -> None:
    x, y = nc.Variable([[1.0, -2.0], [-3.0, 4.0]]), nc.Variable(0.5)
    gradients = nc.gradients(lambda: anp.where(x > 0, x, y), [x, y])
    assert gradients[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert gradients[1].tolist() == 2.0


SHAPES = [(), (1,), (3,), (2, 3), (0,), (2, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_loss_of_any_shape_is_summed(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    x = nc.Variable(np.array(values))
    value, (gradient,) = nc.value_and_gradients(lambda: x**2, x)
    np.testing.assert_array_equal(value, values**2)
    assert type(gradient) is np.ndarray
    np.testing.assert_allclose(gradient, 2 * values)
    (weighted,) = nc.gradients(lambda: x**2, x, grad_ys=values)
    np.testing.assert_allclose(weighted, 2 * values**2)


def test_value_and_gradients_computes_the_loss_once() -> None:
    x, count = nc.Variable(3.0), []

    def loss() -> Any:
        count.append(1)
        return x**2

    value, gradients = nc.value_and_gradients(loss, [x])
    assert (value, gradients, len(count)) == (9.0, [6.0], 1)


def test_the_gradient_of_gather_has_indices_of_its_own() -> None:
    table, indices = nc.Variable(np.ones((4, 1))), np.array([0, 1])
    (gradient,) = nc.gradients(lambda: nc.gather(table, indices), table)
    indices[:] = 3
    assert gradient.indices.tolist() == [0, 1]


def test_several_losses_are_added() -> None:
    x, y = nc.Variable([1.0, 2.0]), nc.Variable(3.0)
    losses = [lambda: x * y, lambda: anp.sum(x) ** 2, lambda: 5.0, lambda: x]
    gradients = nc.gradients(losses, [x, y])
    assert gradients[0].tolist() == [3 + 6 + 1, 3 + 6 + 1]
    assert gradients[1] == 3.0
    weights = [np.array([1.0, -1.0]), 2.0, 1.0, np.array([0.0, 0.5])]
    gradients = nc.gradients(losses, [x, y], weights)
    assert gradients[0].tolist() == [3 + 12, -3 + 12 + 0.5]
    assert gradients[1] == -1.0


@pytest.mark.parametrize("weights", [[2.0, 3.0], (2, 3), np.float32([2, 3]), nc.Variable([2.0, 3])])
def test_grad_ys_takes_what_is_an_array(weights: Any) -> None:
    x = nc.Variable([1.0, 2.0])
    assert nc.gradients(lambda: x**2, x, weights)[0].tolist() == [4.0, 12.0]
    pairs = nc.train.AdamOptimizer().compute_gradients(lambda: x**2, grad_loss=weights)
    assert pairs[0][0].tolist() == [4.0, 12.0]


LINEAR: dict[str, tuple[Function, int]] = {
    "sum of two": (lambda x, y: x + y, 2),
    "itself": (lambda x, y: x, 1),
    "reshaped": (lambda x, y: anp.reshape(x, (3, 1)), 1),
    "concatenated": (lambda x, y: anp.concatenate([x, y]), 2),
    "gathered": (lambda x, y: nc.gather(x, [0, 1, 2]) + y, 2),
}


@pytest.mark.parametrize("name", LINEAR)
def test_gradients_can_be_clipped_in_place(name: str) -> None:
    function, count = LINEAR[name]
    x, y = nc.Variable([1.0, 2.0, 3.0]), nc.Variable([4.0, 5.0, 6.0])
    weights = np.ones_like(np.asarray(function(x, y)))
    gradients = nc.gradients(lambda: function(x, y), [x, y][:count], weights)
    nc.clip_by_global_norm(gradients, 0.5, out=gradients)
    assert nc.global_norm(gradients) <= 0.5
    assert np.all(weights == 1.0)
    assert x.value.tolist() == [1.0, 2.0, 3.0]


def vector() -> Array:
    return np.array([0.5, -1.0, 2.0])


MATRIX = np.array([[2.0, 1.0, 0.0], [0.5, 3.0, 1.0], [0.0, -1.0, 1.0]])
# Functions of a vector, and their Hessians.
HESSIANS: dict[str, tuple[Function, Callable[[Array], Array]]] = {
    "cubes": (lambda x: anp.sum(x**3), lambda x: np.diag(6 * x)),
    "quadratic form": (lambda x: x @ (MATRIX @ x), lambda x: MATRIX + MATRIX.T),
    "dot": (lambda x: anp.dot(x, x) ** 2, lambda x: 8 * np.outer(x, x) + 4 * (x @ x) * np.eye(3)),
    "exponential": (
        lambda x: anp.exp(anp.sum(x) / 2),
        lambda x: np.full((3, 3), np.exp(x.sum() / 2) / 4),
    ),
    "tanh": (
        lambda x: anp.sum(anp.tanh(x)),
        lambda x: np.diag(-2 * np.tanh(x) * (1 - np.tanh(x) ** 2)),
    ),
    "gather": (
        lambda x: anp.sum(nc.gather(x, [2, 0, 2]) ** 3),
        lambda x: np.diag(6 * x * np.array([1.0, 0.0, 2.0])),
    ),
    "gather and all": (
        lambda x: anp.sum(nc.gather(x, [1, 1]) ** 2) * anp.sum(x),
        lambda x: np.add.outer(4 * x * [0, 1, 0], 4 * x * [0, 1, 0]) + np.diag([0, 4 * x.sum(), 0]),
    ),
    "linear": (lambda x: anp.sum(MATRIX @ x), lambda x: np.zeros((3, 3))),
}


@pytest.mark.parametrize("name", HESSIANS)
def test_hessian_vector_products(name: str) -> None:
    function, hessian = HESSIANS[name]
    x, direction = nc.Variable(vector()), np.array([1.0, 2.0, -0.5])

    def slope() -> Any:
        return anp.dot(dense(nc.gradients(lambda: function(x), x)[0]), direction)

    value, (product,) = nc.value_and_gradients(slope, x)
    expected = hessian(x.value) @ direction
    product = np.zeros(3) if product is None else dense(product)
    np.testing.assert_allclose(product, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(value, slope(), rtol=1e-15)


def test_mixed_second_derivatives() -> None:
    x, y = nc.Variable(2.0), nc.Variable(3.0)

    def loss() -> Any:
        return x**2 * y**3

    assert nc.gradients(lambda: nc.gradients(loss, x)[0], [x, y]) == [54.0, 108.0]
    assert nc.gradients(lambda: nc.gradients(loss, y)[0], [x, y]) == [108.0, 72.0]
    both = nc.gradients(lambda: operator.add(*nc.gradients(loss, [x, y])), [x, y])
    assert both == [162.0, 180.0]


def test_the_third_derivative() -> None:
    x = nc.Variable(1.5)

    def derivative(function: Function) -> Function:
        return lambda: nc.gradients(function, x)[0]

    third = derivative(derivative(derivative(lambda: x**4)))
    np.testing.assert_allclose(third(), 24 * 1.5)


def test_an_inner_gradient_of_another_variable() -> None:
    # x is a constant to the inner gradient and a variable to the outer.
    x, y = nc.Variable(2.0), nc.Variable(3.0)
    outer = nc.gradients(lambda: x * nc.gradients(lambda: x * y**2, y)[0], x)
    assert outer == [2 * 2.0 * 2 * 3.0]


def test_an_inner_gradient_where_values_tie() -> None:
    x, y = nc.Variable(3.0), nc.Variable(3.0)
    slope = nc.gradients(lambda: nc.gradients(lambda: anp.maximum(x, y) * x, y)[0], x)
    assert slope == [0.5]


def test_a_gradient_penalty() -> None:
    w, x = nc.Variable(MATRIX), nc.Variable(vector())

    def penalty() -> Any:
        return anp.sum(nc.gradients(lambda: anp.sum(anp.tanh(x @ w)), x)[0] ** 2)

    def by_hand(weights: Array) -> Any:
        return np.sum(((1 - np.tanh(vector() @ weights) ** 2) @ weights.T) ** 2)

    found = compute_gradients(penalty, [w])[w]
    np.testing.assert_allclose(found, finite_differences(by_hand, [MATRIX], 0), rtol=1e-6)


def test_autograds_own_gradient_inside_a_loss() -> None:
    x = nc.Variable(2.0)
    (gradient,) = nc.gradients(lambda: autograd.grad(lambda z: z**3 * x)(x.value), x)
    np.testing.assert_allclose(gradient, 9 * 2.0**2)


def table() -> nc.Variable:
    return nc.Variable(np.arange(8.0).reshape(4, 2), name="table")


@pytest.mark.parametrize(
    "indices",
    [[2, 0, 2], 3, [[0, 1], [1, 1]], [], np.array([3, 3], np.uint8), np.int64(1)],
    ids=repr,
)
def test_gather_has_a_sparse_gradient(indices: Any) -> None:
    params = table()
    rows = nc.gather(params, indices)
    array = np.asarray(indices, int)
    np.testing.assert_array_equal(rows, params.value[array])
    (gradient,) = nc.gradients(lambda: nc.gather(params, indices) ** 2, params)
    assert isinstance(gradient, nc.IndexedSlices)
    assert gradient.dense_shape == (4, 2)
    assert gradient.indices.tolist() == array.ravel().tolist()
    np.testing.assert_array_equal(gradient.values, 2 * params.value[array.ravel()])
    (by_index,) = nc.gradients(lambda: params[array] ** 2, params)
    np.testing.assert_array_equal(gradient.to_dense(), by_index)


@pytest.mark.parametrize("trailing", [(), (3,), (2, 3)], ids=str)
def test_gather_of_any_dimensions(trailing: tuple[int, ...]) -> None:
    params = nc.Variable(np.random.default_rng(0).standard_normal((5, *trailing)))
    (gradient,) = nc.gradients(lambda: nc.gather(params, [[4, 1], [4, 4]]) ** 2, params)
    assert gradient.values.shape == (4, *trailing)
    expected = 2 * params.value * np.array([0, 1, 0, 0, 3]).reshape(5, *[1] * len(trailing))
    np.testing.assert_allclose(gradient.to_dense(), expected)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_gather_is_a_product_with_rows_of_the_identity(rows: list[int]) -> None:
    params, indices = table(), np.array(rows, int)
    rows_of_identity = np.eye(4)[indices]
    by_gather, by_product = (
        nc.gradients(lambda taken=taken: taken() ** 3, params)[0]
        for taken in (lambda: nc.gather(params, indices), lambda: rows_of_identity @ params)
    )
    np.testing.assert_allclose(dense(by_gather), by_product, rtol=1e-14)


def test_gather_is_a_copy() -> None:
    params = table()
    rows = nc.gather(params, [0, 1, 2, 3])
    rows[...] = 0.0
    assert params.value.tolist() == table().value.tolist()


def test_gather_used_twice_joins_slices() -> None:
    params = table()

    def loss() -> Any:
        return anp.sum(nc.gather(params, [2, 0])) + 3 * anp.sum(nc.gather(params, [2]))

    (gradient,) = nc.gradients(loss, params)
    assert isinstance(gradient, nc.IndexedSlices)
    assert sorted(gradient.indices.tolist()) == [0, 2, 2]
    assert gradient.to_dense().tolist() == [[1.0, 1.0], [0.0, 0.0], [4.0, 4.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    "loss",
    [
        lambda p: anp.sum(nc.gather(p, [1, 1]) ** 2) + anp.sum(p**2),
        lambda p: anp.sum(p**2) + anp.sum(nc.gather(p, [1, 1]) ** 2),
        lambda p: anp.sum(nc.gather(p, [1])) * anp.sum(p) * anp.sum(nc.gather(p, [2])),
        lambda p: anp.sum(nc.gather(p, [1, 1]) @ (p.T @ p)),
    ],
    ids=["dense last", "dense first", "dense between", "product"],
)
def test_gather_mixed_with_dense_uses_is_dense(loss: Function) -> None:
    params = table()
    (gradient,) = nc.gradients(lambda: loss(params), params)
    assert type(gradient) is np.ndarray
    expected = finite_differences(loss, [params.value], 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda p: anp.sum(nc.gather(p, [1, 1])) + p[0, 0],
        lambda p: p[0, 0] + anp.sum(nc.gather(p, [1, 1])),
        lambda p: anp.sum(nc.gather(p, [1])) * anp.sum(p[2:]) * anp.sum(nc.gather(p, [2])),
    ],
    ids=["index last", "index first", "slice between"],
)
def test_gather_mixed_with_indexing(loss: Function) -> None:
    params = table()
    (gradient,) = nc.gradients(lambda: loss(params), params)
    expected = finite_differences(loss, [params.value], 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


def test_gather_of_a_computed_value_is_dense() -> None:
    params = table()
    (gradient,) = nc.gradients(lambda: nc.gather(anp.sin(params), [3, 1, 3]), params)
    assert type(gradient) is np.ndarray
    expected = np.cos(params.value) * np.array([[0.0], [1.0], [0.0], [2.0]])
    np.testing.assert_allclose(gradient, expected)


def test_gather_of_a_frozen_variable_or_an_array() -> None:
    frozen, x = nc.Variable(table(), trainable=False), nc.Variable([1.0, 2.0])
    for params in (frozen, frozen.value, frozen.value.tolist()):
        found = compute_gradients(lambda params=params: nc.gather(params, [3, 0]) @ x)
        assert list(found) == [x]
        assert found[x].tolist() == [6.0, 8.0]


def test_gather_by_an_integer_variable() -> None:
    params, rows = table(), nc.Variable([3, 3], name="rows")
    for loss in (lambda: nc.gather(params, rows), lambda: params[rows]):
        found = compute_gradients(loss)
        assert found.get(rows) is None
        assert dense(found[params]).tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]


def test_threads_compute_nested_derivatives_at_once() -> None:
    start = threading.Barrier(4)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        x, params = nc.Variable(float(seed)), table()
        start.wait()
        for _ in range(40):
            inner = nc.gradients(lambda: nc.gradients(lambda: x**3 * anp.exp(x * 0), x)[0], x)
            value = nc.value_and_gradients(lambda: x * x, x)
            rows = nc.gradients(lambda: nc.gather(params, [seed - 1, 0]) * seed, params)[0]
            slices = (rows.indices.tolist(), rows.values.tolist())
            if inner != [6.0 * seed] or value != (seed * seed, [2.0 * seed]):
                wrong.append((seed, inner, value))
            if slices != ([seed - 1, 0], [[seed, seed], [seed, seed]]):
                wrong.append((seed, slices))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert trace_stack.top == -1


def test_a_thread_reads_the_array_while_another_records() -> None:
    x = nc.Variable([1.0, 2.0])
    seen: list[Any] = []

    def loss() -> Any:
        thread = threading.Thread(target=lambda: seen.append(np.sum(x)))
        thread.start()
        thread.join()
        return anp.sum(x**2)

    assert nc.gradients(loss, x)[0].tolist() == [2.0, 4.0]
    assert seen == [3.0]


class _Failure(Exception):
    pass


def fail(*_: Any) -> Any:
    raise _Failure


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_exception_in_a_loss_leaves_all_as_before(depth: int) -> None:
    x, y = nc.Variable([1.0, 2.0]), nc.Variable(3.0)

    def loss() -> Any:
        return anp.sum(x**2) * y + fail(x)

    def nested(levels: int) -> Function:
        inner = loss if levels == 1 else lambda: anp.sum(nc.gradients(nested(levels - 1), x)[0])
        return inner

    with pytest.raises(_Failure):
        nc.gradients(nested(depth), [x, y])
    assert trace_stack.top == -1
    assert type(x.value) is np.ndarray
    assert np.sum(x) == 3.0
    assert nc.gradients(lambda: anp.sum(x**2) * y, [x])[0].tolist() == [6.0, 12.0]


def test_an_exception_that_the_loss_catches() -> None:
    x = nc.Variable(2.0)

    def loss() -> Any:
        try:
            nc.gradients(lambda: x**2 * fail(), x)
        except _Failure:
            return x**3
        return x

    assert nc.gradients(loss, x) == [12.0]


def test_an_exception_on_the_way_back() -> None:
    x = nc.Variable(2.0)
    bad = autograd.extend.primitive(lambda z: z * 2)
    autograd.extend.defvjp(bad, lambda ans, z: fail)
    with pytest.raises(_Failure):
        nc.gradients(lambda: bad(x), x)
    assert trace_stack.top == -1
    assert nc.gradients(lambda: x**2, x) == [4.0]
