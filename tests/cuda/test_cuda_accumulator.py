"""Gradients of a device's variables add up to the host's bits, and stay on the device."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from arrays import normal
from devices import on_device, on_host

import numclip as nc

FLOATING = [np.dtype(each) for each in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]
ROWS, WIDTH = 9, 3


def rows(indices: Any, dtype: Any) -> nc.IndexedSlices:
    indices = np.array(indices, np.int64)
    return nc.IndexedSlices(normal(dtype, indices.size, WIDTH), indices)


def dense(dtype: Any) -> Any:
    return normal(dtype, ROWS, WIDTH)


def strided(dtype: Any) -> Any:
    return normal(dtype, ROWS, 2 * WIDTH)[:, ::2]


CONTRIBUTIONS: dict[str, Any] = {
    "dense": lambda dtype: [dense(dtype), strided(dtype), dense(dtype)],
    "rows": lambda dtype: [
        rows(indices, dtype) for indices in ([], [5, 0, 5], [2], [], [8, 5, 2, 5, 1])
    ],
    "rows, then dense": lambda dtype: [rows([5, 0, 5], dtype), dense(dtype), rows([5, 5], dtype)],
    "no rows, then dense": lambda dtype: [rows([], dtype), dense(dtype)],
    "dense, then rows": lambda dtype: [dense(dtype), rows([7, 7, 1], dtype), rows([], dtype)],
}


def in_both_places(make: Any) -> tuple[Any, Any]:
    return make(on_device), make(lambda value: value)


def assert_same(device: Any, host: Any) -> None:
    if isinstance(host, nc.IndexedSlices):
        assert device.dense_shape == host.dense_shape
        assert_same(device.indices, host.indices)
        device, host = device.values, host.values
    found = on_host(device)
    assert (found.dtype, found.shape) == (host.dtype, host.shape)
    assert found.tobytes() == host.tobytes()


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("kind", CONTRIBUTIONS)
def test_sums_and_means(kind: str, dtype: Any) -> None:
    def added(place: Any) -> Any:
        variable = nc.Variable(place(dense(dtype)), name="x")
        gradients = nc.train.GradientAccumulator(nonfinite="skip")
        results = []
        for weight, gradient in enumerate(CONTRIBUTIONS[kind](dtype), 1):
            assert gradients.add([(place(gradient), variable)], weight / 3)
            results += [gradients.sum(), gradients.mean()]
        return [gradient for ((gradient, _),) in results]

    for device, host in zip(*in_both_places(added), strict=True):
        assert_same(device, host)


def test_what_is_added_is_neither_changed_nor_kept() -> None:
    variable = nc.Variable(on_device(dense(np.dtype(np.float32))))
    gradient = on_device(rows([5, 0], np.dtype(np.float32)))
    before = on_host(gradient.values).copy()
    gradients = nc.train.GradientAccumulator()
    gradients.add([(gradient, variable)], 2.0)
    assert on_host(gradient.values).tobytes() == before.tobytes()
    on_host(gradient.indices)[:] = 1
    on_host(gradient.values)[:] = np.nan
    ((found, _),) = gradients.sum()
    assert on_host(found.indices).tolist() == [5, 0]
    assert on_host(found.values).tobytes() == (before * 2).tobytes()


def test_a_step_by_the_mean() -> None:
    def trained(place: Any) -> Any:
        variables = [nc.Variable(place(dense(np.dtype(np.float32))), name=name) for name in "xy"]
        gradients = nc.train.GradientAccumulator()
        for _ in range(2):
            given = [place(dense(np.dtype(np.float32))), place(rows([3, 3], np.dtype(np.float32)))]
            gradients.add(zip(given, variables, strict=True))
        nc.train.MomentumOptimizer(0.1, 0.9, global_clipnorm=1.0).apply_gradients(gradients.mean())
        return [variable.value for variable in variables]

    for device, host in zip(*in_both_places(trained), strict=True):
        assert_same(device, host)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_not_finite_is_skipped_or_refused(bad: float) -> None:
    variable = nc.Variable(on_device(np.ones(2)), name="x")
    gradients = nc.train.GradientAccumulator(nonfinite="skip")
    assert gradients.add([(on_device(np.ones(2)), variable)])
    assert not gradients.add([(on_device(np.array([bad, 1.0])), variable)])
    assert (gradients.skipped, gradients.weight) == (1, 1)
    assert_same(gradients.mean()[0][0], np.ones(2))
    refusing = nc.train.GradientAccumulator(nonfinite="raise")
    with pytest.raises(FloatingPointError, match=r"`grads_and_vars\[0\]\[0\]` must be finite"):
        refusing.add([(on_device(np.array([bad, 1.0])), variable)])
    assert refusing.sum() == []


def test_a_variable_that_moves_is_refused() -> None:
    variable = nc.Variable(on_device(np.ones(2)), name="x")
    gradients = nc.train.GradientAccumulator()
    gradients.add([(on_device(np.ones(2)), variable)])
    variable.array = np.ones(2)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[0\]\[1\]` must be where it was"):
        gradients.add([(np.ones(2), variable)])
    variable.array = on_device(np.ones(3))
    with pytest.raises(ValueError, match=r"of shape \(2,\), until `reset`"):
        gradients.add([(on_device(np.ones(3)), variable)])
    assert_same(gradients.sum()[0][0], np.ones(2))
    gradients.reset()
    assert gradients.add([(on_device(np.ones(3)), variable)])


def test_a_norm_of_two_places_is_refused() -> None:
    variables = [nc.Variable(np.ones(2)), nc.Variable(on_device(np.ones(2)))]
    pairs = [(np.ones(2), variables[0]), (on_device(np.ones(2)), variables[1])]
    gradients = nc.train.GradientAccumulator(nonfinite="skip")
    with pytest.raises(ValueError, match=r"`grads_and_vars\[1\]\[0\]` must be where"):
        gradients.add(pairs)
    assert gradients.sum() == []
    apart = nc.train.GradientAccumulator()
    assert apart.add(pairs)
    assert [type(gradient) for gradient, _ in apart.sum()] == [type(each) for each, _ in pairs]
