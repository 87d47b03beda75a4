"""Clipping inside a loss: the same values, and TensorFlow's gradients."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
from gradients import GOLDEN, finite_differences
from hypothesis import given
from hypothesis import strategies as st

import numclip as nc

Function = Callable[..., Any]

FUNCTIONS: dict[str, Function] = {
    "clip_by_value": nc.clip_by_value,
    "clip_by_norm": nc.clip_by_norm,
    "clip_by_average_norm": nc.clip_by_average_norm,
    "clip_by_global_norm": nc.clip_by_global_norm,
    "global_norm": nc.global_norm,
}
GOLDEN_IDS = [f"{i} {case['function']}" for i, case in enumerate(GOLDEN["clips"])]


def variables_of(arguments: dict[str, Any], dtype: str) -> dict[str, Any]:
    return {
        key: value
        if key == "axes"
        else [nc.Variable(np.array(t, dtype)) for t in value]
        if key == "t_list"
        else nc.Variable(np.array(value, dtype))
        for key, value in arguments.items()
    }


@pytest.mark.parametrize("case", GOLDEN["clips"], ids=GOLDEN_IDS)
def test_gradients_are_tensorflows(case: dict[str, Any]) -> None:
    given = variables_of(case["arguments"], case["dtype"])
    function = FUNCTIONS[case["function"]]

    def loss() -> Any:
        result = function(**given)
        if case["function"] != "clip_by_global_norm":
            return anp.sum(np.array(case["upstream"]) * result)
        of_values, of_norm = case["upstream"]
        terms = [anp.sum(np.array(g) * y) for g, y in zip(of_values, result[0], strict=True)]
        return sum(terms) + of_norm * result[1]

    for key, expected in case["gradients"].items():
        several = key == "t_list"
        found = nc.gradients(loss, given[key])
        for gradient, value in zip(found, expected if several else [expected], strict=True):
            # A limit that is not reached may well be without a gradient.
            actual = 0.0 if gradient is None else gradient
            tolerance = 2e-6 if case["dtype"] == "float32" else 1e-13
            np.testing.assert_allclose(actual, value, rtol=tolerance, atol=tolerance)


def tensors() -> list[Any]:
    random = np.random.default_rng(0)
    return [random.uniform(-2, 2, (3, 4)), random.uniform(-2, 2, (2,))]


def all_of(clipped: tuple[list[Any], Any]) -> Any:
    """Return something that depends on all that clip_by_global_norm returns."""
    arrays, norm = clipped
    return anp.sum(anp.sin(arrays[0])) + anp.sum(arrays[1] ** 2) + norm


# Functions of an array of shape (3, 4), an array of shape (2,) and a limit between 0.4 and 0.6,
# or 40 and 60; none of them ties.
CLIPS: dict[str, Function] = {
    "value": lambda x, y, c: nc.clip_by_value(x, -c, c) ** 2,
    "value by rows": lambda x, y, c: nc.clip_by_value(x, -2 * c, c * np.ones((3, 1))) ** 2,
    "norm": lambda x, y, c: anp.sin(nc.clip_by_norm(x, c)),
    "norms of rows": lambda x, y, c: anp.sin(nc.clip_by_norm(x, c, axes=1)),
    "norms of columns": lambda x, y, c: anp.sin(nc.clip_by_norm(x, c * np.ones((1, 4)), axes=[-2])),
    "norms of elements": lambda x, y, c: anp.sin(nc.clip_by_norm(x, c, axes=[])),
    "average norm": lambda x, y, c: anp.sin(nc.clip_by_average_norm(x, c / 5)),
    "global norm": lambda x, y, c: nc.global_norm([x, None, y * c]),
    "by global norm": lambda x, y, c: all_of(nc.clip_by_global_norm([x, y], c)),
    "by global norm of one": lambda x, y, c: all_of(nc.clip_by_global_norm([x, [1.0, 2.0]], c)),
    "by a given norm": lambda x, y, c: all_of(
        nc.clip_by_global_norm([x, y], c, 10 * c + y[0] ** 2)
    ),
    "one clip after another": lambda x, y, c: nc.clip_by_norm(nc.clip_by_value(x, -1, 1), c) ** 2,
}


@pytest.mark.parametrize("limit", [0.5, 50.0])
@pytest.mark.parametrize("name", CLIPS)
def test_gradients_are_finite_differences(name: str, limit: float) -> None:
    function, arrays = CLIPS[name], [*tensors(), np.array(limit)]
    variables = [nc.Variable(array) for array in arrays]
    found = nc.gradients(lambda: function(*variables), variables)
    for i, gradient in enumerate(found):
        expected = finite_differences(function, arrays, i)
        actual = np.zeros_like(expected) if gradient is None else gradient
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("limit", [0.5, 50.0])
@pytest.mark.parametrize("name", CLIPS)
def test_second_derivatives_are_finite_differences(name: str, limit: float) -> None:
    function, arrays = CLIPS[name], [*tensors(), np.array(limit)]

    def slopes(*arguments: Any) -> Any:
        found = nc.gradients_function(function)(*arguments)
        weights = [np.cos(np.arange(array.size)).reshape(array.shape) for array in arrays]
        terms = [
            anp.sum(weight * g) for weight, g in zip(weights, found, strict=True) if g is not None
        ]
        return sum(terms)

    for i, gradient in enumerate(nc.gradients_function(slopes)(*arrays)):
        expected = finite_differences(slopes, arrays, i)
        actual = np.zeros_like(expected) if gradient is None else gradient
        np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-7)


@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=6), st.floats(1e-150, 1e150))
def test_the_gradient_is_a_projections(numbers: list[float], limit: float) -> None:
    # Where the norm is over the limit, nothing flows along the array itself, at any magnitude.
    t = nc.Variable(np.array(numbers))
    norm = nc.global_norm([t.value])
    (gradient,) = nc.gradients(lambda: nc.clip_by_norm(t, limit), t)
    if norm < limit:
        assert gradient.tolist() == [1.0] * len(numbers)
    elif norm > limit:
        unit = t.value / norm
        assert abs(gradient @ unit) <= 1e-13 * limit / norm
        tangent = 1 - unit * np.sum(unit)
        np.testing.assert_allclose(gradient, limit / norm * tangent, atol=1e-13 * limit / norm)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("name", CLIPS)
def test_values_are_those_of_plain_arrays(name: str, dtype: Any) -> None:
    arrays = [array.astype(dtype) for array in [*tensors(), np.array(0.5)]]
    variables = [nc.Variable(array) for array in arrays]
    value, gradients = nc.value_and_gradients(lambda: CLIPS[name](*variables), variables)
    exact = nc.gradients_function(CLIPS[name])(*(array.astype(float) for array in arrays))
    plain = CLIPS[name](*arrays)
    np.testing.assert_array_equal(np.asarray(value), np.asarray(plain))
    for gradient, expected in zip(gradients, exact, strict=True):
        if gradient is not None:
            assert gradient.dtype == dtype
            tolerance = 8 * float(ml_dtypes.finfo(dtype).eps)
            np.testing.assert_allclose(
                gradient.astype(float), expected, rtol=tolerance, atol=8 * tolerance
            )


def test_clipped_bits_are_those_of_plain_arrays() -> None:
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    seen = []

    def loss() -> Any:
        clipped = nc.clip_by_norm(variable, 0.1)
        seen.append(clipped._value)
        return anp.sum(clipped)

    variable = nc.Variable(x)
    nc.gradients(loss, variable)
    np.testing.assert_array_equal(seen[0], nc.clip_by_norm(x, 0.1))


def test_autograds_own_gradient() -> None:
    x = np.array([3.0, 4.0])
    gradient = autograd.grad(lambda x: anp.sum(nc.clip_by_norm(x, 1.0)))(x)
    np.testing.assert_allclose(gradient, [0.032, -0.024])
    gradient = autograd.grad(lambda c: anp.sum(nc.clip_by_norm(x, c)))(1.0)
    np.testing.assert_allclose(gradient, 1.4)


def test_slices_and_dicts() -> None:
    x = nc.Variable([[3.0], [4.0]])

    def slices(values: Any) -> nc.IndexedSlices:
        return nc.IndexedSlices(values, np.array([1, 1]), (4, 1))

    def dense(values: Any) -> Any:
        return values

    weights = np.array([[1.0], [2.0]])
    for function in (
        lambda t: nc.clip_by_value(t, -1.0, 3.5),
        lambda t: nc.clip_by_norm(t, 1.0),
        lambda t: nc.clip_by_global_norm({"a": t, "b": None}, 1.0)[0]["a"],
    ):
        found = [
            nc.gradients(
                lambda make=make, function=function: anp.sum(
                    weights * getattr(function(make(x.value)), "values", function(make(x.value)))
                ),
                x,
            )[0]
            for make in (slices, dense)
        ]
        np.testing.assert_array_equal(*found)
    of_norm = nc.gradients(lambda: nc.global_norm({"a": slices(x.value)}), x)[0]
    np.testing.assert_allclose(of_norm, [[0.6], [0.8]])
    # Of slices, n is the size of the dense array.
    average = nc.gradients(
        lambda: anp.sum(weights * nc.clip_by_average_norm(slices(x.value), 0.25).values), x
    )[0]
    np.testing.assert_allclose(
        average, nc.gradients(lambda: anp.sum(weights * nc.clip_by_norm(x, 1.0)), x)[0]
    )


def test_none_stays_in_its_place() -> None:
    x = nc.Variable([3.0, 4.0])
    seen = []

    def loss() -> Any:
        clipped, norm = nc.clip_by_global_norm([None, x, None], 1.0)
        seen.extend([clipped[0], clipped[2]])
        return anp.sum(clipped[1]) + norm

    np.testing.assert_allclose(nc.gradients(loss, x)[0], [0.632, 0.776])
    assert seen == [None, None]


@pytest.mark.parametrize("nonfinite", ["propagate", "zero"])
def test_what_is_not_finite(nonfinite: str) -> None:
    x = nc.Variable([1.0, np.inf])
    loss = lambda: anp.sum(  # noqa: E731
        nc.clip_by_global_norm([x], 1.0, nonfinite=nonfinite)[0][0]
    )
    value, (gradient,) = nc.value_and_gradients(loss, x)
    if nonfinite == "zero":
        assert (value, gradient) == (0.0, None)
    else:
        assert np.isnan(value) and np.all(np.isnan(gradient))


def test_an_error_for_what_is_not_finite() -> None:
    x = nc.Variable([1.0, np.nan])
    with pytest.raises(FloatingPointError, match=r"`t_list\[0\]` must be finite"):
        nc.gradients(lambda: nc.clip_by_global_norm([x], 1.0, nonfinite="raise")[1], x)


X = nc.Variable([3.0, 4.0], name="x")
ERRORS: dict[str, tuple[Function, type[Exception], str]] = {
    "out": (lambda: nc.clip_by_norm(X, 1.0, out=np.zeros(2)), TypeError, "`out` must be None"),
    "out of a list": (
        lambda: nc.clip_by_global_norm([X], 1.0, out=[np.zeros(2)])[1],
        TypeError,
        "`out` must be None",
    ),
    "negative limit": (lambda: nc.clip_by_norm(X, -1.0), ValueError, "`clip_norm` must not be neg"),
    "negative recorded limit": (
        lambda: nc.clip_by_norm([1.0], -X[0]),
        ValueError,
        "`clip_norm` must not be negative",
    ),
    "axes": (lambda: nc.clip_by_norm(X, 1.0, axes=1), ValueError, "`axes` must be axes of 1"),
    "crossed bounds": (
        lambda: nc.clip_by_value(X, 1.0, -1.0),
        ValueError,
        "`clip_value_min` must not be above",
    ),
    "a bound that enlarges": (
        lambda: nc.clip_by_value(X[0], X, 9.0),
        ValueError,
        "`clip_value_min` must broadcast",
    ),
    "one array for a list": (lambda: nc.global_norm(X.value), TypeError, "`t_list` must be a list"),
    "complex numbers": (
        lambda: anp.real(anp.sum(nc.clip_by_norm(X * 1j, 1.0))),
        TypeError,
        "must be real where",
    ),
    "name": (lambda: nc.clip_by_norm(X, -1.0, name="layer 1"), ValueError, "^layer 1: `clip_norm`"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_change_nothing(name: str) -> None:
    loss, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        nc.gradients(loss, X)
    assert X.value.tolist() == [3.0, 4.0]
    assert nc.gradients(lambda: X**2, X)[0].tolist() == [6.0, 8.0]


def test_threads_at_once() -> None:
    start, wrong = threading.Barrier(4), []

    def work(seed: int) -> None:
        x = nc.Variable([3.0 * seed, 4.0 * seed])
        start.wait()
        for _ in range(30):
            (found,) = nc.gradients(lambda: nc.clip_by_norm(x, 1.0), x)
            if not np.allclose(found * seed, [0.032, -0.024]):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_clipping_arrays_imports_no_autograd() -> None:
    program = (
        "import numpy as np, numclip as nc, sys\n"
        "x = np.ones(3)\n"
        "nc.clip_by_value(x, -1, 1), nc.clip_by_norm(nc.Variable(x), 1.0)\n"
        "nc.clip_by_average_norm(x, 1.0), nc.clip_by_global_norm([x], 1.0)\n"
        "print('autograd' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
