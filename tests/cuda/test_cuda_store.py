"""A store wraps arrays of a device, and restores them where they are."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libraries
import numpy as np
import pytest
from arrays import Array, normal
from devices import on_device

import numclip as nc

# What makes an array of a library's, in the memory of one of the host's.
LIBRARIES: dict[str, Callable[..., Any]] = {
    "torch": libraries.Tensor,
    "cupy": libraries.ndarray,
    "numba": on_device,
}
F4, F8 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.fixture(params=LIBRARIES)
def wrap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setitem(sys.modules, "torch", libraries.TORCH)
    monkeypatch.setitem(sys.modules, "cupy", libraries.CUPY)
    return LIBRARIES[request.param]


def two(wrap: Callable[..., Any]) -> tuple[Array, Array, nc.VariableStore]:
    """Return the memory of a matrix and of a vector's every second number, and a store of both."""
    w, b = np.zeros((3, 4), F4), np.zeros(10, F4)[::2]
    return w, b, nc.VariableStore.from_dict({"net": {"w": wrap(w), "b": wrap(b)}})


def test_arrays_are_wrapped_and_not_copied(wrap: Callable[..., Any]) -> None:
    array = wrap(np.zeros(3, F4))
    store = nc.VariableStore()
    assert store.variable("w", array).array is array
    assert store.to_dict()["w"] is array
    assert repr(store) == "VariableStore(variables=1, numbers=3)"


@pytest.mark.parametrize("place", ["file", "host", "device"])
@pytest.mark.parametrize("dtype", [F4, F8])
def test_restoring(place: str, dtype: Any, wrap: Callable[..., Any], tmp_path: Path) -> None:
    trained: Any = {"net/w": normal(dtype, 3, 4), "net/b": normal(dtype, 5)}
    w, b, store = two(wrap)
    arrays = store.to_dict()
    source = {
        "file": tmp_path / "model.npz",
        "host": trained,
        "device": {name: wrap(array) for name, array in trained.items()},
    }[place]
    nc.save(tmp_path / "model.npz", trained)
    assert store.restore(source, "net/w").left == ("net/b",)
    assert w.tobytes() == trained["net/w"].astype(F4).tobytes()
    assert not b.any()
    store.restore(source)
    assert b.tobytes() == trained["net/b"].astype(F4).tobytes()
    assert all(store.to_dict()[name] is array for name, array in arrays.items())


def test_restoring_to_the_host_from_a_device(wrap: Callable[..., Any]) -> None:
    trained = normal(F4, 5)
    store = nc.VariableStore.from_dict({"w": np.zeros(5)})
    store.restore({"w": wrap(trained)})
    assert store["w"].array.tolist() == trained.tolist()


def test_arrays_of_the_store_itself_may_be_exchanged(wrap: Callable[..., Any]) -> None:
    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    store = nc.VariableStore.from_dict({"a": wrap(a), "b": wrap(b)})
    store.restore(store, rename={"a": "b", "b": "a"})
    assert (a.tolist(), b.tolist()) == ([3.0, 4.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("b", "error"), [(np.ones(6, F4), ValueError), (np.ones(5, np.complex64), TypeError)]
)
def test_what_does_not_fit_changes_nothing(
    b: Array, error: type[Exception], wrap: Callable[..., Any]
) -> None:
    w, _, store = two(wrap)
    with pytest.raises(error, match="`path_or_mapping` must have 'net/b' of"):
        store.restore({"net/w": wrap(np.ones((3, 4), F4)), "net/b": wrap(b)})
    assert not w.any()


def test_filters(wrap: Callable[..., Any]) -> None:
    _, _, store = two(wrap)
    assert nc.filter_variables(store, "**/w") == [store["net/w"]]
    assert list(nc.filter_variables(store.to_dict(), "net/b")) == ["net/b"]
    assert nc.trainable_variables(store, "net") == list(store.values())
