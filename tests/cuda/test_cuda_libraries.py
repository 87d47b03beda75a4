"""Results come from the library that the arguments came from, and are the host's bits."""

import doctest
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libraries
import numpy as np
import pytest
from arrays import DTYPES, dtype_named, normal
from devices import on_host
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

import numclip as nc
from numclip import _cuda_libraries


@pytest.fixture(params=["torch", "cupy"])
def wrap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Stand in for a library, and make its arrays."""
    module = getattr(libraries, request.param.upper())
    monkeypatch.setitem(sys.modules, request.param, module)
    return libraries.Tensor if request.param == "torch" else libraries.ndarray


# With a strided array all are looked at one by one.
@pytest.mark.parametrize("step", [1, 2])
def test_clip_by_global_norm(wrap: Callable[..., Any], step: int) -> None:
    for dtype in map(dtype_named, DTYPES):
        arrays = [normal(dtype, 7, 5), None, normal(dtype, 130)[::step], normal(dtype, 0)]
        expected, norm = nc.clip_by_global_norm(arrays, 0.5)
        given = [None if x is None else wrap(x) for x in arrays]
        clipped, found = nc.clip_by_global_norm(given, 0.5)
        assert type(found) is wrap and found.numbers.shape == ()
        assert found.numbers == norm
        for x, wanted in zip(clipped, expected, strict=True):
            if wanted is None:
                assert x is None
                continue
            assert type(x) is wrap
            assert x.numbers.dtype == dtype
            assert x.numbers.tobytes() == wanted.tobytes()
        in_place, _ = nc.clip_by_global_norm(given, 0.5, out=given)
        assert all(a is b for a, b in zip(in_place, given, strict=True))
        assert given[2].numbers.tobytes() == expected[2].tobytes()


def test_slices(wrap: Callable[..., Any]) -> None:
    values, indices = normal(np.dtype(np.float32), 40, 3), np.arange(40) % 7
    host = nc.IndexedSlices(values, indices, (9, 3))
    device = nc.IndexedSlices(wrap(values), wrap(indices), (9, 3))
    assert device.dtype == np.float32
    assert device.to_dense().numbers.tobytes() == host.to_dense().tobytes()
    summed, expected = device.coalesce(), host.coalesce()
    assert summed.values.numbers.tobytes() == expected.values.tobytes()
    assert summed.indices.numbers.tolist() == expected.indices.tolist()
    assert (-device * 2.0).values.numbers.tolist() == (-values * 2).tolist()
    joined = device + device
    assert joined.values.numbers.tobytes() == values.tobytes() * 2
    assert joined.indices.numbers.tolist() == [*indices, *indices]


@pytest.mark.parametrize("make", [nc.train.GradientDescentOptimizer, nc.train.AdamOptimizer])
def test_optimizer(wrap: Callable[..., Any], make: Any) -> None:
    start, gradient = normal(np.dtype(np.float32), 6, 3), normal(np.dtype(np.float32), 6, 3)
    host, device = nc.Variable(start.copy()), nc.Variable(wrap(start.copy()))
    for variable, each in ((host, gradient), (device, wrap(gradient))):
        optimizer = make(0.1)
        optimizer.apply_gradients([(each, variable)])
        optimizer.apply_gradients([(each, variable)])
    assert type(device.value) is wrap
    assert device.value.numbers.tobytes() == host.value.tobytes()
    assert all(type(slot.value) is wrap for slot in optimizer.variables())


def test_readme(wrap: Callable[..., Any]) -> None:
    """Its examples work unchanged with arrays of a GPU, which `np.array` here gives."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    examples = [each.source for each in doctest.DocTestParser().get_examples(text)]
    assert examples[0] == "import numpy as np\n"
    names: dict[str, Any] = {"np": SimpleNamespace(array=lambda x: wrap(np.array(x)))}
    for source in examples[1:]:
        exec(source, names)
    assert type(names["norm"]) is wrap
    assert names["norm"].numbers == 5.0
    assert names["clipped"][0].numbers.round(12).tolist() == [0.6, 0.0]
    assert names["clipped"][1].numbers.round(12).tolist() == [[0.0, 0.8]]
    assert type(names["weights"].value) is wrap
    assert names["weights"].value.numbers.round(3).tolist() == [3.0, 4.0]


def test_foreign_array() -> None:
    x = normal(np.dtype(np.float32), 6, 33)
    result = nc.clip_by_norm(libraries.Exporter(x.T), 1.0)
    assert type(result) is FakeCUDAArray
    assert on_host(result).tobytes() == nc.clip_by_norm(x.T, 1.0).tobytes()
    exporter = libraries.Exporter(x)
    assert nc.clip_by_norm(exporter, 1.0, out=exporter) is exporter
    assert x.T.tobytes() == on_host(result).tobytes()


def test_a_list_of_foreign_arrays() -> None:
    held = [normal(np.dtype(np.float32), 6, 33), normal(np.dtype(np.float64), 9)]
    expected, norm = nc.clip_by_global_norm(held, 0.5)
    given = [libraries.Exporter(x) for x in held]
    assert _cuda_libraries.columns(given) is not None
    clipped, found = nc.clip_by_global_norm(given, 0.5, out=given)
    assert all(a is b for a, b in zip(clipped, given, strict=True))
    assert [x.tobytes() for x in held] == [x.tobytes() for x in expected]
    assert on_host(found) == norm


@pytest.mark.parametrize(("stream", "handle"), [(None, 0), (1, 0), (7, 7)])
def test_the_stream_of_a_foreign_array(stream: int | None, handle: int) -> None:
    exporter = libraries.Exporter(normal(np.dtype(np.float32), 3), stream)
    found = _cuda_libraries.cuda_array(exporter, "t")
    assert found is not None
    assert found.library.stream(found) == handle


@pytest.mark.parametrize("transposed", [False, True])
def test_dlpack_alone(transposed: bool) -> None:
    x = normal(np.dtype(np.float32), 6, 33)
    x = x.T if transposed else x
    result = nc.clip_by_norm(libraries.DlpackExporter(x), 1.0)
    assert type(result) is FakeCUDAArray
    expected = nc.clip_by_norm(x, 1.0)
    assert on_host(result).tobytes() == expected.tobytes()
    exporters = [libraries.DlpackExporter(x)]
    clipped, _ = nc.clip_by_global_norm(exporters, 1.0, out=exporters)
    assert clipped[0] is exporters[0]
    assert x.tobytes() == expected.tobytes()


class OnTheHost:
    """As JAX's arrays are: the type has the interface, those on a device alone give it."""

    @property
    def __cuda_array_interface__(self) -> Any:
        raise AttributeError("not on a GPU")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array([3.0, 4.0])


def test_an_array_of_the_host_of_such_a_type() -> None:
    assert nc.clip_by_norm(OnTheHost(), 1.0) == pytest.approx([0.6, 0.8])
    assert nc.global_norm([OnTheHost(), np.array([12.0])]) == 13.0


def test_dlpack_of_the_host_is_no_pointer() -> None:
    x = normal(np.dtype(np.float32), 6)
    with pytest.raises(TypeError, match="`t` must be float16"):
        nc.clip_by_norm(libraries.DlpackExporter(x, (1, 0)), 1.0)


def test_a_tensor_of_the_host_is_no_pointer(
    wrap: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrap is libraries.Tensor:
        monkeypatch.setattr(libraries.Tensor, "is_cuda", False)
        with pytest.raises(TypeError, match="`t` must be float16"):
            nc.clip_by_norm(wrap(normal(np.dtype(np.float32), 3)), 1.0)


@pytest.mark.parametrize("view", ["is_conj", "is_neg"])
def test_lazy_views_are_refused(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", libraries.TORCH)
    monkeypatch.setattr(libraries.Tensor, view, lambda self: True)
    x = normal(np.dtype(np.complex64), 3)
    before = x.tobytes()
    with pytest.raises(ValueError, match="`t` must be resolved"):
        nc.clip_by_norm(libraries.Tensor(x), 0.1, out=libraries.Tensor(x))
    with pytest.raises(ValueError, match=r"`t_list\[0\]` must be resolved"):
        nc.clip_by_global_norm(t_list := [libraries.Tensor(x)], 0.1, out=t_list)
    assert x.tobytes() == before


def test_sparse_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", libraries.TORCH)
    monkeypatch.setattr(libraries.Tensor, "layout", "torch.sparse_coo")
    with pytest.raises(TypeError, match=r"`t` must be strided, got a tensor of layout torch\.sp"):
        nc.clip_by_norm(libraries.Tensor(normal(np.dtype(np.float32), 3)), 0.1)


class Sparse(libraries.Tensor):
    """A tensor of PyTorch's that has no strides."""

    layout = object()


class Nowhere(libraries.Tensor):
    """A tensor of PyTorch's whose memory was taken away."""

    has_memory = False


class Masked:
    """An array that holds no number in some places."""

    dtype = np.dtype(np.float32)

    def __init__(self, array: Any) -> None:
        self.numbers = array

    @property
    def __cuda_array_interface__(self) -> Any:
        return {**self.numbers.__array_interface__, "mask": self.numbers}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Sparse, r"`t_list\[0\]` must be strided, got a tensor of layout"),
        (Nowhere, r"`t_list\[0\]` must have memory of its own, got Nowhere"),
        (Masked, r"`t_list\[0\]` must not be masked"),
    ],
)
def test_arrays_that_no_kernel_can_read(
    kind: type[Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", libraries.TORCH)
    arrays = [normal(np.dtype(np.float32), 5), normal(np.dtype(np.float32), 3)]
    before = [array.tobytes() for array in arrays]
    given = [kind(array) for array in arrays]
    with pytest.raises(TypeError, match=text):
        nc.clip_by_global_norm(given, 0.5, out=given)
    assert [array.tobytes() for array in arrays] == before
