"""A history of a device's variables has the host's bits, and waits only when it is read."""

from typing import Any

import numpy as np
import pytest
from arrays import normal
from devices import on_device, on_host
from optimizers import OPTIMIZERS

import numclip as nc
from numclip import _cuda_memory

SHAPES = ((9, 4), (131,), (), (0,), (5000,))
CLIPPING: dict[str, dict[str, Any]] = {
    "no clipping": {},
    "clipnorm": {"clipnorm": 0.75},
    "global_clipnorm": {"global_clipnorm": 1.5},
    "finite": {"nonfinite": "skip"},
}


def gradients_of(dtype: Any) -> list[Any]:
    gradients: list[Any] = [normal(np.dtype(dtype), *shape) for shape in SHAPES]
    if dtype == np.float64:
        gradients[1] *= 1e-200
    gradients[0] = nc.IndexedSlices(gradients[0], np.array([3, 1, 3, 0, 8, 3, 1, 1, 0]))
    return gradients


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", CLIPPING.values(), ids=CLIPPING)
@pytest.mark.parametrize("name", ["gradient descent", "adam"])
def test_histories(name: str, options: dict[str, Any], dtype: Any) -> None:
    histories, numbers = [], []
    for place in (on_device, np.asarray):
        history = nc.GradientHistory(ratios_every=2)
        optimizer = OPTIMIZERS[name].make(**options, history=history)
        variables = [nc.Variable(place(normal(np.dtype(dtype), *shape))) for shape in SHAPES]
        gradients = gradients_of(dtype)
        if place is on_device:
            gradients = on_device(gradients)
        for count in (5, 4):
            optimizer.apply_gradients(list(zip(gradients, variables, strict=True))[:count])
        histories.append(history)
        numbers.append(
            [np.asarray(on_host(v.value) if place is on_device else v.value) for v in variables]
        )
    found, expected = histories
    for attribute in ("norms", "global_norms", "scales", "clipped", "skipped", "ratios", "steps"):
        np.testing.assert_array_equal(getattr(found, attribute), getattr(expected, attribute))
    assert repr(found) == repr(expected)
    for device, host in zip(*numbers, strict=True):
        assert device.tobytes() == host.tobytes()


def test_nothing_waits_until_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    download = _cuda_memory.download
    monkeypatch.setattr(_cuda_memory, "download", lambda a: waits.append(1) or download(a))
    history = nc.GradientHistory(ratios_every=1)
    optimizer = nc.train.AdamOptimizer(global_clipnorm=1.0, history=history)
    variable = nc.Variable(on_device(np.ones(3)))
    for _ in range(3):
        optimizer.apply_gradients([(on_device(np.ones(3)), variable)])
    assert not waits
    assert history.norms.tolist() == [[nc.global_norm([np.ones(3)])]] * 3
    read = len(waits)
    assert read
    assert history.global_norms.size == 3
    assert len(waits) == read


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.5}])
def test_groups(options: dict[str, Any]) -> None:
    starts = [normal(np.dtype(np.float32), 9, 4) for _ in range(3)]
    histories = []
    for place in (on_device, np.asarray):
        variables = [
            nc.Variable(place(start.copy()), name=name)
            for start, name in zip(starts, "abc", strict=True)
        ]
        history = nc.GradientHistory()
        optimizer = nc.train.GroupedOptimizer(
            [("b", nc.train.GradientDescentOptimizer(0.1)), (["a", "c"], nc.train.AdamOptimizer())],
            history=history,
            **options,
        )
        optimizer.apply_gradients(
            [(place(start), v) for start, v in zip(starts, variables, strict=True)]
        )
        histories.append(history)
    for attribute in ("names", "norms", "global_norms", "scales"):
        np.testing.assert_array_equal(*(getattr(each, attribute) for each in histories))


def test_variables_in_two_places_are_refused() -> None:
    history = nc.GradientHistory()
    variables = [nc.Variable(np.ones(3)), nc.Variable(on_device(np.ones(3)))]
    gradients = [np.ones(3), on_device(np.ones(3))]
    optimizer = nc.train.GradientDescentOptimizer(0.1, history=history)
    with pytest.raises(ValueError, match=r"`grads_and_vars\[1\]\[0\]` must be where"):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    assert len(history) == 0
    assert np.all(variables[0].value == 1.0)


def test_summaries() -> None:
    summaries = []
    for place in (on_device, np.asarray):
        gradients = gradients_of(np.float32)
        if place is on_device:
            gradients = on_device(gradients)
        variables = [nc.Variable(place(normal(np.dtype(np.float32), *shape))) for shape in SHAPES]
        summaries.append(str(nc.summarize_gradients(zip(gradients, variables, strict=True))))
    assert summaries[0] == summaries[1]
