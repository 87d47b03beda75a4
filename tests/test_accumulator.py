"""Gradients of several losses are added in float64, and rounded once."""

from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizers import OPTIMIZERS, Array, for_every_dtype, normal, same

import numclip as nc

Accumulator = nc.train.GradientAccumulator
Slices = nc.IndexedSlices


def added(
    contributions: Any, variable: nc.Variable, **options: Any
) -> nc.train.GradientAccumulator:
    gradients = Accumulator(**options)
    for gradient, weight in contributions:
        assert gradients.add([(gradient, variable)], weight)
    return gradients


def only(pairs: list[tuple[Any, nc.Variable]], variable: nc.Variable) -> Any:
    ((gradient, found),) = pairs
    assert found is variable
    return gradient


@for_every_dtype
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5), (300, 300)])
def test_the_mean_is_that_in_float64_rounded_once(dtype: Any, shape: tuple[int, ...]) -> None:
    variable = nc.Variable(np.zeros(shape, dtype))
    given = [normal(shape, dtype, seed) for seed in range(5)]
    weights = [1, 2.5, 0, 7, 1e-3]
    gradients = added(zip(given, weights, strict=True), variable)
    total = np.full(shape, -0.0)
    for gradient, weight in zip(given, weights, strict=True):
        total += gradient.astype(np.float64) * weight
    assert gradients.weight == sum(weights)
    assert same(only(gradients.sum(), variable), rounded(total, dtype))
    assert same(only(gradients.mean(), variable), rounded(total / sum(weights), dtype))


def rounded(exact: Array, dtype: Any) -> Array:
    """Round to nearest, ties to even, without a type in between."""
    if np.dtype(dtype).itemsize > 2:
        return exact.astype(dtype)
    near = np.asarray(exact.astype(dtype))
    candidates = [near, np.nextafter(near, dtype(np.inf)), np.nextafter(near, dtype(-np.inf))]
    distances = [np.abs(each.astype(np.float64) - exact) for each in candidates]
    best = np.argmin(distances, axis=0)
    return np.asarray(np.choose(best, candidates), dtype)


def test_a_sum_of_many_halves_is_exact() -> None:
    variable = nc.Variable(np.zeros(3, np.float16))
    gradient = np.array([1, 0.1, 2.0**-24], np.float16)
    gradients = added([(gradient, 1)] * 4097, variable)
    expected = [float(Fraction(float(each)) * 4097) for each in gradient]
    assert same(only(gradients.sum(), variable), np.array(expected).astype(np.float16))
    assert same(only(gradients.mean(), variable), gradient)
    in_halves = np.float16(0)
    for _ in range(4097):
        in_halves += gradient[0]
    assert in_halves == 2048


@for_every_dtype
def test_one_gradient_of_weight_one_comes_back_to_the_bit(dtype: Any) -> None:
    variable = nc.Variable(np.zeros((2, 3), dtype))
    gradient = np.array([[0.0, -0.0, 1.5], [np.nan, np.inf, -np.inf]], dtype)
    assert same(only(added([(gradient, 1)], variable).sum(), variable), gradient)
    rows = Slices(gradient, [1, 0])
    found = only(added([(rows, 1)], variable).mean(), variable)
    assert same(found.values, gradient)
    assert found.indices.tolist() == [1, 0]


def test_a_sum_is_a_new_array_each_time() -> None:
    variable = nc.Variable(np.zeros(3))
    given = [np.ones(3), np.full(3, 2.0)]
    gradients = added([(given[0], 1)], variable)
    first = only(gradients.sum(), variable)
    first[:] = 7
    given[0][:] = 8
    assert gradients.add([(given[1], variable)])
    assert only(gradients.sum(), variable).tolist() == [3, 3, 3]
    assert given[1].tolist() == [2, 2, 2]


def test_rows_are_new_arrays_each_time() -> None:
    variable = nc.Variable(np.zeros((4, 1)))
    indices = np.array([3, 1, 3])
    gradients = added([(Slices(np.ones((3, 1)), indices), 1)], variable)
    indices[:] = 0
    found = only(gradients.sum(), variable)
    found.indices[:] = 0
    found.values[:] = 0
    again = only(gradients.sum(), variable)
    assert again.indices.tolist() == [3, 1]
    assert again.values.tolist() == [[2], [1]]


floats = st.floats(-1e6, 1e6, width=32)
dense_gradients = st.lists(floats, min_size=8, max_size=8).map(
    lambda numbers: np.array(numbers, np.float32).reshape(4, 2)
)
row_gradients = st.lists(st.tuples(st.integers(0, 3), floats, floats), max_size=6).map(
    lambda rows: Slices(
        np.array([row[1:] for row in rows], np.float32).reshape(-1, 2),
        np.array([row[0] for row in rows], int),
    )
)
weights = st.integers(0, 9).map(float)


@given(st.lists(st.tuples(st.none() | dense_gradients | row_gradients, weights), max_size=6))
def test_dense_gradients_and_rows_add_up(contributions: list[tuple[Any, float]]) -> None:
    variable, other = nc.Variable(np.zeros((4, 2), np.float32)), nc.Variable(0.0)
    gradients, total = Accumulator(), np.zeros((4, 2))
    for gradient, weight in contributions:
        assert gradients.add([(gradient, variable), (1.0, other)], weight)
        if isinstance(gradient, Slices):
            np.add.at(total, gradient.indices, gradient.values.astype(float) * weight)
        elif gradient is not None:
            total += gradient.astype(float) * weight
    kinds = {type(each) for each, _ in contributions if each is not None}
    found = [each for each, of in gradients.sum() if of is variable]
    assert len(found) == bool(kinds)
    for each in found:
        # Any dense gradient makes the sum dense.
        assert type(each) is (np.ndarray if np.ndarray in kinds else Slices)
        dense = each
        if isinstance(each, Slices):
            assert len(set(each.indices.tolist())) == each.indices.size
            dense = each.to_dense()
        np.testing.assert_allclose(dense, total, rtol=1e-6, atol=1e-9 * np.abs(total).max())
    if gradients.weight:
        # None is a gradient of zero: the weights are those of all losses.
        means = dict(map(reversed, gradients.mean()))
        assert means[other] == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_rows_are_summed_in_order_of_occurrence(count: int) -> None:
    variable = nc.Variable(np.zeros((9, 3)))
    parts = [Slices(normal((5, 3), np.float64, i), np.arange(5) * i % 9) for i in range(count)]
    found = only(added([(part, 1) for part in parts], variable).sum(), variable)
    joined = Slices(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.indices for part in parts]),
    ).coalesce()
    assert found.indices.tolist() == joined.indices.tolist()
    assert same(found.values, joined.values)


def test_variables_come_in_the_order_in_which_they_first_came() -> None:
    a, b, c = (nc.Variable(0.0, name=name) for name in "abc")
    gradients = Accumulator()
    for pairs in ([(None, a), (1.0, b)], [(1.0, c), (1.0, a)], [(1.0, a), (1.0, b)]):
        gradients.add(pairs)
    assert [variable.name for _, variable in gradients.sum()] == ["b", "c", "a"]
    assert [float(gradient) for gradient, _ in gradients.sum()] == [2, 1, 2]


def test_frozen_variables_are_left_out_and_those_given_twice_are_added_twice() -> None:
    frozen, variable = nc.Variable(0.0, trainable=False), nc.Variable(0.0)
    gradients = Accumulator()
    gradients.add([(1.0, frozen), (2.0, variable), (3.0, variable)])
    assert only(gradients.sum(), variable) == 5


def test_gradients_by_name() -> None:
    variable = nc.Variable([0.0, 0.0], name="x")
    gradients = Accumulator()
    gradients.add({"x": [1.0, 2.0]}, variables=[variable])
    assert only(gradients.sum(), variable).tolist() == [1, 2]


def test_any_layout_and_order_of_bytes() -> None:
    variable = nc.Variable(np.zeros((3, 2), ">f4"))
    gradient = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2].T
    gradients = added([(gradient, 1), (gradient.astype(">f4"), 1)], variable)
    assert same(only(gradients.sum(), variable), gradient * 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_by_the_mean_is_that_of_the_mean_loss(name: str) -> None:
    found, expected = (nc.Variable(normal((6, 2), np.float32, 1), name="x") for _ in range(2))
    optimizers = [OPTIMIZERS[name].make(global_clipnorm=1.0) for _ in range(2)]
    grouped = nc.train.GroupedOptimizer([("x", optimizers[0])])
    gradients = Accumulator()
    for step in range(3):
        parts = [normal((6, 2), np.float32, 10 * step + i) for i in range(4)]
        for part in parts:
            gradients.add([(part, found)])
        grouped.apply_gradients(gradients.mean())
        gradients.reset()
        mean = np.mean([part.astype(np.float64) for part in parts], axis=0).astype(np.float32)
        optimizers[1].apply_gradients([(mean, expected)])
    assert same(found, expected)


NAN, INFINITY = np.array([1.0, np.nan]), np.array([-np.inf, 1.0])


@pytest.mark.parametrize("bad", [NAN, INFINITY, Slices([[np.nan, 1.0]], [0])])
def test_what_is_not_finite_is_skipped_and_counted(bad: Any) -> None:
    x, y = nc.Variable([0.0, 0.0]), nc.Variable(np.zeros((1, 2)))
    gradients = Accumulator(nonfinite="skip")
    assert gradients.add([(np.ones(2), x)], 3)
    pairs = [(np.ones(2), x), (bad, y if isinstance(bad, Slices) else x)]
    assert not gradients.add(pairs, 5)
    assert (gradients.skipped, gradients.weight) == (1, 3)
    assert only(gradients.mean(), x).tolist() == [1, 1]
    gradients.reset()
    assert (gradients.skipped, gradients.weight, gradients.sum()) == (0, 0, [])


def test_what_is_not_finite_spreads_by_default() -> None:
    x = nc.Variable([0.0, 0.0])
    gradients = added([(np.ones(2), 1), (NAN, 1)], x)
    np.testing.assert_array_equal(only(gradients.sum(), x), [2, np.nan])
    assert gradients.skipped == 0


def test_halves_whose_sum_is_not_finite_are_finite_themselves() -> None:
    x = nc.Variable(np.zeros((1, 1), ml_dtypes.bfloat16))
    largest = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    rows = Slices(np.full((2, 1), largest, ml_dtypes.bfloat16), [0, 0])
    gradients = added([(rows, 1)], x, nonfinite="raise")
    assert float(only(gradients.sum(), x).values[0, 0]) == np.inf
    gradients.add([(rows, x)], 3)
    assert float(gradients.mean()[0][0].values[0, 0]) == np.inf
    gradients.add([(np.zeros((1, 1), ml_dtypes.bfloat16), x)], 12)
    assert float(gradients.mean()[0][0][0, 0]) == largest / 2


def x_of(shape: tuple[int, ...] = (2,), **options: Any) -> nc.Variable:
    return nc.Variable(np.zeros(shape), name="x", **options)


REFUSED: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "no pairs": (lambda x: 1, 1, TypeError, "`grads_and_vars`"),
    "nothing": (lambda x: [], 1, ValueError, "`grads_and_vars` must not be empty"),
    "no gradient": (lambda x: [(None, x)], 1, ValueError, "no gradient for any trainable"),
    "another dtype": (
        lambda x: [(np.ones(2), x), (np.ones(2, np.float32), x)],
        1,
        TypeError,
        "`grads_and_vars[1][0]` must be of dtype float64, got float32",
    ),
    "another shape": (
        lambda x: [(np.ones(2), x), (np.ones(3), x)],
        1,
        ValueError,
        "`grads_and_vars[1][0]` must be of shape (2,), got (3,)",
    ),
    "a row out of range": (
        lambda x: [(np.ones(2), x), (Slices([1.0], [2]), x)],
        1,
        IndexError,
        "`grads_and_vars[1][0].indices` must be below 2, got 2",
    ),
    "no variable": (lambda x: [(np.ones(2), "x")], 1, TypeError, "`grads_and_vars[0][1]`"),
    "a negative weight": (lambda x: [(np.ones(2), x)], -1, ValueError, "`weight`"),
    "an infinite weight": (lambda x: [(np.ones(2), x)], np.inf, ValueError, "`weight`"),
    "a weight of NaN": (lambda x: [(np.ones(2), x)], np.nan, ValueError, "`weight`"),
    "no weight": (lambda x: [(np.ones(2), x)], "1", TypeError, "`weight`"),
    "not finite": (
        lambda x: [(np.ones(2), x), (NAN, x)],
        1,
        FloatingPointError,
        "`grads_and_vars[1][0]` must be finite, got a gradient of norm nan",
    ),
}


@pytest.mark.parametrize("label", REFUSED)
def test_what_is_refused_changes_nothing(label: str) -> None:
    make, weight, error, text = REFUSED[label]
    x = x_of()
    gradients = added([(np.array([3.0, 4.0]), 2)], x, nonfinite="raise")
    pairs = make(x)
    with pytest.raises(error) as raised:
        gradients.add(pairs, weight)
    assert text in str(raised.value)
    assert only(gradients.sum(), x).tolist() == [6, 8]
    assert (gradients.weight, gradients.skipped) == (2, 0)
    assert x.value.tolist() == [0, 0]


def test_a_variable_of_another_shape_than_before_is_refused() -> None:
    x = x_of()
    gradients = added([(np.ones(2), 1)], x)
    x.array = np.zeros(100_000)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[0\]\[1\]` .* of shape \(2,\), until"):
        gradients.add([(np.ones(100_000), x)])
    assert only(gradients.sum(), x).tolist() == [1, 1]
    gradients.reset()
    assert gradients.add([(np.ones(100_000), x)])


def test_a_mean_of_nothing_is_refused() -> None:
    gradients = Accumulator()
    with pytest.raises(ValueError, match="`weight` must not be zero for a mean"):
        gradients.mean()
    gradients.add([(np.ones(2), x_of())], 0)
    with pytest.raises(ValueError, match="`weight` must not be zero for a mean"):
        gradients.mean()


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(ValueError, match='`nonfinite` must be "propagate", "raise" or "skip"'):
        Accumulator(nonfinite="zero")


def test_a_masked_element_that_is_not_finite_is_let_pass() -> None:
    x = x_of(update_mask=[True, False])
    gradients = added([(NAN, 1)], x, nonfinite="raise")
    result = nc.train.GradientDescentOptimizer(0.5, nonfinite="raise").apply_gradients(
        gradients.sum()
    )
    assert not result.skipped
    assert x.value.tolist() == [-0.5, 0]
