"""Rows that share an index are summed to the host's bits on a device."""

from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, Array, dtype_named, normal
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
