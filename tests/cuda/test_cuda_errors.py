"""What cannot be done on a device is refused before anything is launched."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from arrays import HOSTILE, Array, normal
from devices import on_device, on_host

import numclip as nc
from numclip import _compile_cuda
from numclip._compile_cuda import CudaKernel

FLOAT32 = np.dtype(np.float32)


def host() -> Array:
    return normal(FLOAT32, 4, 3)


def device() -> Any:
    return on_device(host())


def clip_in_place(t_list: list[Any]) -> Any:
    return nc.clip_by_global_norm(t_list, 1.0, out=t_list)


def slices(values: Any, indices: Any) -> nc.IndexedSlices:
    return nc.IndexedSlices(values, indices, (9, 3))


INDICES = np.array([5, 0, 5, 2])


ERRORS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "another order of bytes": (
        lambda x: nc.clip_by_norm(on_device(host().astype(">f4")), 1.0),
        TypeError,
        "`t` must be of native byte order, got dtype >f4",
    ),
    "use_norm of integers": (
        lambda x: nc.clip_by_global_norm([x], 1.0, use_norm=on_device(np.array(2)), out=[x]),
        TypeError,
        "`use_norm` must be floating, got FakeCUDAArray of dtype int64",
    ),
    "gather": (
        lambda x: nc.gather(x, [0]),
        TypeError,
        "`params` must be on the host, got FakeCUDAArray of dtype float32",
    ),
    "gather from a variable": (
        lambda x: nc.gather(nc.Variable(x), [0]),
        TypeError,
        "`params` must be on the host, got FakeCUDAArray of dtype float32",
    ),
    "devices mixed": (
        lambda x: nc.clip_by_global_norm([x, None, host()], 1.0, out=[x, None, host()]),
        ValueError,
        r"`t_list\[2\]` must be where `t_list\[0\]` is, on CUDA device 0, got .* on the host",
    ),
    "devices mixed, in a dict": (
        lambda x: nc.global_norm({"weights": host(), "bias": x}),
        ValueError,
        r"`t_list\['bias'\]` must be where `t_list\['weights'\]` is, on the host, got .* device 0",
    ),
    "out on the host": (
        lambda x: nc.clip_by_norm(x, 1.0, out=host()),
        TypeError,
        "`out` must be a CUDA array, got ndarray of dtype float32",
    ),
    "out on a device": (
        lambda x: nc.clip_by_norm(host(), 1.0, out=x),
        TypeError,
        "`out` must be a NumPy array, got FakeCUDAArray of dtype float32",
    ),
    "out of another dtype": (
        lambda x: nc.clip_by_norm(on_device(host().astype(np.float64)), 1.0, out=x),
        TypeError,
        "`out` must be of dtype float64, got float32",
    ),
    "out of another shape": (
        lambda x: nc.clip_by_norm(on_device(normal(FLOAT32, 3, 4)), 1.0, out=x),
        ValueError,
        r"`out` must be of shape \(3, 4\), got \(4, 3\)",
    ),
    "out twice": (
        lambda x: nc.clip_by_global_norm([device(), device()], 1.0, out=[x, x]),
        ValueError,
        "`out` must not overlap: its entries 0 and 1",
    ),
    "in place twice": (
        lambda x: clip_in_place([x, x]),
        ValueError,
        "`out` must not overlap: its entries 0 and 1",
    ),
    "indices that are no integers": (
        lambda x: slices(x, on_device(np.ones(4))).coalesce(),
        TypeError,
        "`self.indices` must be integers, got FakeCUDAArray of dtype float64",
    ),
    "rows of two dtypes joined": (
        lambda x: (
            slices(x, on_device(INDICES)) + slices(on_device(np.ones((4, 3))), on_device(INDICES))
        ),
        TypeError,
        "`values` must be of one dtype, got float32 and float64",
    ),
    "rows of two lengths joined": (
        lambda x: (
            nc.IndexedSlices(x, on_device(INDICES))
            + nc.IndexedSlices(on_device(normal(FLOAT32, 4, 2)), on_device(INDICES))
        ),
        ValueError,
        "`values` must have rows of one shape",
    ),
    "integers": (
        lambda x: nc.clip_by_norm(on_device(INDICES), 1.0),
        TypeError,
        "`t` must be float16, .* got FakeCUDAArray of dtype int64",
    ),
    "a negative limit": (
        lambda x: nc.clip_by_global_norm([x], -1.0, out=[x]),
        ValueError,
        "`clip_norm` must not be negative or NaN, got -1.0",
    ),
    "a limit of the device": (
        lambda x: nc.clip_by_norm(x, on_device(np.ones(())), out=x),
        TypeError,
        "`clip_norm` must be on the host, got FakeCUDAArray of dtype float64",
    ),
    "a norm of two numbers": (
        lambda x: nc.clip_by_global_norm([x], 1.0, use_norm=on_device(np.ones(2)), out=[x]),
        ValueError,
        "`use_norm` must be a scalar, got FakeCUDAArray of dtype float64",
    ),
    "a negative norm": (
        lambda x: nc.clip_by_global_norm([x], 1.0, use_norm=-1.0, out=[x]),
        ValueError,
        "`use_norm` must not be negative, got -1.0",
    ),
    "a bound of another dtype": (
        lambda x: nc.clip_by_value(x, on_device(np.ones(3)), 2.0, out=x),
        TypeError,
        "`clip_value_min` must be of dtype float32, got float64",
    ),
    "a bound of another shape": (
        lambda x: nc.clip_by_value(x, on_device(np.ones(4, np.float32)), 2.0, out=x),
        ValueError,
        r"`clip_value_min` must broadcast to the shape \(4, 3\) of `t`, got \(4,\)",
    ),
    "values on a device, indices not": (
        lambda x: nc.clip_by_norm(slices(x, INDICES), 1.0, out=slices(x, INDICES)),
        ValueError,
        "`t.indices` must be where `t.values` is, on CUDA device 0, got an array on the host",
    ),
    "other indices": (
        lambda x: nc.clip_by_norm(
            slices(device(), on_device(INDICES)), 1.0, out=slices(x, on_device(INDICES.copy()))
        ),
        ValueError,
        "`out.indices` must be those of `t`",
    ),
    "an index below zero": (
        lambda x: slices(x, on_device(INDICES - 1)).coalesce(),
        IndexError,
        "`self.indices` must not be negative, got -1",
    ),
    "an index too large": (
        lambda x: slices(x, on_device(INDICES + 4)).to_dense(),
        IndexError,
        "`self.indices` must be below 9, got 9",
    ),
    "slices to SciPy": (
        lambda x: slices(x, on_device(INDICES)).to_scipy(),
        TypeError,
        "`self.values` must be on the host",
    ),
    "a gradient on the host": (
        lambda x: optimizer().apply_gradients([(host(), nc.Variable(x))]),
        ValueError,
        r"`grads_and_vars\[0\]\[0\]` must be where `variable` is, on CUDA device 0",
    ),
    "a variable on the host": (
        lambda x: optimizer().apply_gradients([(x, nc.Variable(host()))]),
        ValueError,
        r"`grads_and_vars\[0\]\[0\]` must be where `variable` is, on the host",
    ),
    "a gradient of another dtype": (
        lambda x: optimizer().apply_gradients(
            [(device(), nc.Variable(x)), (on_device(np.ones(2)), nc.Variable(device()))]
        ),
        TypeError,
        r"`grads_and_vars\[1\]\[0\]` must be of dtype float32, got float64",
    ),
    "a row too large": (
        lambda x: optimizer().apply_gradients(
            [
                (device(), nc.Variable(x)),
                (
                    nc.IndexedSlices(device(), on_device(INDICES)),
                    nc.Variable(on_device(np.ones((5, 3), np.float32))),
                ),
            ]
        ),
        IndexError,
        r"`grads_and_vars\[1\]\[0\].indices` must be below 5, got 5",
    ),
    "a gradient that would be recorded": (
        lambda x: minimize(nc.Variable(x)),
        TypeError,
        "is on a CUDA device, and gradients are computed on the host",
    ),
    "a value of another shape": (
        lambda x: nc.Variable(x).assign(np.ones((3, 4))),
        ValueError,
        r"`value` must be of shape \(4, 3\), got \(3, 4\)",
    ),
    "a value of another dtype": (
        lambda x: nc.Variable(x).assign(on_device(np.ones((4, 3)))),
        TypeError,
        "`value` must be float32, got float64",
    ),
}


def optimizer() -> Any:
    return nc.train.AdamOptimizer(0.5)


def minimize(variable: nc.Variable) -> None:
    optimizer().minimize(lambda: variable * 2)


@pytest.mark.parametrize("case", ERRORS)
def test_error_changes_nothing(case: str) -> None:
    call, kind, message = ERRORS[case]
    x = device()
    with pytest.raises(kind, match=message):
        call(x)
    assert on_host(x).tobytes() == host().tobytes()


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        ("unaligned", ValueError, "`t` must be aligned, got the address 0x"),
        ("byte-swapped", TypeError, "`t` must be of native byte order, got dtype >"),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "complex128"])
def test_arrays_that_no_kernel_takes(array: str, dtype: str, kind: Any, message: str) -> None:
    x = HOSTILE[array](np.dtype(dtype))
    before = x.tobytes()
    with pytest.raises(kind, match=message):
        nc.clip_by_norm(on_device(x), 0.1, out=on_device(x))
    assert x.tobytes() == before


def test_nonfinite_raises_and_names_the_entry() -> None:
    arrays = [host(), np.array([1.0, np.inf], np.float16), host()]
    before = [x.tobytes() for x in arrays]
    on = on_device(arrays)
    with pytest.raises(FloatingPointError, match=r"`t_list\[1\]` must be finite, got .* norm inf"):
        nc.clip_by_global_norm(on, 0.1, nonfinite="raise", out=on)
    assert [x.tobytes() for x in arrays] == before
    with pytest.raises(FloatingPointError, match="`use_norm` must be finite, got nan"):
        nc.clip_by_global_norm(on, 0.1, use_norm=np.nan, nonfinite="raise", out=on)
    assert [x.tobytes() for x in arrays] == before
    on[1] = on_device(np.float16([1.0, 2.0]))
    expected, _ = nc.clip_by_global_norm([on_host(x) for x in on], 0.1)
    nc.clip_by_global_norm(on, 0.1, nonfinite="raise", out=on)
    assert [on_host(x).tobytes() for x in on] == [x.tobytes() for x in expected]


def put_on_device_1(monkeypatch: pytest.MonkeyPatch, *there: Any) -> None:
    def devices_of(arrays: Sequence[Any]) -> list[int]:
        return [int(any(array is each for each in there)) for array in arrays]

    monkeypatch.setattr(_compile_cuda, "devices_of", devices_of)


def test_two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = device(), device()
    put_on_device_1(monkeypatch, y)
    with pytest.raises(ValueError, match=r"`t_list\[1\]` must be where .* 0, got .* device 1"):
        nc.clip_by_global_norm([x, y], 0.1, out=[x, y])
    with pytest.raises(ValueError, match="`out` must be on CUDA device 0, got one on device 1"):
        nc.clip_by_norm(x, 0.1, out=y)
    assert on_host(x).tobytes() == on_host(y).tobytes() == host().tobytes()


@pytest.mark.parametrize("options", [{"global_clipnorm": 0.1}, {"nonfinite": "skip"}])
def test_a_norm_of_variables_on_two_devices_is_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    arrays, gradients = [device(), device()], [device(), device()]
    put_on_device_1(monkeypatch, arrays[1], gradients[1])
    pairs = list(zip(gradients, map(nc.Variable, arrays), strict=True))
    with pytest.raises(ValueError, match=r"`grads_and_vars\[1\]\[0\]` must be where .* device 1"):
        nc.train.GradientDescentOptimizer(0.1, **options).apply_gradients(pairs)
    assert on_host(arrays[0]).tobytes() == on_host(arrays[1]).tobytes() == host().tobytes()


def test_a_variable_on_another_device_than_its_slots_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gradient, variable = device(), nc.Variable(device())
    optimizer = nc.train.AdamOptimizer()
    optimizer.apply_gradients([(gradient, variable)])
    before = [on_host(each.array).tobytes() for each in (variable, *optimizer.variables())]
    put_on_device_1(monkeypatch, gradient, variable.array)
    with pytest.raises(
        ValueError, match=r"its slots are, on CUDA device 0, got .* on CUDA device 1"
    ):
        optimizer.apply_gradients([(gradient, variable)])
    after = [on_host(each.array).tobytes() for each in (variable, *optimizer.variables())]
    assert after == before


def test_nothing_is_launched_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(self: CudaKernel, *arguments: Any) -> None:
        raise AssertionError(f"{self.function.__name__} was launched")

    monkeypatch.setattr(CudaKernel, "launch", launch)
    for case in ("devices mixed", "out twice", "a bound of another shape", "other indices"):
        call, kind, message = ERRORS[case]
        with pytest.raises(kind, match=message):
            call(device())
