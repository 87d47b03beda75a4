"""Every operation on arrays of a device gives the bits that it gives on the host."""

import math
from typing import Any

import numpy as np
import pytest
from arrays import FLOATING, HOSTILE, dtype_named, normal
from devices import on_device, on_host
from operations import OPERATIONS, REDUCTIONS, Operation, Reduction, leaves, structure

import numclip as nc
from numclip import _compile_cuda, _cuda_axes, _cuda_memory
from numclip._compile_cuda import CudaKernel
from numclip._cuda_libraries import cuda_array
from numclip._cuda_tensors import CudaTensors, _Table
from numclip._kernels.memory import numbers_at
from numclip._kernels.norm import norm_of_sums
from numclip._kernels.table import CHUNK, COLUMNS, FIRST_CHUNK, SIZE, WIDE_COLUMNS, chunks_of

# One of each kind: the operations differ in what they do with sizes, shapes and magnitudes. What
# is unaligned or byte-swapped is refused, see test_cuda_errors.py.
ARRAYS = (
    "empty",
    "no columns",
    "0-d",
    "one element",
    "129 elements",
    "4097 elements",
    "matrix",
    "three dimensions",
    "negative zeros",
    "a row of zeros",
    "NaN",
    "NaN and infinity",
    "subnormal",
    "tiny",
    "huge",
    "huge and subnormal",
    "strided columns",
    "reversed",
    "Fortran order",
    "transposed",
    "broadcast",
)
# The simulator takes 4 ms for a slice.
ONE_SLICE_TO_AN_ELEMENT = ("clip_by_norm, axes=[]", "clip_by_norm, a limit to a row")


def cases(table: tuple[Any, ...]) -> list[Any]:
    return [
        pytest.param(row, dtype, array, id=f"{row.name}-{dtype}-{array}")
        for row in table
        for dtype in row.dtypes
        for array in ARRAYS
        if HOSTILE[array](np.dtype(np.float64)).ndim >= row.dimensions
        and not (array == "4097 elements" and row.name in ONE_SLICE_TO_AN_ELEMENT)
    ]


def bits(value: Any) -> list[bytes]:
    """Return the bits of all numbers, but of NaN only that it is NaN."""
    return [_bits(x if isinstance(x, np.ndarray) else on_host(x)) for x in leaves(value)]


def _bits(x: Any) -> bytes:
    x = x.copy()
    for numbers in (x.real, x.imag) if x.dtype.kind == "c" else (x,):
        numbers[np.isnan(numbers)] = math.nan
    return x.tobytes()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("operation", "dtype", "array"), cases(OPERATIONS))
def test_result(operation: Operation, dtype: str, array: str) -> None:
    make = HOSTILE[array]
    host = operation.operand(make(dtype_named(dtype)))
    squares = operation.squares(leaves(host))
    limit = operation.limit(leaves(host), squares, 0.7)
    device = on_device(operation.operand(make(dtype_named(dtype))))
    result = operation.call(device, limit, None)
    assert structure(result) == structure(device)
    assert bits(device) == bits(host)
    assert bits(result) == bits(operation.call(host, limit, None))


def with_the_indices_of(out: Any, operand: Any) -> Any:
    """Return `out` with the operand's arrays of indices, as those of a device are not compared."""
    if isinstance(out, nc.IndexedSlices):
        return out._replace(indices=operand.indices)
    if isinstance(out, list):
        return [with_the_indices_of(*pair) for pair in zip(out, operand, strict=True)]
    return out


# Where results are written is the border's business: a few arrays show it.
WRITTEN = ("empty", "0-d", "129 elements", "strided columns", "transposed", "NaN")


@pytest.mark.parametrize("array", WRITTEN)
@pytest.mark.parametrize("dtype", ["float16", "float32", "complex128"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_out(operation: Operation, dtype: str, array: str) -> None:
    make = HOSTILE[array]
    if dtype not in operation.dtypes or make(np.dtype(np.float64)).ndim < operation.dimensions:
        return
    limit = 0.01
    expected = bits(operation.call(operation.operand(make(dtype_named(dtype))), limit, None))
    operand, out, in_place = (
        on_device(operation.operand(make(dtype_named(dtype)))) for _ in range(3)
    )
    out = with_the_indices_of(out, operand)
    before = bits(operand)
    for x in leaves(out):
        on_host(x).fill(7)
    for t, target in ((operand, out), (in_place, in_place)):
        result = operation.call(t, limit, target)
        assert all(a is b for a, b in zip(leaves(result), leaves(target), strict=True))
        assert bits(target) == expected
    assert bits(operand) == before


@pytest.mark.parametrize(("reduction", "dtype", "array"), cases(REDUCTIONS))
def test_norm(reduction: Reduction, dtype: str, array: str) -> None:
    make = HOSTILE[array]
    device = on_device(reduction.operand(make(dtype_named(dtype))))
    norm = on_host(reduction.call(device))
    assert norm.shape == ()
    assert norm.dtype == np.float64
    expected = reduction.call(reduction.operand(make(dtype_named(dtype))))
    assert bits([norm]) == bits([np.asarray(expected)])


# More threads than a warp has, which finish_norm_cuda is launched with.
@pytest.mark.parametrize("threads", [1, 3, 32, 64])
def test_any_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile_cuda, "SIMULATED_THREADS", threads)
    monkeypatch.setattr(_compile_cuda, "SIMULATED_BLOCKS", 1 + threads % 4)
    arrays = [normal(np.dtype(dtype), 4099) for dtype in (np.float32, np.float64, np.float16)]
    arrays += [normal(np.dtype(np.float64), 130) * 1e-200, normal(np.dtype(np.float32), 3)]
    expected, norm = nc.clip_by_global_norm(arrays, 1.0)
    clipped, found = nc.clip_by_global_norm(on_device(arrays), 1.0)
    assert on_host(found) == norm
    assert bits(clipped) == bits(expected)
    x = normal(np.dtype(np.float64), 9, 35)
    for axis in (0, 1):
        rows = nc.clip_by_norm(on_device(x), 1.0, axes=axis)
        assert bits(rows) == bits(nc.clip_by_norm(x, 1.0, axes=axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slices_of_several_chunks(dtype: str, axis: int) -> None:
    x = normal(dtype_named(dtype), 5, 2 * CHUNK + 1)
    x = x if axis == 1 else np.ascontiguousarray(x.T)
    for magnitude in (1.0, 1e-30):
        rows = (x * magnitude).astype(x.dtype)
        expected = nc.clip_by_norm(rows, magnitude, axes=axis)
        assert bits(nc.clip_by_norm(on_device(rows), magnitude, axes=axis)) == bits(expected)


def test_tensors_of_many_chunks() -> None:
    """Sums are added as on the host where a tensor has more chunks than a chunk has numbers."""
    sizes = [CHUNK * CHUNK * 2 + 1, 5, 0, CHUNK * CHUNK, CHUNK * CHUNK + 1]
    host_table = np.zeros((len(sizes), COLUMNS), np.int64)
    table = np.zeros((len(sizes), WIDE_COLUMNS), np.int64)
    table[:, SIZE] = host_table[:, SIZE] = sizes
    chunks = chunks_of(host_table[:, SIZE])
    host_table[:, FIRST_CHUNK] = np.cumsum(chunks) - chunks
    totals = normal(np.dtype(np.float64), chunks.sum()) ** 2

    like = cuda_array(on_device(np.zeros(1)), "like")
    assert like is not None
    placed = _Table(table, like)
    placed.kinds = []  # no numbers are read
    numbers_at(placed.sums, placed.chunks, np.float64(0))[:] = totals
    norm = CudaTensors(like, table, ())._finish(placed, math.inf, 0, 0)
    assert on_host(norm.array) == norm_of_sums(host_table, totals.copy())[0]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint64"])
def test_clip_by_value_of_integers(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.random.default_rng(8).integers(info.min, info.max, (30, 10), dtype, endpoint=True)
    columns = x[0] // 2
    for lowest, highest in ((info.min, info.max), (info.min + 3, info.max // 2), (columns, 5)):
        expected = nc.clip_by_value(x, lowest, highest)
        for array in (x, np.asfortranarray(x)):
            found = on_host(nc.clip_by_value(on_device(array), lowest, highest))
            assert found.dtype == x.dtype
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", FLOATING)
def test_clip_by_value_with_bounds_of_the_device(dtype: str) -> None:
    x = normal(dtype_named(dtype), 6, 33)
    lowest, highest = x[0] - 1, np.abs(x[:, 0:1])
    expected = nc.clip_by_value(x, lowest, highest)
    found = nc.clip_by_value(on_device(x), on_device(lowest), on_device(highest))
    assert bits(found) == bits(expected)


@pytest.mark.parametrize("given", [0.75, np.float32(0.75), np.float16(0.75), np.inf, np.nan])
@pytest.mark.parametrize("limit", [0.5, 1.0])
def test_use_norm(given: Any, limit: float) -> None:
    x = normal(np.dtype(np.float32), 33)
    expected, _ = nc.clip_by_global_norm([x], limit, use_norm=given)
    for norm in (given, on_device(np.asarray(given))):
        clipped, reported = nc.clip_by_global_norm([on_device(x)], limit, use_norm=norm)
        assert reported is norm
        assert bits(clipped) == bits(expected)


def test_the_norm_of_one_call_is_used_by_the_next() -> None:
    arrays = [normal(np.dtype(np.float32), 33), normal(np.dtype(np.float16), 4, 5)]
    norm = nc.global_norm(on_device(arrays))
    clipped, _ = nc.clip_by_global_norm(on_device(arrays), 0.5, use_norm=norm)
    assert bits(clipped) == bits(nc.clip_by_global_norm(arrays, 0.5)[0])


def test_launches() -> None:
    """A list of many tensors of one dtype takes as many launches as one tensor."""
    launched = []

    def count(self: CudaKernel, *arguments: Any) -> None:
        launched.append(self.function.__name__)

    few, many = (
        on_device([normal(np.dtype(np.float32), 10)]),
        on_device([normal(np.dtype(np.float32), 10)] * 200),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaKernel, "launch", count)
        for t_list in (few, many):
            launched.clear()
            nc.clip_by_global_norm(t_list, 1.0)
            assert launched == ["sum_chunks_cuda", "finish_norm_cuda", "scale_chunks_cuda"]
        launched.clear()
        pairs = [(x, nc.Variable(y)) for x, y in zip(many, on_device_copies(many), strict=True)]
        optimizer = nc.train.AdamOptimizer()
        optimizer.apply_gradients(pairs)
        launched.clear()
        optimizer.apply_gradients(pairs)
        assert launched == ["update_cuda"]


def on_device_copies(arrays: list[Any]) -> list[Any]:
    return [on_device(on_host(x).copy()) for x in arrays]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "complex64"])
@pytest.mark.parametrize("axes", [0, 1, (0, 2)])
def test_few_and_long_slices(dtype: str, axes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cuda_axes, "_LONG", 2)
    x = normal(dtype_named(dtype), 3, 5, 4)
    limits = np.array([0.5, 1.0, 9.0, 2.0, 0.0])[:, np.newaxis] if axes != 1 else 1.0
    expected = nc.clip_by_norm(x, limits, axes=axes)
    launched = []
    launch = CudaKernel.launch

    def record(self: CudaKernel, *arguments: Any) -> None:
        launched.append(self.function.__name__)
        launch(self, *arguments)

    monkeypatch.setattr(CudaKernel, "launch", record)
    assert bits(nc.clip_by_norm(on_device(x), limits, axes=axes)) == bits(expected)
    assert "scale_chunks_cuda" in launched


def test_a_list_that_comes_again_is_not_uploaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded = []
    upload = _cuda_memory.upload

    def record(host: Any, like: Any) -> Any:
        uploaded.append(host)
        return upload(host, like)

    monkeypatch.setattr(_cuda_memory, "upload", record)
    lists = [
        on_device([normal(np.dtype(np.float32), 5), normal(np.dtype(np.float64), i + 1)])
        for i in range(20)
    ]
    for t_list in (*lists, lists[-1], lists[-2], lists[-1]):
        nc.clip_by_global_norm(t_list, 1.0, out=t_list)
    assert len(uploaded) == len(lists)
    nc.clip_by_global_norm(lists[0], 1.0, out=lists[0])
    assert len(uploaded) == len(lists) + 1


@pytest.mark.parametrize("shift", [-1, 1])
def test_out_may_overlap_its_own_input(shift: int) -> None:
    numbers = normal(np.dtype(np.float32), 9)
    before, after = (slice(0, 8), slice(1, 9))[::shift]
    expected = nc.clip_by_norm(numbers[before], 0.5)
    device = on_device(numbers)
    nc.clip_by_norm(device[before], 0.5, out=device[after])
    assert on_host(device)[after].tobytes() == expected.tobytes()
