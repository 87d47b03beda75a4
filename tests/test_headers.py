"""Which arrays kernels read where they are, and that all others give the same by the other path."""

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numclip as nc
from numclip import _array, _headers, _tensors
from numclip._tensors import Tensors

ml_dtypes = pytest.importorskip("ml_dtypes")


class Subclass(np.ndarray):
    pass


def numbers() -> np.ndarray[Any, Any]:
    return np.linspace(-2, 3, 24, dtype=np.float32).reshape(4, 6)


def read_only() -> np.ndarray[Any, Any]:
    array = numbers()
    array.flags.writeable = False
    return array


def unaligned() -> np.ndarray[Any, Any]:
    memory = np.zeros(4 * 24 + 1, np.uint8)
    array = memory[1:].view(np.float32).reshape(4, 6)
    array[...] = numbers()
    return array


def with_own_dtype_object() -> np.ndarray[Any, Any]:
    dtype = np.dtype(np.float32, metadata={"unit": "m"})
    return numbers().astype(dtype)


def bfloat16() -> np.ndarray[Any, Any]:
    array = numbers().astype(ml_dtypes.bfloat16)
    nc.global_norm([array])  # its dtype is recognized once it was seen
    return array


def swapped_bfloat16() -> np.ndarray[Any, Any]:
    array = bfloat16()
    return array.astype(array.dtype.newbyteorder())


def in_a_memory_map(tmp_path: Any) -> np.ndarray[Any, Any]:
    array = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=(4, 6))
    array[...] = numbers()
    return array


PLAIN: dict[str, Callable[[], Any]] = {
    "float32": numbers,
    "float64": lambda: numbers().astype(np.float64),
    "float16": lambda: numbers().astype(np.float16),
    "bfloat16": bfloat16,
    "complex64": lambda: numbers().astype(np.complex64),
    "complex128": lambda: numbers().astype(np.complex128),
    "0-d": lambda: np.array(3.0),
    "empty": lambda: np.zeros((0, 3)),
    "view of part": lambda: numbers()[1:3],
    "None": lambda: None,
}
NOT_PLAIN: dict[str, Callable[[], Any]] = {
    "subclass": lambda: numbers().view(Subclass),
    "byte-swapped": lambda: numbers().astype(">f4"),
    "strided": lambda: np.repeat(numbers(), 2, axis=1)[:, ::2],
    "reversed": lambda: numbers()[::-1],
    "Fortran": lambda: np.asfortranarray(numbers()),
    "unaligned": unaligned,
    "byte-swapped bfloat16": swapped_bfloat16,
    "own dtype object": with_own_dtype_object,
    "list": lambda: numbers().tolist(),
    "IndexedSlices": lambda: nc.IndexedSlices(numbers(), np.arange(4)),
    "masked array": lambda: np.ma.masked_array(numbers()),
}


def read(t: Any, target: Any = None) -> Tensors | None:
    targets = None if target is None else (target,)
    return _tensors._read_headers((t,), targets, _headers.TENSORS)


def test_this_interpreter_can_be_read() -> None:
    assert _headers.can_be_read()


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_arrays_are_read_where_they_are(kind: str) -> None:
    t = PLAIN[kind]()
    tensors = read(t)
    assert tensors is not None
    size = 0 if t is None else t.size * (2 if t.dtype.kind == "c" else 1)
    assert tensors.size == size
    if size:
        assert tensors.table[0, 0] == t.__array_interface__["data"][0]


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_other_things_are_not(kind: str) -> None:
    assert read(NOT_PLAIN[kind]()) is None


def test_memory_map_is_not(tmp_path: Any) -> None:
    assert read(in_a_memory_map(tmp_path)) is None


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, bool, object])
def test_other_dtypes_are_not(dtype: Any) -> None:
    assert read(np.zeros(3, dtype)) is None


def test_read_only_is_read_but_not_written() -> None:
    assert read(read_only()) is not None
    assert read(read_only(), read_only()) is None
    assert read(read_only(), numbers()) is not None


@pytest.mark.parametrize(
    "target",
    [np.zeros((6, 4), np.float32), np.zeros(24, np.float32), np.zeros((4, 6)), np.zeros((4, 7))],
)
def test_target_of_another_shape_or_dtype_is_not_written(target: Any) -> None:
    assert read(numbers(), target) is None


def overlapping() -> dict[str, tuple[list[Any], list[Any]]]:
    memory = np.ones(100, np.float32)
    other = np.ones(10, np.float32)
    a, b = memory[:60], memory[50:]
    return {
        "targets": ([a.copy(), b.copy()], [a, b]),
        "targets, the later first": ([b.copy(), a.copy()], [b, a]),
        "the same twice": ([other, other], [other, other]),
        "a target and another's input": ([other, memory[:10]], [memory[5:15], other.copy()]),
        "a target and its own input": ([memory[:10]], [memory[5:15]]),
    }


@pytest.mark.parametrize("case", overlapping())
def test_overlap_is_seen(case: str) -> None:
    inputs, targets = overlapping()[case]
    assert _tensors._read_headers(tuple(inputs), tuple(targets), _headers.TENSORS) is None


def test_what_takes_too_long_to_find_out_counts_as_overlap() -> None:
    # The example of NumPy's own documentation, which would take a minute.
    memory = np.zeros(192163377, np.int8)
    strided = np.lib.stride_tricks.as_strided
    first = strided(memory, strides=(36674, 61119, 85569), shape=(1049, 1049, 1049))
    second = strided(memory[64023025:], strides=(12223, 12224, 1), shape=(1049, 1049, 1))
    assert _array.shares_memory(first, second)
    assert not _array.shares_memory(memory[::2], memory[1::2])


def test_neighbours_do_not_overlap() -> None:
    memory = np.ones(100, np.float32)
    parts = [memory[start : start + 10] for start in range(0, 100, 10)]
    generator = np.random.default_rng(0)
    for _ in range(20):
        generator.shuffle(parts)
        assert _tensors._read_headers(tuple(parts), tuple(parts), _headers.TENSORS) is not None
        overlapping = (*parts, memory[generator.integers(90) :][:5])
        assert _tensors._read_headers(overlapping, overlapping, _headers.TENSORS) is None


def all_kinds() -> list[Any]:
    return [make() for make in (PLAIN | NOT_PLAIN).values()]


def results() -> list[bytes]:
    """Return the bytes of what clipping gives for every kind of tensor, alone and together."""
    lists = [all_kinds(), *([t] for t in all_kinds())]
    clipped = []
    for t_list in lists:
        outputs, norm = nc.clip_by_global_norm(t_list, 0.5)
        clipped.append(norm.tobytes())
        for output in outputs:
            values = output.values if isinstance(output, nc.IndexedSlices) else output
            clipped.append(b"" if values is None else values.tobytes())
    in_place = [make() for make in PLAIN.values()]
    nc.clip_by_global_norm(in_place, 0.5, out=in_place)
    return clipped + [b"" if t is None else t.tobytes() for t in in_place]


def test_same_bits_without_reading_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = results()
    monkeypatch.setattr(_headers, "can_be_read", lambda: False)
    assert results() == expected


def stepped() -> bytes:
    variables = [nc.Variable(numbers()), nc.Variable(numbers()[0].astype(np.float64))]
    optimizer = nc.train.AdamOptimizer(0.1, global_clipnorm=1.0)
    for scale in (1.0, -3.0):
        grads = [scale * variable.value for variable in variables]
        optimizer.apply_gradients(list(zip(grads, variables, strict=True)))
    return b"".join(variable.array.tobytes() for variable in variables)


def test_same_steps_without_reading_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stepped()
    monkeypatch.setattr(_headers, "can_be_read", lambda: False)
    assert stepped() == expected


@pytest.mark.parametrize("entry", range(2, len(_headers.LAYOUT)))
def test_wrong_layout_is_noticed(entry: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = _headers.LAYOUT.copy()
    wrong[entry] += 8
    monkeypatch.setattr(_headers, "LAYOUT", wrong)
    assert not _headers.can_be_read.__wrapped__()


def test_interpreter_without_its_lock_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not _headers.can_be_read.__wrapped__()


def clip_in_place(arrays: list[Any]) -> None:
    vector, matrix = arrays
    nc.clip_by_global_norm(arrays, 0.5, out=arrays)
    nc.global_norm(arrays)
    nc.clip_by_norm(matrix, 0.1, axes=1, out=matrix)
    nc.clip_by_norm(matrix, 0.1, axes=0, out=matrix)
    nc.clip_by_norm(vector, 0.1, out=vector)
    nc.clip_by_average_norm(vector, 1e-9, out=vector)
    nc.clip_by_value(vector, -1e-12, 1e-12, out=vector)


def test_no_temporary_of_the_inputs_size() -> None:
    clip_in_place([np.ones(1 << 20, np.float32), np.ones((512, 512))])
    arrays = [np.ones(1 << 20, np.float32), np.ones((512, 512))]
    gc.collect()
    tracemalloc.start()
    clip_in_place(arrays)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < arrays[1].nbytes // 2


PEAK = """
import resource
import numpy as np, numclip as nc
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def clip(arrays, limit):
    nc.global_norm(arrays)
    nc.clip_by_global_norm(arrays, limit, out=arrays)
    nc.clip_by_norm(arrays[0], limit, axes=1, out=arrays[0])
    nc.clip_by_norm(arrays[0], limit, axes=0, out=arrays[0])
    nc.clip_by_value(arrays[1], -limit, limit, out=arrays[1])
clip([np.ones((300, 300), np.float32), np.ones(100_000, np.float16)], 0.1)
large = [np.ones((4096, 4096), np.float32), np.ones(1 << 24, np.float16)]
before = peak()
clip(large, 0.1)
print(peak() - before)
"""


def test_peak_of_the_process_grows_by_no_temporary() -> None:
    pytest.importorskip("resource")
    process = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True
    )
    assert int(process.stdout) < 8 << 20


def test_references_are_released() -> None:
    array = np.ones(100)
    before = sys.getrefcount(array)
    nc.clip_by_global_norm([array, None], 1.0)
    nc.clip_by_global_norm([array, None], 1.0, out=[array, None])
    nc.global_norm([array] * 3)
    gc.collect()
    assert sys.getrefcount(array) == before


@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
@pytest.mark.parametrize("use_norm", [None, 5.0])
def test_none_stays_none_whatever_is_in_out(dtype: str, use_norm: float | None) -> None:
    array, out = np.array([3.0, 4.0], dtype), [np.full(3, 7.0), np.empty(2, dtype)]
    results, _ = nc.clip_by_global_norm([None, array], 1.0, use_norm, out=out)
    assert results[0] is None
    assert results[1] is out[1]
    assert out[0].tolist() == [7.0, 7.0, 7.0]
    np.testing.assert_allclose(out[1], [0.6, 0.8])
