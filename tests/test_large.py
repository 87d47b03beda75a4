"""Lists too large for the cache take ways of their own, and give what small ones give."""

from itertools import pairwise

import numpy as np
import pytest
from arrays import DTYPES, Array, dtype_named, normal

import numclip as nc

# More numbers than kernels leave in the cache, in arrays that end within a block of them.
SIZES = (2**22 + 7, 1, 4096 + 513, 300)


def gradients(dtype: str) -> list[Array]:
    return [normal(dtype_named(dtype), size) for size in SIZES]


def at_offset(arrays: list[Array], offset: int) -> list[Array]:
    """Return arrays like these, each so many bytes after the beginning of a cache line."""
    targets = []
    for array in arrays:
        memory = np.zeros(array.nbytes + 128, np.uint8)
        start = -memory.__array_interface__["data"][0] % 64 + offset
        targets.append(np.ndarray(array.shape, array.dtype, memory, start))
    return targets


@pytest.mark.parametrize("offset", [0, 16, 48])
@pytest.mark.parametrize("share", [0.5, 2.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_elsewhere_are_those_in_place(dtype: str, share: float, offset: int) -> None:
    tensors = gradients(dtype)
    before = [t.tobytes() for t in tensors]
    limit = share * float(nc.global_norm(tensors))
    out = at_offset(tensors, offset)
    nc.clip_by_global_norm(tensors, limit, out=out)
    assert [t.tobytes() for t in tensors] == before
    each, _ = nc.clip_by_global_norm(tensors, limit, use_norm=nc.global_norm(tensors))
    nc.clip_by_global_norm(tensors, limit, out=tensors)
    assert [t.tobytes() for t in out] == [t.tobytes() for t in tensors]
    assert [t.tobytes() for t in each] == [t.tobytes() for t in tensors]
    assert (before == [t.tobytes() for t in tensors]) == (share > 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scaled_as_one_number_after_another(dtype: str) -> None:
    tensors = gradients(dtype)
    clipped, norm = nc.clip_by_global_norm(tensors, 1.0)
    factor = clipped[1][0] / tensors[1][0]
    for before, after in zip(tensors, clipped, strict=True):
        assert np.allclose(after, before * factor, rtol=1e-6, atol=0)
    assert factor == pytest.approx(1 / norm, rel=1e-6)


def test_bounds_of_many_numbers() -> None:
    x = normal(np.dtype(np.float32), 2**22 + 7)
    assert np.array_equal(nc.clip_by_value(x, -0.5, 0.25), np.clip(x, -0.5, 0.25))


def test_fresh_results_lie_apart_in_one_piece_of_memory() -> None:
    tensors = [np.ones((1000, 1001), np.float32), None, np.ones((3, 5)), np.ones((), np.float16)]
    clipped, _ = nc.clip_by_global_norm(tensors, 1.0)
    assert clipped[1] is None
    results = [t for t in clipped if t is not None]
    assert len({id(t.base) for t in results}) == 1
    ranges = sorted(np.lib.array_utils.byte_bounds(t) for t in results)
    assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
    for before, after in zip(tensors, clipped, strict=True):
        if before is not None:
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
            assert after.flags.c_contiguous
            assert after.flags.aligned
            assert after.flags.writeable


def test_fresh_results_of_a_large_list_with_a_wrong_entry() -> None:
    tensors = [np.ones(2**21, np.float32), np.array([None, 1.0], object)]
    with pytest.raises(TypeError, match=r"t_list\[1\]"):
        nc.clip_by_global_norm(tensors, 1.0)


@pytest.mark.parametrize("columns", [2, 127, 128, 129, 300])
@pytest.mark.parametrize("rows", [1, 2, 100, 128, 129, 4096, 4099])
def test_columns_have_the_bits_of_rows(rows: int, columns: int) -> None:
    # float64, whose last bits show any other order of additions.
    table = normal(np.dtype(np.float64), rows, columns)
    limits = np.linspace(0.1, 2 * np.sqrt(rows), columns)
    by_columns = nc.clip_by_norm(table, limits, axes=0)
    by_rows = nc.clip_by_norm(np.ascontiguousarray(table.T), limits[:, None], axes=1)
    assert by_columns.tobytes() == np.ascontiguousarray(by_rows.T).tobytes()
