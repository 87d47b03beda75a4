"""Gradients of a user's own: in place of a function's, or of a primitive's, or ready-made."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import autograd
import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
from autograd.tracer import trace_stack
from gradients import GOLDEN, finite_differences
from scipy.optimize import check_grad

import numclip as nc

Function = Callable[..., Any]


@nc.custom_gradient
def log1p_exp(x: Any) -> Any:
    e = anp.exp(x)
    return anp.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))


@nc.custom_gradient
def product(x: Any, y: Any) -> Any:
    return x * y, lambda upstream: (upstream * y, upstream * x)


@nc.custom_gradient
def sum_and_product(x: Any, y: Any) -> Any:
    def gradient(of_sum: Any, of_product: Any) -> Any:
        return of_sum + of_product * y, of_sum + of_product * x

    return (x + y, x * y), gradient


@nc.register_gradient("HardTanh")
def hard_tanh(operation: Any, upstream: Any) -> Any:
    return upstream * (anp.abs(operation.inputs[0]) <= 1)


def with_variables(x: Any) -> list[Any]:
    weights = nc.Variable([0.5, 3.0])
    given = nc.Variable(x)

    @nc.custom_gradient
    def linear_poly(x: Any) -> Any:
        def gradient(upstream: Any, variables: Any) -> Any:
            assert variables == [weights]
            of_weights = upstream * anp.stack([x**1, x**0])
            return upstream * weights[1], [anp.sum(of_weights, axis=1)]

        return weights[1] * x + weights[0], gradient

    return nc.gradients(lambda: linear_poly(given) ** 2, [given, weights])


def overridden_sign(x: Any) -> Any:
    weights = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    with nc.gradient_override_map({anp.sign: "HardTanh"}):
        return nc.gradients_function(lambda x: anp.sign(x) * weights)(x)[0]


def ready_sign(x: Any) -> Any:
    weights = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    return nc.gradients_function(lambda x: nc.sign(x) * weights)(x)[0]


def second_of_log1p_exp(x: Any) -> Any:
    first = nc.gradients_function(log1p_exp)
    return nc.gradients_function(lambda x: first(x)[0])(x)[0]


def gathered(x: Any, indices: Any) -> list[Any]:
    table = nc.Variable(x)
    (slices,) = nc.gradients(lambda: anp.sin(nc.gather(table, indices)) ** 2, table)
    assert slices.indices.tolist() == indices.ravel().tolist()
    return [slices.values, slices.to_dense()]


def matrix_product(x: Any, w: Any, grad_ys: Any) -> list[Any]:
    variables = [nc.Variable(x), nc.Variable(w)]
    return nc.gradients(lambda: variables[0] @ variables[1], variables, grad_ys)


def hessian_times_direction(x: Any, direction: Any) -> list[Any]:
    given = nc.Variable(x)

    def value() -> Any:
        return anp.exp(anp.sum(anp.sin(given) ** 2) / 4)

    def first() -> Any:
        return nc.gradients(value, given)[0]

    return [value(), first(), *nc.gradients(first, given, direction)]


def second_of_straight_through_round(x: Any) -> Any:
    first = nc.gradients_function(lambda x: round_straight(2.0 * x) ** 3)
    return nc.gradients_function(lambda x: first(x)[0])(x)[0]


round_straight = nc.straight_through(np.round)
# What the programs of tests/golden/gradients.py compute, in numclip.
PROGRAMS: dict[str, list[Function]] = {
    "reversed_gradient": [
        lambda x, scale: nc.gradients_function(
            lambda x: nc.reverse_gradient(anp.sin(x), scale) ** 2
        )(x)[0]
    ],
    "straight_through_round": [
        lambda x: nc.gradients_function(lambda x: round_straight(2.0 * x) ** 2)(x)[0]
    ],
    "overridden_sign": [overridden_sign, ready_sign],
    "first_of_log1p_exp": [lambda x: nc.gradients_function(log1p_exp)(x)[0]],
    "second_of_log1p_exp": [second_of_log1p_exp],
    "with_variables": [with_variables],
    "gathered": [gathered],
    "matrix_product": [matrix_product],
    "hessian_times_direction": [hessian_times_direction],
    "clipped_gradient": [
        lambda x, norm: nc.gradients_function(lambda x: nc.clip_gradient(3.0 * x, norm=norm) ** 2)(
            x
        )[0]
    ],
    "second_of_straight_through_round": [second_of_straight_through_round],
}
PAIRS = [
    pytest.param(case, program, id=f"{case['function']} {i}")
    for case in GOLDEN["custom"]
    for i, program in enumerate(PROGRAMS[case["function"]])
]


@pytest.mark.parametrize(("case", "program"), PAIRS)
def test_gradients_are_tensorflows(case: dict[str, Any], program: Function) -> None:
    found = program(**{key: np.array(value) for key, value in case["arguments"].items()})
    expected = case["gradients"]
    if not isinstance(found, list):
        found, expected = [found], [expected]
    for gradient, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, value, rtol=1e-13, atol=1e-15)


def test_a_custom_gradient_is_taken_for_the_functions_own() -> None:
    x = nc.Variable([1.0, 2.0])
    seven = nc.custom_gradient(lambda x: (anp.sin(x), lambda upstream: 7.0 * upstream))
    assert nc.gradients(lambda: seven(x), x)[0].tolist() == [7.0, 7.0]
    assert nc.gradients(lambda: seven(seven(x) * 2.0), x)[0].tolist() == [98.0, 98.0]
    np.testing.assert_array_equal(seven(np.array([1.0])), np.sin([1.0]))


def test_a_right_custom_gradient_is_finite_differences() -> None:
    point = np.array([-2.0, 0.3, 5.0])
    gradient = nc.gradients_function(log1p_exp)
    assert check_grad(lambda x: np.sum(log1p_exp(x)), lambda x: gradient(x)[0], point) < 1e-6


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: product(x, y),
        lambda x, y: product(x, x * y) * x,
        lambda x, y: product(y=2.0 * np.ones(3), x=np.ones(3)) * x,
        lambda x, y: anp.sin(product(log1p_exp(x), y)),
        lambda x, y: sum_and_product(x, y)[0] ** 2 + sum_and_product(y, x)[1],
        lambda x, y: sum_and_product(x, y)[1] * y,
        lambda x, y: anp.prod(anp.stack(sum_and_product(x, y))),
        lambda x, y: nc.reverse_gradient(x * y, -1.0) ** 3,
        lambda x, y: nc.clip_gradient(x * y, norm=1e3) ** 3 * nc.clip_gradient(x, value=1e3),
    ],
    ids=range(9),
)
def test_first_and_second_derivatives_of_compositions(function: Function) -> None:
    arrays = [np.array([0.5, -1.0, 2.0]), np.array([1.5, 0.3, -0.7])]
    weights = np.array([1.0, -2.0, 0.5])

    def slope(*args: Any) -> Any:
        terms = [weights * g for g in nc.gradients_function(function)(*args) if g is not None]
        return sum(terms)

    for of in (0, 1):
        for f in (function, slope):
            (found,) = nc.gradients_function(f)(*arrays)[of : of + 1]
            expected = finite_differences(f, arrays, of)
            actual = np.zeros(3) if found is None else found
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


def test_the_third_derivative() -> None:
    def derivative(function: Function) -> Function:
        gradients = nc.gradients_function(function)
        return lambda x: gradients(x)[0]

    third = derivative(derivative(derivative(log1p_exp)))
    s = 1 / (1 + np.exp(-0.3))
    np.testing.assert_allclose(third(0.3), s * (1 - s) * (1 - 2 * s), rtol=1e-14)


def test_second_derivatives_by_variables_and_by_autograd() -> None:
    x = nc.Variable(0.3)
    inner = nc.gradients(lambda: nc.gradients(lambda: log1p_exp(x), x)[0], x)
    s = 1 / (1 + np.exp(-0.3))
    np.testing.assert_allclose(inner[0], s * (1 - s), rtol=1e-14)
    np.testing.assert_allclose(autograd.grad(autograd.grad(log1p_exp))(0.3), s * (1 - s))
    mixed = nc.gradients(lambda: autograd.grad(lambda z: product(z, log1p_exp(x)))(2.0), x)
    np.testing.assert_allclose(mixed[0], s)


def test_the_derivative_by_the_upstream_gradient() -> None:
    # autograd's product with a Jacobian differentiates gradients by what flows back.
    x, direction = np.array([0.3, -1.0]), np.array([2.0, 5.0])
    product_of = autograd.differential_operators.make_jvp_reversemode(log1p_exp)(x)
    np.testing.assert_allclose(product_of(direction), direction / (1 + np.exp(-x)))


def test_the_second_derivative_is_that_of_the_gradient_function() -> None:
    # The gradient says that it is a square, whatever the value.
    liar = nc.custom_gradient(lambda x: (0.0 * x, lambda upstream: upstream * x**2))
    x = nc.Variable(3.0)
    assert nc.gradients(lambda: nc.gradients(lambda: liar(x), x)[0], x) == [6.0]
    # And the slope of the value itself is the gradient function's, at every level.
    outer = nc.gradients(lambda: liar(x) * nc.gradients(lambda: liar(x), x)[0], x)
    assert outer == [9.0 * 9.0 + 0.0]


# Functions whose gradients are not those of their values, and their second derivatives.
SECONDS: dict[str, tuple[Function, Function]] = {
    "sign": (
        lambda x: nc.sign(x) * x**2,
        lambda x: 2 * np.sign(x) + 4 * x * (np.abs(x) <= 1),
    ),
    "straight through": (lambda x: round_straight(x) ** 3, lambda x: 6 * np.round(x)),
    "reversed": (lambda x: nc.reverse_gradient(x, 0.5) ** 3, lambda x: 0.25 * 6 * x),
    "stopped": (lambda x: nc.stop_gradient(x) * x**3, lambda x: 6 * x**2),
}


@pytest.mark.parametrize("name", SECONDS)
def test_second_derivatives_of_ready_made_gradients(name: str) -> None:
    function, expected = SECONDS[name]
    x = nc.Variable([-2.0, -0.3, 0.0, 0.7, 1.0, 3.4])
    (second,) = nc.gradients(lambda: nc.gradients(lambda: function(x), x)[0], x)
    np.testing.assert_allclose(second, expected(x.value), rtol=1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_function_is_called_once(depth: int) -> None:
    calls = []

    @nc.custom_gradient
    def noisy(x: Any) -> Any:
        calls.append(x)
        factor = len(calls)
        return factor * x**3, lambda upstream: upstream * 3.0 * factor * x**2

    def derivative(function: Function) -> Function:
        gradients = nc.gradients_function(function)
        return lambda x: gradients(x)[0]

    function: Function = noisy
    for _ in range(depth):
        function = derivative(function)
    assert function(2.0) == {1: 12.0, 2: 12.0, 3: 6.0}[depth]
    assert len(calls) == 1


def test_variables_and_arrays_as_arguments() -> None:
    x, frozen = nc.Variable([1.0, 2.0]), nc.Variable([3.0, 4.0], trainable=False)
    seen = []

    @nc.custom_gradient
    def scaled(x: Any, y: Any, label: Any, power: int = 1) -> Any:
        seen.extend([x, y, label])
        return x * y**power, lambda upstream: (upstream * y**power, None, None)

    for other in (frozen, frozen.value):
        pairs = nc.train.AdamOptimizer().compute_gradients(
            lambda other=other: scaled(x, other, "label", power=2)
        )
        assert [variable for _, variable in pairs] == [x]
        assert pairs[0][0].tolist() == [9.0, 16.0]
    assert all(type(each) is np.ndarray for each in seen[:2] + seen[3:5])
    assert seen[2] == "label"


def test_none_is_no_gradient() -> None:
    x, y = nc.Variable(2.0), nc.Variable(3.0)
    half = nc.custom_gradient(lambda x, y: (x * y, lambda upstream: (upstream * y, None)))
    assert nc.gradients(lambda: half(x, anp.sin(y)), [x, y]) == [np.sin(3.0), None]
    assert nc.gradients(lambda: half(x, y) + y, [x, y]) == [3.0, 1.0]
    assert autograd.grad(lambda y: half(2.0, anp.sin(y)))(3.0) == 0.0


def test_variables_that_a_function_reads() -> None:
    x, w, v, unasked = nc.Variable(2.0), nc.Variable(3.0), nc.Variable(5.0), nc.Variable(7.0)
    seen = []

    @nc.custom_gradient
    def function(x: Any) -> Any:
        def gradient(upstream: Any, **kwargs: Any) -> Any:
            of = {w: v, v: w, unasked: 0.0}
            seen.append(kwargs.get("variables"))
            return upstream * w * v, [upstream * x * of[k] for k in kwargs["variables"]]

        return x * v.value * w.value * unasked.value**0, gradient

    assert nc.gradients(lambda: function(x), [x, v, w]) == [15.0, 6.0, 10.0]
    assert nc.gradients(lambda: function(4.0), w) == [20.0]
    assert seen == [[v, w, unasked]] * 2
    second = nc.gradients(lambda: nc.gradients(lambda: function(x), w)[0], [x, v])
    assert second == [5.0, 2.0]
    # A variable that is an argument is none that the function reads.
    squared = nc.custom_gradient(lambda x: (x * w.value, lambda upstream: 2 * upstream * x))
    assert nc.gradients(lambda: squared(w), w) == [6.0]


def test_only_variables() -> None:
    w = nc.Variable(3.0)

    @nc.custom_gradient
    def function() -> Any:
        return w**2, lambda upstream, variables: ((), [7.0 * upstream])

    assert nc.gradients(lambda: 2 * function(), w) == [14.0]
    assert function() == 9.0
    none = nc.custom_gradient(lambda: (w**2, lambda upstream, variables: (None, [5.0 * upstream])))
    assert nc.gradients(lambda: none(), w) == [5.0]
    # Of a variable that nothing is asked of, the gradient function need not know.
    x = nc.Variable(2.0)
    constant = nc.custom_gradient(lambda x: (x * w, lambda upstream: 11.0 * upstream))
    assert nc.gradients(lambda: constant(x), x) == [11.0]


def test_a_custom_gradient_inside_another() -> None:
    w = nc.Variable(3.0)

    @nc.custom_gradient
    def inner(x: Any) -> Any:
        return x * w, lambda upstream, variables: (upstream * w, [upstream * x])

    @nc.custom_gradient
    def outer(x: Any) -> Any:
        y = inner(x)
        return y**2, lambda upstream, variables: (upstream * w, [100.0 * upstream])

    x = nc.Variable(2.0)
    assert nc.gradients(lambda: outer(x), [x, w]) == [3.0, 100.0]
    assert nc.gradients(lambda: inner(x) ** 2, [x, w]) == [36.0, 24.0]


def test_a_sparse_gradient() -> None:
    table = nc.Variable([[1.0], [2.0], [3.0]])

    @nc.custom_gradient
    def last_row(params: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            return nc.IndexedSlices(upstream * 2 * params[2:], np.array([2]), (3, 1))

        return params[2:] ** 2, gradient

    (gradient,) = nc.gradients(lambda: last_row(table), table)
    assert isinstance(gradient, nc.IndexedSlices)
    assert gradient.to_dense().tolist() == [[0.0], [0.0], [6.0]]
    (second,) = nc.gradients(lambda: nc.gradients(lambda: last_row(table), table)[0], table)
    assert second.tolist() == [[0.0], [0.0], [2.0]]


def test_a_gradient_that_its_function_keeps_is_not_handed_out() -> None:
    kept = np.array([3.0, 4.0])
    function = nc.custom_gradient(lambda x: (x.sum(), lambda upstream: kept))
    x = nc.Variable([1.0, 2.0])
    for _ in range(2):
        gradients = nc.gradients(lambda: function(x), x)
        assert gradients[0].tolist() == [3.0, 4.0]
        nc.clip_by_global_norm(gradients, 1.0, out=gradients)
    (found,) = nc.gradients_function(function)(np.array([1.0, 2.0]))
    found[:] = 0.0
    assert kept.tolist() == [3.0, 4.0]


def test_a_sparse_gradient_may_have_its_shape_in_a_list() -> None:
    function = nc.custom_gradient(
        lambda x: (x.sum(), lambda upstream: nc.IndexedSlices(np.ones((1, 2)), [4], [5, 2]))
    )
    (gradient,) = nc.gradients(lambda: function(x), x := nc.Variable(np.ones((5, 2))))
    assert gradient.to_dense().sum(axis=1).tolist() == [0.0, 0.0, 0.0, 0.0, 2.0]


def test_a_function_put_straight_through_cannot_write_to_what_it_gets() -> None:
    weights = np.array([1.0, 2.0])
    double = nc.straight_through(lambda x: np.multiply(x, 2.0, out=x))
    with pytest.raises(ValueError, match="read-only"):
        double(nc.Variable(weights))
    assert weights.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "function", [nc.sign, nc.reverse_gradient, lambda x: nc.clip_gradient(x, norm=1.0)]
)
def test_complex_numbers_are_refused_in_a_loss_too(function: Callable[[Any], Any]) -> None:
    x = nc.Variable([1j, 2.0])
    with pytest.raises(TypeError, match="`x` must be float16"):
        nc.gradients(lambda: anp.real(anp.sum(function(x))), x)


def test_a_method() -> None:
    class Layer:
        factor = 5.0

        @nc.custom_gradient
        def apply(self, x: Any) -> Any:
            """Multiply."""
            return self.factor * x, lambda upstream: self.factor * upstream

    x = nc.Variable(1.0)
    assert nc.gradients(lambda: Layer().apply(x), x) == [5.0]
    assert Layer.apply.__doc__ == "Multiply."


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_dtypes(dtype: Any) -> None:
    x = nc.Variable(np.array([0.5, -2.0]).astype(dtype))
    expected = {
        product: [1.0, -4.0],
        lambda x, y: nc.reverse_gradient(x): [-1.0, -1.0],
        lambda x, y: nc.clip_gradient(x, value=0.5): [0.5, 0.5],
        lambda x, y: nc.clip_gradient(x, norm=1.0): [2**-0.5, 2**-0.5],
        lambda x, y: nc.sign(x): [1.0, 0.0],
        lambda x, y: nc.straight_through(lambda x: x > 0)(x): [1.0, 1.0],
    }
    for function, gradient in expected.items():
        value, (found,) = nc.value_and_gradients(lambda f=function: f(x, x), x)
        assert value.dtype == found.dtype == dtype
        np.testing.assert_allclose(found.astype(float), gradient, rtol=2.0**-7)


def test_stop_gradient() -> None:
    x = nc.Variable([1.0, 2.0])
    (gradient,) = nc.gradients(lambda: x * nc.stop_gradient(x * 3.0), x)
    assert gradient.tolist() == [3.0, 6.0]
    assert nc.gradients(lambda: nc.stop_gradient(x), x) == [None]
    (inner,) = nc.gradients(lambda: nc.gradients(lambda: x**2 * nc.stop_gradient(x), x)[0], x)
    assert inner.tolist() == [2.0, 4.0]
    assert nc.stop_gradient(x) is x.value
    assert nc.stop_gradient([1, 2]).tolist() == [1, 2]


def test_identities_return_the_array_itself() -> None:
    x = np.array([1.0, 2.0])
    for same in (nc.reverse_gradient(x), nc.clip_gradient(x, norm=1.0), nc.stop_gradient(x)):
        assert same is x


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clip_gradient_clips_what_flows_back(limit: float) -> None:
    upstream = np.array([3.0, -4.0, 0.1])
    x = nc.Variable(np.zeros(3))
    (by_norm,) = nc.gradients(lambda: nc.clip_gradient(x, norm=limit), x, upstream)
    np.testing.assert_array_equal(by_norm, nc.clip_by_norm(upstream, limit))
    (by_value,) = nc.gradients(lambda: nc.clip_gradient(x, value=limit), x, upstream)
    np.testing.assert_array_equal(by_value, nc.clip_by_value(upstream, -limit, limit))


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_the_second_derivative_of_clipped_gradients(kind: str) -> None:
    x, weights = nc.Variable(np.zeros(3)), np.array([1.0, 2.0, 3.0])

    def clipped(upstream: Any) -> Any:
        (found,) = nc.gradients(lambda: nc.clip_gradient(x, **{kind: 0.7}), x, upstream)
        return found * weights

    upstream = np.array([0.3, 0.9, -0.4])
    expected = finite_differences(clipped, [upstream], 0)
    (found,) = nc.gradients_function(clipped)(upstream)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_clip_gradient_keeps_a_recurrence_from_exploding() -> None:
    w = nc.Variable(3.0)

    def loss(clip: Function) -> Any:
        state = 1.0
        for _ in range(50):
            state = clip(w * state)
        return state

    (exploded,) = nc.gradients(lambda: loss(lambda x: x), w)
    (clipped,) = nc.gradients(lambda: loss(lambda x: nc.clip_gradient(x, value=1e-30)), w)
    assert exploded > 1e24
    assert abs(clipped) < 1e-5


def test_straight_through_takes_plain_functions_and_arguments() -> None:
    x = nc.Variable([0.2, 0.7])
    above = nc.straight_through(lambda x, threshold, scale=1.0: scale * (x > threshold))
    value, (gradient,) = nc.value_and_gradients(lambda: 3.0 * above(x, 0.5, scale=2.0), x)
    assert value.tolist() == [0.0, 6.0]
    assert gradient.tolist() == [3.0, 3.0]
    assert round_straight.__name__ == np.round.__name__


def test_sign_of_numbers_that_are_none() -> None:
    x = nc.Variable([np.nan, np.inf, -0.0])
    upstream = np.array([np.inf, np.nan, 1.0])
    (gradient,) = nc.gradients(lambda: nc.sign(x), x, upstream)
    assert gradient.tolist() == [0.0, 0.0, 1.0]


def test_the_operation_that_a_registered_gradient_gets() -> None:
    seen = []

    @contextmanager
    def registered(name: str, function: Function) -> Iterator[str]:
        nc.register_gradient(name)(function)
        yield name

    def gradient(operation: Any, upstream: Any) -> Any:
        seen.append(operation)
        (z,) = operation.outputs
        return upstream * z, None

    x, frozen = nc.Variable([2.0]), nc.Variable([5.0], trainable=False)
    with (
        registered("OfTheProduct", gradient) as name,
        nc.gradient_override_map({anp.multiply: name}),
    ):
        assert nc.gradients(lambda: x * frozen, x)[0].tolist() == [10.0]
        with nc.gradient_override_map({anp.sum: "OfTheSum"}):
            assert nc.gradients(lambda: anp.sum(x, axis=0), x)[0].tolist() == [3.0]
    assert [type(each) for each in seen[0].inputs] == [np.ndarray, np.ndarray]
    assert seen[0].keywords == {}


@nc.register_gradient("OfTheSum")
def of_the_sum(operation: Any, upstream: Any) -> Any:
    assert operation.keywords == {"axis": 0}
    return 3.0 * upstream * anp.ones(anp.shape(operation.inputs[0]))


@nc.register_gradient("SquareOfTheSlope")
def square_of_the_slope(operation: Any, upstream: Any) -> Any:
    return upstream * anp.cos(operation.inputs[0]) ** 2


def test_an_override_counts_where_the_primitive_is_called() -> None:
    x = nc.Variable(0.5)
    slope = np.cos(0.5)

    def loss() -> Any:
        with nc.gradient_override_map({anp.sin: "SquareOfTheSlope"}):
            y = anp.sin(x)
        return y + 10.0 * anp.sin(x)

    np.testing.assert_allclose(nc.gradients(loss, x), [slope**2 + 10 * slope])
    assert nc.gradients(lambda: anp.sin(x), x) == [slope]


def test_the_second_derivative_of_an_override() -> None:
    def second(x: Any) -> Any:
        with nc.gradient_override_map({anp.sin: "SquareOfTheSlope"}):
            first = nc.gradients_function(anp.sin)
            return nc.gradients_function(lambda x: first(x)[0])(x)[0]

    np.testing.assert_allclose(second(0.5), -2 * np.cos(0.5) * np.sin(0.5))


def test_overrides_nest_and_do_not_leak() -> None:
    x = nc.Variable(0.5)

    def slope() -> Any:
        return nc.gradients(lambda: anp.sign(x) + anp.sin(x), x)[0]

    plain = slope()
    with nc.gradient_override_map({anp.sign: "HardTanh"}):
        with nc.gradient_override_map({anp.sin: "SquareOfTheSlope"}):
            assert slope() == 1.0 + plain**2
        with pytest.raises(ZeroDivisionError), nc.gradient_override_map({anp.sin: "HardTanh"}):
            raise ZeroDivisionError
        assert slope() == 1.0 + plain
        with pytest.raises(ValueError, match="registered"):
            with nc.gradient_override_map({anp.sin: "Nothing"}):
                pass
        assert slope() == 1.0 + plain
    assert slope() == plain == np.cos(0.5)


def test_an_override_is_that_of_its_thread() -> None:
    x = nc.Variable(0.5)
    seen = []
    with nc.gradient_override_map({anp.sign: "HardTanh"}):
        thread = threading.Thread(target=lambda: seen.extend(nc.gradients(lambda: anp.sign(x), x)))
        thread.start()
        thread.join()
        assert nc.gradients(lambda: anp.sign(x), x) == [1.0]
    assert seen == [None]


def test_threads_at_once() -> None:
    start, wrong = threading.Barrier(4), []

    def work(seed: int) -> None:
        x, w = nc.Variable(float(seed)), nc.Variable(2.0)
        cubed = nc.custom_gradient(
            lambda x: (x**3 * w.value, lambda upstream, variables: (6.0 * upstream * x**2, [1.0]))
        )
        start.wait()
        for _ in range(30):
            second = nc.gradients(lambda: nc.gradients(lambda: cubed(x), x)[0], x)
            with nc.gradient_override_map({anp.sin: "SquareOfTheSlope"} if seed % 2 else {}):
                slope = nc.gradients(lambda: anp.sin(x), x)
            expected = np.cos(seed) ** (2 if seed % 2 else 1)
            if second != [12.0 * seed] or not np.allclose(slope, expected):
                wrong.append((seed, second, slope))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def returning(gradients: Any) -> Function:
    return nc.custom_gradient(lambda x, y: (x * y, lambda upstream: gradients))


OUTSIDE: list[Any] = []


def closing_over_a_box() -> Any:
    z = X * 2.0
    return nc.custom_gradient(lambda y: (z * y, lambda upstream: upstream))(X)


def closing_over_an_outer_box() -> Any:
    z = X * 2.0
    constant = nc.custom_gradient(lambda y: (z * y, lambda upstream: upstream))
    return nc.gradients_function(constant)(np.ones(2))[0]


def reading_variables() -> Any:
    return nc.custom_gradient(lambda x: (x * Y.value, lambda upstream: upstream))(X)


X, Y = nc.Variable([1.0, 2.0], name="x"), nc.Variable([3.0, 4.0], name="y")
G = np.ones(2)
ERRORS: dict[str, tuple[Function, type[Exception], str]] = {
    "too few": (lambda: returning(G)(X, Y), ValueError, "one gradient for each input, 2, got 1"),
    "too many": (lambda: returning([G, G, G])(X, Y), ValueError, "input, 2, got 3"),
    "of another shape": (
        lambda: returning([np.ones(3), G])(X, Y),
        ValueError,
        r"of the shapes of its inputs, \(2,\), got \(3,\)",
    ),
    "a number for an array": (lambda: returning([1.0, G])(X, Y), ValueError, r"got \(\)"),
    "no numbers": (lambda: returning(["one", G])(X, Y), TypeError, "must be numbers, got str"),
    "no pair": (lambda: nc.custom_gradient(lambda x: x)(X), TypeError, "its gradient function"),
    "no function": (
        lambda: nc.custom_gradient(lambda x: (x, x))(X),
        TypeError,
        "its gradient function",
    ),
    "no number": (
        lambda: nc.custom_gradient(lambda x: ("one", lambda g: g))(X),
        TypeError,
        "must return numbers, got str 'one'",
    ),
    "by keyword": (lambda: product(X, y=Y), TypeError, "by position, each by itself, got Variable"),
    "in a list": (lambda: product([X, Y], 1.0), TypeError, "by position, each by itself"),
    "of something else": (closing_over_a_box, TypeError, "depends on something else"),
    "of something else further out": (closing_over_an_outer_box, TypeError, "depends on something"),
    "variables": (reading_variables, TypeError, "a keyword `variables`, as `<lambda>` reads"),
    "no pair for variables": (
        lambda: nc.custom_gradient(lambda x: (x * Y.value, lambda g, variables: g))(X),
        TypeError,
        "must return a pair",
    ),
    "too few for variables": (
        lambda: nc.custom_gradient(lambda x: (x * Y.value, lambda g, variables: (g, [])))(X),
        ValueError,
        "input, 1, got 0",
    ),
    "straight through to another shape": (
        lambda: nc.straight_through(np.sum)(X),
        ValueError,
        r"`sum\(x\)` must be of the shape \(2,\) of `x`, got \(\)",
    ),
    "straight through to no numbers": (
        lambda: nc.straight_through(str)(X),
        TypeError,
        r"`str\(x\)` must be real numbers",
    ),
    "straight through what is recorded": (
        lambda: nc.straight_through(lambda x: Y * x)(X),
        TypeError,
        "which is being differentiated",
    ),
    "scale": (lambda: nc.reverse_gradient(X, [1.0, 2.0]), ValueError, "`scale` must be a scalar"),
    "scale that is no number": (lambda: nc.reverse_gradient(X, "1"), TypeError, "`scale` must be"),
    "neither limit": (lambda: nc.clip_gradient(X), TypeError, "exactly one of `norm` and `value`"),
    "both limits": (
        lambda: nc.clip_gradient(X, norm=1.0, value=2.0),
        TypeError,
        "got norm=1.0 and value=2.0",
    ),
    "negative norm": (lambda: nc.clip_gradient(X, norm=-1.0), ValueError, "`norm` must not be neg"),
    "value not a number": (lambda: nc.clip_gradient(X, value=np.nan), ValueError, "`value` must"),
    "integers": (lambda: nc.sign([1, 2]), TypeError, "`x` must be float16"),
    "text": (lambda: nc.stop_gradient("x"), TypeError, "`x` must be an array"),
    "no function to let through": (lambda: nc.straight_through(3), TypeError, "`f` must be a func"),
    "no function with a gradient": (lambda: nc.custom_gradient(3), TypeError, "`f` must be a func"),
    "no function to differentiate": (lambda: nc.gradients_function(3), TypeError, "`f` must be a"),
    "integers to differentiate": (
        lambda: nc.gradients_function(lambda x: x)(3),
        TypeError,
        "one argument at least must be floating",
    ),
    "an integer result": (
        lambda: nc.gradients_function(lambda x: 3)(3.0),
        TypeError,
        "`f` must return floating numbers",
    ),
    "a name that is taken": (
        lambda: nc.register_gradient("HardTanh"),
        ValueError,
        "`name` must not be taken, got 'HardTanh'",
    ),
    "a name that is no string": (
        lambda: nc.register_gradient(3),
        TypeError,
        "`name` must be a str",
    ),
    "no function to register": (
        lambda: nc.register_gradient("Free")(3),
        TypeError,
        "must be a function",
    ),
    "a primitive of NumPy": (
        lambda: nc.gradient_override_map({np.sign: "HardTanh"}).__enter__(),
        TypeError,
        "must have primitives of autograd as keys",
    ),
    "no map": (
        lambda: nc.gradient_override_map("HardTanh").__enter__(),
        TypeError,
        "`op_type_map` must be a dict",
    ),
    "an unknown name": (
        lambda: nc.gradient_override_map({anp.sign: "Unknown"}).__enter__(),
        ValueError,
        "got 'Unknown'; registered are .*'HardTanh'",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_change_nothing(name: str) -> None:
    loss, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        nc.gradients(loss, [X, Y])
    assert X.value.tolist() == [1.0, 2.0]
    assert trace_stack.top == -1
    assert nc.gradients(lambda: product(X, Y), [X, Y])[0].tolist() == [3.0, 4.0]
    assert nc.gradients(lambda: anp.sign(X), X) == [None]


def test_a_registered_gradient_of_the_wrong_shape() -> None:
    nc.register_gradient("Wrong")(lambda operation, upstream: 1.0)
    with (
        pytest.raises(ValueError, match=r"`Wrong` must return gradients of the shapes"),
        nc.gradient_override_map({anp.sin: "Wrong"}),
    ):
        nc.gradients(lambda: anp.sin(X), X)


def test_an_exception_in_a_function_leaves_all_as_before() -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    for function in (nc.custom_gradient(fail), nc.custom_gradient(lambda x: (x, fail))):
        with pytest.raises(ZeroDivisionError):
            nc.gradients(lambda function=function: nc.gradients(lambda: function(X), X)[0], X)
        assert type(X.value) is np.ndarray
        assert nc.gradients(lambda: product(X, Y), X)[0].tolist() == [3.0, 4.0]


def test_there_is_no_forward_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    # An exception leaves autograd's own counter raised.
    monkeypatch.setattr(trace_stack, "top", trace_stack.top)
    with pytest.raises(TypeError, match="no forward derivative"):
        autograd.differential_operators.make_jvp(log1p_exp)(1.0)(1.0)


FUNCTIONS_OF_ARRAYS: dict[str, tuple[Function, tuple[Any, ...], list[Any]]] = {
    "one": (lambda x: x**2, (3.0,), [6.0]),
    "two": (lambda x, y: x * y, (2.0, 3.0), [3.0, 2.0]),
    "an array": (lambda x: x**2, (np.array([1.0, 2.0]),), [[2.0, 4.0]]),
    "a list": (lambda x: x**2, ([1.0, 2.0],), [[2.0, 4.0]]),
    "a variable": (lambda x: x**2, (nc.Variable(3.0),), [6.0]),
    "one unused": (lambda x, y: y, (2.0, 3.0), [None, 1.0]),
    "a label": (lambda x, label: x * (label == "yes"), (2.0, "yes"), [1.0, None]),
    "an integer": (lambda x, n: x**n, (2.0, 3), [12.0, None]),
    "a constant": (lambda x: 1.0, (2.0,), [None]),
    "one twice": (lambda x, y: x + y, (2.0, 2.0), [1.0, 1.0]),
}


@pytest.mark.parametrize("name", FUNCTIONS_OF_ARRAYS)
def test_gradients_function(name: str) -> None:
    function, arguments, expected = FUNCTIONS_OF_ARRAYS[name]
    found = nc.gradients_function(function)(*arguments)
    assert [None if g is None else g.tolist() for g in found] == expected
    arrays = [g for g in found if g is not None]
    assert all(not np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_gradients_function_inside_a_loss_of_variables() -> None:
    w = nc.Variable(3.0)
    slope = nc.gradients_function(lambda x: x**2 * w)
    assert nc.gradients(lambda: slope(5.0)[0], w) == [10.0]
    assert nc.gradients(lambda: nc.gradients_function(lambda x: x**3)(w)[0], w) == [18.0]
    assert slope(5.0) == [30.0]


def test_the_first_and_second_derivative_of_a_squared_sine() -> None:
    x = np.linspace(-3, 3, 7)
    first = nc.gradients_function(lambda x: anp.sin(x) ** 2)
    second = nc.gradients_function(lambda x: first(x)[0])
    np.testing.assert_allclose(first(x)[0], np.sin(2 * x), atol=1e-15)
    np.testing.assert_allclose(second(x)[0], 2 * np.cos(2 * x), atol=1e-15)
