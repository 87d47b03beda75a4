"""Rows that share an index, and optimizers, give the host's bits on a device."""

from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, FLOATING, Array, dtype_named, normal
from devices import on_device, on_host

import numclip as nc


def random_indices(count: int, rows: int, dtype: str = "int64") -> Array:
    return np.random.default_rng(count).integers(0, rows, count).astype(dtype)


def assert_same(found: Any, expected: Array) -> None:
    found = on_host(found)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("count", "rows", "shape"),
    [(0, 3, (2,)), (1, 1, ()), (7, 2, (3,)), (65, 9, (2, 3)), (33, 40, (0,))],
)
def test_coalesce_and_to_dense(dtype: str, count: int, rows: int, shape: tuple[int, ...]) -> None:
    values, indices = normal(dtype_named(dtype), count, *shape), random_indices(count, rows)
    host = nc.IndexedSlices(values, indices, (rows, *shape))
    device = on_device(host)
    summed, expected = device.coalesce(), host.coalesce()
    assert_same(summed.values, expected.values)
    assert_same(summed.indices, expected.indices)
    assert summed.dense_shape == host.dense_shape
    assert_same(device.to_dense(), host.to_dense())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "uint64"])
def test_indices_of_any_dtype(dtype: str) -> None:
    host = nc.IndexedSlices(normal(np.dtype(np.float32), 40, 3), random_indices(40, 12, dtype))
    summed, expected = on_device(host).coalesce(), host.coalesce()
    assert_same(summed.values, expected.values)
    assert_same(summed.indices, expected.indices)


def test_strided_slices() -> None:
    values, indices = normal(np.dtype(np.float64), 3, 40).T, random_indices(80, 12)[::2]
    host = nc.IndexedSlices(values, indices, (12, 3))
    assert_same(on_device(host).coalesce().values, host.coalesce().values)
    assert_same(on_device(host).to_dense(), host.to_dense())


def test_join() -> None:
    first = nc.IndexedSlices(normal(np.dtype(np.float32), 5, 2), random_indices(5, 9, "int32"))
    second = nc.IndexedSlices(normal(np.dtype(np.float32), 3, 2), random_indices(3, 9))
    joined, expected = on_device(first) + on_device(second), first + second
    assert_same(joined.values, expected.values)
    assert_same(joined.indices, expected.indices)


def as_slices(gradient: Array) -> nc.IndexedSlices:
    return nc.IndexedSlices(gradient, random_indices(len(gradient), len(gradient)))


OPTIMIZERS = {
    "gradient descent": lambda: nc.train.GradientDescentOptimizer(0.1),
    "Adam": lambda: nc.train.AdamOptimizer(0.1),
}


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizer(make: Any, dtype: str) -> None:
    shapes = ((9, 4), (131,), (), (0,), (3, 5))
    starts = [normal(dtype_named(dtype), *shape) for shape in shapes]
    # A variable and a gradient of other strides, and one that is not first at 16 bytes.
    starts[4] = normal(dtype_named(dtype), 5, 3).T
    gradients = [normal(dtype_named(dtype), *shape) for shape in shapes]
    gradients[1] = normal(dtype_named(dtype), 262)[::2]
    found, expected = [], []
    for place, results in ((on_device, found), (np.asarray, expected)):
        variables = [nc.Variable(place(start.copy(order="K"))) for start in starts]
        optimizer = make()
        pairs = [(place(g), v) for g, v in zip(gradients, variables, strict=True)]
        sparse = as_slices(gradients[0])
        if place is on_device:
            sparse = on_device(sparse)
        empty = sparse._replace(values=place(gradients[0][:0]), indices=place(np.arange(0)))
        for step in (pairs, [(sparse, variables[0])], pairs[::-1], [(empty, variables[0])]):
            optimizer.apply_gradients(step)
        results += [v.value for v in variables]
        names = optimizer.get_slot_names()
        results += [optimizer.get_slot(v, name).value for v in variables for name in names]
    for device, host in zip(found, expected, strict=True):
        assert_same(device, host)


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


def test_assign() -> None:
    variable = nc.Variable(on_device(np.zeros((2, 3), np.float32)))
    variable.assign(np.arange(6.0).reshape(2, 3))
    assert_same(variable.value, np.arange(6, dtype=np.float32).reshape(2, 3))
    variable.assign(on_device(np.ones((3, 2), np.float32).T))
    assert_same(variable.value, np.ones((2, 3), np.float32))


def test_readme() -> None:
    """What README.md shows works with arrays of a device in place of NumPy's."""
    gradients = [
        on_device(np.array([3.0, 0.0])),
        None,
        nc.IndexedSlices(on_device(np.array([[0.0, 4.0]])), on_device(np.array([7])), (1000, 2)),
    ]
    clipped, norm = nc.clip_by_global_norm(gradients, 1.0)
    assert on_host(norm) == 5.0
    assert on_host(clipped[0]).round(12).tolist() == [0.6, 0.0]
    assert on_host(clipped[2].values).round(12).tolist() == [[0.0, 0.8]]

    weights = nc.Variable(on_device(np.array([1.0, -2.0])))
    optimizer = nc.train.AdamOptimizer(learning_rate=0.1)
    for _ in range(300):
        gradient = 2 * (on_host(weights.value) - [3.0, 4.0])
        grads, _ = nc.clip_by_global_norm([on_device(gradient)], 1.0)
        optimizer.apply_gradients([(grads[0], weights)])
    assert on_host(weights.value).round(3).tolist() == [3.0, 4.0]
