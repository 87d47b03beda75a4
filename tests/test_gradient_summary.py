"""What gradients are like, compared with NumPy, and what is printed of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from optimizers import for_every_dtype, normal
from rich.console import Console

import numclip as nc

Slices = nc.IndexedSlices


def only(gradient: Any, variable: nc.Variable) -> Any:
    (row,) = nc.summarize_gradients([(gradient, variable)])
    return row


def assert_is_numpys(row: Any, gradient: Any, values: Any) -> None:
    exact = np.asarray(gradient, np.float64)
    assert row.shape == exact.shape
    assert row.largest == np.abs(exact).max(initial=0)
    assert row.zeros == np.mean(exact == 0)
    assert row.nonfinite == np.mean(~np.isfinite(exact))
    np.testing.assert_allclose(row.norm, np.linalg.norm(exact.ravel()), rtol=1e-14)
    np.testing.assert_allclose(row.root_mean_square, np.sqrt(np.mean(exact**2)), rtol=1e-14)
    norm = np.linalg.norm(np.asarray(values, np.float64).ravel())
    np.testing.assert_allclose(row.ratio, row.norm / norm, rtol=1e-14)


@for_every_dtype
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (300, 300)])
def test_dense_gradients(dtype: Any, shape: tuple[int, ...]) -> None:
    gradient, values = normal(shape, dtype, 1), normal(shape, dtype, 2)
    if shape:
        gradient[..., 0] = 0
    row = only(gradient, nc.Variable(values, name="x"))
    assert (row.name, row.kind) == ("x", "dense")
    assert row.norm == nc.global_norm([gradient])
    assert_is_numpys(row, gradient, values)


@given(
    arrays(np.float64, array_shapes(max_side=5), elements=st.floats(-1e100, 1e100)),
    st.floats(1e-100, 1e100),
)
def test_any_gradient(gradient: Any, value: float) -> None:
    row = only(gradient, nc.Variable(np.full(gradient.shape, value)))
    norm = math.hypot(*gradient.ravel().tolist())
    assert row.norm == pytest.approx(norm, rel=1e-14)
    assert row.root_mean_square == pytest.approx(norm / math.sqrt(gradient.size), rel=1e-14)
    assert 0 <= row.zeros <= 1
    assert row.largest <= row.norm * (1 + 1e-14)
    assert row.ratio == pytest.approx(norm / (value * math.sqrt(gradient.size)), rel=1e-13)


@for_every_dtype
def test_rows_are_summed_and_the_others_are_zeros(dtype: Any) -> None:
    values = normal((6, 3), dtype, 2)
    gradient = Slices(normal((4, 3), dtype, 1), [2, 0, 2, 5])
    row = only(gradient, nc.Variable(values))
    dense = Slices(gradient.values, gradient.indices, (6, 3)).to_dense()
    assert (row.name, row.kind) == ("Variable", "rows")
    assert row.norm == nc.global_norm([gradient.coalesce()])
    assert row.zeros == 0.5
    assert_is_numpys(row, dense, values)


def test_rows_that_cancel() -> None:
    row = only(Slices([[1.0], [-1.0]], [1, 1]), nc.Variable(np.ones((4, 1))))
    assert (row.norm, row.largest, row.zeros, row.ratio) == (0, 0, 1, 0)


def test_no_rows_and_no_numbers() -> None:
    row = only(Slices(np.empty((0, 2)), []), nc.Variable(np.ones((4, 2))))
    assert row[3:] == (0, 0, 0, 1, 0, 0)
    empty = only(np.empty((0, 2)), nc.Variable(np.ones((0, 2))))
    assert empty[3:8] == (0, 0, 0, 0, 0)
    assert math.isnan(empty.ratio)


def test_what_is_not_finite() -> None:
    x = nc.Variable(np.ones(4))
    row = only(np.array([1.0, np.inf, 0.0, 2.0]), x)
    assert row[3:] == (np.inf, np.inf, np.inf, 0.25, 0.25, np.inf)
    row = only(np.array([np.nan, -np.inf, np.nan, 2.0]), x)
    assert [math.isnan(each) for each in row[3:]] == [True, True, True, False, False, True]
    assert row.nonfinite == 0.75


def test_the_ratio_to_a_variable_that_is_zero() -> None:
    x = nc.Variable([0.0])
    assert only([2.0], x).ratio == np.inf
    assert math.isnan(only([0.0], x).ratio)


def test_large_gradients_are_looked_at_in_parts() -> None:
    gradient = normal((100_000,), np.float32, 1)
    gradient[[3, 70_000]] = 0, np.nan
    gradient[99_999] = np.inf
    row = only(gradient, nc.Variable(gradient.copy()))
    assert (row.zeros, row.nonfinite) == (1e-5, 2e-5)
    assert math.isnan(row.largest)


def test_a_summary_is_a_sequence_in_the_order_given() -> None:
    a, b = nc.Variable([1.0], name="a"), nc.Variable([1.0], name="a", trainable=False)
    summary = nc.summarize_gradients([([2.0], a), (None, b), ([3.0], a)])
    assert len(summary) == 3
    assert [row.name for row in summary] == ["a", "a_1", "a"]
    assert [row.kind for row in summary] == ["dense", "none", "dense"]
    assert all(map(math.isnan, summary[1][3:]))
    assert [row.norm for row in summary[::2]] == [2, 3]
    assert all(type(each) is float for row in summary for each in row[3:])
    assert all(row.kind == "none" for row in nc.summarize_gradients([(None, a)]))


def test_gradients_by_name_and_of_frozen_variables() -> None:
    x = nc.Variable([3.0, 4.0], name="x", trainable=False)
    (row,) = nc.summarize_gradients({"x": [6.0, 8.0]}, variables=[x])
    assert (row.norm, row.ratio) == (10, 2)


def test_a_table_is_printed() -> None:
    variables = [nc.Variable(np.ones(shape), name="layer") for shape in ((2, 3), (), (1,))]
    gradients = [np.full((2, 3), 1e-9), 0.0, None]
    summary = nc.summarize_gradients(zip(gradients, variables, strict=True))
    assert repr(summary).startswith("GradientSummary([VariableSummary(")
    text = str(summary)
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["layer", "2x3", "2.4e-09", "1e-09", "1e-09", "-", "-", "1e-09"],
        ["layer_1", "scalar", "0", "0", "0", "100.0%", "-", "0"],
        ["layer_2", "1,", "none", *"------"],
    ]
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(summary)
    shown = captured.get().splitlines()
    assert [line.rstrip() for line in shown if line.strip()] == text.splitlines()


def x_of() -> nc.Variable:
    return nc.Variable(np.zeros(2), name="x")


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: [], ValueError, "`grads_and_vars` must not be empty"),
        (lambda: [([1.0], "x")], TypeError, "`grads_and_vars[0][1]` must be a Variable"),
        (lambda: [(None, x_of()), (np.ones(3), x_of())], ValueError, "`grads_and_vars[1][0]`"),
        (lambda: [(np.ones(2, np.float32), x_of())], TypeError, "must be of dtype float64"),
        (lambda: [(Slices([1.0], [2]), x_of())], IndexError, "must be below 2, got 2"),
        (lambda: {"x": [1.0]}, TypeError, "`variables` must be given"),
    ],
)
def test_what_is_refused(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        nc.summarize_gradients(make())
    assert text in str(raised.value)


def test_nothing_is_changed() -> None:
    gradient, x = np.array([1.0, -2.0]), nc.Variable([3.0, 4.0])
    nc.summarize_gradients([(gradient, x)])
    assert gradient.tolist() == [1, -2]
    assert x.value.tolist() == [3, 4]
