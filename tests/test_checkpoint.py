"""What is saved comes back to the bit, and a file is at any moment the old one or the new one."""

import io
import json
import os
import pickle
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, HOSTILE, Array, dtype_named
from hypothesis import given
from hypothesis import strategies as st

import numclip as nc

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SAVED = ("bool", *INTEGERS, *DTYPES)
SHAPES = [(), (0,), (0, 3), (1,), (7,), (2, 3), (3, 1, 5), (1,) * 32]


def of_any_bits(name: str, shape: tuple[int, ...]) -> Array:
    """Return numbers of random bits: NaNs of any payload among them."""
    dtype = dtype_named(name)
    generator = np.random.default_rng(len(shape))
    if name == "bool":
        return np.asarray(generator.integers(0, 2, shape), dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    numbers = np.frombuffer(bytearray(generator.bytes(size)), dtype).reshape(shape)
    if numbers.ndim:
        # Signalling NaNs, negative for complex numbers in both parts.
        numbers.reshape(-1)[: numbers.size // 2].view(np.uint8)[...] = 0xBF
        numbers.reshape(-1)[: numbers.size // 3].view(np.uint8)[...] = 0xFF
    return numbers


def same(first: Any, second: Any) -> bool:
    """Compare keys, in their order, dtypes, shapes and bits."""
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and list(first) == list(second)
            and all(same(first[key], second[key]) for key in first)
        )
    return (
        type(first) is type(second) is np.ndarray
        and first.dtype == second.dtype
        and first.shape == second.shape
        and first.tobytes() == second.tobytes()
    )


def saved_bytes(path: Path, mapping: Any) -> bytes:
    nc.save(path, mapping)
    return path.read_bytes()


def saved(path: Path, mapping: Any) -> Any:
    nc.save(path, mapping)
    return nc.load(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.npz"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", SAVED)
def test_arrays_come_back_to_the_bit(dtype: str, shape: tuple[int, ...], path: Path) -> None:
    array = of_any_bits(dtype, shape)
    found = saved(path, {"x": array})
    assert same(found, {"x": array})
    assert found["x"].flags.writeable
    assert not np.shares_memory(found["x"], array)


@pytest.mark.parametrize("name", HOSTILE)
def test_any_layout_comes_back_in_c_order(name: str, path: Path) -> None:
    for dtype in map(dtype_named, DTYPES):
        array = HOSTILE[name](dtype)
        found = saved(path, {"x": array})["x"]
        expected = np.array(array, dtype, order="C")
        assert found.flags.c_contiguous
        assert found.dtype.isnative
        assert same(found, expected)


NUMBERS: list[tuple[Any, str, Any]] = [
    (True, "bool", True),
    (-3, "int64", -3),
    (2**63, "uint64", 2**63),
    (0.1, "float64", 0.1),
    (float("-inf"), "float64", float("-inf")),
    (2 - 1j, "complex128", 2 - 1j),
    (np.bool_(False), "bool", False),
    (np.float16(0.5), "float16", 0.5),
    (np.uint8(200), "uint8", 200),
    (np.complex64(1j), "complex64", 1j),
    ([1.0, 2.0], "float64", [1.0, 2.0]),
    (((1, 2), (3, 4)), "int64", [[1, 2], [3, 4]]),
    (nc.Variable(7), "int64", 7),
    (nc.Variable(np.float32([1, 2]), name="w"), "float32", [1.0, 2.0]),
    ([nc.Variable(1.0), nc.Variable(2.0)], "float64", [1.0, 2.0]),
]


@pytest.mark.parametrize(("value", "dtype", "expected"), NUMBERS, ids=lambda value: repr(value))
def test_all_values_come_back_as_arrays(value: Any, dtype: str, expected: Any, path: Path) -> None:
    assert same(saved(path, {"x": value}), {"x": np.array(expected, dtype)})


def test_dicts_come_back_as_dicts_in_their_order(path: Path) -> None:
    one = np.array(1)
    mapping = {"z": one, "a": {"y": {}, "b": {"c": one}}, "": {}}
    found = saved(path, mapping)
    assert same(found, mapping)
    assert same(saved(path, MappingProxyType({"a": MappingProxyType({"b": 1})})), {"a": {"b": one}})
    assert saved(path, {}) == {}
    assert same(saved(path, found), mapping)


def test_variables_by_name(path: Path) -> None:
    variables = [nc.Variable(np.full(3, i, np.float32), name=f"layer{i}/w") for i in range(12)]
    found = saved(path, {variable.name: variable for variable in variables})
    assert list(found) == [variable.name for variable in variables]
    for variable in variables:
        assert same(found[variable.name], variable.value)
        before = variable.value
        variable.assign(variable * 0).assign(found[variable.name])
        assert variable.value is before


ODD = ["/", "//", ".", "..", "", " ", "a/b", "a", "b", "~2", "a.npy", "\0", "\\", "\n", "\ud800"]
ODD += ["numclip.json", "numclip.json~2", "ﬁ", "ü", "u\u0308", "🙂", "c:", "A", "k" * 70_000]
keys = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=()))
nested = st.recursive(
    st.integers(0, 255).map(lambda n: np.array(n, np.uint8)),
    lambda inner: st.dictionaries(keys, inner, max_size=6),
)


@given(st.dictionaries(keys, nested, max_size=6))
def test_any_keys_in_any_nesting(
    tmp_path_factory: pytest.TempPathFactory, mapping: dict[str, Any]
) -> None:
    assert same(saved(tmp_path_factory.getbasetemp() / "keys.npz", mapping), mapping)


def test_keys_that_are_joined_to_the_same_name(path: Path) -> None:
    mapping = {
        "a/b/c": 1,
        "a": {"b/c": 2, "b": {"c": 3}},
        "a/b": {"c": 4},
        "a/b/c~2": 5,
        "numclip.json": 6,
        "k" * 300: 7,
        "k" * 301: 8,
    }
    expected = {key: np.array(value) for key, value in mapping.items() if isinstance(value, int)}
    found = saved(path, mapping)
    assert {key: found[key] for key in expected} == expected
    assert found["a"] == {"b/c": 2, "b": {"c": 3}}
    assert found["a/b"] == {"c": 4}


def test_numpy_reads_the_file(path: Path) -> None:
    half = of_any_bits("bfloat16", (2, 3))
    nc.save(path, {"layer1": {"w": [1.0, 2.0]}, "layer2/w": nc.Variable([3.0]), "half": half})
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["numclip.json", "layer1/w", "layer2/w", "half"]
        assert file["layer1/w"].tolist() == [1.0, 2.0]
        assert file["layer2/w"].tolist() == [3.0]
        assert same(file["half"], half.view(np.uint16))
        assert json.loads(file["numclip.json"].item())["entries"][2] == {
            "keys": ["half"],
            "member": "half.npy",
            "dtype": "bfloat16",
            "shape": [2, 3],
        }


def test_the_same_numbers_are_the_same_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(6.0).reshape(2, 3)
    nc.save(path, {"x": array, "n": 3})
    before = path.read_bytes()
    year = 365 * 24 * 3600
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + year)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(now + year))
    for other in (np.asfortranarray(array), array.astype(">f8"), nc.Variable(array)):
        nc.save(path, {"x": other, "n": np.int64(3)})
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["model", "model.npz", "model.ckpt", ".npz", "ü 🙂", "n" * 255])
def test_the_name_is_taken_as_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name, str(tmp_path / name)):
        nc.save(path, {"x": 1})
        assert os.listdir() == [name]
        assert nc.load(path) == {"x": 1}


def test_permissions_are_those_of_the_old_file_or_of_any_new_one(tmp_path: Path) -> None:
    path, plain = tmp_path / "model.npz", tmp_path / "plain"
    plain.touch()
    nc.save(path, {})
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    nc.save(path, {"x": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "runs" / "step7.npz", tmp_path / "latest.npz"
    path.parent.mkdir()
    link.symlink_to(path)
    for n in range(2):
        nc.save(link, {"x": n})
        assert link.is_symlink()
        assert nc.load(path) == nc.load(link) == {"x": n}


# -- Errors of saving: each leaves the old file, and nothing beside it.

REFUSED: dict[str, tuple[Any, str, str]] = {
    "no dict": ([1.0], "`mapping` must be a dict", "[1.0]"),
    "None": ({"a": {"b/c": None}}, "`mapping['a']['b/c']`", "None"),
    "string": ({"a": "text"}, "`mapping['a']`", "'text'"),
    "bytes": ({"a": b"text"}, "`mapping['a']`", "b'text'"),
    "array of strings": ({"a": np.array(["x"])}, "`mapping['a']`", "<U1"),
    "objects": ({"a": np.array([1, None])}, "`mapping['a']`", "object"),
    "dates": ({"a": np.array(["2020-01-01"], "M8[D]")}, "`mapping['a']`", "datetime64[D]"),
    "records": ({"a": np.zeros(2, [("x", float)])}, "`mapping['a']`", "'x'"),
    "long double": ({"a": np.longdouble(1)}, "`mapping['a']`", str(np.dtype(np.longdouble))),
    "large integer": ({"a": 2**64}, "`mapping['a']`", str(2**64)),
    "ragged list": ({"a": [[1], [1, 2]]}, "`mapping['a']`", "[[1], [1, 2]]"),
    "list with a dict": ({"a": [{}]}, "`mapping['a']`", "[{}]"),
    "IndexedSlices": ({"a": nc.IndexedSlices([1.0], [2], (3,))}, "`mapping['a']`", "IndexedSlices"),
    "integer key": ({"a": {1: 1.0}}, "`mapping['a'][1]` must have a string as key", "int 1"),
    "None as key": ({None: 1.0}, "`mapping[None]`", "None"),
    "key of an empty dict": ({b"a": {}}, "`mapping[b'a']`", "b'a'"),
    "the last of many": ({**{str(n): n for n in range(100)}, "x": None}, "`mapping['x']`", "None"),
}


@pytest.fixture
def unchanged(tmp_path: Path) -> Iterator[Path]:
    """Return a file that the test must leave as it is, alone in its directory."""
    path = tmp_path / "model.npz"
    nc.save(path, {"version": 1})
    before, numbers = path.stat(), path.read_bytes()
    yield path
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_bytes() == numbers
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_refused(name: str, unchanged: Path) -> None:
    mapping, argument, came = REFUSED[name]
    with pytest.raises(TypeError) as raised:
        nc.save(unchanged, mapping)
    assert argument in str(raised.value)
    assert came in str(raised.value)


def test_a_dict_that_holds_itself(unchanged: Path) -> None:
    mapping: dict[str, Any] = {"x": 1}
    mapping["mapping"] = mapping
    with pytest.raises(RecursionError):
        nc.save(unchanged, mapping)


@pytest.mark.parametrize("function", [lambda path: nc.save(path, {}), nc.load])
@pytest.mark.parametrize("path", [None, 0, 1.5, io.BytesIO(), b"model.npz"])
def test_what_is_no_path(function: Callable[[Any], Any], path: Any) -> None:
    with pytest.raises(TypeError, match="`path` must be a string or a path, got"):
        function(path)


def test_a_directory_that_is_not_there(unchanged: Path) -> None:
    with pytest.raises(FileNotFoundError):
        nc.save(unchanged.parent / "runs" / "model.npz", {"x": 1})
    with pytest.raises(FileNotFoundError, match=r"other\.npz"):
        nc.load(unchanged.parent / "other.npz")
    for name in ("", f"{unchanged.parent}/other/"):
        with pytest.raises(FileNotFoundError):
            nc.save(name, {"x": 1})


def test_a_file_in_place_of_a_directory(unchanged: Path) -> None:
    for function in (lambda path: nc.save(path, {"x": 1}), nc.load):
        with pytest.raises(NotADirectoryError):
            function(unchanged / "model.npz")


def test_a_directory_in_place_of_a_file(unchanged: Path) -> None:
    for function in (lambda path: nc.save(path, {"x": 1}), nc.load):
        for name in (unchanged.parent, f"{unchanged.parent}/"):
            with pytest.raises(IsADirectoryError, match=unchanged.parent.name):
                function(name)


def test_what_must_not_be_written(unchanged: Path) -> None:
    unchanged.chmod(0o400)
    if os.access(unchanged, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError):
        nc.save(unchanged, {"x": 1})
    unchanged.parent.chmod(0o500)
    with pytest.raises(PermissionError):
        nc.save(unchanged.parent / "other.npz", {"x": 1})
    unchanged.parent.chmod(0o700)


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="`path` must be that of an ordinary file"):
        nc.save(pipe, {"x": 1})
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["os.fsync", "os.replace", "numpy.lib.format.write_array"])
def test_whatever_stops_it(
    function: str, error: BaseException, unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        assert len(os.listdir(unchanged.parent)) == 2
        raise error

    monkeypatch.setattr(function, stop)
    with pytest.raises(type(error)) as raised:
        nc.save(unchanged, {"x": np.zeros(100_000)})
    assert raised.value is error


def test_a_disk_that_is_full(unchanged: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mapping = {"x": np.zeros(1_000_000, np.int8)}
    size = len(saved_bytes(tmp_path_factory.mktemp("whole") / "model.npz", mapping))
    program = """
import resource, sys, numpy as np, numclip as nc
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        nc.save(sys.argv[1], {"x": np.zeros(1_000_000, np.int8)})
    except OSError as error:
        print(error.strerror)
"""
    limits = [str(size - short) for short in (1, 22, 100, 200, 400, 1_000, 500_000)] + ["100", "0"]
    run = subprocess.run(
        [sys.executable, "-c", program, str(unchanged), *limits],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == len(limits) * "File too large\n"


# -- Crashes.


def test_it_is_on_the_disk_before_it_takes_the_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *others: Any) -> Any:
            is_directory = isinstance(first, int) and stat.S_ISDIR(os.fstat(first).st_mode)
            if function is os_fsync and not is_directory:
                # All of it: whatever is left in a buffer would follow the name.
                assert os.fstat(first).st_size > 1_000
            calls.append(function.__name__ + (" of the directory" if is_directory else ""))
            return function(first, *others)

        return call

    os_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", recorded(os.fsync))
    monkeypatch.setattr(os, "replace", recorded(os.replace))
    nc.save(path, {"x": np.zeros(1_000, np.int8)})
    assert calls == ["fsync", "replace", "fsync of the directory"]


def test_directories_that_cannot_be_synchronized(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    nc.save(path, {"x": 1})
    assert nc.load(path) == {"x": 1}


# How a version is saved, and all of its numbers come back.
KILLED = {
    "dict": """
def save(version):
    numbers = {str(n): np.full(9_999, version) for n in range(9)}
    nc.save(sys.argv[1], {"version": version, "numbers": numbers})

def load():
    found = nc.load(sys.argv[1])
    return np.concatenate([[found["version"]], *found["numbers"].values()])
""",
    "store": """
def store_of(version):
    store = nc.VariableStore()
    with store.scope("numbers"):
        for n in range(9):
            store.variable(str(n), np.full(9_999, version))
    return store

def save(version):
    nc.save(sys.argv[1], store_of(version))

def load():
    store = store_of(-1)
    assert len(store.restore(sys.argv[1]).loaded) == 9
    return np.concatenate([variable.value for variable in store.values()])
""",
}


@pytest.mark.parametrize("form", KILLED.values(), ids=KILLED)
def test_a_program_that_is_killed_leaves_the_old_file_or_the_new_one(form: str, path: Path) -> None:
    program = (
        "import os, random, signal, sys, time, numpy as np, numclip as nc"
        + form
        + """

random.seed(0)
save(0)
start = time.perf_counter()
save(0)
duration = time.perf_counter() - start
for child in range(1, 25):
    process = os.fork()
    if not process:
        version = child * 1_000_000
        while True:
            save(version := version + 1)
    time.sleep(random.uniform(0, 5 * duration))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    numbers = load()
    assert (numbers == numbers[0]).all()
    print(numbers[0] // 1_000_000)
"""
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    children = [int(line) for line in run.stdout.split()]
    assert len(children) == 24
    # Some came to save something before they were killed.
    assert len(set(children)) > 2


def test_threads_that_save_to_one_path(path: Path) -> None:
    def save_and_load(version: int) -> None:
        for _ in range(10):
            nc.save(path, {"version": version, "x": np.full(5_000, version)})
            found = nc.load(path)
            assert np.all(found["x"] == found["version"])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(save_and_load, range(4)))
    assert os.listdir(path.parent) == [path.name]


# -- Files that are damaged, or are none of ours.


def small(path: Path) -> tuple[dict[str, Any], bytes]:
    mapping = {"a": {"w": np.arange(3.0), "empty": {}}, "none": np.zeros((0, 2)), "n": np.array(7)}
    nc.save(path, mapping)
    return mapping, path.read_bytes()


def refusal(path: Path) -> str:
    """Return what the error says of a file, after naming it."""
    with pytest.raises(ValueError) as raised:
        nc.load(path)
    opening = f"`path` must be a file that numclip.save wrote, got {str(path)!r}: "
    assert str(raised.value).startswith(opening)
    return str(raised.value).removeprefix(opening)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    _, whole = small(path)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        refusal(path)


def test_a_cut_that_ends_with_a_whole_file(path: Path) -> None:
    _, inner = small(path)
    nc.save(path, {"file": np.frombuffer(inner, np.uint8), "x": 1})
    whole = path.read_bytes()
    end = whole.index(inner) + len(inner)
    path.write_bytes(whole[:end])
    assert zipfile.is_zipfile(path)
    assert "begin with its manifest" in refusal(path)


@pytest.mark.parametrize("flipped", [0x01, 0x10, 0x80, 0xFF])
def test_no_flipped_bits_give_other_numbers(flipped: int, path: Path) -> None:
    mapping, whole = small(path)
    refused = set()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= flipped
        path.write_bytes(damaged)
        try:
            found = nc.load(path)
        except ValueError as error:
            assert repr(str(path)) in str(error)
            refused.add(position)
        else:
            assert same(found, mapping)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        for name in archive.namelist():
            member = archive.read(name)
            start = whole.index(member)
            assert refused.issuperset(range(start, start + len(member)))


def test_a_bad_checksum_names_the_entry(path: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal(1_000_000)
    nc.save(path, {"first": 1, "layer": {"w": numbers}})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    assert "entry ['layer']['w']: Bad CRC-32" in refusal(path)


def test_a_header_that_asks_for_too_much_memory(path: Path) -> None:
    nc.save(path, {"w": np.zeros(1000)})
    damaged = path.read_bytes().replace(b"(1000,), }" + 12 * b" ", b"(1000" + 12 * b"0" + b",), }")
    path.write_bytes(damaged)
    assert "entry ['w']: it must be of dtype float64 and shape (1000,)" in refusal(path)


class Unpickled:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.trace,))


def npy_bytes(array: Array, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    return buffer.getvalue()


Members = dict[str, Any]


def rewrite(path: Path, change: Callable[[Members], Members]) -> None:
    """Save a file, and write it anew with other members: arrays, or bytes as they are."""
    small(path)
    with np.load(path) as file:
        members = change(dict(file))
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            data = member if isinstance(member, bytes) else npy_bytes(member)
            archive.writestr(f"{name}.npy", data)


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: {key: value for key, value in members.items() if key != name}


def with_manifest(text: bytes) -> Callable[[Members], Members]:
    return lambda members: members | {"numclip.json": np.array(text)}


def with_heading(**fields: Any) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        manifest = json.loads(members["numclip.json"].item())
        return with_manifest(json.dumps(manifest | fields).encode())(members)

    return change


def with_entry(number: int, **fields: Any) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        entries = json.loads(members["numclip.json"].item())["entries"]
        entries[number] |= fields
        return with_heading(entries=entries)(members)

    return change


W, NONE = "entry ['a']['w']: ", "entry ['none']"
CHANGED: dict[str, tuple[Callable[[Members], Members], str]] = {
    "an array missing": (without("a/w"), W),
    "the manifest missing": (without("numclip.json"), "numclip.json.npy"),
    "the manifest last": (
        lambda members: without("numclip.json")(members) | members,
        "begin with its manifest",
    ),
    "another dtype": (lambda members: members | {"a/w": np.arange(3)}, f"{W}it must be of dtype"),
    "another shape": (
        lambda members: members | {"a/w": np.zeros((3, 1))},
        "got float64 and (3, 1)",
    ),
    "another version of npy": (
        lambda members: members | {"a/w": npy_bytes(members["a/w"], (2, 0))},
        W,
    ),
    "more bytes": (
        lambda members: members | {"a/w": npy_bytes(members["a/w"]) + b"\0"},
        f"{W}it holds more",
    ),
    "fewer bytes": (lambda members: members | {"a/w": npy_bytes(members["a/w"])[:-1]}, W),
    "no bytes": (lambda members: members | {"a/w": b""}, W),
    "manifest no array": (lambda members: members | {"numclip.json": b"{}"}, ""),
    "manifest of numbers": (lambda members: members | {"numclip.json": np.arange(3.0)}, ""),
    "manifest empty": (with_manifest(b""), ""),
    "manifest no JSON": (with_manifest(b"{"), ""),
    "manifest a list": (with_manifest(b"[]"), ""),
    "manifest without a heading": (with_manifest(b"{}"), "'format': None"),
    "manifest too deep": (with_manifest(b"[" * 100_000 + b"]" * 100_000), ""),
    "a later version": (with_heading(version=2), "'version': 2"),
    "another program's": (with_heading(format="other"), "'format': 'other'"),
    "entries of another kind": (with_heading(entries=[3]), ""),
    "entries with more fields": (with_entry(0, more=1), "more"),
    "unknown dtype": (with_entry(0, dtype="object"), W),
    "no dtype": (with_entry(0, dtype=None), W),
    "keys that are there twice": (with_entry(3, keys=["none"]), NONE),
    "an array in place of a dict": (with_entry(3, keys=["none", "x"]), f"{NONE}['x']"),
    "a dict in place of an array": (with_entry(3, keys=["a"]), "entry ['a']"),
    "no keys": (with_entry(0, keys=[]), ""),
}


def test_rewriting_alone_changes_nothing(path: Path) -> None:
    mapping, _ = small(path)
    rewrite(path, lambda members: members)
    assert same(nc.load(path), mapping)


@pytest.mark.parametrize("name", CHANGED)
def test_archives_that_are_not_as_they_were_saved(name: str, path: Path) -> None:
    change, text = CHANGED[name]
    rewrite(path, change)
    assert text in refusal(path)


FOREIGN: dict[str, Callable[[Path, Array], Any]] = {
    "empty": lambda path, _: path.write_bytes(b""),
    "text": lambda path, _: path.write_text("weights\n" * 1000),
    "random": lambda path, _: path.write_bytes(np.random.default_rng(0).bytes(10_000)),
    "empty zip": lambda path, _: zipfile.ZipFile(path, "w").close(),
    "npz of another program": lambda path, _: np.savez(path, w=np.zeros(3)),
    "npy": lambda path, _: path.write_bytes(npy_bytes(np.zeros(3))),
    "pickle": lambda path, objects: path.write_bytes(pickle.dumps(objects)),
    "npz of objects": lambda path, objects: np.savez(path, w=objects),
    "objects for an array": lambda path, objects: rewrite(path, lambda m: m | {"a/w": objects}),
    "objects for the manifest": lambda path, objects: np.savez(path, **{"numclip.json": objects}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_refused_and_never_unpickled(name: str, path: Path) -> None:
    trace = path.parent / "trace"
    objects = np.array([Unpickled(str(trace))] * 3, object)
    FOREIGN[name](path, objects)
    refusal(path)
    assert not trace.exists()


def test_without_ml_dtypes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nc.save(path, {"half": of_any_bits("bfloat16", (3,))})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError, match="pip install ml_dtypes"):
        nc.load(path)
    assert saved(path, {"x": np.float16(1)}) == {"x": 1}
