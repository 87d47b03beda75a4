"""Arrays of a device are saved as those of the host."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libraries
import numpy as np
import pytest
from arrays import DTYPES, HOSTILE, dtype_named, normal
from devices import on_device

import numclip as nc

LIBRARIES: dict[str, Callable[..., Any]] = {
    "torch": libraries.Tensor,
    "cupy": libraries.ndarray,
    "numba": on_device,
    "foreign": libraries.Exporter,
}


@pytest.fixture(params=LIBRARIES)
def wrap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Stand in for a library, and make its arrays."""
    monkeypatch.setitem(sys.modules, "torch", libraries.TORCH)
    monkeypatch.setitem(sys.modules, "cupy", libraries.CUPY)
    return LIBRARIES[request.param]


@pytest.mark.parametrize("layout", ["matrix", "0-d", "no rows", "strided columns", "Fortran order"])
def test_arrays_come_back_on_the_host(
    wrap: Callable[..., Any], layout: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.npz"
    dtypes = set(DTYPES) - ({"bfloat16"} if wrap is libraries.Exporter else set())
    arrays = {name: HOSTILE[layout](dtype_named(name)) for name in (*dtypes, "int64")}
    nc.save(path, {name: wrap(array) for name, array in arrays.items()})
    found = nc.load(path)
    for name, array in arrays.items():
        assert type(found[name]) is np.ndarray
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_variables(wrap: Callable[..., Any], tmp_path: Path) -> None:
    array = normal(np.dtype(np.float32), 6, 3)
    nc.save(tmp_path / "device.npz", {"w": nc.Variable(wrap(array))})
    nc.save(tmp_path / "host.npz", {"w": array})
    assert (tmp_path / "device.npz").read_bytes() == (tmp_path / "host.npz").read_bytes()
